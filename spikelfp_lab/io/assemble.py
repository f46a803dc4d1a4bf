"""Spike times, LFP and behavior at their own rates -> a session on one clock."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._behavior import Derive, behavior_on_clock
from spikelfp_lab.io._streams import LFPFilter, Part, Stream, lfp_on_clock, merged
from spikelfp_lab.sessions import add_finding, add_mains, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes, mains_left

Notes = list[tuple[Any, ...]]
"""What the reader of a recording found: the arguments of add_finding, one by one."""

_POTENTIALS_UV = (0.01, 20_000.0)  # standard deviations between which a potential lies
_ENDLESS = 20_000  # bytes of a session a spike or sample: seconds without one from a hundred units
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes


class Grid(NamedTuple):
    """The clock that is asked for: bins, from when to when, and what is bridged (seconds)."""

    bin_size_s: float = 0.01
    start_s: float | None = None
    stop_s: float | None = None
    max_gap_s: float = 0.25


class Spikes(NamedTuple):
    """Spike times (s) of units, and when each unit was observed, (k, 2), if that is known."""

    times: Sequence[np.ndarray]
    names: Sequence[str] | None = None
    observed: Sequence[np.ndarray | None] | None = None


class Potential(NamedTuple):
    """LFP, the names of its channels, and how it is filtered."""

    stream: Stream
    names: Sequence[str]
    chain: LFPFilter = LFPFilter()


class Behavior(NamedTuple):
    """Positions or whatever they are, and what is derived from them."""

    stream: Stream
    names: Sequence[str]
    kind: str = "behavior"
    units: str = ""
    circular: bool = False
    derive: Derive | None = None
    smooth_s: float = 0.1


class Intervals(NamedTuple):
    """Trials (k, 2) and times (k, 2) that do not count, in seconds."""

    trials: np.ndarray | None = None
    invalid: np.ndarray | None = None


def assemble(
    grid: Grid, spikes: Spikes | None, lfp: Potential | None, behavior: Behavior | None,
    intervals: Intervals, *, attrs: Mapping[str, Any], coords: Mapping[str, Any] | None = None,
    notes: Notes | None = None, progress: bool = True,
) -> xr.Dataset:  # fmt: skip
    """One clock from the overlap of the streams, and everything on it."""
    notes, extra, size = [] if notes is None else notes, dict(coords or {}), grid.bin_size_s
    if spikes is None and lfp is None:
        raise DataError("A session needs spikes or LFP, and there is neither.")
    if not 0 < size < np.inf:
        raise ConfigError(f"bin_size_s is {size}: give seconds above 0.")
    whole = _clock(grid, spikes, lfp, behavior, notes)
    trial = _trial_numbers(intervals.trials, whole, grid, notes)
    max_gap_s = max(grid.max_gap_s, 1.5 * size)
    keep, observed = _recorded(whole, size, max_gap_s, spikes, lfp, intervals.invalid, notes)
    if keep.sum() < 2:
        what = f"Nothing valid was recorded between {whole[0]:g} s and {whole[-1]:g} s"
        raise DataError(f"{what}. Check obs_intervals (or pass units=False) and invalid_times.")
    clock, history, mains = whole[keep], [attrs["history"]], {}
    streams: dict[str, Any] = {"trial": None if trial is None else trial[keep]}
    variables: dict[str, dict[str, str]] = {"lfp": {"kind": "LFP", "units": "uV"}}
    if spikes is not None:
        counts = bin_spikes(spikes.times, clock, bin_size_s=size)
        if observed is not None and not (observed := observed[keep]).all():
            counts[~observed] = 0
            extra["observed"] = (("time", "unit"), observed)
        streams |= {"spikes": counts, "unit_names": spikes.names}
        extra |= refractory_coords(spikes.times, clock)
    if lfp is not None:
        stream, names, chain = lfp
        part = [stream.at_or_after(time) for time in (whole[0] - size / 2, whole[-1] + size / 2)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpikeLFPWarning)
            values, times, clipped, done = lfp_on_clock(stream, whole, size, chain, part, progress)
        said = any(what == "gap" for what, *_ in notes)
        notes += [("gap", stream.what, str(each.message)) for each in caught if not said]
        history.append(done)
        streams |= {"lfp": (values, times), "channel_names": names}
        extra["clipped_share"] = ("channel", clipped)
        _note_potentials(values, stream.what, notes)
        if not stream.slower_than(size):
            mains = mains_left(
                Part(stream.data, *part), rate_hz=stream.rate_hz, channels=stream.used,
                line_hz=chain.line_hz, high_hz=min(chain.band_hz[1], 0.5 / size),
                reference=chain.reference or "none",
            )  # fmt: skip
    if behavior is not None:
        values, times, names, units, odd = behavior_on_clock(whole, size, *behavior)
        derive = behavior.derive
        streams |= {"behavior": (values, times), "behavior_names": names}
        variables["behavior"] = {"kind": derive or behavior.kind, "units": units}
        history += [f"{derive} of smoothed positions, SD {behavior.smooth_s:g} s"] if derive else []
        notes += [("direction", behavior.stream.what, odd)] if odd else []
    built = build_session(
        clock, bin_size_s=size, **{key: attrs[key] for key in ("subject", "session", "source")},
        **streams, max_gap_s=max_gap_s, history="\n".join(history), attrs=attrs,
        variable_attrs=variables,
    ).assign_coords(extra)  # fmt: skip
    for note in notes:
        built = add_finding(built, *note)
    built = add_mains(built, mains, line_hz=lfp and lfp.chain.line_hz)
    validate_session(built)  # with the coordinates, which the file has named
    return drop_bad_channels(built)


def _clock(
    grid: Grid, spikes: Spikes | None, lfp: Potential | None, behavior: Behavior | None,
    notes: Notes,
) -> np.ndarray:  # fmt: skip
    """Bin centers over the time that all streams share."""
    size, spans = grid.bin_size_s, {}
    streams = [each.stream for each in (lfp, behavior) if each is not None]
    for stream in streams:
        # a sample stands for the time around it, but for no more than a bin
        half = min(0.5 / stream.rate_hz, 0.5 * size)
        spans[stream.what] = (stream.time(0) - half, stream.time(stream.size - 1) + half)
    if lfp is not None and (step := 1 / lfp.stream.rate_hz) > grid.max_gap_s:
        what = f"The samples of {lfp.stream.what} are {step:g} s apart, which is no LFP"
        raise DataError(f"{what}. Are its times in seconds, not in ms or sample numbers?")
    if spikes is not None:
        spans["the spikes"] = _spike_span(spikes, grid, [*spans.values()], notes)
    begin, end = grid.start_s, grid.stop_s
    if begin is not None or end is not None:
        asked = (-np.inf if begin is None else begin, np.inf if end is None else end)
        spans["what was asked for"] = asked
    start, stop = max(a for a, _ in spans.values()), min(b for _, b in spans.values())
    if lfp is not None and lfp.stream.slower_than(size) and np.isfinite(start):
        # bins lie around samples: half-way between them, interpolation would lose fast rhythms
        first = min(lfp.stream.at_or_after(start + size / 2), lfp.stream.size - 1)
        start = lfp.stream.time(first) - size / 2
    if not stop - start >= 2 * size * (1 - 1e-6):
        listed = "; ".join(f"{what}: {a:g} to {b:g} s" for what, (a, b) in spans.items())
        what = f"The streams do not overlap by two bins of {size:g} s ({listed})"
        raise DataError(f"{what}. Check units (seconds) and offsets, or leave one of them out.")
    # spikes are counted in 8 bytes; samples are brought to the clock in 8 and kept in 4
    width = 8 + 8 * len(spikes.times if spikes else ()) + 12 * sum(x.used.size for x in streams)
    found = sum(map(len, spikes.times if spikes else ())) + sum(x.size for x in streams)
    declared, most = (stop - start) / size * width, max(_ENDLESS * found, _ANY_LENGTH)
    if declared > min(available_memory(), most):
        what = (
            f"The session from {start:g} s to {stop:g} s takes {declared / 1e9:,.1f} GB of memory"
        )
        what += f", more than is free or than {found} spikes and samples can fill"
        raise DataError(f"{what}. Are all times in seconds? Give start_s and stop_s.")
    return session_clock(start, stop, bin_size_s=size)


def _spike_span(
    spikes: Spikes, grid: Grid, others: list[tuple[float, float]], notes: Notes
) -> tuple[float, float]:
    """When any unit was observed; where that is not said, from the first spike to the last.

    Notes spikes outside of what was recorded, and times that begin again half way.
    """
    trains = [np.asarray(each) for each in spikes.times]
    every = np.concatenate(trains)
    if not every.size or not np.isfinite(every).all():
        rows = [str(row) for row, each in enumerate(trains) if not np.isfinite(each).all()]
        what = f"Spike times of the units at rows {', '.join(rows[:10])} are NaN or infinite"
        what = what if rows else f"None of the {len(trains)} units has a spike"
        raise DataError(f"{what}. Correct them, or leave the spikes out (units=False).")
    first, last = float(every.min()), float(every.max())
    # recordings begin at 0 s, unless another stream says otherwise
    begin = 0.0 if not others and first < 0 < last else first
    own = (begin if grid.start_s is None else -np.inf, last if grid.stop_s is None else np.inf)
    spans = [own, *others]
    if known := [each for each in spikes.observed or () if each is not None]:
        # spikes outside of the time in which their unit was observed are counted elsewhere
        own, spans = (min(x[0, 0] for x in known), max(x[-1, 1] for x in known)), others
    start = max((span[0] for span in spans), default=-np.inf)
    stop = min((span[1] for span in spans), default=np.inf)
    outside = int(((every < start) | (every > stop)).sum())
    share = 100 * outside / every.size
    if share > 5 or (spans and first < min(start, 0.0)):
        text = f"{outside} of {every.size} spikes ({share:.3g} %) lie outside of the time of the "
        text += f"other streams, {start:g} to {stop:g} s (the last at {last:g} s): they are not "
        text += "counted. Are spike times in seconds, from the same 0?"
        notes.append(("spikes outside", "spikes", text, share, 5.0))
    length = max(stop - start, 0)
    falls = [np.diff(x).min() < -0.1 * min(length, np.ptp(x)) for x in trains if len(x) > 10]
    if sum(falls) > 0.5 * len(trains):
        text = f"The spike times of {sum(falls)} of {len(trains)} units begin again half way, as "
        text += "parts of a recording do: add the length of the first to the times of the second."
        notes.append(("spike times", "spikes", text, int(sum(falls))))
    return own


def _recorded(
    clock: np.ndarray, size: float, max_gap_s: float, spikes: Spikes | None, lfp: Potential | None,
    invalid: np.ndarray | None, notes: Notes,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """(T,) bins in which something was recorded and is valid; (T, U) when units were observed."""
    keep, observed, cuts = np.ones(clock.size, bool), None, []
    if spikes is not None and spikes.observed is not None:
        observed = _observed(clock, size, spikes.times, spikes.observed, notes)
        keep = np.asarray(observed.any(axis=1))
    elif lfp is not None and lfp.stream.gaps_s is not None:
        gaps = lfp.stream.gaps_s[np.diff(lfp.stream.gaps_s, axis=1)[:, 0] > max_gap_s]
        if spikes is not None:  # others were recorded by another system, which went on
            every = np.sort(np.concatenate(spikes.times))
            first = np.searchsorted(every, gaps[:, 0] + size)
            gaps = gaps[first >= np.searchsorted(every, gaps[:, 1] - size)]
        cuts.append(("gap", lfp.stream.what, "gaps of the acquisition", gaps))
    if invalid is not None:
        valid = np.isfinite(invalid).all(axis=1)
        cuts.append(("invalid", "invalid_times", "invalid_times", invalid[valid]))
    for what, where, name, spans in cuts:
        lost = keep & _covered(clock, spans, (1e-6 - 0.5) * size)
        keep &= ~lost
        if lost_s := float(lost.sum() * size):
            text = f"{lost_s:.4g} s in {len(spans)} {name} are left out, LFP and spikes."
            notes.append((what, where, text, lost_s))
    return keep, observed


def _covered(clock: np.ndarray, spans: np.ndarray, inside_s: float) -> np.ndarray:
    """(T,) bins whose centers lie so far inside of a span (k, 2)."""
    covered = np.zeros(clock.size, bool)
    first = np.searchsorted(clock, spans[:, 0] + inside_s)
    stop = np.searchsorted(clock, spans[:, 1] - inside_s, side="right")
    for begin, end in zip(first, stop, strict=True):
        covered[begin:end] = True
    return covered


def _observed(
    clock: np.ndarray, size: float, trains: Sequence[np.ndarray],
    spans: Sequence[np.ndarray | None], notes: Notes,
) -> np.ndarray:  # fmt: skip
    """(T, U) bins that lie wholly inside of a span in which the unit was observed."""
    union = merged(np.concatenate([each for each in spans if each is not None]))
    own = [union if each is None else each for each in spans]
    lost, missing = 0, sum(each is None for each in spans)
    for times, each in zip(trains, own, strict=True):
        at = np.searchsorted(each[:, 0], times, side="right") - 1
        lost += int(((at < 0) | (np.asarray(times) > each[at, 1] + 1e-6)).sum())
    text = f"{lost} spikes outside of the time in which their unit was observed are not counted."
    notes += [("spikes outside", "obs_intervals", text, lost)] if lost else []
    text = f"{missing} units have no obs_intervals: they count whenever another unit is observed."
    notes += [("observed", "obs_intervals", text, missing)] if missing else []
    return np.stack([_covered(clock, each, (0.5 - 1e-6) * size) for each in own], axis=1)


def _trial_numbers(
    trials: np.ndarray | None, clock: np.ndarray, grid: Grid, notes: Notes
) -> np.ndarray | None:
    """(T,) row of the trial that the bin's center lies in, -1 outside; the latest start wins."""
    if trials is None:
        return None
    numbers = np.full(clock.size, -1, np.int64)
    rows = np.flatnonzero(np.isfinite(trials).all(axis=1) & (trials[:, 1] > trials[:, 0]))
    for row in rows[np.argsort(trials[rows, 0], kind="stable")]:
        first, last = np.searchsorted(clock, trials[row])
        numbers[first:last] = row
    lost = len(trials) - len(rows)
    outside = int(((trials[rows, 1] <= clock[0]) | (trials[rows, 0] >= clock[-1])).sum())
    most = outside > 0.5 * len(rows) and grid.start_s is None and grid.stop_s is None
    if lost or most:
        text = f"{lost} of {len(trials)} trials do not stop after they start, and {outside} lie "
        text += f"outside of the session, {clock[0]:g} to {clock[-1]:g} s. Are they in seconds?"
        notes.append(("trials", "trials", text, lost + outside))
    return numbers if (numbers >= 0).any() else None


def _note_potentials(values: np.ndarray, what: str, notes: Notes) -> None:
    """Potentials (n, C) in uV that are too large or too small to be any."""
    rows = values[:: max(1, len(values) // 5000)]
    rows = rows[np.isfinite(rows).all(axis=1)]
    level = float(np.median(rows.std(axis=0, dtype=np.float64))) if len(rows) > 1 else 0.0
    if level > _POTENTIALS_UV[1] or 0 < level < _POTENTIALS_UV[0]:
        text = f"Its standard deviation is {level:.3g} uV, which no field potential has. Check its "
        text += "unit: conversion in the file, or lfp_units."
        notes.append(("unit of the LFP", what, text, level))
