"""Spike times, LFP and behavior at their own rates -> a session on one clock."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import available_memory
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._streams import Options, Part, Stream, behavior_on_clock, merged
from spikelfp_lab.sessions import add_finding, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.quality import MAINS
from spikelfp_lab.sessions.schema import drop_bad_channels, validate_session
from spikelfp_lab.signal import bin_spikes, broadband_to_lfp, mains_left
from spikelfp_lab.signal.causal import CausalLFP
from spikelfp_lab.signal.lfp import referenced

_POTENTIALS_UV = (0.01, 20_000.0)  # standard deviations between which a potential lies
_ROWS = 1 << 17  # samples filtered at a time
_ENDLESS = 20_000  # bytes of a session a spike or sample: seconds without one from a hundred units
_ANY_LENGTH = 256 << 20  # bytes: an hour of a hundred units, however few their spikes


@dataclass
class Recording:
    """What was recorded, at its own rates and in seconds, and what a reader found about it."""

    attrs: dict[str, Any]
    options: Options
    spikes: Sequence[np.ndarray] = ()  # times, an array a unit
    unit_names: Sequence[str] | None = None
    observed: Sequence[np.ndarray] = ()  # (k, 2) of each unit, k = 0 where that is not known
    lfp: Stream | None = None
    behavior: Stream | None = None
    trials: Any = ()  # (k, 2)
    invalid: Any = ()  # (k, 2)
    coords: dict[str, Any] = field(default_factory=dict)
    findings: list[tuple[Any, ...]] = field(default_factory=list)

    def note(self, *finding: Any) -> None:
        """Keep the arguments of add_finding."""
        self.findings.append(finding)

    def session(self, progress: bool) -> xr.Dataset:
        """One clock from the overlap of the streams, and everything on it."""
        lfp, behavior, options, coords = self.lfp, self.behavior, self.options, self.coords
        size, max_gap_s = options.bin_size_s, max(options.max_gap_s, 1.5 * options.bin_size_s)
        if not self.spikes and lfp is None:
            raise DataError("A session needs spikes or LFP, and there is neither.")
        if not 0 < size < np.inf:
            raise ConfigError(f"bin_size_s is {size}: give seconds above 0.")
        whole = self._clock()
        trial = self._trial_numbers(whole)
        keep, observed = self._recorded(whole)
        if keep.sum() < 2:
            what = f"Nothing valid was recorded between {whole[0]:g} s and {whole[-1]:g} s"
            raise DataError(f"{what}. Check obs_intervals (or pass units=False) and invalid_times.")
        clock = whole[keep]
        streams: dict[str, Any] = {"trial": None if trial is None else trial[keep]}
        variables: dict[str, dict[str, str]] = {"lfp": {"kind": "LFP", "units": "uV"}}
        if self.spikes:
            counts = bin_spikes(self.spikes, clock, bin_size_s=size)
            if observed is not None and not (observed := observed[keep]).all():
                counts[~observed] = 0
                coords["observed"] = (("time", "unit"), observed)
            streams |= {"spikes": counts, "unit_names": self.unit_names}
            coords |= refractory_coords(self.spikes, clock)
        if lfp is not None:
            streams |= {"lfp": self._lfp_on(whole, lfp, progress), "channel_names": lfp.names}
        if behavior is not None:
            values, times, names, units, odd = behavior_on_clock(behavior, whole, options)
            streams |= {"behavior": (values, times), "behavior_names": names}
            variables["behavior"] = {"kind": options.derive or behavior.kind, "units": units}
            if options.derive:
                text = f"{options.derive} of smoothed positions, SD {options.smooth_s:g} s"
                self.attrs["history"] += f"\n{text}"
            for what, text in odd:
                self.note(what, behavior.what, text)
        names = {key: self.attrs[key] for key in ("subject", "session", "source", "history")}
        built = build_session(
            clock, bin_size_s=size, max_gap_s=max_gap_s, attrs=self.attrs, **names, **streams,
            variable_attrs=variables,
        ).assign_coords(coords)  # fmt: skip
        for finding in self.findings:
            built = add_finding(built, *finding)
        validate_session(built)  # with the coordinates, which the file has named
        return drop_bad_channels(built)

    def _clock(self) -> np.ndarray:
        """Bin centers over the time that all streams share."""
        size, start_s, stop_s, max_gap_s, *_ = self.options
        lfp, spans = self.lfp, {}
        streams = [each for each in (lfp, self.behavior) if each is not None]
        for stream in streams:
            # a sample stands for the time around it, but for no more than a bin
            half = min(0.5 / stream.rate_hz, 0.5 * size)
            spans[stream.what] = (stream.time(0) - half, stream.time(stream.size - 1) + half)
        if lfp is not None and (step := 1 / lfp.rate_hz) > max_gap_s:
            what = f"The samples of {lfp.what} are {step:g} s apart, which is no LFP"
            raise DataError(f"{what}. Are its times in seconds, not in ms or sample numbers?")
        if self.spikes:
            spans["the spikes"] = self._spike_span([*spans.values()])
        if start_s is not None or stop_s is not None:
            asked = (-np.inf if start_s is None else start_s, np.inf if stop_s is None else stop_s)
            spans["what was asked for"] = asked
        start, stop = max(a for a, _ in spans.values()), min(b for _, b in spans.values())
        if lfp is not None and lfp.slower_than(size) and np.isfinite(start):
            # bins lie around samples: half-way between them, interpolation would lose fast rhythms
            first = min(lfp.at_or_after(start + size / 2), lfp.size - 1)
            start = lfp.time(first) - size / 2
        if not stop - start >= 2 * size * (1 - 1e-6):
            listed = "; ".join(f"{what}: {a:g} to {b:g} s" for what, (a, b) in spans.items())
            what = f"The streams do not overlap by two bins of {size:g} s ({listed})"
            raise DataError(f"{what}. Check units (seconds) and offsets, or leave one of them out.")
        # spikes are counted in 8 bytes; samples are brought to the clock in 8 and kept in 4
        width = 8 + 8 * len(self.spikes) + 12 * sum(each.used.size for each in streams)
        found = sum(map(len, self.spikes)) + sum(each.size for each in streams)
        declared, most = (stop - start) / size * width, max(_ENDLESS * found, _ANY_LENGTH)
        if declared > min(available_memory(), most):
            what = f"The session from {start:g} s to {stop:g} s takes {declared / 1e9:,.1f} GB of"
            what += f" memory, more than is free or than {found} spikes and samples can fill"
            raise DataError(f"{what}. Are all times in seconds? Give start_s and stop_s.")
        return session_clock(start, stop, bin_size_s=size)

    def _spike_span(self, others: list[tuple[float, float]]) -> tuple[float, float]:
        """When any unit was observed; where that is not said, from the first spike to the last."""
        trains, every, options = self.spikes, np.concatenate(self.spikes), self.options
        rows = [str(row) for row, each in enumerate(trains) if not np.isfinite(each).all()]
        if rows or not every.size:
            what = f"Spike times of the units at rows {', '.join(rows[:10])} are NaN or infinite"
            what = what if rows else f"None of the {len(trains)} units has a spike"
            raise DataError(f"{what}. Correct them, or leave the spikes out (units=False).")
        first, last = float(every.min()), float(every.max())
        # recordings begin at 0 s, unless another stream says otherwise
        begin = 0.0 if not others and first < 0 < last else first
        begin = begin if options.start_s is None else -np.inf
        own = (begin, last if options.stop_s is None else np.inf)
        spans = [own, *others]
        if known := [each for each in self.observed if len(each)]:
            # spikes outside of the time in which their unit was observed are counted elsewhere
            own, spans = (min(x[0, 0] for x in known), max(x[-1, 1] for x in known)), others
        start = max((span[0] for span in spans), default=-np.inf)
        stop = min((span[1] for span in spans), default=np.inf)
        outside = int(((every < start) | (every > stop)).sum())
        share = 100 * outside / every.size
        if share > 5 or (spans and first < min(start, 0.0)):
            text = f"{outside} of {every.size} spikes ({share:.3g} %) lie outside of the time of "
            text += f"the other streams, {start:g} to {stop:g} s (the last at {last:g} s): they "
            text += "are not counted. Are spike times in seconds, from the same 0?"
            self.note("spikes outside", "spikes", text, share, 5.0)
        length = max(stop - start, 0)
        falls = [np.diff(x).min() < -0.1 * min(length, np.ptp(x)) for x in trains if len(x) > 10]
        if sum(falls) > 0.5 * len(trains):
            text = f"The spike times of {sum(falls)} of {len(trains)} units begin again half way, "
            text += "as parts of a recording do: add the length of the first to the times of the "
            self.note("spike times", "spikes", text + "second.", int(sum(falls)))
        return own

    def _recorded(self, clock: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(T,) bins that were recorded and are valid; (T, U) in which each unit was observed."""
        size, lfp, observed, cuts = self.options.bin_size_s, self.lfp, self._observed(clock), []
        keep = np.ones(clock.size, bool) if observed is None else np.any(observed, axis=1)
        if observed is None and lfp is not None:
            bridged_s = max(self.options.max_gap_s, 1.5 * size)
            gaps = lfp.gaps_s[np.diff(lfp.gaps_s, axis=1)[:, 0] > bridged_s]
            if self.spikes:  # others were recorded by another system, which went on
                every = np.sort(np.concatenate(self.spikes))
                first = np.searchsorted(every, gaps[:, 0] + size)
                gaps = gaps[first >= np.searchsorted(every, gaps[:, 1] - size)]
            cuts.append(("gap", lfp.what, "gaps of the acquisition", gaps))
        invalid = np.reshape(self.invalid, (-1, 2))
        invalid = invalid[np.isfinite(invalid).all(axis=1)]
        cuts.append(("invalid", "invalid_times", "invalid_times", invalid))
        for what, where, name, spans in cuts:
            lost = keep & _covered(clock, spans, (1e-6 - 0.5) * size)
            keep &= ~lost
            if lost_s := float(lost.sum() * size):
                text = f"{lost_s:.4g} s in {len(spans)} {name} are left out, LFP and spikes."
                self.note(what, where, text, lost_s)
        return keep, observed

    def _observed(self, clock: np.ndarray) -> np.ndarray | None:
        """(T, U) bins that lie wholly inside of a span in which the unit was observed."""
        if not (known := [each for each in self.observed if len(each)]):
            return None  # where none has a span, nothing is said
        union = merged(np.concatenate(known))
        spans = [each if len(each) else union for each in self.observed]
        pairs = zip(self.spikes, spans, strict=True)
        outside = [~_covered(times, each + np.array([0, 1e-6]), 0.0) for times, each in pairs]
        if lost := int(np.concatenate(outside).sum()):
            text = f"{lost} spikes outside of the time in which their unit was observed are not"
            self.note("spikes outside", "obs_intervals", f"{text} counted.", lost)
        if missing := len(spans) - len(known):
            text = f"{missing} units have no obs_intervals: they count whenever another unit is"
            self.note("observed", "obs_intervals", f"{text} observed.", missing)
        inside_s = (0.5 - 1e-6) * self.options.bin_size_s
        return np.stack([_covered(clock, each, inside_s) for each in spans], axis=1)

    def _trial_numbers(self, clock: np.ndarray) -> np.ndarray | None:
        """(T,) row of the trial of each bin's center, -1 outside; the latest start wins."""
        trials, numbers = np.reshape(self.trials, (-1, 2)), np.full(clock.size, -1, np.int64)
        rows = np.flatnonzero(np.isfinite(trials).all(axis=1) & (trials[:, 1] > trials[:, 0]))
        for row in rows[np.argsort(trials[rows, 0], kind="stable")]:
            first, last = np.searchsorted(clock, trials[row])
            numbers[first:last] = row
        lost = len(trials) - len(rows)
        outside = int(((trials[rows, 1] <= clock[0]) | (trials[rows, 0] >= clock[-1])).sum())
        whole = self.options.start_s is None and self.options.stop_s is None
        if lost or (whole and outside > 0.5 * len(rows)):
            text = f"{lost} of {len(trials)} trials do not stop after they start, and {outside} "
            text += f"lie outside of the session, {clock[0]:g} to {clock[-1]:g} s. Are they in "
            self.note("trials", "trials", text + "seconds?", lost + outside)
        return numbers if (numbers >= 0).any() else None

    def _lfp_on(self, clock: np.ndarray, lfp: Stream, progress: bool) -> tuple[Any, Any]:
        """Values (m, C) and their times; notes what is wrong with them, and what was done."""
        options, size = self.options, self.options.bin_size_s
        reference = options.reference or "none"
        if reference not in ("car", "none"):
            raise ConfigError(f"No reference {reference!r} of a session. There are: car, none.")
        low, high, mains = options.band_hz[0], min(options.band_hz[1], 0.5 / size), {}
        # the samples of the time that was asked for, which may be a part
        within = [lfp.at_or_after(time) for time in (clock[0] - size / 2, clock[-1] + size / 2)]

        def filtered(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, Part]:
            part, stamps = Part(lfp.data, start, stop), lfp.timestamps
            values, times = broadband_to_lfp(
                part if len(part.shape) == 2 else part[:][:, None], clock=clock,
                rate_hz=lfp.rate_hz if stamps is None else None, start_s=lfp.start_s,
                timestamps=None if stamps is None else Part(stamps, start, stop),
                channels=lfp.used, scale=lfp.scale, band_hz=options.band_hz,
                line_hz=options.line_hz, reference=reference, progress=progress,
            )  # fmt: skip
            return values, times, part

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpikeLFPWarning)
            if lfp.slower_than(size):
                part, done = Part(lfp.data), "interpolated"
                values, times = lfp.near(clock, size, part)
                values = referenced(values, reference)
            elif options.causal:
                values, times, part = self._causal(clock, lfp, reference)
                band = f"{options.band_hz} Hz, line {options.line_hz}"
                done = f"filtered by the past alone ({band}) and resampled"
            else:
                try:
                    values, times, part = filtered(0, lfp.size)
                except DataError:  # of a clock that breaks: perhaps outside of what was asked for
                    if lfp.timestamps is None or within[1] - within[0] in (0, lfp.size):
                        raise
                    values, times, part = filtered(*within)
                done = f"filtered ({low:g}-{high:g} Hz, line {options.line_hz}) and resampled"
                mains = mains_left(
                    Part(lfp.data, *within), rate_hz=lfp.rate_hz, channels=lfp.used,
                    line_hz=options.line_hz, high_hz=high, reference=reference,
                )  # fmt: skip
        for hz, share in mains.items():
            if (worst := 100 * float(share.max())) > 100 * MAINS:
                text = f"Mains at {hz} Hz are in {(share > MAINS).sum()} of {share.size} channels, "
                text += f"up to {worst:.0f} % of the rest of the LFP: open it with line_hz={hz}, "
                self.note("mains", "lfp", f"{text}not {options.line_hz}.", worst, 100 * MAINS)
        done = f"LFP of {lfp.rate_hz:g} Hz {done} to {1 / size:g} Hz, reference {reference}"
        self.attrs["history"] += f"\n{done}"
        gaps_are_noted = any(what == "gap" for what, *_ in self.findings)
        for each in caught:
            is_gap = issubclass(each.category, SpikeLFPWarning) and "gap" in str(each.message)
            if not (is_gap and gaps_are_noted):
                what = "gap" if is_gap else each.category.__name__
                self.note(what, lfp.what, str(each.message))
        self.coords["clipped_share"] = ("channel", part.clipped()[lfp.used].astype(np.float32))
        rows = values[:: max(1, len(values) // 5000)]
        rows = rows[np.isfinite(rows).all(axis=1)]
        level = float(np.median(rows.std(axis=0, dtype=np.float64))) if len(rows) > 1 else 0.0
        if level > _POTENTIALS_UV[1] or 0 < level < _POTENTIALS_UV[0]:
            text = f"Its standard deviation is {level:.3g} uV, which no field potential has. Check "
            text += "its unit: conversion in the file, or lfp_units."
            self.note("unit of the LFP", lfp.what, text, level)
        return values, times

    def _causal(self, clock: np.ndarray, lfp: Stream, reference: Any) -> tuple[Any, Any, Part]:
        """LFP on the clock, each stretch without a gap through the filters of a live decoder."""
        options, size, part = self.options, self.options.bin_size_s, Part(lfp.data)
        values = np.full((clock.size, len(lfp.used)), np.nan, np.float32)
        edges = [0, *(lfp.at_or_after(stop) for _, stop in lfp.gaps_s), lfp.size]
        for start, stop in pairwise(edges):
            at = np.flatnonzero((clock >= lfp.time(start)) & (clock <= lfp.time(stop - 1)))
            if not at.size:
                continue
            chain = CausalLFP(
                len(lfp.used), rate_hz=lfp.rate_hz, to_rate_hz=1 / size, band_hz=options.band_hz,
                line_hz=options.line_hz, reference=reference,
                first_s=float(clock[at[0]]) - lfp.time(start),
            )  # fmt: skip
            pieces = (part[row : min(row + _ROWS, stop)] for row in range(start, stop, _ROWS))
            bins = [chain(x.reshape(len(x), -1)[:, lfp.used] * lfp.scale[lfp.used]) for x in pieces]
            made = np.concatenate(bins)
            place = np.round((clock[at] - clock[at[0]]) / size).astype(int)
            values[at[place < len(made)]] = made[place[place < len(made)]]
        return values, clock, part


def _covered(times: np.ndarray, spans: np.ndarray, inside_s: float) -> np.ndarray:
    """(n,) which times lie so far inside of a span (k, 2)."""
    spans = spans + np.array([inside_s, -inside_s])
    first, last = np.sort(spans[spans[:, 0] <= spans[:, 1]], axis=0).T
    return np.searchsorted(first, times, side="right") > np.searchsorted(last, times)
