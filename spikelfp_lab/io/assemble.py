"""Spike times, LFP and behavior at their own rates -> a session on one clock.

What recordings in NWB files and in plain arrays have in common once they are streams.
"""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._streams import Derive, LFPFilter, Stream, behavior_on_clock, lfp_on_clock
from spikelfp_lab.sessions import add_finding, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes

LOADER_VERSION = 2
"""Raised by hand when sessions of the same recording come out differently."""

# bytes of a session for each spike and sample: seconds without one from a hundred units
_ENDLESS = 20_000
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes
_POTENTIALS_UV = (0.01, 20_000.0)  # standard deviations between which a potential lies


@dataclass(frozen=True)
class Grid:
    """The clock that is asked for: bins, from when to when, and what is bridged."""

    bin_size_s: float = 0.01
    start_s: float | None = None
    stop_s: float | None = None
    max_gap_s: float = 0.25


@dataclass(frozen=True)
class Spikes:
    """Spike times (s) of units, and for each unit when it was observed, (k, 2), if that is known."""

    times: Sequence[np.ndarray]
    names: Sequence[str] | None = None
    observed: Sequence[np.ndarray | None] | None = None


@dataclass(frozen=True)
class Potential:
    """LFP, the names of its channels, and how it is filtered."""

    stream: Stream
    names: Sequence[str]
    chain: LFPFilter = field(default_factory=LFPFilter)


@dataclass(frozen=True)
class Behavior:
    """Positions or whatever they are, and what is derived from them."""

    stream: Stream
    names: Sequence[str]
    kind: str = "behavior"
    units: str = ""
    circular: bool = False
    derive: Derive | None = None
    smooth_s: float = 0.1


@dataclass(frozen=True)
class Intervals:
    """Trials (k, 2) in seconds, whether only they are kept, and times (k, 2) that do not count."""

    trials: np.ndarray | None = None
    only: bool = False
    invalid: np.ndarray | None = None


class Notes(list[tuple[Any, ...]]):
    """What the reader of a recording found: the arguments of add_finding, one by one."""

    def add(self, *finding: Any) -> None:
        self.append(finding)


