"""What is wrong with a session that the schema cannot know: names, numbers and cures."""

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.sessions._measures import (
    LEAST,
    LEAST_SPIKES,
    LFP_ROWS,
    REFRACTORY_S,
    SAME_CHANNEL,
    SAME_UNIT,
    clipped_share,
    clock_drift,
    same_channels,
    same_units,
)
from spikelfp_lab.sessions.schema import as_dataset, observed_mask

CLIPPED = 0.001  # of a channel's samples at its extremes: 0.6 s in ten minutes; artifacts are fewer
DEAD = 0.05  # SD over the median channel's; those of one array differ by a factor of 2 or 3
REFRACTORY = 0.01  # share of violations that is never worth a finding
# How many times the violations of independent spikes are too many: beyond a half, other neurons
# gave the most spikes (Hill et al.); of multi-unit activity, twice as many are detected twice.
_CHANCE = {"sorted": 0.5, "multi-unit": 2.0}
DRIFT_S = 0.2  # over the session; without a drift the estimate stays within about 0.1 s
CONSTANT = 0.9  # of bins with one value; a resting animal has a speed of 0 for less of the time
MISSING = 0.05  # of the time in which other channels are there
SILENT = 0.25  # of the session, in one stretch ten times as long as the unit's next longest
MAINS = 0.2  # of the rest of the LFP: 4 % of its variance

_LEAST_ROWS = 100  # bins of a session: fewer prove nothing
_SHOWN = 3  # findings of a kind in a warning
_THINGS = {"lfp": "channel", "spikes": "unit", "behavior": "axis", "session": "finding"}
_LEAVE = "Leave it out with drop_sel({}=[...])."


class _Finding(NamedTuple):
    check: str
    variable: str
    name: str
    value: float
    limit: float
    unit: str
    meaning: str


