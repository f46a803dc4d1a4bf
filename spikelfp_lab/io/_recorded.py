"""When something was recorded, and what in a recording cannot be as it says."""

from typing import Any

import numpy as np

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._streams import Stream

Notes = list[tuple[Any, ...]]
"""What the reader of a recording found: the arguments of add_finding, one by one."""

_POTENTIALS_UV = (0.01, 20_000.0)  # standard deviations between which a potential lies


def spike_span(spikes: Any, grid: Any, *, alone: bool) -> tuple[float, float]:
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
    first, last = float(min(map(np.min, filled))), float(max(map(np.max, filled)))
    if not np.isfinite([first, last]).all():
        raise DataError("Spike times are NaN or infinite. Remove them first.")
    if alone and first < 0 < last:
        first = 0.0  # recordings begin at 0 s, unless another stream says otherwise
    return (first if grid.start_s is None else -np.inf, last if grid.stop_s is None else np.inf)


def note_spikes(
    spikes: Any, own: tuple[float, float], others: list[tuple[float, float]], notes: Notes
) -> None:
    """Spikes outside of what was recorded, and times that begin again half way."""
    trains = [np.asarray(each) for each in spikes.times]
    total = sum(map(len, trains))
    # where it is said when units were observed, spikes outside of that are counted elsewhere
    spans = others if spikes.observed is not None else [own, *others]
    start = max((span[0] for span in spans), default=-np.inf)
    stop = min((span[1] for span in spans), default=np.inf)
    outside = np.array([((each < start) | (each > stop)).sum() for each in trains], int)
    share = 100 * outside.sum() / max(total, 1)
    early = any((each < min(start, 0.0)).any() for each in trains)
    if np.isfinite([start, stop]).any() and (share > 5 or early):
        last = max((float(each.max()) for each in trains if len(each)), default=0.0)
        rows = np.flatnonzero(outside)
        text = (
            f"{outside.sum()} of {total} spikes ({share:.3g} %), of units at rows "
            f"{', '.join(map(str, rows[:5]))}{', ...' * (len(rows) > 5)}, lie outside of the "
            f"time of the other streams, {start:g} to {stop:g} s (the last at "
            f"{last:g} s): they are not counted. Are spike times in seconds, from the same 0?"
        )
        notes.append(("spikes outside", "spikes", text, float(share), 5.0))
    length = max(stop - start, 0)
    back = sum(
        np.diff(each).min() < -0.1 * min(length, np.ptp(each)) for each in trains if len(each) > 10
    )
    if back > 0.5 * len(trains):
        text = (
            f"The spike times of {back} of {len(trains)} units begin again half way: the "
            "parts of a recording in two files would lie on top of each other. Add the length of "
            "the first part to the times of the second."
        )
        notes.append(("spike times", "spikes", text, int(back)))


