"""The two kinds of files of Makin and O'Doherty, as :mod:`spikelfp_lab.cohorts.makin` has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikelfp_lab.cohorts import paper_protocol
from spikelfp_lab.io import _matlab
from spikelfp_lab.io._matlab import not_published
from spikelfp_lab.signal.broadband import broadband_to_lfp

MAX_GAP_S, _RATE_HZ = 0.25, 250.0
_FARTHEST = 1e9  # in any unit of length
_LONGEST_PAUSES = 10  # times as long as all samples take; a wrong time would make a session endless
_BROADBAND = "acquisition/timeseries/broadband"
_BROADBAND_RATE_HZ = 24414.0625  # as reported; the timestamps decide
_LETTERS = "uabcdefghijklmnopqrst"  # of the columns of spikes, the unsorted one first


def sample_times(file: h5py.File) -> np.ndarray:
    """``t`` (k,) in seconds."""
    t = _matlab.matrix(file, "t", columns=(1,))[:, 0]
    steps = np.diff(t)
    if not np.isfinite(t).all() or t.size < 2 or (steps <= 0).any():
        raise not_published(
            file.filename, f"the {t.size} values of 't' are not finite and increasing"
        )
    rate_hz = 1 / float(np.median(steps))
    if abs(rate_hz - _RATE_HZ) > 0.01 * _RATE_HZ:
        what = f"'t' has {rate_hz:g} samples a second; {_RATE_HZ:g} are expected"
        raise not_published(file.filename, what)
    if t[-1] - t[0] > _LONGEST_PAUSES * t.size / _RATE_HZ:
        what = f"'t' reaches over {t[-1] - t[0]:g} s with {t.size} samples"
        raise not_published(file.filename, what)
    return t


def aligned(file: h5py.File, name: str, t: np.ndarray, *, columns: Sequence[int]) -> np.ndarray:
    """(k, columns), a row for each of ``t``; NaN where the target is not shown."""
    values = _matlab.matrix(file, name, columns=columns)
    if values.shape[0] != t.size:
        what = f"{name!r} has {values.shape[0]} samples and 't' {t.size}"
        raise not_published(file.filename, what)
    if (np.abs(values) > _FARTHEST).any():  # would become infinite in float32
        what = f"{name!r} holds numbers up to {np.nanmax(np.abs(values)):g}, which are no positions"
        raise not_published(file.filename, what)
    return values


def mean_velocity(
    position: np.ndarray, t: np.ndarray, clock: np.ndarray, *, bin_size_s: float
) -> np.ndarray:
    """(T, axes) displacement over each bin by its length; NaN where ``t`` has a gap."""
    edges = np.stack([clock - bin_size_s / 2, clock + bin_size_s / 2])
    at_edges = np.stack([np.interp(edges, t, axis) for axis in position.T], axis=-1)
    velocity = (at_edges[1] - at_edges[0]) / bin_size_s
    before = np.clip(np.searchsorted(t, edges, side="right") - 1, 0, t.size - 2)
    velocity[(np.diff(t)[before] > MAX_GAP_S).any(axis=0)] = np.nan
    return velocity


def spike_times(file: h5py.File, units: str) -> tuple[list[str], list[np.ndarray]]:
    """Names of the units and their spike times; an empty cell is no unit."""
    channels = [
        _matlab.text_behind(file, reference, what=f"chan_names {number}")
        for number, reference in enumerate(_matlab.cell(file, "chan_names").ravel(), 1)
    ]
    cells = _matlab.cell(file, "spikes")
    if cells.shape[0] != len(channels) or not channels:
        what = f"'spikes' has {cells.shape[0]} channels and 'chan_names' {len(channels)}"
        raise not_published(file.filename, what)
    _once(channels, file, "chan_names")
    named: dict[str, np.ndarray] = {}
    for channel, row in zip(channels, cells, strict=True):
        what = f"spikes of {channel}"
        found = [_matlab.numbers_behind(file, reference, what=what) for reference in row]
        if not all(np.isfinite(times).all() for times in found):
            raise not_published(file.filename, f"{what} has times that are NaN or infinite")
        if units == "threshold":
            named[channel] = np.concatenate(found)
        else:
            columns = list(zip(_LETTERS, found, strict=False))[1 if units == "sorted" else 0 :]
            named |= {f"{channel}{letter}": times for letter, times in columns}
    named = {name: times for name, times in named.items() if times.size}
    if not named:
        what = f"no cell of 'spikes' has a spike (units={units!r}; units='all' takes every one)"
        raise not_published(file.filename, what)
    return list(named), list(named.values())


def lfp(
    path: Path, clock: np.ndarray, *, bin_size_s: float, paper: bool, progress: bool
) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    """LFP (n, C) in uV with its times, and names of channels: on the clock, unless the paper's."""
    with _matlab.open_hdf5(path) as file:
        names, stream = _stream(file)
        if not paper:
            return broadband_to_lfp(**stream, clock=clock, progress=progress), names
        # a decimation by 32, as wide as that allows, and without the offset: the chain's high-pass
        # takes 0.2 % at the paper's edge of 0.05 Hz, and one far lower would cost its length
        rate_hz = _BROADBAND_RATE_HZ / 32
        raw, times = broadband_to_lfp(
            **stream,
            to_rate_hz=rate_hz,
            band_hz=(0.01, rate_hz / 2),
            line_hz=None,
            reference="none",
            progress=progress,
        )
    filtered = paper_protocol.makin_lfp(raw, rate_hz=rate_hz, to_rate_hz=1 / bin_size_s)
    step_s = raw.shape[0] / rate_hz / filtered.shape[0]
    return (filtered, times[0] + np.arange(filtered.shape[0]) * step_s), names


def _stream(file: h5py.File) -> tuple[list[str], dict[str, Any]]:
    """Names of the electrodes, and what broadband_to_lfp needs of the recording."""
    data = _matlab.dataset(file, f"{_BROADBAND}/data")
    stored = _matlab.dataset(file, f"{_BROADBAND}/electrode_names")
    names = [str(name).strip(" \0") for name in np.asarray(stored.asstr()[()])]
    _once(names, file, "electrode_names")
    if data.ndim != 2 or len(names) != data.shape[1] or data.dtype.kind not in "fiu":
        what = f"broadband 'data' is {data.dtype} of {data.shape} with {len(names)} electrode names"
        raise not_published(file.filename, what)
    conversion = np.ravel(data.attrs.get("conversion", ()))
    if conversion.size != 1 or conversion.dtype.kind not in "fiu" or not conversion[0] > 0:
        what = f"'conversion' of the broadband is {conversion.tolist()}; volts a count are needed"
        raise not_published(file.filename, what)
    return names, {
        "data": data,
        "timestamps": _matlab.dataset(file, f"{_BROADBAND}/timestamps"),
        "rate_hz": _BROADBAND_RATE_HZ,
        "scale": 1e6 * float(conversion[0]),
    }


def _once(names: list[str], file: h5py.File, where: str) -> None:
    """Refuse names that are there more than once."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise not_published(file.filename, f"{where!r} has {twice[0]!r} more than once")
