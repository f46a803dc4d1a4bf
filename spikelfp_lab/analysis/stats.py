"""Are the differences between models more than chance? Paired, over sessions and seeds.

Every test comes with its numbers of pairs, sessions and seeds and the smallest p it could have
given. Sessions are what is sampled: intervals resample them, never bins, nor seeds. ``scores`` are
tidy, of one split: ``model``, ``session``, ``seed``, a value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spikelfp_lab.errors import DataError

UNIT = ("session", "seed")


def bootstrap_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval (low, high) of the mean over sessions.

    Give one value a session (average the seeds first), none NaN. With fewer than about eight
    sessions the interval is narrower than it claims to be; a single value gives NaN.

    >>> low, high = bootstrap_interval([0.50, 0.52, 0.54, 0.60])
    >>> round(low, 2), round(high, 2)
    (0.51, 0.58)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError("No values, or NaN, have no interval: leave out what could not be scored.")
    if values.size == 1:
        return (np.nan, np.nan)
    options: dict[str, Any] = {"random_state": np.random.default_rng(0)}  # rng since scipy 1.15
    found = stats.bootstrap((values,), np.mean, method="percentile", **options)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def summarize(scores: pd.DataFrame, *, by: Sequence[str] = ("readout", "model")) -> pd.DataFrame:
    """Mean over sessions of each ``by``, with its 95 % bootstrap interval over sessions.

    Axes and seeds of a session are averaged first, so that every session weighs the same. Gives the
    columns of ``by``; ``r2``, ``low``, ``high``, ``n_sessions`` and ``n_seeds``.

    >>> scores = pd.DataFrame({"model": "Distilled", "readout": "lagged", "seed": [0, 1, 0],
    ...                        "session": ["s1", "s1", "s2"], "r2": [0.4, 0.6, 0.7]})
    >>> summarize(scores)[["r2", "n_sessions", "n_seeds"]].round(2).to_numpy().tolist()
    [[0.6, 2.0, 2.0]]
    """
    _check(scores, [*by, *UNIT, "r2"])
    rows = []
    groups: list[tuple[Any, pd.DataFrame]] = list(scores.groupby(list(by), sort=False))
    for labels, group in groups:
        # (session, seed), NaN where a session was not run with a seed
        wide = group.pivot_table(index="session", columns="seed", values="r2").to_numpy(float)
        means = np.nanmean(wide, axis=1)
        rows.append((*labels, means.mean(), *bootstrap_interval(means), *wide.shape))
    return pd.DataFrame(rows, columns=[*by, "r2", "low", "high", "n_sessions", "n_seeds"])


def paired_test(
    scores: pd.DataFrame, *, a: str, b: str, unit: Sequence[str] = UNIT
) -> dict[str, float | int | str]:
    """Wilcoxon signed-rank test of two models over the units that both were scored on.

    Further rows of a ``unit`` (the axes) are averaged. The seeds of a session share its data, so
    ``unit=("session",)`` is the stricter test; the interval resamples the first of ``unit``.

    Gives ``a``, ``b``; ``n`` pairs, ``n_sessions``, ``n_seeds``; ``difference`` a - b, the mean of
    sessions, and the 95 % bootstrap interval ``low`` to ``high``; ``wins``, pairs in which a is
    ahead, and ``share``, of all pairs; ``effect``, rank-biserial correlation, -1 to 1; ``d_z``,
    mean over SD of the differences; ``p``, two-sided; ``p_min``, the least that so many pairs can
    give (2 / 2^n).

    >>> scores = pd.DataFrame({"model": ["Distilled"] * 3 + ["MS-LFP"] * 3, "seed": 0,
    ...     "session": ["s1", "s2", "s3"] * 2, "r2": [0.6, 0.5, 0.7, 0.3, 0.4, 0.35]})
    >>> test = paired_test(scores, a="Distilled", b="MS-LFP")
    >>> test["n"], test["wins"], test["effect"], test["p"], test["p_min"], round(test["d_z"], 2)
    (3, 3, 1.0, 0.25, 0.25, 1.89)
    """
    _check(scores, [*unit, "model", "r2"])
    own = scores.loc[scores["model"].isin([a, b]), :]
    wide = own.pivot_table(index=list(unit), columns="model", values="r2").reindex(columns=[a, b])
    pairs = wide.to_numpy(float)
    lost = int(np.isnan(pairs).any(axis=1).sum())
    if lost or not pairs.size or own.loc[:, ["r2"]].isna().to_numpy().any():
        what = f"{lost} of the {len(pairs)} units ({', '.join(unit)}) of {a!r} and {b!r} have no"
        cure = f"score both on the same ones. The models are {scores['model'].unique().tolist()}."
        raise DataError(f"{what} partner, or some scores are NaN: {cure}")
    differences = pairs[:, 0] - pairs[:, 1]
    by_session = np.asarray(pd.Series(differences, wide.index).groupby(level=0).mean(), float)
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    varied = spread > 1e-9 * np.abs(differences).max()  # equal ones differ by rounding errors
    low, high = bootstrap_interval(by_session)
    return {
        "a": a, "b": b, "n": len(pairs), "n_sessions": len(by_session),
        "n_seeds": max(1, own["seed"].nunique()) if "seed" in own else 1,
        "difference": float(by_session.mean()), "low": low, "high": high,
        "wins": int((differences > 0).sum()), "share": float((differences > 0).mean()),
        "effect": float((ranks * np.sign(changed)).sum() / ranks.sum()) if changed.size else 0.0,
        "d_z": float(differences.mean() / spread) if varied else np.nan,
        "p": float(np.asarray(stats.wilcoxon(changed)[1])) if changed.size else 1.0,
        "p_min": min(1.0, 2.0 / 2.0**changed.size),
    }  # fmt: skip


def paired_tests(
    scores: pd.DataFrame, *, reference: str, against: Sequence[str] | None = None,
    unit: Sequence[str] = UNIT,
) -> pd.DataFrame:  # fmt: skip
    """:func:`paired_test` of one model and every other, false discoveries controlled.

    Each ``readout``, if there, is compared by itself, ``against`` some models or all. One row a
    pair: ``readout``, what :func:`paired_test` returns, ``p_adjusted``, ``n_family``; a positive
    difference means that the reference is ahead.

    >>> scores = pd.DataFrame({"model": np.repeat(["Distilled", "MS-LFP", "SS-LFP"], 6),
    ...     "seed": 0, "session": list("abcdef") * 3, "r2": np.repeat([3.0, 2.0, 1.0], 6)})
    >>> paired_tests(scores, reference="Distilled")[["b", "n", "p_adjusted"]].to_dict("list")
    {'b': ['MS-LFP', 'SS-LFP'], 'n': [6, 6], 'p_adjusted': [0.03125, 0.03125]}
    """
    _check(scores, [*unit, "model", "r2"])
    by = ["readout"] if "readout" in scores else []
    groups: list[Any] = list(scores.groupby(by or np.zeros(len(scores)), sort=False))
    rows = [
        {name: group[name].iloc[0] for name in by}
        | paired_test(group, a=reference, b=model, unit=unit)
        for _, group in groups
        for model in (group["model"].unique() if against is None else against)
        if model != reference
    ]
    if not rows:
        raise DataError(f"There is no model but {reference!r} to compare it with.")
    return control_false_discoveries(pd.DataFrame(rows))


def control_false_discoveries(tests: pd.DataFrame, *, family: Sequence[str] = ()) -> pd.DataFrame:
    """Benjamini-Hochberg over each family of tests: all that are looked at to answer one question.

    Adds ``p_adjusted`` and ``n_family`` to ``tests``, one row a test with ``p``, as of
    :func:`paired_tests`. Each combination of the columns ``family`` is a family of its own.

    >>> tests = pd.DataFrame({"readout": ["lagged"] * 2 + ["one_frame"], "p": [0.01, 0.3, 0.04]})
    >>> control_false_discoveries(tests, family=["readout"])["p_adjusted"].round(3).tolist()
    [0.02, 0.3, 0.04]
    """
    _check(tests, [*family, "p"])
    if not tests["p"].between(0, 1).all():
        raise DataError("p values are NaN or not from 0 to 1: leave out what could not be tested.")
    grouped = tests.groupby(list(family) or np.zeros(len(tests)), dropna=False, sort=False)["p"]
    adjusted, size = (grouped.transform(by) for by in (stats.false_discovery_control, "size"))
    return tests.assign(p_adjusted=adjusted, n_family=size)


def _check(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table without these columns, or of more than one split."""
    if missing := [name for name in columns if name not in table]:
        cure = "give one row a score, as decode returns, with the model, session and seed added."
        raise DataError(f"The table has no column {', '.join(missing)}: {cure}")
    if "split" in table and len(splits := sorted(set(table["split"]))) > 1:
        raise DataError(f"The scores mix the splits {', '.join(splits)}: select one first.")
