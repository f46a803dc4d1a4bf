"""Center-out reaching, motor cortex of monkey C: spikes, LFP, hand (Flint et al., CRCNS DREAM).

Flint, Lindberg, Jordan, Miller and Slutzky, *Accurate decoding of reaching movements from field
potentials in the absence of spikes*, *J. Neural Eng.* 2012, in the Database for Reaching
Experiments and Models (Walker and Kording, *PLoS ONE* 2013),
https://crcns.org/data-sets/movements/dream. An account (free) is needed for the download, the data
are for scientific use and may not be passed on, so nothing is downloaded here.

The layout was followed from its public description and from how published code reads it. The
files themselves could not be opened where this was written: the tests read small files made in
the same layout. A file that departs from it is refused with the place named.

``Flint_2012_e1.mat`` to ``e5.mat``, a day each, MATLAB 5: ``Subject`` (a struct for each session)
-> ``Trial`` (structs) with ``Time`` (s, 100 Hz), ``TargetPos`` (NaN when no target is shown),
``HandVel``, ``Condition``, and ``Neuron`` (structs) with ``Spike`` (s, on the clock of ``Time``)
and ``LFP`` (2 kHz; empty for some)."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts import paper_protocol as _paper
from spikelfp_lab.cohorts._flint_layout import (
    LFP_PER_STEP,
    LFP_RATE_HZ,
    STEP_S,
    Trial,
    read_trials,
)
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.prepare import LOADER_VERSION, cache_folder, cached_session, prepare_sessions
from spikelfp_lab.sessions import refractory_coords
from spikelfp_lab.sessions.align import build_session
from spikelfp_lab.sessions.schema import add_history, drop_bad_channels
from spikelfp_lab.sessions.tree import cohort_from_sessions
from spikelfp_lab.signal.lfp import lfp_to_rate
from spikelfp_lab.signal.spikes import bin_spikes

SESSIONS: tuple[str, ...] = (
    *("e1_1", "e2_1", "e2_2", "e3_1", "e3_2", "e3_3", "e3_4"),
    *("e4_1", "e4_2", "e4_3", "e5_1", "e5_2"),
)
"""Sessions, named by their file and their number in it."""

HELD_OUT: tuple[str, ...] = ("e1_1", "e4_1", "e5_2")
"""Sessions that no model of the paper was pre-trained on."""

ADDRESS = "https://crcns.org/data-sets/movements/dream"

_MIN_BINS = 20  # a shorter run of trials cannot be filtered, its LFP is NaN


def cohort(
    *,
    folder: str | os.PathLike | None = None,
    sessions: Sequence[str] | None = None,
    protocol: Literal["paper"] | None = None,
    trials: bool = True,
    bin_size_s: float = 0.01,
    n_jobs: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Open sessions as a cohort; once prepared, they are kept as Zarr in the cache folder.

    Parameters
    ----------
    folder : path or None
        Where ``Flint_2012_e1.mat`` to ``e5.mat`` are. None is the folder ``flint`` in that of
        ``SPIKELFP_DATA``.
    sessions : sequence of str or None
        Names of ``SESSIONS``; None for all 12. Only their files are needed.
    protocol, trials, bin_size_s
        See :func:`session`.
    n_jobs : int, optional
        Processes that prepare sessions, see
        :func:`spikelfp_lab.sessions.prepare_sessions`. Each holds a whole file in memory.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    DataTree with leaves such as ``C/e1_1``

    Raises
    ------
    ConfigError
        For an unknown or repeated name, or an option that does not exist.
    DataError
        When files are missing (which, where to get them and where to put them), damaged or depart
        from the layout.

    Examples
    --------
    >>> cohort(sessions=["e6_1"])
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No session 'e6_1' in flint. There are: e1_1, e2_1, e2_2, \
e3_1, e3_2, e3_3, e3_4, e4_1, e4_2, e4_3, e5_1, e5_2.
    """
    names = SESSIONS if sessions is None else sessions
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ConfigError(
            f"sessions must be a sequence of different names, got {names!r}; there are "
            f"{', '.join(SESSIONS)}."
        )
    where = _checked(names, folder, protocol, bin_size_s)
    jobs = [(name, where, protocol, trials, bin_size_s) for name in names]
    return cohort_from_sessions(
        prepare_sessions(prepare, jobs, n_jobs=n_jobs, label="Opening flint", progress=progress)
    )