def check_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Look for what makes bad science of a valid session.

    ==================  ==========================================================================
    check               what is found
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

    Limits are set so that what is found is wrong, not so that all that is wrong is found; they
    stand at the top of this file. Clipping, mains and refractory violations show before filters
    and bins only, and are measured where a session is made of its recording. Drift needs two and
    a half minutes. In a session of fewer than 100 bins nothing is looked for.

    Gives a row a finding: ``check``, ``variable``, ``name`` (of the unit, channel or axis; of a
    pair "a = b"), ``value`` and ``limit`` in ``unit``, and ``meaning``, a sentence with the cure. A
    SchemaError when it is a whole cohort, or no session at all.

    >>> lfp = np.random.default_rng(0).normal(size=(1000, 3)).astype("float32")
    >>> lfp[:, 2] = lfp[:, 0]
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)},
    ...     {"time": 0.01 * np.arange(1000), "channel": ["a", "b", "c"]}, {"bin_size_s": 0.01})
    >>> check_quality(session)[["check", "name", "limit"]].values.tolist()
    [['duplicated', 'c = a', 0.9999]]
    """
    dataset = as_dataset(session)
    findings: list[_Finding] = []
    with np.errstate(over="ignore", invalid="ignore"):  # of values too large to be a potential
        if dataset.sizes.get("time", 0) >= _LEAST_ROWS:
            if "lfp" in dataset:
                findings += _lfp(dataset)
            if "spikes" in dataset:
                findings += [*_spikes(dataset), *_refractory(dataset)]
            if "spikes" in dataset and "lfp" in dataset:
                findings += _drifting(dataset)
            if "behavior" in dataset:
                findings += _constant(dataset)
    for each in json.loads(dataset.attrs.get("findings", "[]")):
        value, limit = (np.nan if each[key] is None else each[key] for key in ("value", "limit"))
        noted = each["what"], "session", each["where"], value, limit, "", each["message"]
        findings.append(_Finding(*noted))
    table = pd.DataFrame(findings, columns=list(_Finding._fields))
    return table.astype({"value": float, "limit": float})


def add_finding(
    session: xr.Dataset,
    what: str,
    where: str,
    message: str,
    value: float | None = None,
    limit: float | None = None,
) -> xr.Dataset:
    """Note what only the reader of a file can know; :func:`check_quality` lists it.

    ``what`` is the kind of finding, ``where`` the name of a unit, channel, axis or object of the
    file, ``message`` a sentence with the cure, ``value`` what was measured, ``limit`` what is
    tolerated. Gives the same data with one more finding in ``attrs["findings"]`` (JSON).

    >>> noted = add_finding(xr.Dataset(), "spike times", "u003", "They end after the LFP.", 12.0)
    >>> check_quality(noted)[["check", "name", "value"]].values.tolist()
    [['spike times', 'u003', 12.0]]
    """
    finding = {"what": what, "where": where, "value": value, "limit": limit, "message": message}
    listed = [*json.loads(session.attrs.get("findings", "[]")), finding]
    return session.assign_attrs(findings=json.dumps(listed))


def add_mains(
    session: xr.Dataset, shares: Mapping[int, np.ndarray], *, line_hz: float | None
) -> xr.Dataset:
    """Note mains that a filter left in, as :func:`spikelfp_lab.signal.mains_left` finds them."""
    for hz, share in shares.items():
        count = int((share > MAINS).sum())
        if count:
            message = (
                f"Mains at {hz} Hz are left in {count} of {share.size} channels, up to "
                f"{100 * share.max():.0f} % of the rest of the LFP: line_hz was {line_hz}. Open it "
                f"with line_hz={hz}."
            )
            session = add_finding(
                session, "mains", "lfp", message, 100 * float(share.max()), 100 * MAINS
            )
    return session


def warn_quality(session: xr.Dataset | xr.DataTree) -> pd.DataFrame:
    """Issue one warning (SpikeLFPWarning) that lists what :func:`check_quality` finds, if anything.

    ``open_session`` and ``open_cohort`` call this for every session. Gives the findings.

    >>> lfp = np.stack([np.arange(200.0), np.zeros(200)], axis=1).astype("float32")
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b"]},
    ...     {"bin_size_s": 0.01, "subject": "I", "session": "s01"})
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     table = warn_quality(session)
    >>> print(str(caught[0].message).splitlines()[1])
      dead: 1 channel: b (sd 0, limit 0). It carries no signal: drop_bad_channels(session).
    """
    dataset = as_dataset(session)
    table = check_quality(dataset)
    if len(table):
        who = f"{dataset.attrs.get('subject', '?')}/{dataset.attrs.get('session', '?')}"
        lines = [f"Session {who}: {len(table)} finding{'s' * (len(table) != 1)} of quality."]
        kinds: dict[tuple[str, str], list[_Finding]] = {}
        for row in map(_Finding._make, table.itertuples(index=False, name=None)):
            kinds.setdefault((row.check, row.variable), []).append(row)
        for (check, variable), found in kinds.items():
            more = ", ..." if len(found) > _SHOWN else ""
            if variable == "session":
                lines += [f"  {check}: {each.name}: {each.meaning}" for each in found[:_SHOWN]]
                lines += [f"  {check}: and {len(found) - _SHOWN} more."] if more else []
                continue
            many = _THINGS[variable].replace("axis", "axe") + "s"
            count = f"{len(found)} {_THINGS[variable] if len(found) == 1 else many}: "
            if check == "duplicated":
                count = f"{len(found)} pair{'s' * (len(found) != 1)} of {many}: "
            shown = [f"{each.name} ({_number(each)})" for each in found[:_SHOWN]]
            count = "" if check == "drift" else count
            lines.append(f"  {check}: {count}{', '.join(shown)}{more}. {found[0].meaning}")
        lines.append("  All of them with their numbers: spikelfp_lab.check_quality(session).")
        warnings.warn("\n".join(lines), SpikeLFPWarning, stacklevel=3)
    return table


def _number(row: _Finding) -> str:
    """The value with its unit, as one reads it."""
    name, _, of = row.unit.partition(", ")
    value = f"{name} {row.value:.5g}" + (f" {of}" if of else "")
    if row.unit.startswith(("%", "s over")):
        value = f"{row.value:.3g} {row.unit}"
    return f"{value}, limit {row.limit:.4g}"


def _labels(dataset: xr.Dataset, dim: str) -> list[str]:
    return [str(label) for label in dataset[dim].values]


def _measured(dataset: xr.Dataset, name: str, dim: str) -> np.ndarray | None:
    """What was measured when the session was made; anyone may have a coordinate of that name."""
    if name not in dataset.coords or dataset[name].dims != (dim,):
        return None
    values = dataset[name].values
    return values.astype(float) if values.dtype.kind == "f" else None


def _lfp(dataset: xr.Dataset) -> Iterator[_Finding]:
    lfp, names, leave = dataset["lfp"], _labels(dataset, "channel"), _LEAVE.format("channel")
    unit = ", ".join(filter(None, ["sd", str(lfp.attrs.get("units", ""))]))
    potential = lfp.attrs.get("kind", "LFP") == "LFP"  # features differ in size and may end at 0
    part = lfp.values[:: -(-lfp.shape[0] // LFP_ROWS)]
    share = clipped_share(part) if potential else np.zeros(len(names))
    recorded = _measured(dataset, "clipped_share", "channel")
    share = share if recorded is None else np.fmax(share, recorded)
    for index in np.flatnonzero(share >= CLIPPED):
        yield _Finding(
            "clipped", "lfp", names[index], 100 * share[index], 100 * CLIPPED, "% of samples",
            f"It stays at its extreme values: the amplifier was saturated. {leave}",
        )  # fmt: skip
    known = np.isfinite(part)
    mean, deviation = _moments(part, known)
    flat = deviation <= 1e-6 * np.abs(mean)
    usual = float(np.median(deviation[~flat])) if not flat.all() else 0.0
    limit = DEAD * usual if potential and len(names) >= 4 else 0.0
    dead = flat | (deviation < limit)
    for index in np.flatnonzero(dead):
        column = lfp.values[:, index]
        if not np.fmin.reduce(column) < np.fmax.reduce(column):
            meaning = "It carries no signal: drop_bad_channels(session)."
        elif flat[index]:
            dead[index] = False  # constant where it was looked at, not everywhere
            continue
        else:
            meaning = (
                f"Its amplitude is {deviation[index] / usual:.2g} of the median channel's: an open "
                f"or grounded input. {leave}"
            )
        yield _Finding("dead", "lfp", names[index], float(deviation[index]), limit, unit, meaning)
    missing = 1 - known[known.any(axis=1)].mean(axis=0)
    lost = np.zeros_like(missing)
    if potential and len(part) >= 1000:  # flat in some of twenty blocks in which others are not
        blocks = np.array_split(np.arange(len(part)), 20)
        level = np.stack([_moments(part[rows], known[rows])[1] for rows in blocks])
        faint = level < DEAD * np.median(level, axis=0)
        faint[faint.mean(axis=1) > 0.5] = False
        lost = np.where(faint.sum(axis=0) >= 2, faint.mean(axis=0), 0)
    for index in np.flatnonzero(~dead & ((missing > MISSING) | (lost > missing))):
        nan = missing[index] >= lost[index]
        yield _Finding(
            "partial", "lfp", names[index], 100 * max(missing[index], lost[index]), 100 * MISSING,
            f"% {'NaN' if nan else 'flat'}",
            "It is there for a part of the session only: "
            + ("no window of LFP goes over the rest, for no channel. " if nan else "unplugged? ")
            + leave,
        )  # fmt: skip
    twins = same_channels(lfp.values)
    yield from _twins("lfp", names, *twins, SAME_CHANNEL, "one signal: a bridge, or stored twice")


def _moments(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (C,) of what is known."""
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0)
    mean = filled.sum(axis=0, dtype=float) / count
    return mean, np.sqrt((np.where(known, filled - mean, 0) ** 2).sum(axis=0) / count)


