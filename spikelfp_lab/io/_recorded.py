"""When something was recorded, and what in a recording cannot be as it says."""

from bisect import bisect_left, bisect_right

import numpy as np

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._given import Grid, Notes, Potential, Spikes

_POTENTIALS_UV = (0.01, 20_000.0)  # standard deviations between which a potential lies


def spike_span(spikes: Spikes, grid: Grid, *, alone: bool) -> tuple[float, float]:
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


def note_spikes(
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


def recorded(
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
                f"{int(lost.sum())} of {sum(map(len, spikes.times))} spikes, of "
                f"{int((lost > 0).sum())} units, lie outside of the time in which their unit was observed "
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


def note_potentials(values: np.ndarray, what: str, notes: Notes) -> None:
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


def trial_numbers(
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
