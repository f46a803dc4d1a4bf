"""What is wrong with a session that the schema cannot know: findings with names, numbers and cures."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.sessions._drift import clock_drift
from spikelfp_lab.sessions._measures import (
    REFRACTORY_S,
    SAME_CHANNEL,
    SAME_UNIT,
    clipped_share,
    same_channels,
    same_units,
    thinned,
)
from spikelfp_lab.sessions._told import Finding, told
from spikelfp_lab.sessions.schema import as_dataset

CLIPPED = 0.001
"""Share of a channel's samples at its extreme values from which it counts as clipped.

A tenth of a percent is 0.6 s in ten minutes: single artifacts reach the rail for less. Only a pile
counts: four times as many samples in the outermost 1 % of the range as in the 1 % beside it (a sine
has 2.4 times as many, noise fewer). The rail of a converter may be two or three values wide."""

DEAD = 0.05
"""Standard deviation, over the median of all channels, below which a channel counts as dead.

Potentials of one array differ by a factor of two or three (0.5 to 1.6 times the median, in a real
recording of 32 channels); an open or grounded input has the amplifier's noise alone, a few uV."""

REFRACTORY = 0.01
"""Share of violating intervals that is never worth a finding, whatever the rate."""

_CHANCE = {"sorted": 0.5, "multi-unit": 2.0}
"""How many times the violations of independent spikes at the same rate are too many.

Beyond a half, the contamination by which Hill et al. explain violations has no solution: other
neurons gave the most spikes. Multi-unit activity (most units of the session violate as often as
independent spikes) has as many as chance; twice as many are spikes detected twice."""

DRIFT_S = 0.2
"""Drift between the clocks of spikes and LFP, seconds over the session, that is worth a finding.

In simulated sessions without any, of five to ten minutes, the estimate stays within about 0.1 s, and
none of 72 had a finding. A clock that is off by 0.1 % was found in 11 of 12 sessions of eight minutes
and 32 channels, 0.05 % in 8, 0.03 % in 2; 0.015 % in 2 of 2 of half an hour."""

CONSTANT = 0.9
"""Share of bins with one and the same value from which an axis of behavior counts as constant.

An animal at rest has a speed of 0 for much of the time, seldom for nine tenths of it."""

_LEAST = 10  # intervals: fewer prove nothing
_LEAST_ROWS = 100  # bins of a session: fewer prove nothing either
_COLUMNS = ("check", "variable", "name", "value", "limit", "unit", "meaning")


