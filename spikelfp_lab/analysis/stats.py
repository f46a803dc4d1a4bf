"""Are the differences between models more than chance? Paired, over sessions and seeds.

Few sessions allow few conclusions, and these functions say so instead of hiding it: every test
comes with its numbers of pairs, sessions and seeds and the smallest p it could have given.
Sessions are what is sampled: intervals resample them, never bins, and seeds at most within them.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from spikelfp_lab.errors import ConfigError, DataError

UNIT = ("session", "seed")
RESAMPLES = 9999


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    *,
    sessions: Sequence[object] | np.ndarray | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over sessions.

    Give one value for each independent unit, that is for each session (average the seeds first).
    With fewer than about eight the interval is narrower than it claims to be. Or give all values
    and the session of each: sessions are then resampled and, within each, its values. Every session
    weighs the same. That interval is a little wider, since it counts the chance of a seed twice
    where there are few.

    Parameters
    ----------
    values : sequence of float
        (n,), without NaN.
    sessions : sequence, optional
        (n,) the session of each value; by default each value is a session of its own.
    level : float
        Confidence level.
    seed : int
        Of the resampling.

    Returns
    -------
    tuple of float
        Low and high, in the units of the values; NaN both for a single value or session.

    Raises
    ------
    DataError
        No values, or NaN among them; another number of sessions than of values.

    References
    ----------
    Efron & Tibshirani 1993; ``scipy.stats.bootstrap``. Two levels: Saravanan, Berman & Sober,
    Neurons, Behavior, Data analysis and Theory 2020.

    Examples
    --------
    >>> low, high = bootstrap_interval([0.50, 0.52, 0.54, 0.60])
    >>> round(low, 2), round(high, 2)
    (0.51, 0.58)
    >>> low, high = bootstrap_interval([0.4, 0.6, 0.5, 0.7], sessions=["s1", "s1", "s2", "s2"])
    >>> round(low, 2), round(high, 2)
    (0.45, 0.65)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError(
            f"The mean of {values.size} values, {int(np.isnan(values).sum())} of them NaN, has no "
            "interval: leave out what could not be scored, and say so."
        )
    if sessions is not None:
        return _two_level_interval(values, np.asarray(sessions), level, seed)
    if values.size == 1:
        return (np.nan, np.nan)
    result = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(seed),  # pyright: ignore (its name before scipy 1.15)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def paired_test(
    scores: pd.DataFrame,
    *,
    a: str,
    b: str,
    unit: Sequence[str] = UNIT,
    value: str = "r2",
    seeds: Literal["average", "resample"] = "average",
) -> dict[str, float | int | str]:
    """Wilcoxon signed-rank test of two models over the units that both were scored on.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy: ``model``, the columns of ``unit``, and ``value``. Further rows of a unit (the axes)
        are averaged. A model without seeds (all NaN there) is paired with every seed of the other.
    a, b : str
        Names in ``model``; the difference is a - b.
    unit : sequence of str
        What makes a pair. The seeds of a session share its data, so ``("session",)`` is the
        stricter test. The first column is what the interval resamples.
    value : str
        Column that is compared.
    seeds : {"average", "resample"}
        What the interval does with the pairs of a session: average them, or resample them too.

    Returns
    -------
    dict
        ``a``, ``b``; ``n`` pairs, of ``n_sessions`` (values of the first column of ``unit``) and
        ``n_seeds`` (1 where there is no column "seed"); ``difference``: mean over sessions (every
        session weighs the same), with its 95 % bootstrap interval ``low`` and ``high``; ``wins``:
        pairs in which a is ahead, and ``share``, of all pairs; ``effect``: rank-biserial
        correlation, from -1 (b always ahead) to 1; ``d_z``: Cohen's, the mean of the pairs'
        differences over their standard deviation (NaN where that is 0 or unknown); ``p``,
        two-sided; ``p_min``, the least that so many pairs can give (2 / 2^n).

    Raises
    ------
    DataError
        An unknown model or column; more than one split; units that only one of them has; NaN.
    ConfigError
        An unknown ``seeds``.

    References
    ----------
    Wilcoxon 1945; effect sizes: Kerby, Comprehensive Psychology 2014 (rank-biserial); Lakens,
    Frontiers in Psychology 2013 (d_z).

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": ["Distilled"] * 3 + ["MS-LFP"] * 3,
    ...     "session": ["s1", "s2", "s3"] * 2,
    ...     "seed": 0,
    ...     "r2": [0.6, 0.5, 0.7, 0.3, 0.4, 0.35],
    ... })
    >>> test = paired_test(scores, a="Distilled", b="MS-LFP")
    >>> test["n"], test["wins"], test["effect"], test["p"], test["p_min"]
    (3, 3, 1.0, 0.25, 0.25)
    >>> test["n_sessions"], test["n_seeds"], test["share"], round(test["d_z"], 2)
    (3, 1, 1.0, 1.89)
    """
    if seeds not in ("average", "resample"):
        raise ConfigError(f"Unknown seeds {seeds!r}: give 'average' or 'resample'.")
    _check(scores, [*unit, "model", value])
    tables = []
    for model in (a, b):
        table = scores.loc[scores["model"] == model]
        if table.empty:
            known = ", ".join(map(str, scores["model"].unique()))
            raise DataError(f"No scores of the model {model!r}; there are: {known}.")
        lost = int(np.isnan(table[value].to_numpy(dtype=float)).sum())
        if lost:
            raise DataError(
                f"{lost} scores of {model!r} are NaN: leave out those "
                "units for every model, and say so."
            )
        tables.append(table)
    keys = [name for name in unit if not any(table[name].isna().all() for table in tables)]
    means = []
    for table in tables:
        # a model with seeds keeps them as pairs even when the other has none
        own = [name for name in unit if not table[name].isna().all()]
        means.append(table.groupby(own, sort=True)[value].mean().rename("score").reset_index())
    pairs = means[0].merge(means[1], on=keys, suffixes=("_a", "_b"))
    for model, mean in zip((a, b), means, strict=True):
        unmatched = len(mean) - len(mean.merge(pairs[keys].drop_duplicates(), on=keys))
        if unmatched:
            raise DataError(
                f"{unmatched} of the {len(mean)} units ({', '.join(keys)}) of {model!r} have no "
                f"partner ({a!r} against {b!r}): score both on the same ones."
            )
    differences = (pairs["score_a"] - pairs["score_b"]).to_numpy()
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    sessions = pairs[keys[0]].to_numpy()
    clusters = (pairs["score_a"] - pairs["score_b"]).groupby(sessions).mean().to_numpy()
    if seeds == "average":
        low, high = bootstrap_interval(clusters)
    else:
        low, high = bootstrap_interval(differences, sessions=sessions)
    p = stats.wilcoxon(changed)[1] if changed.size else 1.0
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    size = np.abs(differences).max()
    used = pd.concat(tables)
    return {
        "a": a,
        "b": b,
        "n": len(pairs),
        "n_sessions": len(clusters),
        "n_seeds": max(1, int(used["seed"].dropna().unique().size)) if "seed" in used else 1,
        "difference": float(clusters.mean()),
        "low": low,
        "high": high,
        "wins": int((differences > 0).sum()),
        "share": float((differences > 0).mean()),
        "effect": float((ranks * np.sign(changed)).sum() / ranks.sum()) if changed.size else 0.0,
        # equal differences leave a spread of rounding errors, not of exactly 0
        "d_z": float(differences.mean() / spread) if spread > 1e-9 * size else np.nan,
        "p": float(np.asarray(p)),
        "p_min": min(1.0, 2.0 / 2.0**changed.size),
    }


def compare(
    scores: pd.DataFrame,
    *,
    reference: str,
    against: Sequence[str] | None = None,
    by: Sequence[str] | None = None,
    family: Sequence[str] = (),
    unit: Sequence[str] = UNIT,
    value: str = "r2",
    seeds: Literal["average", "resample"] = "average",
) -> pd.DataFrame:
    """One model against every other: :func:`paired_test` for each, false discoveries controlled.

    Parameters
    ----------
    scores : pd.DataFrame
        As for :func:`paired_test`; with a column ``readout``, each read-out is compared by itself.
    reference : str
        The model that is compared with the others.
    against : sequence of str, optional
        The others; by default all.
    by : sequence of str, optional
        Columns, such as ``("cohort", "readout")``, of which each combination is compared by itself.
    family : sequence of str
        Those of ``by`` that tell one family of comparisons from another, as in
        :func:`control_false_discoveries`; by default all rows are one family.
    unit, value, seeds
        As for :func:`paired_test`.

    Returns
    -------
    pd.DataFrame
        One row a pair (and combination): the columns of ``by``, then what :func:`paired_test`
        returns, with ``a`` the reference (a positive difference: the reference is ahead), then
        ``p_adjusted`` and ``n_family``.

    Raises
    ------
    DataError
        As :func:`paired_test`, or no other model.
    ConfigError
        A ``family`` that is not in ``by``.

    References
    ----------
    Benjamini & Hochberg 1995; ``scipy.stats.false_discovery_control``.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": np.repeat(["Distilled", "MS-LFP", "SS-LFP"], 6),
    ...     "session": list("abcdef") * 3,
    ...     "seed": 0,
    ...     "r2": np.arange(18) % 6 / 10 + np.repeat([0.3, 0.2, 0.1], 6),
    ... })
    >>> compare(scores, reference="Distilled")[["b", "n", "p", "p_adjusted"]].to_dict("list")
    {'b': ['MS-LFP', 'SS-LFP'], 'n': [6, 6], 'p': [0.03125, 0.03125], 'p_adjusted': [0.03125, 0.03125]}
    """
    by = [name for name in ("readout",) if name in scores] if by is None else list(by)
    if lost := [name for name in family if name not in by]:
        raise ConfigError(
            f"family names {', '.join(lost)}, which is not in by ({', '.join(by) or 'none'}): "
            "comparisons are only told apart by the columns of by."
        )
    _check(scores, [*unit, *by, "model", value])
    rows = []
    groups: list[tuple[Any, pd.DataFrame]] = [((), scores)]
    if by:
        groups = list(scores.groupby(by, sort=False, dropna=False))
    for labels, group in groups:
        others = list(group["model"].unique()) if against is None else list(against)
        for model in others:
            if model != reference:
                test = paired_test(group, a=reference, b=model, unit=unit, value=value, seeds=seeds)
                rows.append(dict(zip(by, labels, strict=True)) | test)
    if not rows:
        raise DataError(f"There is no model but {reference!r} to compare it with.")
    return control_false_discoveries(pd.DataFrame(rows), family=family)


def control_false_discoveries(
    tests: pd.DataFrame, *, family: Sequence[str] = (), p: str = "p"
) -> pd.DataFrame:
    """Benjamini-Hochberg over each family of tests: all that are looked at to answer one question.

    :func:`compare` does it over its own rows; do it again over tests that are gathered from several
    tables, or of pairs chosen by hand.

    Parameters
    ----------
    tests : pd.DataFrame
        One row a test.
    family : sequence of str
        Columns of which each combination is a family of its own; by default all rows are one.
    p : str
        Column of the p values.

    Returns
    -------
    pd.DataFrame
        The same rows with ``p_adjusted``, below q where the share of false discoveries among all
        such rows is expected to be below q, and ``n_family``, the number of tests in the family.

    Raises
    ------
    DataError
        A missing column, or p values that are NaN or not from 0 to 1.

    References
    ----------
    Benjamini & Hochberg 1995; ``scipy.stats.false_discovery_control``.

    Examples
    --------
    >>> tests = pd.DataFrame({"readout": ["lagged"] * 3 + ["one_frame"], "p": [0.01, 0.02, 0.3, 0.04]})
    >>> control_false_discoveries(tests)["p_adjusted"].round(3).tolist()
    [0.04, 0.04, 0.3, 0.053]
    >>> control_false_discoveries(tests, family=["readout"])["p_adjusted"].round(3).tolist()
    [0.03, 0.03, 0.3, 0.04]
    """
    missing = [name for name in (*family, p) if name not in tests]
    if missing:
        raise DataError(
            f"The tests have no column {', '.join(missing)} (they have {', '.join(tests)}): one row "
            "a test, as paired_test returns."
        )
    if not tests[p].between(0, 1).all():
        raise DataError(
            f"{int((~tests[p].between(0, 1)).sum())} of the {len(tests)} p values in {p!r} are NaN "
            "or not from 0 to 1: leave out what could not be tested, and say so."
        )
    of_family = list(family) or np.zeros(len(tests))
    grouped = tests.groupby(of_family, dropna=False, sort=False)[p]
    return tests.assign(
        p_adjusted=grouped.transform(lambda values: stats.false_discovery_control(values)),
        n_family=grouped.transform("size"),
    )


def _two_level_interval(
    values: np.ndarray, sessions: np.ndarray, level: float, seed: int
) -> tuple[float, float]:
    """Sessions resampled, and in each the values that it has."""
    if sessions.shape != values.shape:
        raise DataError(f"{values.size} values have {sessions.size} sessions: give one for each.")
    _, of_value, counts = np.unique(sessions, return_inverse=True, return_counts=True)
    if counts.size == 1:
        return (np.nan, np.nan)
    rng = np.random.default_rng(seed)
    ordered = values[np.argsort(of_value, kind="stable")]
    first = np.cumsum(counts) - counts
    means = np.empty(RESAMPLES)
    # in pieces: sessions times values times resamples may be many
    for piece in np.array_split(np.arange(RESAMPLES), 20):
        drawn = rng.integers(counts.size, size=(piece.size, counts.size, 1))
        own = counts[drawn]
        nth = np.arange(counts.max())
        picked = ordered[
            first[drawn] + (rng.random((*drawn.shape[:2], nth.size)) * own).astype(int)
        ]
        means[piece] = (np.where(nth < own, picked, 0.0).sum(axis=2) / own[:, :, 0]).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(scores: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in scores]
    if missing:
        raise DataError(
            f"The scores have no column {', '.join(missing)} (they have {', '.join(scores)}): one "
            "row a score, as decode returns, with the model, session and seed added."
        )
    splits = sorted(set(scores["split"])) if "split" in scores else []
    if len(splits) > 1:
        raise DataError(
            f"The scores mix the splits {', '.join(splits)}: select one first, "
            "as in scores[scores['split'] == 'test']."
        )
