"""The trials of a file of Flint et al., as :mod:`spikelfp_lab.cohorts.flint` has them, checked."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io

from spikelfp_lab.errors import DataError
from spikelfp_lab.io import _matlab

STEP_S = 0.01
LFP_RATE_HZ = 2000.0
LFP_PER_STEP = 20


@dataclass(frozen=True)
class Trial:
    """A trial as it is in the file: times in seconds, one row a sample."""

    number: int
    time: np.ndarray  # (T,)
    velocity: np.ndarray  # (T, 2)
    target: np.ndarray  # (T, 2)
    good: bool
    spikes: list[np.ndarray]  # (n_u,) for each row of Neuron
    lfp: list[np.ndarray]  # (20 T,) for each row of Neuron, empty where there is none


def read_trials(path: Path, name: str) -> list[Trial]:
    """The trials of a session in order of time.

    Parameters
    ----------
    path : Path
        A file such as ``Flint_2012_e3.mat``.
    name : str
        The session, such as "e3_2": the second of the file.

    Returns
    -------
    list of Trial
        All with as many spike trains, and LFPs, of the same neurons.

    Raises
    ------
    DataError
        When the file is damaged or departs from the layout; the message says where.
    """
    subjects = _structs(_matlab.read_matlab5(path, ["Subject"])["Subject"], f"Subject of {path}")
    number = int(name.split("_")[1])
    if number > len(subjects):
        raise DataError(
            f"{path} has {len(subjects)} sessions and {name} is its number {number}. "
            "Is it the original file?"
        )
    where = f"session {number} of {path}"
    structs = _structs(_field(subjects[number - 1], "Trial", where), f"Trial, {where}")
    trials = [
        _trial(struct, index, f"trial {index}, {where}") for index, struct in enumerate(structs, 1)
    ]
    for before, after in pairwise(trials):
        if after.time[0] <= before.time[-1]:
            raise DataError(
                f"Time runs backwards from trial {before.number} to trial {after.number}, "
                f"{where}: {before.time[-1]:g} s is followed by {after.time[0]:g} s. The file is not as "
                "published; get it again."
            )
        if len(after.spikes) != len(before.spikes):
            raise DataError(
                f"Trial {before.number} has {len(before.spikes)} neurons and trial "
                f"{after.number} {len(after.spikes)}, {where}; they must be as many. The file is not as "
                "published; get it again."
            )
    return trials


def _trial(struct: Any, number: int, where: str) -> Trial:
    time = _numbers(_field(struct, "Time", where), f"Time, {where}").ravel()
    steps = np.diff(time)
    if time.size < 2 or not np.isfinite(time).all() or (steps <= 0).any():
        raise DataError(
            f"Time, {where}, has {time.size} values that are not finite and increasing. "
            "The file is not as published; get it again."
        )
    if np.abs(time - time[0] - np.arange(time.size) * STEP_S).max() > 0.5 * STEP_S:
        raise DataError(
            f"Time, {where}, has steps from {steps.min():g} to {steps.max():g} s; {STEP_S:g} s "
            "are expected (100 Hz). The file is not as published; get it again."
        )
    columns = {}
    for name in ("HandVel", "TargetPos"):
        values = _numbers(_field(struct, name, where), f"{name}, {where}")
        if values.ndim != 2 or values.shape[0] != time.size or values.shape[1] < 2:
            raise DataError(
                f"{name}, {where}, has the shape {values.shape}; ({time.size}, 3) is needed, a "
                "row for each value of Time. The file is not as published; get it again."
            )
        columns[name] = values[:, :2]
    neurons = _structs(_field(struct, "Neuron", where), f"Neuron, {where}")
    condition = np.ravel(_field(struct, "Condition", where))
    return Trial(
        number=number,
        time=time,
        velocity=columns["HandVel"],
        target=columns["TargetPos"],
        good="".join(map(str, condition)).strip().lower() == "good",
        spikes=[_spikes(neuron, f"neuron {i}, {where}") for i, neuron in enumerate(neurons, 1)],
        lfp=[
            _raw_lfp(neuron, time.size, f"neuron {i}, {where}")
            for i, neuron in enumerate(neurons, 1)
        ],
    )


def _spikes(neuron: Any, where: str) -> np.ndarray:
    times = _numbers(_field(neuron, "Spike", where), f"Spike, {where}").ravel()
    if not np.isfinite(times).all():
        raise DataError(f"Spike, {where}, has times that are NaN or infinite. Get the file again.")
    return times


def _raw_lfp(neuron: Any, steps: int, where: str) -> np.ndarray:
    """(20 T,) float, or empty."""
    values = _numbers(_field(neuron, "LFP", where), f"LFP, {where}").ravel()
    short = steps * LFP_PER_STEP - values.size
    if values.size and abs(short) > LFP_PER_STEP:
        raise DataError(
            f"LFP, {where}, has {values.size} samples for {steps} values of Time; "
            f"{steps * LFP_PER_STEP} are needed (2 kHz beside 100 Hz). Get the file again."
        )
    if not values.size or short <= 0:
        return values[: steps * LFP_PER_STEP]
    return np.pad(values, (0, short), mode="edge")  # at most 10 ms


def _structs(value: Any, where: str) -> list[Any]:
    """The structs of a struct array."""
    array = value if isinstance(value, np.ndarray) else np.empty(0)
    found = list(array.ravel()) if array.dtype == object else []
    if not found or not all(isinstance(each, io.matlab.mat_struct) for each in found):
        kind = f"{array.dtype} of the shape {array.shape}" if array.size else "empty"
        raise DataError(
            f"{where} is {kind}, where structs are needed. The file is not as published; get it "
            "again."
        )
    return found


def _field(struct: Any, name: str, where: str) -> Any:
    if name not in struct._fieldnames:
        there = ", ".join(struct._fieldnames) or "nothing"
        raise DataError(f"{where} lacks {name!r}; it has {there}. Is it a file of this data set?")
    return getattr(struct, name)


def _numbers(value: Any, where: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{where}, is {kind}, where numbers are needed. Get the file again.")
    return value
