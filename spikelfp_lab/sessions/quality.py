"""What is wrong with a session that the schema cannot know: names, numbers and cures."""

import json
import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import fft

from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.sessions.schema import GAP_BINS, as_dataset, label, observed_mask, varies

CLIPPED = 0.001  # of a channel's samples at its extremes: 0.6 s in ten minutes; artifacts are fewer
# SD over the upper quartile of channels, which holds while up to three quarters of them are dead;
# the SDs of one array differ by a factor of 2 or 3
DEAD = 0.05
# Neighboring contacts reached 0.9998 in real recordings (theta of the mouse hippocampus).
SAME_CHANNEL = 0.9999
# Of roots of counts, or bursts make all units alike. Different units reached 0.56 to 0.68 in six
# real recordings; a neuron sorted twice, with a tenth of its spikes missing, has 0.9.
SAME_UNIT = 0.85
REFRACTORY_S = 0.0015  # the usual limit (Hill, Mehta & Kleinfeld, J. Neurosci. 31, 2011)
REFRACTORY = 0.01  # share of violations that is never worth a finding
# How many times the violations of independent spikes are too many: beyond a half, other neurons
# gave the most spikes (Hill et al.); of multi-unit activity, twice as many are detected twice.
_SORTED, _MULTI_UNIT = 0.5, 2.0
_FLANK_S = 0.01  # beyond the refractory period, where a unit's own rate is taken from
DRIFT_S = 0.2  # over the session; without a drift the estimate stays within about 0.1 s
CONSTANT = 0.9  # of bins with one value; a resting animal has a speed of 0 for less of the time
MISSING = 0.05  # of the time in which other channels are there
SILENT = 0.25  # of the session, in one stretch ten times as long as the unit's next longest
MAINS = 0.2  # of the rest of the LFP: 4 % of its variance

_LEAST, _LEAST_SPIKES, _LEAST_ROWS = 10, 50, 100  # samples, spikes, bins: fewer prove nothing
_LFP_ROWS, _UNIT_ROWS = 20_000, 30_000  # that are looked at: 0.1 % is still 20


def check_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Look for what makes bad science of a valid session.

    ==================  ==========================================================================
    clipped             channels that stay at their extreme values: the amplifier was saturated
    dead                channels that are constant, NaN or far below all others; silent units
    partial             channels or units that are there for a part of the session only
    duplicated          pairs of channels, or of units, that are one and the same
    refractory          units with more intervals below 1.5 ms than one neuron can have
    drift               the clocks of spikes and LFP run apart (cross-correlation over time)
    mains               mains that the filter of the LFP left in
    constant behavior   axes that are constant, for all or nearly all of the time, or NaN
    any other           what the reader of the file noted with :func:`add_finding`
    ==================  ==========================================================================

    Limits (at the top of this file) are such that what is found is wrong, not that all that is
    wrong is found. Clipping, mains and refractory violations are measured where a session is made
    of its recording. Drift needs two and a half minutes, all else 100 bins. Gives a row a finding,
    of ``name`` (unit, channel or axis; of a pair "a = b"), ``value`` and ``limit`` in ``unit``.

    >>> lfp = np.random.default_rng(0).normal(size=(1000, 3)).astype("float32")
    >>> lfp[:, 2] = lfp[:, 0]
    >>> session = xr.Dataset({"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b", "c"]})
    >>> check_quality(session)[["check", "name", "limit"]].values.tolist()
    [['duplicated', 'c = a', 0.9999]]
    """
    dataset, rows = as_dataset(session), []
    if dataset.sizes.get("time", 0) >= _LEAST_ROWS:
        # of values too large to be a potential, and of channels that are NaN throughout
        with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            rows += _rows(dataset)
    for each in json.loads(dataset.attrs.get("findings", "[]")):
        noted = each["what"], "session", each["where"], each["value"], each["limit"]
        rows.append((*noted, "", each["message"]))
    columns = ["check", "variable", "name", "value", "limit", "unit", "meaning"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float, "limit": float})


def add_finding(
    session: xr.Dataset, what: str, where: str, message: str,
    value: float | None = None, limit: float | None = None,
) -> xr.Dataset:  # fmt: skip
    """Note what only the reader of a file can know; :func:`check_quality` lists it.

    ``what`` is the kind of finding, ``where`` the name of a unit, channel, axis or object of the
    file, ``message`` a sentence with the cure, ``value`` what was measured, ``limit`` what is
    tolerated. The data are the same, with one more finding in ``attrs["findings"]`` (JSON).

    >>> noted = add_finding(xr.Dataset(), "spike times", "u003", "They end after the LFP.", 12.0)
    >>> check_quality(noted)[["check", "name", "value"]].values.tolist()
    [['spike times', 'u003', 12.0]]
    """
    finding = {"what": what, "where": where, "value": value, "limit": limit, "message": message}
    listed = [*json.loads(session.attrs.get("findings", "[]")), finding]
    return session.assign_attrs(findings=json.dumps(listed))


def warn_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Issue one warning (SpikeLFPWarning) that lists what :func:`check_quality` finds, if anything.

    ``open_session`` and ``open_cohort`` call this for every session. Gives the findings.
    """
    dataset = as_dataset(session)
    table = check_quality(dataset)
    lines = [f"Session {label(dataset)}: findings of quality: {len(table)}."]
    groups: Any = table.groupby(["check", "variable"], sort=False)
    for (check, variable), found in groups:
        shown, more = found.head(3).to_dict("records"), ", ..." if len(found) > 3 else ""
        if variable == "session":
            lines += ["  {check}: {name}: {meaning}".format(**row) + more for row in shown]
            continue
        number = "{name} ({value:.4g} {unit}, limit {limit:.4g})"
        names = ", ".join(number.format(**row) for row in shown) + more
        lines.append(f"  {check} in {variable} ({len(found)}): {names}. {shown[0]['meaning']}")
    lines.append("  All of them with their numbers: spikelfp_lab.check_quality(session).")
    if len(table):
        warnings.warn("\n".join(lines), SpikeLFPWarning, stacklevel=3)
    return table