def _twins(
    variable: str,
    names: list[str],
    first: np.ndarray,
    correlation: np.ndarray,
    limit: float,
    why: str,
) -> Iterator[_Finding]:
    for index in np.flatnonzero(first >= 0):
        yield _Finding(
            "duplicated", variable, f"{names[index]} = {names[first[index]]}",
            float(correlation[index]), limit, "correlation",
            f"They are {why}. Leave the first out with drop_sel({_THINGS[variable]}=[...]).",
        )  # fmt: skip


def _spikes(dataset: xr.Dataset) -> Iterator[_Finding]:
    counts, names = dataset["spikes"].values, _labels(dataset, "unit")
    observed = observed_mask(dataset)
    for index, column in enumerate(counts.T):
        there = slice(None) if observed is None else observed[:, index]
        fired = np.flatnonzero(column[there])
        size = column[there].size
        if not fired.size:
            yield _Finding(
                "dead", "spikes", names[index], 0.0, 0.0, "spikes",
                "It has not a single spike: drop_bad_channels(session).",
            )  # fmt: skip
            continue
        if 1 - size / column.size > MISSING:
            yield _Finding(
                "partial", "spikes", names[index], 100 * (1 - size / column.size), 100 * MISSING,
                "% not observed",
                "It was observed for a part of the session only, which training and read-outs "
                f"leave out. {_LEAVE.format('unit')}",
            )  # fmt: skip
        gaps = np.sort(np.diff(fired, prepend=-1, append=size))
        if fired.size >= LEAST_SPIKES and gaps[-1] > max(SILENT * size, 10 * gaps[-2]):
            yield _Finding(
                "partial", "spikes", names[index], 100 * gaps[-1] / size, 100 * SILENT, "% silent",
                "It is silent in one stretch, far longer than ever else: was it there? "
                + _LEAVE.format("unit"),
            )  # fmt: skip
    twins = same_units(counts)
    yield from _twins("spikes", names, *twins, SAME_UNIT, "one neuron sorted, or stored, twice")


