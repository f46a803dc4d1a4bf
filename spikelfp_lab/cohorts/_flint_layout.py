"""The trials of a file of Flint et al., as :mod:`spikelfp_lab.cohorts.flint` has them, checked."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io

from spikelfp_lab.io._matlab import not_published, read_matlab5

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
    """The trials of a session, such as "e3_2", in order of time, with the same neurons in all."""
    subjects = _structs(read_matlab5(path, ["Subject"])["Subject"], f"Subject of {path}")
    number = int(name.split("_")[1])
    if number > len(subjects):
        raise not_published(
            path, f"it has {len(subjects)} sessions and {name} is its number {number}"
        )
    where = f"session {number} of {path}"
    structs = _structs(_field(subjects[number - 1], "Trial", where), f"Trial, {where}")
    trials = [_trial(one, index, f"trial {index}, {where}") for index, one in enumerate(structs, 1)]
    for before, after in pairwise(trials):
        both = f"from trial {before.number} to trial {after.number}"
        if after.time[0] <= before.time[-1]:
            what = f"time runs backwards {both}: {after.time[0]:g} s follows {before.time[-1]:g} s"
            raise not_published(where, what)
        if len(after.spikes) != len(before.spikes):
            what = f"the neurons go from {len(before.spikes)} to {len(after.spikes)} {both}"
            raise not_published(where, what)
    return trials


def _trial(struct: Any, number: int, where: str) -> Trial:
    """One trial, its arrays as long as each other."""
    time = _numbers(struct, "Time", where).ravel()
    steps = np.diff(time)
    if time.size < 2 or not np.isfinite(time).all() or (steps <= 0).any():
        raise not_published(where, f"the {time.size} values of Time are not finite and increasing")
    if np.abs(time - time[0] - np.arange(time.size) * STEP_S).max() > 0.5 * STEP_S:
        what = f"Time has steps from {steps.min():g} to {steps.max():g} s; {STEP_S:g} are expected"
        raise not_published(where, what)
    columns = {}
    for name in ("HandVel", "TargetPos"):
        values = _numbers(struct, name, where)
        if values.ndim != 2 or values.shape[0] != time.size or values.shape[1] < 2:
            what = f"{name} has the shape {values.shape}; ({time.size}, 3) is needed"
            raise not_published(where, what)
        columns[name] = values[:, :2]
    neurons = [
        (neuron, f"neuron {index}, {where}")
        for index, neuron in enumerate(_structs(_field(struct, "Neuron", where), where), 1)
    ]
    condition = np.ravel(_field(struct, "Condition", where))
    return Trial(
        number=number,
        time=time,
        velocity=columns["HandVel"],
        target=columns["TargetPos"],
        good="".join(map(str, condition)).strip().lower() == "good",
        spikes=[_spikes(neuron, its) for neuron, its in neurons],
        lfp=[_raw_lfp(neuron, time.size, its) for neuron, its in neurons],
    )


def _spikes(neuron: Any, where: str) -> np.ndarray:
    """(n,) seconds."""
    times = _numbers(neuron, "Spike", where).ravel()
    if not np.isfinite(times).all():
        raise not_published(where, "Spike has times that are NaN or infinite")
    return times


def _raw_lfp(neuron: Any, steps: int, where: str) -> np.ndarray:
    """(20 T,) float, or empty; one that is up to 10 ms short is filled up."""
    values, needed = _numbers(neuron, "LFP", where).ravel(), steps * LFP_PER_STEP
    short = needed - values.size
    if values.size and abs(short) > LFP_PER_STEP:
        what = f"LFP has {values.size} samples for {steps} values of Time; {needed} are needed"
        raise not_published(where, what)
    if not values.size or short <= 0:
        return values[:needed]
    return np.pad(values, (0, short), mode="edge")


def _structs(value: Any, where: str) -> list[Any]:
    """The structs of a struct array."""
    array = value if isinstance(value, np.ndarray) else np.empty(0)
    found = list(array.ravel()) if array.dtype == object else []
    if not found or not all(isinstance(each, io.matlab.mat_struct) for each in found):
        kind = f"{array.dtype} of the shape {array.shape}" if array.size else "empty"
        raise not_published(where, f"it is {kind}, where structs are needed")
    return found


def _field(struct: Any, name: str, where: str) -> Any:
    """A field of a struct."""
    if name not in struct._fieldnames:
        raise not_published(where, f"no {name!r}; it has {', '.join(struct._fieldnames)}")
    return getattr(struct, name)


def _numbers(struct: Any, name: str, where: str) -> np.ndarray:
    """A field that is a numeric array."""
    value = _field(struct, name, where)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise not_published(where, f"{name} is {kind}, where numbers are needed")
    return value
