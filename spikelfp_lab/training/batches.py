"""Batches: the windows of one session, on the device, so that nothing is padded."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import ModelConfig, TrainConfig
from spikelfp_lab.errors import DataError, SpikeLFPWarning
from spikelfp_lab.models.autoencoder import DIMS, VARIABLES, Autoencoder, Modality, Size
from spikelfp_lab.models.encode import labels_of, suited, values_of, z_scoring
from spikelfp_lab.sessions import TRAIN, bins_in, channel_statistics, split_session, window_starts

VALIDATION_WINDOWS = 24  # a session: enough for a steady loss, few enough to cost little


@dataclass
class SessionWindows:
    """One session ready for training, on the device."""

    name: str
    size: Size  # units or channels, or both
    bin_size_s: float
    mean: np.ndarray  # (unit or channel,) that potentials were z-scored by; 0 for counts
    std: np.ndarray
    labels: dict[str, list[str]]  # "unit", "channel" -> labels
    values: Tensor  # (time, unit or channel): counts, z-scored potentials; NaN: not observed
    n_units: int  # columns of values, the first ones, that are counts
    train: np.ndarray  # first bins of training windows, every possible one
    val: np.ndarray  # and of validation windows, no two of which overlap
    length: int  # bins in a window
    n_train: int  # training windows
    targets: dict[str, Tensor]  # further (time, ...) series
    per_channel: int = 1  # columns of values that belong to one channel
    # mean and SD (teacher_latent,) that were taken from the latents to reproduce
    taught: tuple[np.ndarray, np.ndarray] | None = None

    def outline(self) -> Self:
        """The session less its data: what other processes know of it."""
        return replace(self, values=torch.empty(0), train=self.train[:0], targets={})

    def cut(self, starts: np.ndarray) -> dict[str, Tensor]:
        """Windows (B, length, ...) of the "values" and of all targets."""
        index = torch.as_tensor(starts[:, None] + np.arange(self.length), device=self.values.device)
        series = {"values": self.values} | self.targets
        return {name: each[index] for name, each in series.items()}


def spread(starts: np.ndarray, most: int | None = VALIDATION_WINDOWS) -> np.ndarray:
    """At most so many of the starts, spread over the session."""
    count = min(len(starts), most or len(starts))
    return starts[np.linspace(0, len(starts) - 1, count).round().astype(int)]


def split_of(session: xr.Dataset, train: TrainConfig) -> xr.DataArray:
    """How a training splits the time of a session."""
    return split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)


def windows_of(
    session: xr.Dataset, train: TrainConfig, variables: Sequence[str], part: str = "train"
) -> np.ndarray:
    """First bins of all windows without NaN; of validation windows, that do not overlap."""
    check_variables(session, variables)
    split, stride = split_of(session, train), 1 if part == "train" else None
    length = bins_in(train.window_s, bin_size_s=session.attrs["bin_size_s"])
    return window_starts(session, split, part, length=length, stride=stride, variables=variables)


def model_for(preset: ModelConfig, sessions: Mapping[str, xr.Dataset]) -> ModelConfig:
    """The model of a preset; a warning says where band power is left out, and why."""
    model, reason = suited(preset, sessions.values())
    if reason:
        bands = ", ".join(f"{low:g}-{high:g}" for low, high in preset.bands_hz)
        message = f"session {reason}. The model reads the lfp alone, not its power in {bands} Hz."
        warnings.warn(message, SpikeLFPWarning, stacklevel=4)
    return model


def check_variables(session: xr.Dataset, variables: Sequence[str]) -> None:
    """Refuse a session that lacks one."""
    if missing := [name for name in variables if name not in session]:
        raise DataError(
            f"session {session.attrs.get('subject')}/{session.attrs.get('session')} has no "
            f"{missing[0]!r}; it has {sorted(map(str, session.data_vars))}. Leave it out, or train "
            "without (another modality, MaskConfig.behavior=0, DistillConfig.target='reconstruct')."
        )


def prepare(
    session: xr.Dataset, name: str, *, modality: Modality, train: TrainConfig, device: torch.device,
    finite: tuple[str, ...] = (), behavior: bool = False, shape: ModelConfig | None = None,
) -> SessionWindows:  # fmt: skip
    """Split a session, z-score its LFP (and log power, where the model's ``shape`` has bands) on
    training time, and find its windows.

    No window lacks (NaN) ``finite`` variables, which become targets; so does ``behavior``, z-scored
    too.
    """
    variables, place = VARIABLES[modality], {"dtype": torch.float32, "device": device}
    check_variables(session, (*variables, *["behavior"] * behavior))
    raw, each = values_of(session, variables, shape=shape), shape.per_channel if shape else 1
    sizes = [session.sizes[DIMS[v]] for v in variables]
    potentials = raw if each == 1 else values_of(session, variables)
    if len(empty := np.flatnonzero(np.isnan(potentials).all(axis=0))):
        raise DataError(
            f"session {name}: {modality} is NaN throughout in column(s) {empty.tolist()}. "
            "Leave these out first: session = drop_bad_channels(session)"
        )
    split = split_of(session, train)
    channels = 0 if modality == "spikes" else sizes[-1] * each
    mean, std = z_scoring(session, raw, channels, **split.attrs)
    starts = windows_of(session, train, (*variables, *finite))
    targets = {key: session[key].to_numpy() for key in finite}
    if behavior:
        wanted = session["behavior"].transpose("time", "behavior_dim").to_numpy()
        center, scale = channel_statistics(wanted, split.to_numpy() == TRAIN)
        targets["behavior"] = (wanted - center) / scale
    return SessionWindows(
        name=name,
        size=tuple(sizes) if modality == "both" else sizes[0],  # type: ignore[arg-type]
        bin_size_s=float(session.attrs["bin_size_s"]),
        mean=mean,
        std=std,
        labels={DIMS[v]: labels_of(session)[DIMS[v]] for v in variables},
        values=torch.as_tensor((raw - mean) / std, **place),
        n_units=raw.shape[1] - channels,
        train=starts,
        val=windows_of(session, train, (*variables, *finite), "val"),
        length=bins_in(train.window_s, bin_size_s=session.attrs["bin_size_s"]),
        n_train=len(starts),
        targets={key: torch.as_tensor(series, **place) for key, series in targets.items()},
        per_channel=each,
    )


def add_tables(model: Autoencoder, known: SessionWindows) -> None:
    """Give the model tables for a session it does not know, and the session's z-scoring."""
    if known.name not in model.sessions:
        model.add_session(known.name, known.size)
    model.check_session(known.name, known.bin_size_s)
    model.labels[known.name] = known.labels
    known_by = {"": (known.mean, known.std)}
    if known.taught and model.teacher_width:
        known_by["teacher_"] = known.taught
    for what, pair in known_by.items():
        for own, value in zip(model.statistics(known.name, what), pair, strict=True):
            own.copy_(torch.as_tensor(value))


def augment(values: Tensor, train: TrainConfig, counts: int = 0, per_channel: int = 1) -> Tensor:
    """Silence random units (channels) of each window of values (B, T, C) and add noise, but not to
    the first ``counts``, as :class:`~spikelfp_lab.TrainConfig` says.
    """
    batch, _, columns = values.shape
    if train.drop_inputs:
        share = train.drop_inputs * torch.rand(batch, 1, 1, device=values.device)
        units = counts + (columns - counts) // per_channel
        kept = torch.rand(batch, 1, units, device=values.device) >= share
        if per_channel > 1:
            shown = kept[..., counts:].repeat_interleave(per_channel, dim=2)
            kept = torch.cat([kept[..., :counts], shown], dim=2)
        values = values * kept
    if train.noise and counts < columns:
        added = train.noise * torch.randn_like(values)
        added[:, :, :counts] = 0.0
        values = values + added
    return values