def check_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Look for what makes bad science of a valid session.

    ==================  ==========================================================================
    check               what is found
    ==================  ==========================================================================
    clipped             channels that stay at their extreme values: the amplifier was saturated
    dead                channels that are constant, NaN throughout or far below all others; units
                        without a spike
    duplicated          pairs of channels, or of units, that are one and the same
    refractory          units with more intervals below 1.5 ms than one neuron can have
    drift               the clocks of spikes and LFP run apart (cross-correlation over time)
    constant behavior   axes that are constant, for all or nearly all of the time, or NaN
    ==================  ==========================================================================

    Limits are set so that what is found is wrong, not so that all that is wrong is found: they and
    their reasons are the constants of :mod:`spikelfp_lab.sessions.quality`. What can be seen:

    - Filters smear flat tops, so that clipping shows only in samples as they were recorded. Where
      these pass through :func:`spikelfp_lab.open_session` or
      :func:`spikelfp_lab.session_from_arrays`, they are counted there and kept as the coordinate
      ``clipped_share`` (channel). Of an LFP that was filtered elsewhere, only what is flat still.
    - Refractory violations need spike times, and are measured when these are counted in bins (see
      :func:`spikelfp_lab.sessions.refractory_coords`). Counts alone, in bins of 10 ms, cannot tell.
    - Drift needs units that are tied to the LFP, and two and a half minutes, gaps left out.
    - In a session of fewer than 100 bins nothing is looked for.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session.

    Returns
    -------
    pd.DataFrame
        A row a finding, none when all is well: ``check`` (above), ``variable``, ``name`` (of the
        unit, channel or axis; of a pair "a = b"), ``value`` and ``limit`` in ``unit``, and
        ``meaning``, a sentence with the cure.

    Raises
    ------
    SchemaError
        When it is a whole cohort, or no session at all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> lfp = rng.normal(size=(1000, 3)).astype("float32")
    >>> lfp[:, 2] = lfp[:, 0]
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)},
    ...     {"time": 0.01 * np.arange(1000), "channel": ["a", "b", "c"]}, {"bin_size_s": 0.01})
    >>> check_quality(session)[["check", "name", "limit"]].values.tolist()
    [['duplicated', 'c = a', 0.9999]]
    """
    dataset = as_dataset(session)
    with np.errstate(over="ignore", invalid="ignore"):  # of values too large to be a potential
        findings = [*_findings(dataset), *_told_by_reader(dataset)]
    table = pd.DataFrame(findings, columns=list(_COLUMNS))
    return table.astype({"value": float, "limit": float})


def _findings(dataset: xr.Dataset) -> Iterator[Finding]:
    if dataset.sizes.get("time", 0) < _LEAST_ROWS:
        return
    if "lfp" in dataset:
        part = thinned(dataset["lfp"].values)
        yield from _clipped(dataset, part)
        yield from _dead(dataset, part)
        yield from _twin_channels(dataset, part)
    if "spikes" in dataset:
        yield from _silent(dataset)
        yield from _twin_units(dataset)
        yield from _refractory(dataset)
    if "spikes" in dataset and "lfp" in dataset:
        yield from _drifting(dataset)
    if "behavior" in dataset:
        yield from _constant(dataset)


def add_finding(
    session: xr.Dataset,
    what: str,
    where: str,
    message: str,
    value: float | None = None,
    limit: float | None = None,
) -> xr.Dataset:
    """Note what only the reader of a file can know; :func:`check_quality` lists it.

    Parameters
    ----------
    session : xr.Dataset
        A session; it is not changed.
    what, where : str
        Kind of finding, and the name of the unit, channel, axis or object of the file.
    message : str
        What it is, how much, and the cure, in a sentence or two.
    value, limit : float, optional
        What was measured, and what is tolerated.

    Returns
    -------
    xr.Dataset
        The same data with one more finding in ``attrs["findings"]`` (JSON).

    Examples
    --------
    >>> noted = add_finding(xr.Dataset(), "spike times", "u003", "They end after the LFP.", 12.0)
    >>> check_quality(noted)[["check", "name", "value"]].values.tolist()
    [['spike times', 'u003', 12.0]]
    """
    finding = {"what": what, "where": where, "value": value, "limit": limit, "message": message}
    listed = [*json.loads(session.attrs.get("findings", "[]")), finding]
    return session.assign_attrs(findings=json.dumps(listed))


def _told_by_reader(dataset: xr.Dataset) -> Iterator[Finding]:
    """The findings of ``attrs["findings"]``."""
    for each in json.loads(dataset.attrs.get("findings", "[]")):
        value, limit = (np.nan if each[key] is None else each[key] for key in ("value", "limit"))
        yield Finding(each["what"], "session", each["where"], value, limit, "", each["message"])


def warn_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Issue one warning that lists what :func:`check_quality` finds, if anything.

    ``open_session`` and ``open_cohort`` call this for every session; of one made from arrays ask :func:`check_quality`.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A session.

    Returns
    -------
    pd.DataFrame
        The findings.

    Warns
    -----
    SpikeLFPWarning
        Names and numbers of the findings, the first three of each kind, and the cures.

    Examples
    --------
    >>> lfp = np.stack([np.arange(200.0), np.zeros(200)], axis=1).astype("float32")
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b"]},
    ...     {"bin_size_s": 0.01, "subject": "I", "session": "s01"})
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     table = warn_quality(session)
    >>> print(str(caught[0].message).splitlines()[1])
      dead: 1 channel: b (sd 0, limit 0). It carries no signal. Leave it out: drop_bad_channels(session).
    """
    dataset = as_dataset(session)
    table = check_quality(dataset)
    if len(table):
        warnings.warn(told(dataset, table), SpikeLFPWarning, stacklevel=3)
    return table


