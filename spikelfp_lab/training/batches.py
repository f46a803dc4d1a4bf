"""Batches: the windows of one session, on the device, drawn by a seed and a step alone.

A batch holds windows of a single session, so nothing is padded. What is drawn depends on (seed,
step, shard) and on nothing before, which is what lets a killed run go on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.autoencoder import DIMS, VARIABLES, Autoencoder, Modality, Size
from spikelfp_lab.models.labels import labels_of
from spikelfp_lab.sessions import (
    TRAIN,
    channel_statistics,
    observed_mask,
    split_session,
    window_starts,
)

if TYPE_CHECKING:
    from spikelfp_lab.training.shards import KnownSession

VALIDATION_WINDOWS = 24  # a session: enough for a steady loss, few enough to cost little


@dataclass
class SessionWindows:
    """One session ready for training, on the device."""

    name: str
    modality: Modality
    values: Tensor  # (time, unit or channel): counts, z-scored potentials; NaN: not observed
    size: Size  # units or channels, or both
    bin_size_s: float
    mean: np.ndarray  # (unit or channel,) that potentials were z-scored by; 0 for counts
    std: np.ndarray
    labels: dict[str, list[str]]  # "unit", "channel" -> labels
    train: np.ndarray  # first bins of training windows, every possible one
    val: np.ndarray  # and of validation windows, no two of which overlap
    length: int  # bins in a window
    targets: dict[str, Tensor] = field(default_factory=dict)  # further (time, ...) series

    @property
    def n_units(self) -> int:
        """How many columns of ``values``, the first ones, are counts."""
        if self.modality == "both":
            assert not isinstance(self.size, int)
            return self.size[0]
        return 0 if self.modality == "lfp" else self.values.shape[1]

    def cut(self, series: Tensor, starts: np.ndarray) -> Tensor:
        """Windows (B, length, ...) of a (time, ...) series."""
        index = torch.as_tensor(starts, device=series.device)[:, None] + torch.arange(
            self.length, device=series.device
        )
        return series[index]


def session_size(session: xr.Dataset, modality: Modality) -> Size:
    """Number of units or channels of a modality, or of both; its absence is one clear error. Reads
    no data.
    """
    if missing := [name for name in VARIABLES[modality] if name not in session]:
        raise DataError(
            f"session {session.attrs.get('subject')}/{session.attrs.get('session')} has no "
            f"{missing[0]!r}; "
            f"it has {sorted(map(str, session.data_vars))}. Train on a modality it has, or leave "
            "it out."
        )
    sizes = [session[name].shape[1] for name in VARIABLES[modality]]
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def session_values(session: xr.Dataset, modality: Modality) -> np.ndarray:
    """(time, unit or channel) of a modality; NaN where a unit was not observed."""
    session_size(session, modality)
    arrays = [session[name].to_numpy() for name in VARIABLES[modality]]
    observed = observed_mask(session)
    if modality != "lfp" and observed is not None:
        arrays[0] = np.where(observed, arrays[0], np.float32(np.nan))
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


def window_bins(session: xr.Dataset, train: TrainConfig) -> int:
    """Bins in a window."""
    return max(1, round(train.window_s / session.attrs["bin_size_s"]))


def training_windows(
    session: xr.Dataset,
    variables: Sequence[str],
    train: TrainConfig,
    split: xr.DataArray | None = None,
) -> np.ndarray:
    """First bins of every training window in which none of the variables is missing."""
    if split is None:
        split = split_session(
            session, scheme=train.scheme, window_s=train.window_s, seed=train.seed
        )
    length = window_bins(session, train)
    return window_starts(session, split, "train", length=length, stride=1, variables=variables)


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

    ``together_with`` names further variables that no window may be missing (NaN) in. Under
    ``scheme="paper"`` statistics are of all time, as in the paper."""
    raw, size = session_values(session, modality), session_size(session, modality)
    if len(empty := np.flatnonzero(np.isnan(raw).all(axis=0))):
        raise DataError(
            f"session {name}: {modality} is NaN throughout in column(s) {empty.tolist()}. "
            "Leave these out first: session = drop_bad_channels(session)"
        )
    split = split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)
    length = window_bins(session, train)
    mean, std = np.zeros(raw.shape[1], np.float32), np.ones(raw.shape[1], np.float32)
    if modality != "spikes":
        use = np.ones(len(raw), bool) if train.scheme == "paper" else split.to_numpy() == TRAIN
        channels = slice(0 if isinstance(size, int) else size[0], None)
        mean[channels], std[channels] = channel_statistics(raw[:, channels], use)
    variables = (*VARIABLES[modality], *together_with)
    return SessionWindows(
        name=name,
        modality=modality,
        values=torch.as_tensor((raw - mean) / std, dtype=torch.float32, device=device),
        size=size,
        bin_size_s=float(session.attrs["bin_size_s"]),
        mean=mean,
        std=std,
        labels={DIMS[v]: labels_of(session)[DIMS[v]] for v in VARIABLES[modality]},
        train=training_windows(session, variables, train, split),
        val=window_starts(session, split, "val", length=length, variables=variables),
        length=length,
    )