def session(
    name: str,
    *,
    folder: str | os.PathLike | None = None,
    protocol: Literal["paper"] | None = None,
    trials: bool = True,
    bin_size_s: float = 0.01,
) -> xr.Dataset:
    """Open one session: its trials one after the other, on their own clock.

    Parameters
    ----------
    name : str
        A name of ``SESSIONS``, such as "e3_2".
    folder : path or None
        See :func:`cohort`.
    protocol : "paper" or None
        "paper" for that of Erturk et al. (2025): common average reference and 50 Hz low-pass,
        units under 1 Hz left out, z-scores of the whole session (test windows included), windows
        of 10 s beyond Tukey's fence left out, no ``trial``. Ours otherwise: see
        :func:`spikelfp_lab.signal.lfp_to_rate`, with a common average reference.
    trials : bool
        Whether to keep the coordinate ``trial``, over whose changes no window goes. Without it,
        windows go on from a trial to the next where no time lies between them.
    bin_size_s : float
        Seconds a bin, a whole multiple of 0.01.

    Returns
    -------
    Dataset
        ``behavior`` is the velocity of the hand (``vx``, ``vy``) in the unit of the file. Time that
        lies in no trial is a gap. Trials that follow each other are filtered as one stretch; the
        LFP of a trial without any is NaN. Coordinates ``target_x``, ``target_y`` (NaN when no
        target is shown) and ``good`` (time).

    Raises
    ------
    ConfigError, DataError
        As for :func:`cohort`.

    Examples
    --------
    >>> session("e1_1", folder="nowhere")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.DataError: Not in nowhere: Flint_2012_e1.mat. The download needs an \
account (free): see https://crcns.org/data-sets/movements/dream. Put what is missing there, or \
give the folder where it is as folder=.
    """
    where = _checked([name], folder, protocol, bin_size_s)
    return prepare(name, where, protocol, trials, bin_size_s)


def prepare(
    name: str, folder: Path, protocol: str | None, trials: bool, bin_size_s: float
) -> xr.Dataset:
    """The session of the file in ``folder``, kept as Zarr in the cache folder once made.

    What :func:`cohort` runs in parallel processes.
    """
    path = folder / _file_name(name)
    parts = (
        *(name, protocol or "ours", "trials" if trials and protocol is None else "continuous"),
        *(
            f"{bin_size_s * 1000:g}ms",
            f"{path.stat().st_size:x}",
            f"{path.stat().st_mtime_ns:x}",
            f"v{LOADER_VERSION}",
        ),
    )
    kept = cache_folder("flint") / "prepared" / f"{'-'.join(parts)}.zarr"
    return cached_session(kept, partial(_build, name, path, protocol, trials, bin_size_s))


def _file_name(name: str) -> str:
    return f"Flint_2012_{name.split('_')[0]}.mat"


def _checked(
    names: Sequence[str], folder: str | os.PathLike | None, protocol: str | None, bin_size_s: float
) -> Path:
    """The folder, once all options are right and all files are there."""
    for name in names:
        if name not in SESSIONS:
            raise ConfigError(f"No session {name!r} in flint. There are: {', '.join(SESSIONS)}.")
    if protocol not in (None, "paper"):
        raise ConfigError(f"No protocol {protocol!r} in flint. There are: None, paper.")
    if not 0 < bin_size_s <= 1 or abs(bin_size_s / STEP_S - _steps_a_bin(bin_size_s)) > 1e-6:
        raise ConfigError(
            f"bin_size_s is {bin_size_s}: give a whole multiple of {STEP_S} s, at most 1, since "
            "the hand was sampled at 100 Hz."
        )
    where = cache_folder("flint") if folder is None else Path(folder).expanduser()
    files = sorted({_file_name(name) for name in names})
    missing = [file for file in files if not (where / file).is_file()]
    if missing:
        raise DataError(
            f"Not in {where}: {', '.join(missing)}. The download needs an account (free): see "
            f"{ADDRESS}. Put what is missing there, or give the folder where it is as folder=."
        )
    return where


def _steps_a_bin(bin_size_s: float) -> int:
    return max(round(bin_size_s / STEP_S), 1)


def _build(
    name: str, path: Path, protocol: str | None, trials: bool, bin_size_s: float
) -> xr.Dataset:
    with reading(path, "is not as published", "Move it away and get it again."):
        return _assembled(name, path, protocol, trials, bin_size_s)