def recorded(
    clock: np.ndarray, size: float, max_gap_s: float, spikes: Any, lfp: Stream | None,
    invalid: np.ndarray | None, notes: Notes,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """(T,) bins in which something was recorded and is valid; (T, U) when units were observed."""
    keep, observed = np.ones(clock.size, bool), None
    said = spikes is not None and spikes.observed is not None
    if said:
        observed = _observed(clock, size, spikes, notes)
        keep &= observed.any(axis=1)
    if lfp is not None and lfp.gaps_s is not None and not said:
        gaps = lfp.gaps_s[np.diff(lfp.gaps_s, axis=1)[:, 0] > max_gap_s]
        if spikes is not None:  # others were recorded by another system, which went on
            every = np.sort(np.concatenate(spikes.times))
            first = np.searchsorted(every, gaps[:, 0] + size)
            gaps = gaps[first >= np.searchsorted(every, gaps[:, 1] - size)]
        _cut(keep, gaps, clock, size, ("gap", lfp.what, "gaps of the acquisition"), notes)
    if invalid is not None:
        invalid = invalid[np.isfinite(invalid).all(axis=1)]
        _cut(keep, invalid, clock, size, ("invalid", "invalid_times", "invalid_times"), notes)
    return keep, observed


def _observed(clock: np.ndarray, size: float, spikes: Any, notes: Notes) -> np.ndarray:
    """(T, U) bins that lie wholly inside of a span in which the unit was observed."""
    union = merged(np.concatenate([each for each in spikes.observed if each is not None]))
    observed = np.empty((clock.size, len(spikes.times)), bool)
    lost = np.zeros(len(spikes.times), int)
    made: dict[bytes, np.ndarray] = {}
    for unit, (times, own) in enumerate(zip(spikes.times, spikes.observed, strict=True)):
        own = union if own is None else own
        if own.tobytes() not in made:
            inside = made[own.tobytes()] = np.zeros(clock.size, bool)
            for first, stop in _bins(clock, own, (0.5 - 1e-6) * size):
                inside[first:stop] = True
        observed[:, unit] = made[own.tobytes()]
        at = np.searchsorted(own[:, 0], times, side="right") - 1
        lost[unit] = (~((at >= 0) & (np.asarray(times) <= own[at, 1] + 1e-6))).sum()
    if lost.any():
        text = (
            f"{lost.sum()} of {sum(map(len, spikes.times))} spikes, of {(lost > 0).sum()} units, "
            "lie outside of the time in which their unit was observed (obs_intervals): they are "
            "not counted."
        )
        notes.append(("spikes outside", "obs_intervals", text, int(lost.sum())))
    missing = sum(each is None for each in spikes.observed)
    if missing:
        text = (
            f"{missing} units have no obs_intervals: they are taken to be observed whenever "
            "another unit is."
        )
        notes.append(("observed", "obs_intervals", text, missing))
    return observed


def _bins(clock: np.ndarray, spans: np.ndarray, inside_s: float) -> np.ndarray:
    """(k, 2) first and stop of the bins with centers so far inside of spans (k, 2)."""
    first = np.searchsorted(clock, spans[:, 0] + inside_s)
    return np.column_stack([first, np.searchsorted(clock, spans[:, 1] - inside_s, side="right")])


def _cut(
    keep: np.ndarray, spans: np.ndarray, clock: np.ndarray, size: float, said: tuple[str, str, str],
    notes: Notes,
) -> None:  # fmt: skip
    """Take the bins that touch a span out of ``keep``, and say so."""
    before = keep.sum()
    for first, stop in _bins(clock, spans, (1e-6 - 0.5) * size):
        keep[first:stop] = False
    lost_s = float((before - keep.sum()) * size)
    what, where, name = said
    if lost_s:
        text = (
            f"{lost_s:.4g} s in {len(spans)} {name} are left out, LFP and spikes: nothing was "
            "recorded there, or it is not valid."
        )
        notes.append((what, where, text, lost_s))


def note_potentials(values: np.ndarray, what: str, notes: Notes) -> None:
    """Potentials (n, C) in uV that are too large or too small to be any."""
    rows = values[:: max(1, len(values) // 5000)]
    rows = rows[np.isfinite(rows).all(axis=1)]
    level = float(np.median(rows.std(axis=0, dtype=np.float64))) if len(rows) > 1 else 0.0
    low, high = _POTENTIALS_UV
    if level > high or 0 < level < low:
        text = (
            f"Its standard deviation is {level:.3g} uV, and no field potential has so "
            f"{'many' if level > high else 'few'}. Check its unit: conversion in the file, or "
            "lfp_units."
        )
        notes.append(("unit of the LFP", what, text, level, high if level > high else low))


def merged(spans: np.ndarray) -> np.ndarray:
    """Spans (k, 2) in order of time; those that touch or overlap are one."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    if not len(spans):
        return spans
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.flatnonzero(np.append(True, spans[1:, 0] > reach[:-1] + 1e-6))
    return np.column_stack([spans[first, 0], reach[np.append(first[1:], len(spans)) - 1]])


def trial_numbers(
    trials: np.ndarray | None, clock: np.ndarray, part: bool, notes: Notes
) -> np.ndarray | None:
    """(T,) row of the trial that the bin's center lies in, -1 outside; the latest start wins."""
    if trials is None:
        return None
    numbers = np.full(clock.size, -1, np.int64)
    usable = np.isfinite(trials).all(axis=1) & (trials[:, 1] > trials[:, 0])
    if not usable.all():
        text = (
            f"{(~usable).sum()} of {len(trials)} trials have no start or stop, or stop before "
            "they start: they are left out."
        )
        notes.append(("trials", "trials", text, int((~usable).sum())))
    for row in np.argsort(trials[:, 0], kind="stable"):
        if usable[row]:
            first, last = np.searchsorted(clock, trials[row])
            numbers[first:last] = row
    outside = usable & ((trials[:, 1] <= clock[0]) | (trials[:, 0] >= clock[-1]))
    if outside.sum() > 0.5 * usable.sum() and not part:
        known = trials[usable]
        text = (
            f"{outside.sum()} of {usable.sum()} trials, from {known.min():g} to {known.max():g} s, "
            f"lie outside of the session, {clock[0]:g} to {clock[-1]:g} s. Are their times in "
            "seconds?"
        )
        notes.append(("trials", "trials", text, int(outside.sum())))
    return numbers if (numbers >= 0).any() else None
