"""Spike times, LFP and behavior at their own rates -> a session on one clock.

What recordings in NWB files and in plain arrays have in common once they are streams.
"""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._streams import (
    Derive,
    Stream,
    Watched,
    behavior_on_clock,
    lfp_on_clock,
)
from spikelfp_lab.sessions import refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes
from spikelfp_lab.signal.broadband import Reference

_ENDLESS = (
    20_000  # bytes of a session for each spike and sample: seconds without one from a hundred units
)
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes


def session_from_streams(
    *,
    spike_times: Sequence[np.ndarray] | None,
    unit_names: Sequence[str] | None,
    lfp: Stream | None,
    channel_names: Sequence[str] = (),
    behavior: Stream | None,
    behavior_names: Sequence[str] = (),
    behavior_attrs: Mapping[str, Any] | None = None,
    derive: Derive | None = None,
    smooth_s: float = 0.1,
    circular: bool = False,
    observed: np.ndarray | None = None,
    trials: np.ndarray | None = None,
    trials_only: bool = False,
    bin_size_s: float,
    start_s: float | None,
    stop_s: float | None,
    band_hz: tuple[float, float],
    line_hz: float | None,
    reference: Reference | None,
    max_gap_s: float,
    subject: str,
    session: str,
    source: str,
    history: Sequence[str] = (),
    attrs: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """One clock from the overlap of the streams, and everything on it.

    ``observed`` is (k, 2) seconds: bins not wholly inside are left out. ``trials`` is (k, 2).
    """
    if spike_times is None and lfp is None:
        raise DataError("A session needs spikes or LFP, and there is neither.")
    if not (np.isfinite(bin_size_s) and bin_size_s > 0):
        raise ConfigError(f"bin_size_s is {bin_size_s}: give seconds above 0.")
    if derive is not None and behavior is None:
        raise ConfigError(f"derive={derive!r} needs positions, and there is no behavior.")
    if trials_only and trials is None:
        raise DataError("trials='only' needs a table of trials, and there is none.")
    clock = _clock(spike_times, lfp, behavior, observed, start_s, stop_s, bin_size_s)
    whole = clock
    trial = None if trials is None else _trial_numbers(trials, clock)
    keep = _inside(observed, clock, bin_size_s)
    if trial is not None and trials_only:
        keep &= trial >= 0
    if keep.sum() < 2:
        raise DataError(
            f"No bin is left between {whole[0]:g} s and {whole[-1]:g} s: none lies in "
            f"{'a trial' if trials_only else 'the time in which all units were observed'}. "
            "Open it without (trials=False; units=False), or check the times of these intervals."
        )
    clock = clock[keep]
    history = list(history)

    counts = None
    if spike_times is not None:
        counts = bin_spikes(spike_times, clock, bin_size_s=bin_size_s)
    potential, watched = None, None
    if lfp is not None:
        watched = Watched(lfp.data)
        lfp = replace(lfp, data=watched)
        (values, times), channel_names, done = lfp_on_clock(
            lfp,
            whole,
            bin_size_s,
            names=channel_names,
            band_hz=band_hz,
            line_hz=line_hz,
            reference=reference,
            progress=progress,
        )
        potential = (values, times)
        history.append(done)
    moved = None
    if behavior is not None:
        values, times, behavior_names = behavior_on_clock(
            behavior, whole, bin_size_s, names=behavior_names, circular=circular,
            derive=derive, smooth_s=smooth_s,
        )  # fmt: skip
        moved = (values, times)
        if derive:
            unit = (behavior_attrs or {}).get("units") or "1"
            behavior_attrs = {"kind": derive, "units": f"{unit}/s"}
            history.append(f"{derive} of positions smoothed by a Gaussian of SD {smooth_s:g} s")
    built = build_session(
        clock,
        bin_size_s=bin_size_s,
        subject=subject,
        session=session,
        source=source,
        spikes=counts,
        unit_names=unit_names,
        lfp=potential,
        channel_names=channel_names,
        behavior=moved,
        behavior_names=behavior_names,
        trial=None if trial is None else trial[keep],
        max_gap_s=max(max_gap_s, 1.5 * bin_size_s),
        history="\n".join(history),
        attrs=attrs,
        variable_attrs={
            "lfp": {"kind": "LFP", "units": "uV"},
            "behavior": dict(behavior_attrs or {}),
        },
    )
    for name, (dim, labels) in (coords or {}).items():
        # bipolar channels are where their first one is
        built = built.assign_coords({name: (dim, labels[: built.sizes[dim]])})
    if spike_times is not None:
        built = built.assign_coords(refractory_coords(spike_times, clock))
    if lfp is not None and watched is not None:
        clipped = watched.clipped()[lfp.used].astype(np.float32)
        if clipped.size > built.sizes["channel"]:  # bipolar: of two channels each
            clipped = np.maximum(clipped[:-1], clipped[1:])
        built = built.assign_coords(clipped_share=("channel", clipped))
    validate_session(built)  # with the coordinates, which the file has named
    return drop_bad_channels(built)


def _clock(
    spike_times: Sequence[np.ndarray] | None,
    lfp: Stream | None,
    behavior: Stream | None,
    observed: np.ndarray | None,
    start_s: float | None,
    stop_s: float | None,
    bin_size_s: float,
) -> np.ndarray:
    spans = {}
    for stream in (lfp, behavior):
        if stream is not None:
            # a sample stands for the time around it, but for no more than a bin
            half = min(0.5 / stream.rate_hz, 0.5 * bin_size_s)
            spans[stream.what] = (stream.time(0) - half, stream.time(stream.size - 1) + half)
    if observed is not None and len(observed):
        spans["the time in which all units were observed"] = (
            observed[:, 0].min(),
            observed[:, 1].max(),
        )
    elif spike_times is not None:
        spans["the spikes"] = _spike_span(spike_times, start_s, stop_s, alone=not spans)
    if start_s is not None or stop_s is not None:
        spans["what was asked for"] = (
            -np.inf if start_s is None else start_s, np.inf if stop_s is None else stop_s
        )  # fmt: skip
    start = max(span[0] for span in spans.values())
    stop = min(span[1] for span in spans.values())
    if lfp is not None and lfp.slower_than(bin_size_s) and np.isfinite(start):
        # bins lie around samples: half-way between them, interpolation would lose fast rhythms
        first = lfp.at_or_after(start + bin_size_s / 2)
        if first < lfp.size:
            start = lfp.time(first) - bin_size_s / 2
    if not stop - start >= 2 * bin_size_s * (1 - 1e-6):
        listed = "; ".join(f"{what}: {a:g} to {b:g} s" for what, (a, b) in spans.items())
        raise DataError(
            f"The streams do not overlap by two bins of {bin_size_s:g} s ({listed}). Check units "
            "(seconds) and offsets, or leave one of them out."
        )
    _check_length(spike_times, lfp, behavior, start, stop, bin_size_s)
    clock = session_clock(start, stop, bin_size_s=bin_size_s)
    if spike_times is not None:
        _warn_of_early_spikes(spike_times, clock[0] - bin_size_s / 2)
    return clock


def _check_length(
    spike_times: Sequence[np.ndarray] | None,
    lfp: Stream | None,
    behavior: Stream | None,
    start: float,
    stop: float,
    bin_size_s: float,
) -> None:
    """Refuse a session that a single wrong time makes endless, before its clock is made."""
    units = 0 if spike_times is None else len(spike_times)
    columns = sum(0 if stream is None else stream.used.size for stream in (lfp, behavior))
    # spikes are counted in 8 bytes; samples are brought to the clock in 8 and kept in 4
    declared = (stop - start) / bin_size_s * (8 * (1 + units) + 12 * columns)
    recorded = sum(len(times) for times in spike_times or ())
    recorded += sum(0 if stream is None else stream.size for stream in (lfp, behavior))
    what = f"The session from {start:g} s to {stop:g} s in bins of {bin_size_s:g} s"
    if declared > max(_ENDLESS * recorded, _ANY_LENGTH):
        raise DataError(
            f"{what} would be all but empty: {recorded} spikes and samples were recorded. A time may be "
            "wrong, or not in seconds: give start_s and stop_s, or leave out the stream with that time."
        )
    if declared > available_memory():
        raise DataError(
            f"{what} takes {declared / 1e9:,.1f} GB of memory, more than is free. Give a part of it with "
            "start_s and stop_s, or take longer bins."
        )


def _spike_span(
    spike_times: Sequence[np.ndarray], start_s: float | None, stop_s: float | None, *, alone: bool
) -> tuple[float, float]:
    """From the first to the last spike of any unit: beyond, silence is no evidence of silence."""
    filled = [times for times in spike_times if len(times)]
    if not filled:
        raise DataError(
            f"None of the {len(spike_times)} units has a spike. Leave the spikes out, or check "
            "the table."
        )
    first = min(float(np.min(times)) for times in filled)
    last = max(float(np.max(times)) for times in filled)
    if not np.isfinite([first, last]).all():
        raise DataError("Spike times are NaN or infinite. Remove them first.")
    if alone and first < 0 < last:
        first = 0.0  # recordings begin at 0 s, unless another stream says otherwise
    return (first if start_s is None else -np.inf, last if stop_s is None else np.inf)


def _warn_of_early_spikes(spike_times: Sequence[np.ndarray], start: float) -> None:
    early = [int(np.sum(np.asarray(times) < min(start, 0.0))) for times in spike_times]
    if any(early):
        units = [str(index) for index, count in enumerate(early) if count]
        some = ", ".join(units[:10]) + (", ..." if len(units) > 10 else "")
        warnings.warn(
            f"{sum(early)} spikes lie before 0 s and before the session ({start:g} s), in the "
            f"units at rows {some}: they are not counted.",
            SpikeLFPWarning,
            stacklevel=5,
        )


def _inside(intervals: np.ndarray | None, clock: np.ndarray, bin_size_s: float) -> np.ndarray:
    """(T,) bool: the bin lies wholly inside one of the intervals."""
    if intervals is None:
        return np.ones(clock.size, bool)
    keep = np.zeros(clock.size, bool)
    slack = 1e-6 * bin_size_s
    for start, stop in intervals:
        first = bisect_left(clock, start + bin_size_s / 2 - slack)
        keep[first : bisect_right(clock, stop - bin_size_s / 2 + slack)] = True
    return keep


def _trial_numbers(trials: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """(T,) row of the trial that the bin's center lies in, -1 outside; the latest start wins."""
    numbers = np.full(clock.size, -1, np.int64)
    usable = np.isfinite(trials).all(axis=1) & (trials[:, 1] > trials[:, 0])
    if not usable.all():
        warnings.warn(
            f"{int((~usable).sum())} of {len(trials)} trials have no start or stop, or stop "
            "before they start: they are left out.",
            SpikeLFPWarning,
            stacklevel=5,
        )
    for row in np.argsort(trials[:, 0], kind="stable"):
        if usable[row]:
            first, last = np.searchsorted(clock, trials[row])
            numbers[first:last] = row
    return numbers