def _refractory(dataset: xr.Dataset) -> Iterator[_Finding]:
    share = _measured(dataset, "refractory_violations", "unit")
    chance = _measured(dataset, "refractory_chance", "unit")
    if share is None or chance is None:
        return
    spikes, names = dataset["spikes"].values.sum(axis=0, dtype=float), _labels(dataset, "unit")
    telling = chance * spikes >= 2
    sort = telling.any() and np.median(share[telling] / chance[telling]) < _CHANCE["sorted"]
    limit = np.maximum(REFRACTORY, _CHANCE["sorted" if sort else "multi-unit"] * chance)
    # five standard deviations of a count: with a hundred units, chance would be seen at three
    beyond = share * spikes > limit * spikes + 5 * np.sqrt(limit * spikes)
    why = "no single neuron has: others are mixed in, or spikes were detected twice"
    why = why if sort else "is more than independent spikes have: spikes were detected twice"
    for index in np.flatnonzero(beyond & (share * spikes >= LEAST)):
        yield _Finding(
            "refractory", "spikes", names[index], 100 * float(share[index]),
            100 * float(limit[index]), "% of intervals",
            f"So many intervals are shorter than {1000 * REFRACTORY_S:g} ms, which {why}. "
            f"Sort it again. {_LEAVE.format('unit')}",
        )  # fmt: skip


def _constant(dataset: xr.Dataset) -> Iterator[_Finding]:
    leave = _LEAVE.format("behavior_dim")
    for name, column in zip(
        _labels(dataset, "behavior_dim"), dataset["behavior"].values.T, strict=True
    ):
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        share = counts.max(initial=0) / max(counts.sum(), 1)
        if not counts.size:
            yield _Finding(
                "constant behavior", "behavior", name, 0.0, 0.0, "% of bins known",
                f"It is NaN throughout. Check clock and units of the behavior. {leave}",
            )  # fmt: skip
        elif share >= CONSTANT:
            yield _Finding(
                "constant behavior", "behavior", name, 100 * share, 100 * CONSTANT,
                f"% of bins at {values[counts.argmax()]:g}",
                f"There is nothing to decode while it stays the same. {leave}",
            )  # fmt: skip


def _drifting(dataset: xr.Dataset) -> Iterator[_Finding]:
    time, bin_size_s = dataset["time"].values, float(dataset.attrs["bin_size_s"])
    spikes, lfp = dataset["spikes"].values, dataset["lfp"].values
    found = None
    if bin_size_s <= DRIFT_S:
        found = clock_drift(spikes, lfp, time, bin_size_s=bin_size_s)
    # a peak that stands out, and clearly higher than without a drift
    if (
        found is not None
        and found.peak > max(4.0, 2 * found.elsewhere)
        and found.at_zero < 0.92 * found.peak
        and abs(found.seconds) > DRIFT_S
    ):
        per_million = abs(1e6 * found.seconds / (time[-1] - time[0]))
        yield _Finding(
            "drift", "lfp", "lfp against spikes", found.seconds, DRIFT_S, "s over the session",
            f"The LFP {'falls behind' if found.seconds > 0 else 'runs ahead of'} the spikes, by "
            f"{per_million:.0f} parts in a million: two clocks, or a wrong sampling rate. Correct "
            "it where the session is made.",
        )  # fmt: skip
