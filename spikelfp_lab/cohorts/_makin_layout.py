"""The two kinds of files of Makin and O'Doherty, as :mod:`spikelfp_lab.cohorts.makin` has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikelfp_lab.cohorts import paper_protocol as _paper
from spikelfp_lab.errors import DataError
from spikelfp_lab.io import _matlab
from spikelfp_lab.signal.broadband import broadband_to_lfp

MAX_GAP_S = 0.25

_RATE_HZ = 250.0
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
        bad = np.flatnonzero(~np.isfinite(t))
        where = int(bad[0]) if bad.size else int(np.argmax(steps <= 0)) + 1 if t.size > 1 else 0
        raise DataError(
            f"'t' of {file.filename} is not finite and increasing at sample {where} of {t.size}. "
            "The file is not as published; get it again."
        )
    rate_hz = 1 / float(np.median(steps))
    if abs(rate_hz - _RATE_HZ) > 0.01 * _RATE_HZ:
        raise DataError(
            f"'t' of {file.filename} has {rate_hz:g} samples a second; {_RATE_HZ:g} are "
            "expected. Are its values in seconds?"
        )
    if t[-1] - t[0] > _LONGEST_PAUSES * t.size / _RATE_HZ:
        raise DataError(
            f"'t' of {file.filename} reaches over {t[-1] - t[0]:g} s with {t.size} samples, so a time in "
            "it is wrong. The file is not as published; get it again."
        )
    return t


def aligned(file: h5py.File, name: str, t: np.ndarray, *, columns: Sequence[int]) -> np.ndarray:
    """An array (k, columns) with a row for each of ``t``."""
    values = _matlab.matrix(file, name, columns=columns)
    if values.shape[0] != t.size:
        raise DataError(
            f"{name!r} of {file.filename} has {values.shape[0]} samples and 't' {t.size}; they "
            "must be as long. The file is not as published; get it again."
        )
    # NaN where the target is not shown; a number beyond float32 would become infinite
    if (np.abs(values) > _FARTHEST).any():
        raise DataError(
            f"{name!r} of {file.filename} holds numbers up to {np.nanmax(np.abs(values)):g}, which are no "
            "positions. The file is not as published; get it again."
        )
    return values


def task(target: np.ndarray, t: np.ndarray, path: Path) -> tuple[float, float]:
    """First and last change of the target, in seconds."""
    shown = np.nan_to_num(target, nan=np.inf)  # a target that is not shown stays the same
    changes = np.flatnonzero((shown[1:] != shown[:-1]).any(axis=1)) + 1
    if changes.size < 2:
        raise DataError(
            f"'target_pos' of {path} changes {changes.size} times, so it does not say when the "
            "task ran. The file is not as published; get it again."
        )
    return float(t[changes[0]]), float(t[changes[-1]])


def position(file: h5py.File, t: np.ndarray, behavior: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of the cursor or the fingertip: (k, 2 or 3) in mm, and the names of its velocity's axes."""
    if behavior == "cursor":
        return aligned(file, "cursor_pos", t, columns=(2,)), ("vx", "vy")
    z, minus_x, minus_y = aligned(file, "finger_pos", t, columns=(3, 6))[:, :3].T
    return 10 * np.stack([-minus_x, -minus_y, z], axis=1), ("vx", "vy", "vz")


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
        raise DataError(
            f"'spikes' of {file.filename} has {cells.shape[0]} channels and 'chan_names' "
            f"{len(channels)}; they must be as many, and not none. The file is not as published; get it "
            "again."
        )
    _once(channels, _matlab.dataset(file, "chan_names"))
    named: dict[str, np.ndarray] = {}
    for channel, row in zip(channels, cells, strict=True):
        found = [
            _matlab.numbers_behind(file, reference, what=f"spikes of {channel}, unit {column}")
            for column, reference in enumerate(row)
        ]
        for column, times in enumerate(found):
            if not np.isfinite(times).all():
                raise DataError(
                    f"spikes of {channel}, unit {column}, of {file.filename} has times that are "
                    "NaN or infinite. The file is not as published; get it again."
                )
        if units == "threshold":
            named[channel] = np.concatenate(found)
        else:
            first = 1 if units == "sorted" else 0
            for letter, times in list(zip(_LETTERS, found, strict=False))[first:]:
                named[f"{channel}{letter}"] = times
    named = {name: times for name, times in named.items() if times.size}
    if not named:
        raise DataError(
            f"No cell of 'spikes' of {file.filename} has a spike (units={units!r}). Try units='all', or get "
            "the file again."
        )
    return list(named), list(named.values())


def lfp(
    path: Path, clock: np.ndarray, *, bin_size_s: float, paper: bool, progress: bool
) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    """LFP (n, C) in uV with its times, and the names of its channels.

    By our filters it is on the clock. By those of the paper it is that of the whole recording, at times
    of its own.
    """
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
    filtered = _paper.makin_lfp(raw, rate_hz=rate_hz, to_rate_hz=1 / bin_size_s)
    step_s = raw.shape[0] / rate_hz / filtered.shape[0]
    return (filtered, times[0] + np.arange(filtered.shape[0]) * step_s), names


def _stream(file: h5py.File) -> tuple[list[str], dict[str, Any]]:
    """Names of the electrodes, and what broadband_to_lfp needs of the recording."""
    data = _matlab.dataset(file, f"{_BROADBAND}/data")
    names = _electrode_names(_matlab.dataset(file, f"{_BROADBAND}/electrode_names"))
    if data.ndim != 2 or len(names) != data.shape[1] or data.dtype.kind not in "fiu":
        raise DataError(
            f"'{_BROADBAND}/data' of {file.filename} is {data.dtype} of the shape {data.shape} "
            f"with {len(names)} electrode names; numbers, samples by electrodes, are needed. The file is "
            "not as published; get it again."
        )
    conversion = np.ravel(data.attrs.get("conversion", ()))
    if conversion.size != 1 or conversion.dtype.kind not in "fiu" or not conversion[0] > 0:
        raise DataError(
            f"'{_BROADBAND}/data' of {file.filename} has the attribute conversion = "
            f"{conversion.tolist()}; volts a count are needed. The file is not as published; get it again."
        )
    return names, {
        "data": data,
        "timestamps": _matlab.dataset(file, f"{_BROADBAND}/timestamps"),
        "rate_hz": _BROADBAND_RATE_HZ,
        "scale": 1e6 * float(conversion[0]),
    }


def _electrode_names(names: h5py.Dataset) -> list[str]:
    if h5py.check_string_dtype(names.dtype) is None or names.ndim != 1:
        raise DataError(
            f"{names.name!r} of {names.file.filename} is {names.dtype} of the shape "
            f"{names.shape}; a name for each electrode is needed. The file is not as published; get it again."
        )
    found = [str(name).strip(" \0") for name in np.asarray(names.asstr()[()])]
    _once(found, names)
    return found


def _once(names: list[str], where: h5py.Dataset) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{where.name!r} of {where.file.filename} has {twice[0]!r} more than once. The file is not as "
            "published; get it again."
        )