def clipped_share(values: np.ndarray) -> np.ndarray:
    """Share of each channel's samples (n, C), as recorded, that pile up at its extremes (C,).

    A pile is four times as many samples in the outermost 1 % of the range, or the outermost level
    of a coarse converter, as in what lies beside it (a sine has 2.4 times as many). Of a converter
    with few levels, more than beside are enough where samples jump there from further away.

    >>> signal = np.random.default_rng(0).normal(size=(10_000, 1))
    >>> clipped_share(np.hstack([signal, np.clip(signal, -2, 2)])).round(2).tolist()
    [0.0, 0.05]
    """
    shares = np.zeros(values.shape[1])
    for channel, column in enumerate(np.asarray(values, np.float64).T):
        column = column[np.isfinite(column)]
        span = np.ptp(column) if column.size else 0.0
        for side in (column, -column) if span > 0 else ():
            outer = side >= side.max() - 0.01 * span
            below = side[~outer].max()
            beside = ~outer & (side >= min(side.max() - 0.02 * span, below))
            enter = np.flatnonzero(~outer[:-1] & outer[1:])
            few = side.max() - below > span / 16 and outer.sum() > beside.sum()
            jump = few and enter.size and np.mean(~beside[enter]) > 0.25
            if outer.sum() >= _LEAST and (outer.sum() > 4 * beside.sum() or jump):
                shares[channel] += outer.sum() / column.size
    return shares


