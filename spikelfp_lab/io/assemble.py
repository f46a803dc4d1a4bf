"""Spike times, LFP and behavior at their own rates -> a session on one clock."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io import _recorded
from spikelfp_lab.io._streams import (
    Derive,
    LFPFilter,
    Part,
    Stream,
    behavior_on_clock,
    lfp_on_clock,
)
from spikelfp_lab.sessions import add_finding, add_mains, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes, mains_left

# bytes of a session for each spike and sample: seconds without one from a hundred units
_ENDLESS = 20_000
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes


@dataclass(frozen=True)
class Grid:
    """The clock that is asked for: bins, from when to when, and what is bridged (seconds)."""

    bin_size_s: float = 0.01
    start_s: float | None = None
    stop_s: float | None = None
    max_gap_s: float = 0.25


@dataclass(frozen=True)
class Spikes:
    """Spike times (s) of units, and when each unit was observed, (k, 2), if that is known."""

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


def assemble(
    grid: Grid,
    spikes: Spikes | None,
    lfp: Potential | None,
    behavior: Behavior | None,
    intervals: Intervals,
    *,
    attrs: Mapping[str, Any],
    coords: Mapping[str, Any] | None = None,
    notes: _recorded.Notes | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """One clock from the overlap of the streams, and everything on it."""
    notes = [] if notes is None else notes
    size = grid.bin_size_s
    if spikes is None and lfp is None:
        raise DataError("A session needs spikes or LFP, and there is neither.")
    if not (np.isfinite(size) and size > 0):
        raise ConfigError(f"bin_size_s is {size}: give seconds above 0.")
    if intervals.only and intervals.trials is None:
        raise DataError("trials='only' needs a table of trials, and there is none.")
    whole = _clock(grid, spikes, lfp, behavior, notes)
    part = grid.start_s is not None or grid.stop_s is not None
    trial = _recorded.trial_numbers(intervals.trials, whole, part, notes)
    keep, observed = _recorded.recorded(
        whole, size, max(grid.max_gap_s, 1.5 * size), spikes, lfp and lfp.stream,
        intervals.invalid, notes,
    )  # fmt: skip
    if trial is not None and intervals.only:
        keep &= trial >= 0
    if keep.sum() < 2:
        raise DataError(
            f"No bin is left between {whole[0]:g} s and {whole[-1]:g} s: none lies in "
            f"{'a trial' if intervals.only else 'the time that was recorded and is valid'}. Open "
            "it without (trials=False; units=False), or check the times of these intervals."
        )
    clock = whole[keep]
    within = (whole[0] - size / 2, whole[-1] + size / 2)
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
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpikeLFPWarning)
            values, times, names, clipped, done = lfp_on_clock(
                lfp.stream, list(lfp.names), whole, size, lfp.chain, within, progress
            )
        if not any(what == "gap" for what, *_ in notes):
            notes += [("gap", lfp.stream.what, str(each.message)) for each in caught]
        history.append(done)
        variables["lfp"] = {"kind": "LFP", "units": "uV"}
        streams |= {"lfp": (values, times), "channel_names": names}
        extra["clipped_share"] = ("channel", clipped)
        _recorded.note_potentials(values, lfp.stream.what, notes)
    if behavior is not None:
        derive = behavior.derive
        values, times, names, units, odd = behavior_on_clock(
            behavior.stream, list(behavior.names), behavior.units, whole, size,
            circular=behavior.circular, derive=derive, smooth_s=behavior.smooth_s,
        )  # fmt: skip
        streams |= {"behavior": (values, times), "behavior_names": names}
        variables["behavior"] = {"kind": derive or behavior.kind, "units": units}
        if derive:
            sd = f"{behavior.smooth_s:g} s"
            history.append(f"{derive} of positions smoothed by a Gaussian of SD {sd}")
        notes += [("direction", behavior.stream.what, odd)] if odd else []
    named = {key: attrs[key] for key in ("subject", "session", "source")}
    built = build_session(
        clock,
        bin_size_s=size,
        **named,
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
    if lfp is not None and not lfp.stream.slower_than(size):
        stream, chain = lfp.stream, lfp.chain
        left = mains_left(
            Part(stream.data, *map(stream.at_or_after, within)), rate_hz=stream.rate_hz,
            channels=stream.used, line_hz=chain.line_hz,
            high_hz=min(chain.band_hz[1], 0.5 / size), reference=chain.reference or "none",
        )  # fmt: skip
        built = add_mains(built, left, line_hz=chain.line_hz)
    validate_session(built)  # with the coordinates, which the file has named
    return drop_bad_channels(built)


def _clock(
    grid: Grid, spikes: Spikes | None, lfp: Potential | None, behavior: Behavior | None,
    notes: _recorded.Notes,
) -> np.ndarray:  # fmt: skip
    """Bin centers over the time that all streams share."""
    size = grid.bin_size_s
    if lfp is not None and 1 / lfp.stream.rate_hz > grid.max_gap_s:
        raise DataError(
            f"The samples of {lfp.stream.what} are {1 / lfp.stream.rate_hz:g} s apart, which is no "
            "LFP. Are its times in seconds, not in milliseconds or sample numbers? Then give "
            "them in seconds, or its rate in samples a second."
        )
    streams = [each.stream for each in (lfp, behavior) if each is not None]
    spans = {}
    for stream in streams:
        # a sample stands for the time around it, but for no more than a bin
        half = min(0.5 / stream.rate_hz, 0.5 * size)
        spans[stream.what] = (stream.time(0) - half, stream.time(stream.size - 1) + half)
    if spikes is not None:
        own = _recorded.spike_span(spikes, grid, alone=not spans)
        _recorded.note_spikes(spikes, own, [*spans.values()], notes)
        spans["the spikes"] = own
    asked = (
        -np.inf if grid.start_s is None else grid.start_s,
        np.inf if grid.stop_s is None else grid.stop_s,
    )
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
    trains = [] if spikes is None else spikes.times
    found = sum(map(len, trains)) + sum(stream.size for stream in streams)
    # spikes are counted in 8 bytes; samples are brought to the clock in 8 and kept in 4
    columns = sum(stream.used.size for stream in streams)
    declared = (stop - start) / size * (8 * (1 + len(trains)) + 12 * columns)
    what = f"The session from {start:g} s to {stop:g} s in bins of {size:g} s"
    if declared > max(_ENDLESS * found, _ANY_LENGTH):
        raise DataError(
            f"{what} would be all but empty: {found} spikes and samples were recorded. A time "
            "may be wrong, or not in seconds: give start_s and stop_s, or leave out the stream "
            "with that time."
        )
    if declared > available_memory():
        raise DataError(
            f"{what} takes {declared / 1e9:,.1f} GB of memory, more than is free. Give a part of "
            "it with start_s and stop_s, or take longer bins."
        )
    return session_clock(start, stop, bin_size_s=size)