def assemble(
    grid: Grid,
    spikes: Spikes | None,
    lfp: Potential | None,
    behavior: Behavior | None,
    intervals: Intervals,
    *,
    attrs: Mapping[str, Any],
    coords: Mapping[str, Any] | None = None,
    notes: Notes | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """One clock from the overlap of the streams, and everything on it."""
    notes = Notes() if notes is None else notes
    size = grid.bin_size_s
    if spikes is None and lfp is None:
        raise DataError("A session needs spikes or LFP, and there is neither.")
    if not (np.isfinite(size) and size > 0):
        raise ConfigError(f"bin_size_s is {size}: give seconds above 0.")
    if intervals.only and intervals.trials is None:
        raise DataError("trials='only' needs a table of trials, and there is none.")
    whole = _clock(grid, spikes, lfp, behavior, notes)
    trial = None
    if intervals.trials is not None:
        trial = _trial_numbers(intervals.trials, whole, grid, notes)
    keep, observed = _recorded(whole, grid, spikes, lfp, intervals.invalid, notes)
    if trial is not None and intervals.only:
        keep &= trial >= 0
    if keep.sum() < 2:
        raise DataError(
            f"No bin is left between {whole[0]:g} s and {whole[-1]:g} s: none lies in "
            f"{'a trial' if intervals.only else 'the time that was recorded and is valid'}. Open "
            "it without (trials=False; units=False), or check the times of these intervals."
        )
    clock = whole[keep]
    history = [attrs["history"]]
    streams: dict[str, Any] = {}
    variables: dict[str, dict[str, str]] = {}
    extra: dict[str, Any] = dict(coords or {})
    if spikes is not None:
        counts = bin_spikes(spikes.times, clock, bin_size_s=size)
        if observed is not None and not (observed := observed[keep]).all():
            counts[~observed] = 0
            extra["observed"] = (("time", "unit"), observed)
        streams |= {"spikes": counts, "unit_names": spikes.names}
        extra |= refractory_coords(spikes.times, clock)
    if lfp is not None:
        within = (whole[0] - size / 2, whole[-1] + size / 2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpikeLFPWarning)
            values, times, names, clipped, done = lfp_on_clock(
                lfp.stream, list(lfp.names), whole, size, lfp.chain, within=within,
                progress=progress,
            )  # fmt: skip
        for each in caught if not any(what == "gap" for what, *_ in notes) else []:
            notes.add("gap", lfp.stream.what, str(each.message))
        history.append(done)
        variables["lfp"] = {"kind": "LFP", "units": "uV"}
        streams |= {"lfp": (values, times), "channel_names": names}
        extra["clipped_share"] = ("channel", clipped)
        _note_potentials(values, lfp.stream.what, notes)
    if behavior is not None:
        values, times, names, units, odd = behavior_on_clock(
            behavior.stream, list(behavior.names), behavior.units, whole, size,
            circular=behavior.circular, derive=behavior.derive, smooth_s=behavior.smooth_s,
        )  # fmt: skip
        streams |= {"behavior": (values, times), "behavior_names": names}
        variables["behavior"] = {"kind": behavior.derive or behavior.kind, "units": units}
        if behavior.derive:
            sd = f"Gaussian of SD {behavior.smooth_s:g} s"
            history.append(f"{behavior.derive} of positions smoothed by a {sd}")
        if odd:
            notes.add("direction", behavior.stream.what, odd)
    named = ("subject", "session", "source")
    built = build_session(
        clock,
        bin_size_s=size,
        **{key: attrs[key] for key in named},
        **streams,
        trial=None if trial is None else trial[keep],
        max_gap_s=max(grid.max_gap_s, 1.5 * size),
        history="\n".join(history),
        attrs={key: value for key, value in attrs.items() if key not in (*named, "history")},
        variable_attrs=variables,
    )
    for name, (dims, labels) in extra.items():
        # bipolar channels are where their first one is
        cut = labels[: built.sizes["channel"]] if dims == "channel" else labels
        built = built.assign_coords({name: (dims, cut)})
    for note in notes:
        built = add_finding(built, *note)
    validate_session(built)  # with the coordinates, which the file has named
    return drop_bad_channels(built)


def _clock(
    grid: Grid, spikes: Spikes | None, lfp: Potential | None, behavior: Behavior | None,
    notes: Notes,
) -> np.ndarray:  # fmt: skip
    """Bin centers over the time that all streams share."""
    size = grid.bin_size_s
    spans = {}
    streams = [each.stream for each in (lfp, behavior) if each is not None]
    for stream in streams:
        if 1 / stream.rate_hz > grid.max_gap_s and (lfp is not None and stream is lfp.stream):
            raise DataError(
                f"The samples of {stream.what} are {1 / stream.rate_hz:g} s apart, which is no "
                "LFP. Are its times in seconds, not in milliseconds or sample numbers? Then give "
                "them in seconds, or its rate in samples a second."
            )
        # a sample stands for the time around it, but for no more than a bin
        half = min(0.5 / stream.rate_hz, 0.5 * size)
        spans[stream.what] = (stream.time(0) - half, stream.time(stream.size - 1) + half)
    others = (
        max((span[0] for span in spans.values()), default=-np.inf),
        min((span[1] for span in spans.values()), default=np.inf),
    )
    if spikes is not None:
        spans["the spikes"] = _spike_span(spikes, grid, alone=not spans)
        _note_spikes(spikes, spans["the spikes"], others, notes)
    start, stop = (-np.inf, np.inf)
    asked = (-np.inf if grid.start_s is None else grid.start_s,
             np.inf if grid.stop_s is None else grid.stop_s)  # fmt: skip
    if np.isfinite(asked).any():
        spans["what was asked for"] = asked
    start, stop = max(a for a, _ in spans.values()), min(b for _, b in spans.values())
    if lfp is not None and lfp.stream.slower_than(size) and np.isfinite(start):
        # bins lie around samples: half-way between them, interpolation would lose fast rhythms
        first = lfp.stream.at_or_after(start + size / 2)
        if first < lfp.stream.size:
            start = lfp.stream.time(first) - size / 2
    if not stop - start >= 2 * size * (1 - 1e-6):
        listed = "; ".join(f"{what}: {a:g} to {b:g} s" for what, (a, b) in spans.items())
        raise DataError(
            f"The streams do not overlap by two bins of {size:g} s ({listed}). Check units "
            "(seconds) and offsets, or leave one of them out."
        )
    columns = sum(stream.used.size for stream in streams)
    recorded = sum(len(each) for each in spikes.times) if spikes is not None else 0
    recorded += sum(stream.size for stream in streams)
    units = len(spikes.times) if spikes is not None else 0
    # spikes are counted in 8 bytes; samples are brought to the clock in 8 and kept in 4
    declared = (stop - start) / size * (8 * (1 + units) + 12 * columns)
    what = f"The session from {start:g} s to {stop:g} s in bins of {size:g} s"
    if declared > max(_ENDLESS * recorded, _ANY_LENGTH):
        raise DataError(
            f"{what} would be all but empty: {recorded} spikes and samples were recorded. A time "
            "may be wrong, or not in seconds: give start_s and stop_s, or leave out the stream "
            "with that time."
        )
    if declared > available_memory():
        raise DataError(
            f"{what} takes {declared / 1e9:,.1f} GB of memory, more than is free. Give a part of "
            "it with start_s and stop_s, or take longer bins."
        )
    return session_clock(start, stop, bin_size_s=size)


def _spike_span(spikes: Spikes, grid: Grid, *, alone: bool) -> tuple[float, float]:
    """When any unit was observed; where that is not said, from the first spike to the last."""
    known = [each for each in spikes.observed or () if each is not None]
    if known:
        return min(each[0, 0] for each in known), max(each[-1, 1] for each in known)
    filled = [each for each in spikes.times if len(each)]
    if not filled:
        raise DataError(
            f"None of the {len(spikes.times)} units has a spike. Leave the spikes out, or check "
            "the table."
        )
    first, last = min(map(np.min, filled)), max(map(np.max, filled))
    if not np.isfinite([first, last]).all():
        raise DataError("Spike times are NaN or infinite. Remove them first.")
    if alone and first < 0 < last:
        first = 0.0  # recordings begin at 0 s, unless another stream says otherwise
    return (
        float(first) if grid.start_s is None else -np.inf,
        float(last) if grid.stop_s is None else np.inf,
    )


def _note_spikes(
    spikes: Spikes, own: tuple[float, float], others: tuple[float, float], notes: Notes
) -> None:
    """Spikes outside of what was recorded, and times that begin again half way."""
    total = sum(map(len, spikes.times))
    said = spikes.observed is not None  # then spikes outside of that are counted elsewhere
    start, stop = others if said else (max(own[0], others[0]), min(own[1], others[1]))
    outside = [
        int(((each < start) | (each > stop)).sum()) for each in map(np.asarray, spikes.times)
    ]
    share = sum(outside) / max(total, 1)
    early = sum(int((np.asarray(each) < min(start, 0.0)).sum()) for each in spikes.times)
    if np.isfinite([start, stop]).any() and (share > 0.05 or early):
        last = max((float(np.max(each)) for each in spikes.times if len(each)), default=0.0)
        rows = [str(row) for row, count in enumerate(outside) if count]
        notes.add(
            "spikes outside", "spikes",
            f"{sum(outside)} of {total} spikes ({100 * share:.3g} %), of units at rows "
            f"{', '.join(rows[:5])}{', ...' * (len(rows) > 5)}, lie outside of the "
            f"time of the other streams, {start:g} to {stop:g} s (the last at "
            f"{last:g} s): they are not counted. Are spike times in seconds, from the same 0?",
            100 * share, 5.0,
        )  # fmt: skip
    length = max(stop - start, 0) if np.isfinite(stop - start) else np.inf
    back = 0
    for each in spikes.times:
        steps = np.diff(each) if len(each) > 10 else np.zeros(1)
        back += bool(steps.min() < -0.1 * min(length, float(np.ptp(each)) if len(each) else 0))
    if back > 0.5 * len(spikes.times):
        notes.add(
            "spike times", "spikes",
            f"The spike times of {back} of {len(spikes.times)} units begin again half way: the "
            "parts of a recording in two files would lie on top of each other. Add the length of "
            "the first part to the times of the second.",
            back,
        )  # fmt: skip


def _recorded(
    clock: np.ndarray, grid: Grid, spikes: Spikes | None, lfp: Potential | None,
    invalid: np.ndarray | None, notes: Notes,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """(T,) bins in which something was recorded and is valid; (T, U) when units were observed."""
    size = grid.bin_size_s
    keep = np.ones(clock.size, bool)
    observed = None
    if spikes is not None and spikes.observed is not None:
        observed = np.empty((clock.size, len(spikes.times)), bool)
        made: dict[bytes, np.ndarray] = {}
        spans = [each for each in spikes.observed if each is not None]
        union = merged(np.concatenate(spans))
        lost = np.zeros(len(spikes.times), int)
        for unit, own in enumerate(spikes.observed):
            own = union if own is None else own
            key = own.tobytes()
            if key not in made:
                made[key] = _inside(own, clock, size)
            observed[:, unit] = made[key]
            times = np.asarray(spikes.times[unit])
            at = np.searchsorted(own[:, 0], times, side="right") - 1
            lost[unit] = (~((at >= 0) & (times <= own[at, 1] + 1e-6))).sum()
        keep &= observed.any(axis=1)
        if lost.any():
            notes.add(
                "spikes outside", "obs_intervals",
                f"{int(lost.sum())} of {sum(map(len, spikes.times))} spikes, of {int((lost > 0).sum())}"
                " units, lie outside of the time in which their unit was observed "
                "(obs_intervals): they are not counted.",
                int(lost.sum()),
            )  # fmt: skip
        missing = sum(each is None for each in spikes.observed)
        if missing:
            notes.add(
                "observed", "obs_intervals",
                f"{missing} units have no obs_intervals: they are taken to be observed whenever "
                "another unit is.", missing,
            )  # fmt: skip
    if lfp is not None and lfp.stream.gaps_s is not None:
        gaps = lfp.stream.gaps_s
        gaps = gaps[np.diff(gaps, axis=1)[:, 0] > max(grid.max_gap_s, 1.5 * size)]
        if spikes is not None and spikes.observed is not None:
            gaps = gaps[:0]  # the file says when units were observed
        elif spikes is not None and len(gaps):
            every = np.sort(np.concatenate([np.asarray(each) for each in spikes.times]))
            some = np.searchsorted(every, gaps[:, 1] - size) > np.searchsorted(
                every, gaps[:, 0] + size
            )
            gaps = gaps[~some]  # others were recorded by another system, which went on
        _cut(keep, gaps, clock, size, "gap", lfp.stream.what, "gaps of the acquisition", notes)
    if invalid is not None and len(invalid):
        _cut(keep, invalid, clock, size, "invalid", "invalid_times", "invalid_times", notes)
    return keep, observed


def _cut(
    keep: np.ndarray, spans: np.ndarray, clock: np.ndarray, size: float, what: str, where: str,
    name: str, notes: Notes,
) -> None:  # fmt: skip
    """Take the bins that touch a span out of ``keep``, and say so."""
    before = keep.sum()
    for start, stop in spans:
        first = bisect_right(clock, start - size / 2 + 1e-6 * size)
        keep[first : bisect_left(clock, stop + size / 2 - 1e-6 * size)] = False
    if before > keep.sum():
        notes.add(
            what, where,
            f"{(before - keep.sum()) * size:.4g} s in {len(spans)} {name} are left out, LFP and "
            "spikes: nothing was recorded there, or it is not valid.",
            float((before - keep.sum()) * size),
        )  # fmt: skip


def _note_potentials(values: np.ndarray, what: str, notes: Notes) -> None:
    rows = values[:: max(1, len(values) // 5000)]
    rows = rows[np.isfinite(rows).all(axis=1)]
    level = float(np.median(rows.std(axis=0, dtype=np.float64))) if len(rows) > 1 else 0.0
    low, high = _POTENTIALS_UV
    if level > high or 0 < level < low:
        notes.add(
            "unit of the LFP", what,
            f"Its standard deviation is {level:.3g} uV, and no field potential has so "
            f"{'many' if level > high else 'few'}. Check its unit: conversion in the file, or "
            "lfp_units.",
            level, high if level > high else low,
        )  # fmt: skip


def merged(spans: np.ndarray) -> np.ndarray:
    """Spans (k, 2) in order of time; those that touch or overlap are one."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    if not len(spans):
        return spans
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.flatnonzero(np.concatenate([[True], spans[1:, 0] > reach[:-1] + 1e-6]))
    return np.stack([spans[first, 0], reach[np.append(first[1:] - 1, len(spans) - 1)]], axis=1)


def _inside(spans: np.ndarray, clock: np.ndarray, bin_size_s: float) -> np.ndarray:
    """(T,) bool: the bin lies wholly inside one of the spans."""
    keep = np.zeros(clock.size, bool)
    slack = 1e-6 * bin_size_s
    for start, stop in spans:
        first = bisect_left(clock, start + bin_size_s / 2 - slack)
        keep[first : bisect_right(clock, stop - bin_size_s / 2 + slack)] = True
    return keep


def _trial_numbers(
    trials: np.ndarray, clock: np.ndarray, grid: Grid, notes: Notes
) -> np.ndarray | None:
    """(T,) row of the trial that the bin's center lies in, -1 outside; the latest start wins."""
    numbers = np.full(clock.size, -1, np.int64)
    usable = np.isfinite(trials).all(axis=1) & (trials[:, 1] > trials[:, 0])
    if not usable.all():
        notes.add(
            "trials", "trials",
            f"{int((~usable).sum())} of {len(trials)} trials have no start or stop, or stop "
            "before they start: they are left out.", int((~usable).sum()),
        )  # fmt: skip
    for row in np.argsort(trials[:, 0], kind="stable"):
        if usable[row]:
            first, last = np.searchsorted(clock, trials[row])
            numbers[first:last] = row
    outside = usable & ((trials[:, 1] <= clock[0]) | (trials[:, 0] >= clock[-1]))
    part = grid.start_s is not None or grid.stop_s is not None
    if outside.sum() > 0.5 * usable.sum() and not part:
        known = trials[usable]
        notes.add(
            "trials", "trials",
            f"{int(outside.sum())} of {int(usable.sum())} trials, from {known.min():g} to "
            f"{known.max():g} s, lie outside of the session, {clock[0]:g} to {clock[-1]:g} s. Are "
            "their times in seconds?", int(outside.sum()),
        )  # fmt: skip
    return numbers if (numbers >= 0).any() else None