def refractory_coords(
    spike_times: Sequence[np.ndarray], clock: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """Refractory violations of units, as coordinates of a session whose spike times are known.

    Of ``spike_times`` in seconds, one array a unit, those count that lie on the ``clock`` (T,).
    ``refractory_violations`` is the share of intervals below 1.5 ms, ``refractory_chance`` that of
    independent spikes at the unit's own rate, from pairs of spikes 1.5 to 11.5 ms apart.
    """
    shares = np.zeros((2, len(spike_times)), np.float32)
    for unit, times in enumerate(spike_times):
        times = np.sort(np.asarray(times, np.float64).ravel())
        times = times[(times >= clock[0]) & (times <= clock[-1])]
        # a hair less, for what rounding takes from spikes exactly 1.5 ms apart
        near = np.searchsorted(times, times + REFRACTORY_S - 1e-9)
        far = np.searchsorted(times, times + REFRACTORY_S + _FLANK_S)
        violations = (np.diff(times) < REFRACTORY_S - 1e-9).sum()
        expected = (far - near).sum() * REFRACTORY_S / _FLANK_S
        shares[:, unit] = np.array([violations, expected]) / max(times.size - 1, 1)
    return {"refractory_violations": ("unit", shares[0]), "refractory_chance": ("unit", shares[1])}


def _rows(dataset: xr.Dataset) -> Iterator[tuple]:
    """What the checks find, a row for each name that is hit."""
    for check, (variable, *more) in _CHECKS.items():
        if not {variable, *more} <= set(dataset.variables):
            continue
        dim = str(dataset[variable].dims[1])
        names, cure = dataset[dim].values, f"Leave it out with drop_sel({dim}=[...])."
        for what, where, hits, *numbers, unit, why in check(dataset, names, cure):
            values, limits = (np.broadcast_to(each, len(where)) for each in numbers)
            for at in np.flatnonzero(hits):
                yield what, variable, str(where[at]), values[at], limits[at], unit, why


def _lfp(dataset: xr.Dataset, names: np.ndarray, cure: str) -> Iterator[tuple]:
    lfp = dataset["lfp"]
    potential = lfp.attrs.get("kind", "LFP") == "LFP"  # features differ in size and may end at 0
    part = lfp.values[:: -(-lfp.shape[0] // _LFP_ROWS)]
    share = 100 * (clipped_share(part) if potential else np.zeros(len(names)))
    if "clipped_share" in dataset.coords:  # before filters, when the session was made
        share = np.fmax(share, 100 * dataset["clipped_share"].values)
    why, limit = f"It stays at its extremes: the amplifier was saturated. {cure}", 100 * CLIPPED
    yield "clipped", names, share >= limit, share, limit, "% of samples", why

    scaled, deviation = _standardized(part)
    moving = scaled.any(axis=0)
    usual = float(np.percentile(deviation[moving], 75)) if moving.any() else 0.0
    limit = DEAD * usual if potential and len(names) >= 4 else 0.0
    # constant where it was looked at is not yet constant everywhere
    dead = np.where(moving, deviation < limit, ~varies(lfp.values))
    why = f"It has no signal (upper quartile: {usual:.3g}): drop_bad_channels(session). {cure}"
    yield "dead", names, dead, deviation, limit, f"{lfp.attrs.get('units', '')} SD".strip(), why

    known = np.isfinite(part)
    missing, flat = 1 - known[known.any(axis=1)].mean(axis=0), np.zeros(len(names))
    if potential and len(part) >= 1000:  # in some of twenty blocks in which others are not
        level = np.stack([np.nanstd(block, axis=0) for block in np.array_split(part, 20)])
        low = ~(level >= DEAD * np.nanmedian(level, axis=0))
        low[low.mean(axis=1) > 0.5] = False
        flat = np.where(low.sum(axis=0) >= 2, low.mean(axis=0), 0)
    hits, share = ~dead & ((missing > MISSING) | (flat > missing)), 100 * np.fmax(missing, flat)
    why = f"It is there for a part of the session only, and no window goes over NaN. {cure}"
    yield "partial", names, hits, share, 100 * MISSING, "% NaN or flat", why
    yield _twins(names, scaled, SAME_CHANNEL, cure, anti=True)


def _spikes(dataset: xr.Dataset, names: np.ndarray, cure: str) -> Iterator[tuple]:
    counts, observed = dataset["spikes"].values, observed_mask(dataset)
    away, silent, fired = np.zeros((3, len(names)))
    for unit, column in enumerate(counts.T):
        seen = column if observed is None else column[observed[:, unit]]
        at = np.flatnonzero(seen)
        gaps = np.sort(np.diff(at, prepend=-1, append=seen.size))
        fired[unit], away[unit] = at.size, 1 - seen.size / column.size
        if at.size >= _LEAST_SPIKES and gaps[-1] > 10 * gaps[-2]:
            silent[unit] = gaps[-1] / seen.size
    why = "It has not a single spike: drop_bad_channels(session)."
    yield "dead", names, fired == 0, 0.0, 0.0, "spikes", why
    why = f"It is there for a part of the session only. {cure}"
    for share, limit, unit in ((away, MISSING, "% not observed"), (silent, SILENT, "% silent")):
        hits = (share > limit) & (fired > 0)
        yield "partial", names, hits, 100 * share, 100 * limit, unit, why
    part = counts[:: -(-len(counts) // _UNIT_ROWS)]
    scaled, _ = _standardized(np.sqrt(part, dtype=np.float32))
    scaled[:, part.sum(axis=0, dtype=np.int64) < _LEAST_SPIKES] = 0
    yield _twins(names, scaled, SAME_UNIT, cure)


def _standardized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, C) float32 of mean 0 and SD 1, 0 where missing or constant; and the SD it had (C,)."""
    mean, deviation = (each(values, axis=0, dtype=float) for each in (np.nanmean, np.nanstd))
    # what rounding leaves of a constant is no signal
    scale = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
    return np.nan_to_num((values - mean) / scale).astype(np.float32), np.nan_to_num(deviation)


def _twins(names: np.ndarray, scaled: np.ndarray, limit: float, cure: str, *, anti=False) -> tuple:
    """The first column before each that is the same, or with ``anti`` its mirror image."""
    correlation = np.clip(scaled.T @ scaled / len(scaled), -1, 1)
    alike = np.tril((np.abs(correlation) if anti else correlation) > limit, k=-1)
    first, hits = alike.argmax(axis=1), alike.any(axis=1)
    pairs = [f"{name} = {other}" for name, other in zip(names, names[first], strict=True)]
    value = correlation[np.arange(len(names)), first]
    why = f"One is stored, or sorted, twice, or a bridge joins both. {cure}"
    return "duplicated", pairs, hits, value, limit, "correlation", why


def _refractory(dataset: xr.Dataset, names: np.ndarray, cure: str) -> Iterator[tuple]:
    share, chance = (dataset[f"refractory_{name}"].values for name in ("violations", "chance"))
    count = dataset["spikes"].values.sum(axis=0)
    telling = chance * count >= 2
    is_sorted = telling.any() and np.median(share[telling] / chance[telling]) < _SORTED
    limit = np.maximum(REFRACTORY, (_SORTED if is_sorted else _MULTI_UNIT) * chance)
    # five standard deviations of a count: with a hundred units, chance would be seen at three
    beyond = share * count > limit * count + 5 * np.sqrt(limit * count)
    hits = beyond & (share * count >= _LEAST)
    others = ", or of several neurons" if is_sorted else ""
    why = f"So many intervals below 1.5 ms are of spikes detected twice{others}. {cure}"
    yield "refractory", names, hits, 100 * share, 100 * limit, "% of intervals", why


def _constant(dataset: xr.Dataset, names: np.ndarray, cure: str) -> Iterator[tuple]:
    why = f"There is nothing to decode while it stays the same, or is NaN. {cure}"
    for name, column in zip(names, dataset["behavior"].values.T, strict=True):
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        share = 100 * counts.max(initial=0) / max(counts.sum(), 1)
        unit = f"% of bins at {values[counts.argmax()]:g}" if counts.size else "% of bins known"
        hits = share >= 100 * CONSTANT or not counts.size
        yield "constant behavior", [name], hits, share, 100 * CONSTANT, unit, why


_WINDOW_S = 8.0  # of which a cross-spectrum is made: lags of seconds fit, and so do slow rhythms
_PARTS, _LEAST_WINDOWS = 6, 6  # of the session, which gives 15 pairs; and of a part, beyond chance
_BAND_HZ = (0.3, 15.0)  # below it baselines wander, above it a drift's lag is many cycles
_DRIFTS = np.arange(-2.0, 2.005, 0.01)  # that are looked for, in seconds over the session
_PEAK_S = 0.6  # what lies further from a peak than this is background
_COMPONENTS = 24  # of the units and of the channels: more take longer and see no more


def _drift(dataset: xr.Dataset, _names: np.ndarray, _cure: str) -> Iterator[tuple]:
    """How far the LFP falls behind the spikes from the first bin to the last.

    In the cross-correlations of all units with all channels, at whatever lags and signs they are
    tied, a drift moves the lags of every later part a little further. For each possible drift it
    is undone in the cross-spectra of six parts, and that which lets them agree best is taken.
    """
    time, bin_size_s = dataset["time"].values, float(dataset.attrs["bin_size_s"])
    size = max(1, int(1 / (2.2 * _BAND_HZ[1] * bin_size_s)))  # bins a mean: no more is used
    width = 2 * round(_WINDOW_S / (2 * size * bin_size_s))
    when = time[: time.size // size * size : size]
    # windows without a gap; they overlap by half, since their edges weigh little
    first = np.arange(0, when.size - width + 1, max(width // 2, 1))
    first = first[when[first + width - 1] - when[first] < (width * size + GAP_BINS) * bin_size_s]
    if bin_size_s > DRIFT_S or len(first) < _PARTS * _LEAST_WINDOWS:
        return
    frequency = fft.rfftfreq(width, size * bin_size_s)
    band = (frequency >= _BAND_HZ[0]) & (frequency <= min(_BAND_HZ[1], frequency[-1] * 0.9))
    windows = first[:, None] + np.arange(width)
    both = (dataset[name].values for name in ("spikes", "lfp"))
    spikes, lfp = (_spectra(values, size, windows, band) for values in both)
    place = (when[first] - time[0]) / np.ptp(time)
    parts = []  # of the session: its place, and (frequency, unit * channel)
    for part in np.array_split(np.arange(len(first)), _PARTS):
        cross = spikes[:, part].conj().swapaxes(1, 2) @ lfp[:, part] / len(part)
        parts.append((place[part].mean(), cross.reshape(len(cross), -1)))
    agreement = np.zeros(_DRIFTS.size)
    for (one, cross), (other, later) in combinations(parts, 2):
        turns = np.exp(2j * np.pi * (other - one) * np.outer(_DRIFTS, frequency[band]))
        agreement += (turns @ (cross.conj() * later).sum(axis=1)).real
    best = _DRIFTS[np.argmax(agreement)]
    far = agreement[np.abs(_DRIFTS - best) > _PEAK_S]
    # in standard deviations of all alignments
    agreement, far = ((each - far.mean()) / max(far.std(), 1e-300) for each in (agreement, far))
    peak, as_is = agreement.max(), agreement[_DRIFTS.size // 2]
    # a peak that stands out, and clearly higher than without a drift
    hits = peak > max(4.0, 2 * far.max()) and as_is < 0.92 * peak and abs(best) > DRIFT_S
    how = "falls behind" if best > 0 else "runs ahead of"
    ppm = abs(1e6 * best / np.ptp(time))
    why = f"The LFP {how} the spikes, by {ppm:.0f} parts in a million: mend its sampling rate."
    yield "drift", ["lfp against spikes"], hits, best, DRIFT_S, "s over the session", why


def _spectra(values: np.ndarray, size: int, windows: np.ndarray, band: np.ndarray) -> np.ndarray:
    """(frequency, window, component) whitened spectra of the windows of means over ``size``."""
    stop = len(values) // size * size
    scaled, _ = _standardized(np.add.reduceat(values[:stop], np.arange(0, stop, size), dtype=float))
    pieces = (scaled @ np.linalg.eigh(scaled.T @ scaled)[1][:, -_COMPONENTS:])[windows]
    pieces = (pieces - pieces.mean(axis=1, keepdims=True)) * np.hanning(windows.shape[1])[:, None]
    spectra = np.asarray(fft.rfft(pieces.astype(np.float32), axis=1))[:, band]
    # every frequency and every direction weighs the same, or the strongest rhythm decides alone
    spectra /= np.sqrt((np.abs(spectra) ** 2).mean(axis=0)) + 1e-30
    flat = spectra.reshape(-1, spectra.shape[2])
    variance, directions = np.linalg.eigh(np.real(flat.conj().T @ flat) / len(flat))
    variance = np.maximum(variance, 0) + 0.01 * variance.mean()
    whitened = flat @ (directions / np.sqrt(variance)).astype(np.float32)
    return whitened.reshape(spectra.shape).swapaxes(0, 1)


_CHECKS = {  # what is checked, and what else is needed for it
    _lfp: ("lfp",),
    _spikes: ("spikes",),
    _refractory: ("spikes", "refractory_violations", "refractory_chance"),
    _drift: ("lfp", "spikes"),
    _constant: ("behavior",),
}