def add_behavior(windows: SessionWindows, session: xr.Dataset, *, train: TrainConfig) -> None:
    """Give the windows the session's behavior, z-scored by training time, as the target "behavior"
    (time, axis); NaN where it is not known.
    """
    if "behavior" not in session:
        raise DataError(
            f"session {windows.name} has no 'behavior' to learn: leave it out, or train without "
            "labels "
            "(MaskConfig.behavior=0, DistillConfig.target='reconstruct')"
        )
    split = split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)
    behavior = session["behavior"].transpose("time", "behavior_dim").to_numpy()
    mean, std = channel_statistics(behavior, split.to_numpy() == TRAIN)
    windows.targets["behavior"] = torch.as_tensor(
        (behavior - mean) / std, dtype=torch.float32, device=windows.values.device
    )


def behavior_axes(sessions: Mapping[str, xr.Dataset]) -> tuple[str, ...]:
    """Names of the behavior that all of the sessions have; a difference is a :class:`DataError`."""
    axes = {
        tuple(map(str, session["behavior_dim"].to_numpy())) if "behavior" in session else ()
        for session in sessions.values()
    }
    if len(axes) > 1:
        raise DataError(
            f"the sessions' behavior differs, {sorted(axes)}: one read-out cannot learn both"
        )
    return axes.pop()


def add_to_vocabulary(model: Autoencoder, known: KnownSession) -> None:
    """Give the model tables for a session it does not know, and the session's z-scoring.

    A session that it knows has been brought into its order (:func:`in_order_of`). Bins of another
    width than the model's, or another number of channels than it knows, raise an error.
    """
    if not np.isclose(known.bin_size_s, model.bin_size_s, rtol=1e-3):
        raise DataError(
            f"session {known.name} has bins of {known.bin_size_s:g} s, the model's are "
            f"{model.bin_size_s:g} s: "
            "bring all sessions of a model to one bin size"
        )
    if known.name not in model.sessions:
        device = next(model.parameters()).device
        model.add_session(known.name, known.size)
        model.to(device)
    model.check_session(known.name, known.size)
    model.labels[known.name] = known.labels
    model.set_statistics(known.name, torch.as_tensor(known.mean), torch.as_tensor(known.std))


def draw(
    cohort: list[SessionWindows], *, batch: int, seed: int, step: int, shard: int = 0
) -> tuple[SessionWindows, np.ndarray]:
    """A session, in proportion to its length, and ``batch`` starts of training windows in it."""
    rng = np.random.default_rng([seed, step, shard])  # of shard 0 the same as [seed, step]
    windows = cohort[pick(rng, [len(windows.train) for windows in cohort])]
    return windows, rng.choice(windows.train, size=batch)


def pick(rng: np.random.Generator, windows: Sequence[int]) -> int:
    """The place of a session, in proportion to its number of windows."""
    weights = np.array(windows, float)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def some_validation(windows: SessionWindows) -> np.ndarray:
    """First bins of at most ``VALIDATION_WINDOWS`` validation windows, spread over the session; the
    same ones every time.
    """
    n = min(len(windows.val), VALIDATION_WINDOWS)
    return windows.val[np.linspace(0, len(windows.val) - 1, n).round().astype(int)]


def augment(values: Tensor, *, drop: float, noise: float, counts: int = 0) -> Tensor:
    """Silence random units (channels) of each window and add noise, as
    :class:`~spikelfp_lab.TrainConfig` says.

    ``values`` is (B, T, C), of which the first ``counts`` are of units and get no noise. Random
    numbers come from torch's global generator, which the training loop seeds at each step."""
    if drop:
        share = drop * torch.rand(len(values), 1, 1, device=values.device)
        kept = torch.rand(len(values), 1, values.shape[2], device=values.device) >= share
        values = values * kept
    if noise and counts < values.shape[2]:
        added = noise * torch.randn_like(values)
        added[:, :, :counts] = 0.0
        values = values + added
    return values