def _assembled(
    name: str, path: Path, protocol: str | None, trials: bool, bin_size_s: float
) -> xr.Dataset:
    paper = protocol == "paper"
    read = read_trials(path, name)
    start_s = float(read[0].time[0])
    # each 10 ms step on the grid of the first trial, and the sample that lies there
    steps, sample = np.unique(np.concatenate([_steps(t, start_s) for t in read]), return_index=True)
    clock, members = _clock(steps, _steps_a_bin(bin_size_s), start_s)
    first = sample[members[:, 0]]

    velocity = np.concatenate([_on_grid(trial, start_s) for trial in read])[sample]
    target = np.concatenate([trial.target for trial in read])[first].astype(np.float32)
    number = np.repeat([trial.number for trial in read], [trial.time.size for trial in read])[first]
    good = np.repeat([trial.good for trial in read], [trial.time.size for trial in read])[first]
    spikes = [np.concatenate(unit) for unit in zip(*(trial.spikes for trial in read), strict=True)]
    lfp, channels = _lfp(read, clock, bin_size_s=bin_size_s, paper=paper)
    built = build_session(
        clock,
        bin_size_s=bin_size_s,
        subject="C",
        session=name,
        source="flint",
        spikes=bin_spikes(spikes, clock, bin_size_s=bin_size_s),
        lfp=(lfp, clock),
        channel_names=channels,
        behavior=(velocity[members].mean(axis=1), clock),
        behavior_names=("vx", "vy"),
        trial=number if trials and not paper else None,
        max_gap_s=1.2 * bin_size_s,  # so that nothing is bridged
        history=f"{path.name} of {ADDRESS}, session {name.split('_')[1]} of the file",
        attrs={"protocol": protocol or "ours"},
        variable_attrs={
            "lfp": {"kind": "LFP", "units": "unit of the file"},
            "behavior": {"kind": "hand velocity", "units": "unit of the file"},
        },
    ).assign_coords(
        target_x=("time", target[:, 0]), target_y=("time", target[:, 1]), good=("time", good)
    )
    without = [str(trial.number) for trial in read if not any(lfp.size for lfp in trial.lfp)]
    if without:
        built = add_history(built, f"no LFP in trial {', '.join(without)}")
    built = drop_bad_channels(built.assign_coords(refractory_coords(spikes, clock)))
    if paper:
        built = _paper.within_fences(_paper.z_scored(_paper.drop_slow_units(built)))
    return built


def _steps(trial: Trial, start_s: float) -> np.ndarray:
    """(T,) whole steps of 10 ms from the start of the session to each sample."""
    return round((trial.time[0] - start_s) / STEP_S) + np.arange(trial.time.size)


def _on_grid(trial: Trial, start_s: float) -> np.ndarray:
    """(T, 2) velocity at the steps, at most half a step from the samples."""
    times = start_s + _steps(trial, start_s) * STEP_S
    return np.stack([np.interp(times, trial.time, axis) for axis in trial.velocity.T], axis=1)


def _clock(steps: np.ndarray, size: int, start_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Centers (n,) of the bins that are there whole, and which of the steps (n, size) they are."""
    bins, first, count = np.unique(steps // size, return_index=True, return_counts=True)
    whole = count == size
    if whole.sum() < 2:
        raise DataError(f"No two bins of {size * STEP_S:g} s fit in the trials; take smaller ones.")
    clock = start_s + (bins[whole] * size + (size - 1) / 2) * STEP_S
    return clock, first[whole][:, None] + np.arange(size)


def _lfp(
    read: list[Trial], clock: np.ndarray, *, bin_size_s: float, paper: bool
) -> tuple[np.ndarray, list[str]]:
    """LFP (n, C) on the clock, and names of its channels, the rows of Neuron that have any."""
    rows = [row for row in range(len(read[0].lfp)) if any(trial.lfp[row].size for trial in read)]
    if not rows:
        raise DataError("No neuron of the session has LFP in any trial; is it the original file?")
    result = np.full((clock.size, len(rows)), np.nan, np.float32)
    cuts = np.flatnonzero(np.diff(clock) > 1.5 * bin_size_s) + 1
    for run in np.split(np.arange(clock.size), cuts):
        if run.size < _MIN_BINS:
            continue
        count = round(run.size * bin_size_s * LFP_RATE_HZ)
        raw = _stitched(read, rows, float(clock[run[0]]), count)
        bring = _paper.flint_lfp if paper else partial(lfp_to_rate, reference="car")
        result[run] = bring(raw, rate_hz=LFP_RATE_HZ, to_rate_hz=1 / bin_size_s)[: run.size]
    return result, [f"ch{row:03d}" for row in rows]


def _stitched(read: list[Trial], rows: list[int], start_s: float, count: int) -> np.ndarray:
    """(count, C) raw LFP of trials that follow each other, so that filters do not ring at each.

    NaN where a trial has none. The few samples between two trials that are not exactly one step
    apart are a straight line.
    """
    raw = np.full((count, len(rows)), np.nan, np.float32)
    covered = np.zeros(count, dtype=bool)
    for trial in read:
        first = round((trial.time[0] - start_s) * LFP_RATE_HZ)
        last = first + trial.time.size * LFP_PER_STEP
        inside = slice(max(first, 0), min(last, count))
        if inside.start >= inside.stop:
            continue
        covered[inside] = True
        for column, row in enumerate(rows):
            if trial.lfp[row].size:
                part = trial.lfp[row][inside.start - first : inside.stop - first]
                raw[inside, column] = part
    between, there = np.flatnonzero(~covered), np.flatnonzero(covered)
    for column in range(len(rows) if between.size else 0):
        raw[between, column] = np.interp(between, there, raw[there, column])
    return raw