def _clipped(dataset: xr.Dataset, part: np.ndarray) -> Iterator[Finding]:
    share = np.zeros(part.shape[1])
    if dataset["lfp"].attrs.get("kind", "LFP") == "LFP":  # a feature may well end at 0
        share = clipped_share(part)
    recorded = _measured(dataset, "clipped_share", "channel")
    share = share if recorded is None else np.fmax(share, recorded)
    for index in np.flatnonzero(share >= CLIPPED):
        yield Finding(
            "clipped", "lfp", _label(dataset, "channel", index), 100 * share[index],
            100 * CLIPPED, "% of samples",
            "It stays at its extreme values: the amplifier was saturated, and what it tells then is "
            "the limit. Leave it out with drop_sel(channel=[...]), or those stretches with isel.",
        )  # fmt: skip


def _dead(dataset: xr.Dataset, part: np.ndarray) -> Iterator[Finding]:
    lfp = dataset["lfp"]
    # features of several kinds need not be of one size, potentials are
    potential = lfp.attrs.get("kind", "LFP") == "LFP" and part.shape[1] >= 4
    known = np.isfinite(part)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, part, 0)
    mean = filled.sum(axis=0, dtype=float) / count
    deviation = np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(axis=0) / count)
    flat = deviation <= 1e-6 * np.abs(mean)
    usual = float(np.median(deviation[~flat])) if not flat.all() else 0.0
    limit = DEAD * usual if potential else 0.0
    for index in np.flatnonzero(flat | (deviation < limit)):
        column = lfp.values[:, index]
        constant = not np.fmin.reduce(column) < np.fmax.reduce(column)
        if flat[index] and not constant:
            continue  # constant where it was looked at, not everywhere
        meaning = "It carries no signal. Leave it out: drop_bad_channels(session)."
        if not constant:
            meaning = (
                f"Its amplitude is {deviation[index] / usual:.2g} of the median channel's: an open "
                "or grounded input. Leave it out with drop_sel(channel=[...])."
            )
        if not known[:, index].any():
            meaning = "It is NaN throughout. Leave it out: drop_bad_channels(session)."
        unit = str(lfp.attrs.get("units", ""))
        yield Finding(
            "dead", "lfp", _label(dataset, "channel", index), float(deviation[index]), limit,
            f"sd, {unit}" if unit else "sd", meaning,
        )  # fmt: skip


def _twin_channels(dataset: xr.Dataset, part: np.ndarray) -> Iterator[Finding]:
    first, correlation = same_channels(part)
    for index in np.flatnonzero(first >= 0):
        yield Finding(
            "duplicated", "lfp",
            f"{_label(dataset, 'channel', index)} = {_label(dataset, 'channel', first[index])}",
            float(correlation[index]), SAME_CHANNEL, "correlation",
            "They are one signal: a bridge between wires, or a channel stored twice. Leave the first "
            "of the pair out with drop_sel(channel=[...]).",
        )  # fmt: skip


def _silent(dataset: xr.Dataset) -> Iterator[Finding]:
    for index in np.flatnonzero(~dataset["spikes"].values.any(axis=0)):
        yield Finding(
            "dead", "spikes", _label(dataset, "unit", index), 0.0, 0.0, "spikes",
            "It has not a single spike. Leave it out: drop_bad_channels(session).",
        )  # fmt: skip


def _twin_units(dataset: xr.Dataset) -> Iterator[Finding]:
    first, correlation = same_units(dataset["spikes"].values)
    for index in np.flatnonzero(first >= 0):
        yield Finding(
            "duplicated", "spikes",
            f"{_label(dataset, 'unit', index)} = {_label(dataset, 'unit', first[index])}",
            float(correlation[index]), SAME_UNIT, "correlation",
            "They have the same spikes: one neuron sorted twice, or a unit stored twice. Leave the "
            "first of the pair out with drop_sel(unit=[...]).",
        )  # fmt: skip


