"""Center-out reaching, motor cortex of monkey C: spikes, LFP, hand (Flint et al., CRCNS DREAM).

Flint, Lindberg, Jordan, Miller and Slutzky, *Accurate decoding of reaching movements from field
potentials in the absence of spikes*, *J. Neural Eng.* 2012, in the Database for Reaching
Experiments and Models (Walker and Kording, *PLoS ONE* 2013),
https://crcns.org/data-sets/movements/dream. An account (free) is needed for the download, the data
are for scientific use and may not be passed on, so nothing is downloaded here.

The layout follows its public description and published code, and was tested on small files made so;
a file that departs from it is refused with the place named.

``Flint_2012_e1.mat`` to ``e5.mat``, a day each, MATLAB 5: ``Subject`` (a struct for each session)
-> ``Trial`` (structs) with ``Time`` (s, 100 Hz), ``TargetPos`` (NaN when no target is shown),
``HandVel``, ``Condition``, and ``Neuron`` (structs) with ``Spike`` (s, on the clock of ``Time``)
and ``LFP`` (2 kHz; empty for some)."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts import _published
from spikelfp_lab.cohorts.paper_protocol import drop_slow_units, flint_lfp, within_fences, z_scored
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import cache_folder
from spikelfp_lab.sessions import build_session, drop_bad_channels, refractory_coords
from spikelfp_lab.signal import bin_spikes, lfp_to_rate
from spikelfp_lab.signal.lfp import bridge

_IN_FILE = {"e1": 1, "e2": 2, "e3": 4, "e4": 3, "e5": 2}  # number of sessions
# Sessions, named by their file and their number in it.
SESSIONS = tuple(f"{file}_{n + 1}" for file, count in _IN_FILE.items() for n in range(count))

# Sessions that no model of the paper was pre-trained on.
HELD_OUT = ("e1_1", "e4_1", "e5_2")

ADDRESS = "https://crcns.org/data-sets/movements/dream"

Arrays = Sequence[np.ndarray]
_STEP_S, _LFP_RATE_HZ, _PER_STEP = 0.01, 2000.0, 20
_MIN_BINS = 20  # a shorter run of trials cannot be filtered, its LFP is NaN


def cohort(
    *, folder: str | os.PathLike | None = None, sessions: Sequence[str] | None = None,
    protocol: Literal["paper"] | None = None, bin_size_s: float = 0.01,
    n_jobs: int | None = None, progress: bool = True,
) -> xr.DataTree:  # fmt: skip
    """Open sessions as a cohort; once prepared, they are kept as Zarr in the cache folder.

    ``folder`` is where the files are; None for ``flint`` in that of ``SPIKELFP_DATA``. ``sessions``
    are names of ``SESSIONS``, None for all 12; only their files are needed. ``protocol="paper"`` is
    that of Erturk et al. (2025): common average reference and 50 Hz low-pass, units under 1 Hz left
    out, z-scores of the whole session (test windows included), windows of 10 s beyond Tukey's fence
    left out, no ``trial``; ours: :func:`spikelfp_lab.signal.lfp_to_rate` and a common average
    reference. ``bin_size_s`` is a whole multiple of 0.01. A process holds a whole file in memory.

    A ConfigError for unknown names and options; a DataError for files that are missing (which, and
    where to get them), damaged or of another layout.

    >>> cohort(sessions=["e6_1"])
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No session 'e6_1' in flint. There are: e1_1, e2_1, e2_2, \
e3_1, e3_2, e3_3, e3_4, e4_1, e4_2, e4_3, e5_1, e5_2.
    """
    names = SESSIONS if sessions is None else sessions
    _published.check_names("session", names, SESSIONS, of="flint")
    _published.check_option("protocol", protocol, (None, "paper"), of="flint")
    if not 0 < bin_size_s <= 1 or abs(bin_size_s / _STEP_S - round(bin_size_s / _STEP_S)) > 1e-6:
        raise ConfigError(f"bin_size_s is {bin_size_s}: give a multiple of {_STEP_S}, up to 1.")
    where = cache_folder("flint") if folder is None else Path(folder).expanduser()
    paths = [where / f"Flint_2012_{name.split('_')[0]}.mat" for name in names]
    if missing := sorted({path.name for path in paths if not path.is_file()}):
        what = f"Not in {where}: {', '.join(missing)}. With a free account they are at {ADDRESS}"
        raise DataError(f"{what}: put them there, or give the folder where they are as folder=.")
    jobs, how = [], "paper-continuous" if protocol else "ours-trials"
    for name, path in zip(names, paths, strict=True):
        file = path.stat()
        parts = (f"{bin_size_s * 1000:g}ms", f"{file.st_size:x}", f"{file.st_mtime_ns:x}")
        kept = _published.kept_at("flint", name, how, *parts)
        jobs.append((kept, _build, path, name, protocol, bin_size_s))
    build = _published.kept_session
    return _published.opened_cohort("flint", build, jobs, n_jobs=n_jobs, progress=progress)


def session(name: str, **options: Any) -> xr.Dataset:
    """Open one session: its trials one after the other, on their own clock; see ``cohort``.

    ``behavior`` is the velocity of the hand (``vx``, ``vy``) in the unit of the file. Time that
    lies in no trial is a gap. Trials that follow each other are filtered as one stretch; the LFP of
    a trial without any is NaN. Coordinates ``target_x``, ``target_y`` (NaN when no target is shown)
    and ``good`` (time).
    """
    return cohort(sessions=[name], **{"progress": False, **options}).leaves[0].to_dataset()


def _build(path: Path, name: str, protocol: str | None, bin_size_s: float) -> xr.Dataset:
    times, velocities, targets, good, spikes, lfps = zip(*_read_trials(path, name), strict=True)
    start_s = float(times[0][0])
    # each 10 ms step on the grid of the first trial, and the sample that lies there
    at = [round((time[0] - start_s) / _STEP_S) + np.arange(time.size) for time in times]
    steps, sample = np.unique(np.concatenate(at), return_index=True)
    # bins that are there whole, and which of the steps (n, size) they are
    size = round(bin_size_s / _STEP_S)
    bins, begin, count = np.unique(steps // size, return_index=True, return_counts=True)
    bins, members = bins[count == size], begin[count == size][:, None] + np.arange(size)
    clock, first = start_s + (bins * size + (size - 1) / 2) * _STEP_S, sample[members[:, 0]]
    # velocity at the steps, at most half a step from the samples
    moved = [
        np.column_stack([np.interp(start_s + its * _STEP_S, time, axis) for axis in axes.T])
        for its, time, axes in zip(at, times, velocities, strict=True)
    ]
    velocity = np.concatenate(moved)[sample][members].mean(axis=1)
    target = np.concatenate(targets)[first].astype(np.float32)
    trial = np.repeat(np.arange(len(times)), [time.size for time in times])[first]
    units = [np.concatenate(unit) for unit in zip(*spikes, strict=True)]
    lfp, channels = _lfp(times, lfps, clock, bin_size_s=bin_size_s, paper=bool(protocol))
    history = f"{path.name} of {ADDRESS}, session {name.split('_')[1]} of the file"
    if empty := [str(number) for number, lfp in enumerate(lfps, 1) if not any(map(np.size, lfp))]:
        history += f"\nno LFP in trial {', '.join(empty)}"
    built = build_session(
        clock, bin_size_s=bin_size_s, max_gap_s=1.2 * bin_size_s,  # so that nothing is bridged
        subject="C", session=name, source="flint", history=history,
        spikes=bin_spikes(units, clock, bin_size_s=bin_size_s), lfp=(lfp, clock),
        channel_names=channels, behavior=(velocity, clock), behavior_names=("vx", "vy"),
        trial=None if protocol else trial + 1, attrs={"protocol": protocol or "ours"},
        variable_attrs={"lfp": {"kind": "LFP", "units": "unit of the file"},
                        "behavior": {"kind": "hand velocity", "units": "unit of the file"}},
    )  # fmt: skip
    coords = {"target_x": target[:, 0], "target_y": target[:, 1], "good": np.array(good)[trial]}
    coords = {name: ("time", values) for name, values in coords.items()}
    built = drop_bad_channels(built.assign_coords(coords | refractory_coords(units, clock)))
    return within_fences(z_scored(drop_slow_units(built))) if protocol else built


def _lfp(
    times: Arrays, lfps: Sequence[Arrays], clock: np.ndarray, *, bin_size_s: float, paper: bool
) -> tuple[np.ndarray, list[str]]:
    """LFP (n, C) on the clock, and names of its channels, the rows of Neuron that have any."""
    rows = [row for row, lfp in enumerate(zip(*lfps, strict=True)) if any(map(np.size, lfp))]
    if not rows:
        raise DataError("No neuron of the session has LFP in any trial; is it the original file?")
    lfps = [[lfp[row] for row in rows] for lfp in lfps]
    result = np.full((clock.size, len(rows)), np.nan, np.float32)
    bring = flint_lfp if paper else partial(lfp_to_rate, reference="car")
    cuts = np.flatnonzero(np.diff(clock) > 1.5 * bin_size_s) + 1
    for run in np.split(np.arange(clock.size), cuts):
        if run.size >= _MIN_BINS:
            count = round(run.size * bin_size_s * _LFP_RATE_HZ)
            raw = _stitched(times, lfps, float(clock[run[0]]), count)
            brought = bring(raw, rate_hz=_LFP_RATE_HZ, to_rate_hz=1 / bin_size_s)
            result[run] = brought[: run.size]
    return result, [f"ch{row:03d}" for row in rows]


def _stitched(times: Arrays, lfps: Sequence[Arrays], start_s: float, count: int) -> np.ndarray:
    """(count, C) raw LFP of trials that follow each other, so that filters do not ring at each.

    NaN where a trial has none. The few samples between two trials that are not exactly one step
    apart are a straight line.
    """
    raw = np.full((count, len(lfps[0])), np.nan, np.float32)
    between = np.ones(count, dtype=bool)
    for time, lfp in zip(times, lfps, strict=True):
        at = round((time[0] - start_s) * _LFP_RATE_HZ) + np.arange(_PER_STEP * time.size)
        inside = (at >= 0) & (at < count)
        between[at[inside]] = False
        for channel, values in enumerate(lfp):
            if values.size:
                raw[at[inside], channel] = values[inside]
    bridge(raw.T, np.broadcast_to(between, raw.T.shape))
    return raw


def _read_trials(path: Path, name: str) -> list[tuple]:
    """The trials of a session, such as "e3_2", in order of time; see :func:`_trial`."""
    subjects = _published.read_matlab5(path, ["Subject"])["Subject"].ravel()
    trials = []
    for number, struct in enumerate(subjects[int(name.split("_")[1]) - 1].Trial.ravel(), 1):
        where = f"Trial {number} of {name}, {path}"
        with reading(where, "is not as published", _published.CURE):
            trials.append(_trial(struct, where))
    time = np.concatenate([each for each, *_ in trials])
    back = time[1:][np.diff(time) <= 0]
    _published.refuse_if(back.size, path, f"time runs backwards in {name}, at {back[:3]} s")
    return trials


def _trial(struct: Any, where: str) -> tuple:
    """Time (T,) s, velocity and target (T, 2), whether it is good, and of each row of Neuron spike
    times (n_u,) s and LFP (20 T,), empty where there is none, up to 10 ms too long or short.
    """
    time = np.asarray(struct.Time, float).ravel()
    off = np.abs(time - time[0] - np.arange(time.size) * _STEP_S).max()
    what = f"Time is {off:.3g} s away from a row of samples {_STEP_S:g} s apart"
    _published.refuse_if(not off <= 0.5 * _STEP_S, where, what)
    pair = struct.HandVel, struct.TargetPos
    shapes, columns = tuple(map(np.shape, pair)), [np.asarray(one, float)[:, :2] for one in pair]
    what = f"HandVel and TargetPos have the shapes {shapes}; ({time.size}, 3) is needed"
    _published.refuse_if(any(one.shape != (time.size, 2) for one in columns), where, what)
    neurons, needed = struct.Neuron.ravel(), np.arange(_PER_STEP * time.size)
    spikes = [np.asarray(one.Spike, float).ravel() for one in neurons]
    lfp = [np.asarray(one.LFP, float).ravel() for one in neurons]
    wrong = [one.size for one in lfp if one.size and abs(one.size - needed.size) > _PER_STEP]
    _published.refuse_if(wrong, where, f"LFP has {wrong[:1]} samples, and {needed.size} are needed")
    lfp = [one[np.minimum(needed, one.size - 1)] if one.size else one for one in lfp]
    good = "".join(map(str, np.ravel(struct.Condition))).strip().lower() == "good"
    return time, *columns, good, spikes, lfp
