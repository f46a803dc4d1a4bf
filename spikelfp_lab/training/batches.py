"""Batches: the windows of one session, on the device, drawn by a seed and a step alone.

A batch holds windows of a single session, so nothing is padded. What is drawn depends on (seed, step) and on nothing before, which is what
lets a killed run go on exactly where it stopped.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.autoencoder import Autoencoder, Modality
from spikelfp_lab.sessions import TRAIN, channel_statistics, split_session, window_starts


@dataclass
class SessionWindows:
    """One session ready for training.

    Attributes
    ----------
    name : str
    values : Tensor, (time, unit or channel) float32
        Counts, or z-scored potentials, on the device.
    bin_size_s : float
    mean, std : ndarray, (unit or channel,) float32
        What ``values`` was z-scored by; 0 and 1 for counts.
    train, val : ndarray of int64
        First bins of training windows (every possible one) and of validation windows (no two overlap).
    length : int
        Bins in a window.
    targets : dict of str to Tensor, (time, ...)
        Further series that windows are cut from, such as a teacher's latents.
    """

    name: str
    values: Tensor
    bin_size_s: float
    mean: np.ndarray
    std: np.ndarray
    train: np.ndarray
    val: np.ndarray
    length: int
    targets: dict[str, Tensor] = field(default_factory=dict)

    def digest(self) -> str:
        """A short hash of the name, the values and where windows start: a run that is resumed must find the same."""
        total = hashlib.sha256(self.name.encode())
        for array in (self.values.cpu().numpy(), self.train, self.val):
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()[:12]

    def cut(self, series: Tensor, starts: np.ndarray) -> Tensor:
        """Windows (B, length, ...) of a (time, ...) series."""
        index = torch.as_tensor(starts, device=series.device)[:, None] + torch.arange(
            self.length, device=series.device
        )
        return series[index]


def session_values(session: xr.Dataset, modality: Modality) -> np.ndarray:
    """The (time, unit or channel) array of a modality; its absence is one clear error."""
    if modality not in session:
        raise DataError(
            f"session {session.attrs.get('subject')}/{session.attrs.get('session')} has no {modality!r}; "
            f"it has {sorted(map(str, session.data_vars))}. Train on a modality it has, or leave it out."
        )
    return session[modality].to_numpy()


def prepare(
    session: xr.Dataset,
    name: str,
    *,
    modality: Modality,
    train: TrainConfig,
    device: torch.device,
    together_with: tuple[str, ...] = (),
) -> SessionWindows:
    """Split a session, z-score its LFP on training time, and find its windows.

    ``together_with`` names further variables that no window may be missing (NaN) in. Under ``scheme="paper"`` statistics are of all time,
    as in the paper.
    """
    raw = session_values(session, modality)
    if len(empty := np.flatnonzero(np.isnan(raw).all(axis=0))):
        raise DataError(
            f"session {name}: {modality} is NaN throughout in column(s) {empty.tolist()}. "
            "Leave these out first: session = drop_bad_channels(session)"
        )
    split = split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)
    length = max(1, round(train.window_s / session.attrs["bin_size_s"]))
    if modality == "lfp":
        use = np.ones(len(raw), bool) if train.scheme == "paper" else split.to_numpy() == TRAIN
        mean, std = channel_statistics(raw, use)
    else:
        mean, std = np.zeros(raw.shape[1], np.float32), np.ones(raw.shape[1], np.float32)
    variables = (modality, *together_with)
    return SessionWindows(
        name=name,
        values=torch.as_tensor((raw - mean) / std, dtype=torch.float32, device=device),
        bin_size_s=float(session.attrs["bin_size_s"]),
        mean=mean,
        std=std,
        train=window_starts(session, split, "train", length=length, stride=1, variables=variables),
        val=window_starts(session, split, "val", length=length, variables=variables),
        length=length,
    )


def add_to_vocabulary(model: Autoencoder, windows: SessionWindows) -> None:
    """Give the model tables for a session it does not know, and the session's z-scoring.

    Bins of another width than the model's, or another number of channels than it knows, raise an error.
    """
    if not np.isclose(windows.bin_size_s, model.bin_size_s, rtol=1e-3):
        raise DataError(
            f"session {windows.name} has bins of {windows.bin_size_s:g} s, the model's are {model.bin_size_s:g} s: "
            "bring all sessions of a model to one bin size"
        )
    size = windows.values.shape[1]
    if windows.name not in model.sessions:
        model.add_session(windows.name, size)
        model.to(windows.values.device)
    model.check_session(windows.name, size)
    model.set_statistics(windows.name, torch.as_tensor(windows.mean), torch.as_tensor(windows.std))


def draw(
    cohort: list[SessionWindows], *, batch: int, seed: int, step: int
) -> tuple[SessionWindows, np.ndarray]:
    """A session, in proportion to its length, and ``batch`` starts of training windows in it."""
    rng = np.random.default_rng([seed, step])
    weights = np.array([len(windows.train) for windows in cohort], float)
    windows = cohort[rng.choice(len(cohort), p=weights / weights.sum())]
    return windows, rng.choice(windows.train, size=batch)


def augment(values: Tensor, *, drop: float, noise: float) -> Tensor:
    """Silence random units (channels) of each window and add noise, as :class:`~spikelfp_lab.TrainConfig` says.

    ``values`` is (B, T, C). Random numbers come from torch's global generator, which the training loop seeds at each step.
    """
    if drop:
        share = drop * torch.rand(len(values), 1, 1, device=values.device)
        kept = torch.rand(len(values), 1, values.shape[2], device=values.device) >= share
        values = values * kept
    return values + noise * torch.randn_like(values) if noise else values