def _refractory(dataset: xr.Dataset) -> Iterator[Finding]:
    share = _measured(dataset, "refractory_violations", "unit")
    chance = _measured(dataset, "refractory_chance", "unit")
    if share is None or chance is None:
        return
    spikes = dataset["spikes"].values.sum(axis=0, dtype=float)
    telling = chance * spikes >= 2
    sort = telling.any() and np.median(share[telling] / chance[telling]) < _CHANCE["sorted"]
    times = _CHANCE["sorted" if sort else "multi-unit"]
    limit = np.maximum(REFRACTORY, times * chance)
    # five standard deviations of a count: with a hundred units, chance would be seen at three
    beyond = share * spikes > limit * spikes + 5 * np.sqrt(limit * spikes)
    for index in np.flatnonzero(beyond & (share * spikes >= _LEAST)):
        yield Finding(
            "refractory", "spikes", _label(dataset, "unit", index), 100 * float(share[index]),
            100 * float(limit[index]), "% of intervals",
            f"So many of its intervals are shorter than {1000 * REFRACTORY_S:g} ms, which "
            + ("no single neuron has: others are mixed in, or spikes were detected twice. "
               if sort else "is more than independent spikes have: spikes were detected twice. ")
            + "Sort it again, or leave it out with drop_sel(unit=[...]).",
        )  # fmt: skip


def _drifting(dataset: xr.Dataset) -> Iterator[Finding]:
    time, bin_size_s = dataset["time"].values, float(dataset.attrs["bin_size_s"])
    if bin_size_s > DRIFT_S:
        return
    found = clock_drift(
        dataset["spikes"].values, dataset["lfp"].values, time, bin_size_s=bin_size_s
    )
    if found is None:
        return
    # a peak that stands out, and clearly higher than without a drift
    sure = found.peak > max(4.0, 2 * found.elsewhere) and found.at_zero < 0.92 * found.peak
    if sure and abs(found.seconds) > DRIFT_S:
        per_million = 1e6 * found.seconds / (time[-1] - time[0])
        yield Finding(
            "drift", "lfp", "lfp against spikes", found.seconds, DRIFT_S, "s over the session",
            f"The LFP {'falls behind' if found.seconds > 0 else 'runs ahead of'} the spikes, by "
            f"{abs(per_million):.0f} parts in a million: two clocks, or a wrong sampling rate. Correct "
            "the rate or the timestamps of one of them where the session is made.",
        )  # fmt: skip


def _constant(dataset: xr.Dataset) -> Iterator[Finding]:
    behavior = dataset["behavior"].values
    for index in range(behavior.shape[1]):
        column = behavior[:, index]
        column = column[np.isfinite(column)]
        name = _label(dataset, "behavior_dim", index)
        if not column.size:
            yield Finding(
                "constant behavior", "behavior", name, 0.0, 0.0, "% of bins known",
                "It is NaN throughout. Leave it out with drop_sel(behavior_dim=[...]), or check "
                "clock and units of the behavior.",
            )  # fmt: skip
            continue
        values, counts = np.unique(column, return_counts=True)
        share = counts.max() / column.size
        if share >= CONSTANT:
            yield Finding(
                "constant behavior", "behavior", name, 100 * share, 100 * CONSTANT,
                f"% of bins at {values[counts.argmax()]:g}",
                "There is nothing to decode while it stays the same, and scores of it mean nothing. "
                "Leave it out with drop_sel(behavior_dim=[...]), or the time in which it does.",
            )  # fmt: skip


def _measured(dataset: xr.Dataset, name: str, dim: str) -> np.ndarray | None:
    """What was measured when the session was made, if it was: anyone may have a coordinate of that name."""
    if name not in dataset.coords or dataset[name].dims != (dim,):
        return None
    values = dataset[name].values
    return values.astype(float) if values.dtype.kind == "f" else None


def _label(dataset: xr.Dataset, dim: str, index: Any) -> str:
    return str(dataset[dim].values[index])
