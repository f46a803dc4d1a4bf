"""Spike times, LFP and behavior at their own rates -> a session on one clock.

What recordings in NWB files and in plain arrays have in common once they are streams.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._given import Behavior, Grid, Intervals, Notes, Potential, Spikes
from spikelfp_lab.io._recorded import (
    note_potentials,
    note_spikes,
    recorded,
    spike_span,
    trial_numbers,
)
from spikelfp_lab.io._streams import Part, behavior_on_clock, lfp_on_clock
from spikelfp_lab.sessions import add_finding, add_mains, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes, mains_left

# bytes of a session for each spike and sample: seconds without one from a hundred units
_ENDLESS = 20_000
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes


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
        trial = trial_numbers(intervals.trials, whole, grid, notes)
    keep, observed = recorded(whole, grid, spikes, lfp, intervals.invalid, notes)
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
    within = (whole[0] - size / 2, whole[-1] + size / 2)
    if lfp is not None:
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
        note_potentials(values, lfp.stream.what, notes)
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
    if lfp is not None and not lfp.stream.slower_than(size):
        stream, chain = lfp.stream, lfp.chain
        part = Part(stream.data, *map(stream.at_or_after, within))
        left = mains_left(
            part, rate_hz=stream.rate_hz, channels=stream.used, line_hz=chain.line_hz,
            high_hz=min(chain.band_hz[1], 0.5 / size), reference=chain.reference or "none",
        )  # fmt: skip
        built = add_mains(built, left, line_hz=chain.line_hz)
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
        spans["the spikes"] = spike_span(spikes, grid, alone=not spans)
        note_spikes(spikes, spans["the spikes"], others, notes)
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
