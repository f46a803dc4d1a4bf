"""Are the differences between models more than chance? Paired, over sessions and seeds.

Few sessions allow few conclusions, so every test comes with its numbers of pairs, sessions and
seeds and the smallest p it could have given. Sessions are what is sampled: intervals resample them,
never bins, nor seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from spikelfp_lab.errors import ConfigError, DataError

UNIT = ("session", "seed")


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean over sessions.

    Give one value a session (average the seeds first), none NaN. With fewer than about eight
    sessions the interval is narrower than it claims to be; a single value gives NaN.

    >>> low, high = bootstrap_interval([0.50, 0.52, 0.54, 0.60])
    >>> round(low, 2), round(high, 2)
    (0.51, 0.58)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError(
            f"The mean of {values.size} values, {int(np.isnan(values).sum())} of them NaN, has no "
            "interval: leave out what could not be scored, and say so."
        )
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


def summarize(
    scores: pd.DataFrame, *, by: Sequence[str] = ("readout", "model"), value: str = "r2"
) -> pd.DataFrame:
    """Mean over sessions of each model, with its 95 % bootstrap interval over sessions.

    Axes and seeds of a session are averaged first, so that every session weighs the same.

    Parameters
    ----------
    scores : pd.DataFrame
        Tidy, one split: ``session``, ``seed``, the columns of ``by``, and ``value``, without NaN.
    by : sequence of str
        What one row of the result is of.
    value : str
        Column that is averaged.

    Returns
    -------
    pd.DataFrame
        The columns of ``by``; ``value``, ``low``, ``high``, ``n_sessions`` and ``n_seeds``.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": "Distilled", "readout": "lagged", "session": ["s1", "s1", "s2"],
    ...     "seed": [0, 1, 0], "r2": [0.4, 0.6, 0.7],
    ... })
    >>> row = summarize(scores).iloc[0]
    >>> round(float(row["r2"]), 2), int(row["n_sessions"]), int(row["n_seeds"])
    (0.6, 2, 2)
    """
    _check(scores, [*by, "session", "seed", value])
    rows = []
    groups: list[tuple[Any, pd.DataFrame]] = list(scores.groupby(list(by), sort=False))
    for labels, group in groups:
        # (session, seed), NaN where a session was not run with a seed
        wide = group.pivot_table(index="session", columns="seed", values=value).to_numpy(float)
        by_session = np.nanmean(wide, axis=1)
        rows.append((*labels, by_session.mean(), *bootstrap_interval(by_session), *wide.shape))
    columns = [*by, value, "low", "high", "n_sessions", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


def paired_test(
    scores: pd.DataFrame, *, a: str, b: str, unit: Sequence[str] = UNIT, value: str = "r2"
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

    Returns
    -------
    dict
        ``a``, ``b``; ``n`` pairs, ``n_sessions``, ``n_seeds``; ``difference``, its mean over
        sessions, and the 95 % bootstrap interval ``low`` to ``high``; ``wins``, pairs in which a is
        ahead, and ``share``, of all pairs; ``effect``, rank-biserial correlation, -1 to 1; ``d_z``,
        mean over SD of the differences; ``p``, two-sided; ``p_min``, the least that so many pairs
        can give (2 / 2^n).

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": ["Distilled"] * 3 + ["MS-LFP"] * 3, "session": ["s1", "s2", "s3"] * 2,
    ...     "seed": 0, "r2": [0.6, 0.5, 0.7, 0.3, 0.4, 0.35],
    ... })
    >>> test = paired_test(scores, a="Distilled", b="MS-LFP")
    >>> test["n"], test["wins"], test["effect"], test["p"], test["p_min"], round(test["d_z"], 2)
    (3, 3, 1.0, 0.25, 0.25, 1.89)
    """
    _check(scores, [*unit, "model", value])
    means = []
    for model in (a, b):
        table = scores.loc[scores["model"] == model, :]
        if table.empty:
            known = ", ".join(map(str, scores["model"].unique()))
            raise DataError(f"No scores of the model {model!r}; there are: {known}.")
        if lost := int(table[value].isna().to_numpy().sum()):
            raise DataError(
                f"{lost} scores of {model!r} are NaN: leave out those units for every model, and "
                "say so."
            )
        own = [name for name in unit if not table[name].isna().to_numpy().all()]
        mean = table.groupby(own, sort=True).agg(score=(value, "mean"))
        means.append(mean.reset_index())
    keys = [name for name in unit if name in means[0] and name in means[1]]
    pairs = means[0].merge(means[1], on=keys, suffixes=("_a", "_b"))
    for model, mean in zip((a, b), means, strict=True):
        if unmatched := len(mean) - len(mean.merge(pairs[keys].drop_duplicates(), on=keys)):
            raise DataError(
                f"{unmatched} of the {len(mean)} units ({', '.join(keys)}) of {model!r} have no "
                f"partner ({a!r} against {b!r}): score both on the same ones."
            )
    paired = pairs["score_a"] - pairs["score_b"]
    by_session = paired.groupby(pairs[keys[0]]).mean().to_numpy()
    low, high = bootstrap_interval(by_session)
    differences = paired.to_numpy()
    changed = differences[differences != 0]
    ranks = stats.rankdata(np.abs(changed))
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    varied = spread > 1e-9 * np.abs(differences).max()  # equal ones differ by rounding errors
    return {
        "a": a,
        "b": b,
        "n": len(pairs),
        "n_sessions": len(by_session),
        "n_seeds": _seeds(scores, a, b),
        "difference": float(by_session.mean()),
        "low": low,
        "high": high,
        "wins": int((differences > 0).sum()),
        "share": float((differences > 0).mean()),
        "effect": float((ranks * np.sign(changed)).sum() / ranks.sum()) if changed.size else 0.0,
        "d_z": float(differences.mean() / spread) if varied else np.nan,
        "p": float(np.asarray(stats.wilcoxon(changed)[1])) if changed.size else 1.0,
        "p_min": min(1.0, 2.0 / 2.0**changed.size),
    }


def paired_tests(
    scores: pd.DataFrame,
    *,
    reference: str,
    against: Sequence[str] | None = None,
    by: Sequence[str] | None = None,
    family: Sequence[str] = (),
    unit: Sequence[str] = UNIT,
    value: str = "r2",
) -> pd.DataFrame:
    """One model against every other: :func:`paired_test` for each, false discoveries controlled.

    Parameters
    ----------
    scores, unit, value
        As for :func:`paired_test`.
    reference : str
        The model that is compared; a positive difference means that it is ahead.
    against : sequence of str, optional
        The others; by default all.
    by : sequence of str, optional
        Columns of which each combination is compared by itself; by default ``readout``, if there.
    family : sequence of str
        Those of ``by`` that tell one family of comparisons from another; by default all are one.

    Returns
    -------
    pd.DataFrame
        One row a pair (and combination): the columns of ``by``, what :func:`paired_test` returns,
        ``p_adjusted`` and ``n_family``.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": np.repeat(["Distilled", "MS-LFP", "SS-LFP"], 6),
    ...     "session": list("abcdef") * 3, "seed": 0,
    ...     "r2": np.arange(18) % 6 / 10 + np.repeat([0.3, 0.2, 0.1], 6),
    ... })
    >>> paired_tests(scores, reference="Distilled")[["b", "n", "p_adjusted"]].to_dict("list")
    {'b': ['MS-LFP', 'SS-LFP'], 'n': [6, 6], 'p_adjusted': [0.03125, 0.03125]}
    """
    by = [name for name in ("readout",) if name in scores] if by is None else list(by)
    if lost := [name for name in family if name not in by]:
        raise ConfigError(f"family names {', '.join(lost)}, not in by ({', '.join(by) or 'none'}).")
    _check(scores, [*unit, *by, "model", value])
    rows = []
    groups: list[tuple[Any, pd.DataFrame]] = [((), scores)]
    if by:
        groups = list(scores.groupby(by, sort=False, dropna=False))
    for labels, group in groups:
        for model in group["model"].unique() if against is None else against:
            if model != reference:
                test = paired_test(group, a=reference, b=model, unit=unit, value=value)
                rows.append(dict(zip(by, labels, strict=True)) | test)
    if not rows:
        raise DataError(f"There is no model but {reference!r} to compare it with.")
    return control_false_discoveries(pd.DataFrame(rows), family=family)


def control_false_discoveries(tests: pd.DataFrame, *, family: Sequence[str] = ()) -> pd.DataFrame:
    """Benjamini-Hochberg over each family of tests: all that are looked at to answer one question.

    Adds ``p_adjusted`` and ``n_family`` to ``tests``, one row a test with ``p``, as of
    :func:`paired_tests`. Each combination of the columns ``family`` is a family of its own.

    >>> tests = pd.DataFrame({"readout": ["lagged"] * 2 + ["one_frame"], "p": [0.01, 0.3, 0.04]})
    >>> control_false_discoveries(tests, family=["readout"])["p_adjusted"].round(3).tolist()
    [0.02, 0.3, 0.04]
    """
    if missing := [name for name in (*family, "p") if name not in tests]:
        raise DataError(f"The tests have no column {', '.join(missing)}: give one row a test.")
    if not tests["p"].between(0, 1).all():
        raise DataError(
            f"{int((~tests['p'].between(0, 1)).sum())} of the {len(tests)} p values are NaN or not "
            "from 0 to 1: leave out what could not be tested, and say so."
        )
    grouped = tests.groupby(list(family) or np.zeros(len(tests)), dropna=False, sort=False)["p"]
    return tests.assign(
        p_adjusted=grouped.transform(lambda values: stats.false_discovery_control(values)),
        n_family=grouped.transform("size"),
    )


def _seeds(scores: pd.DataFrame, *models: str) -> int:
    """Number of seeds of some models, 1 where there is no such column."""
    if "seed" not in scores:
        return 1
    return max(1, len(set(scores.loc[scores["model"].isin(models), "seed"].dropna())))


def _check(scores: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse scores without these columns, or of more than one split."""
    if missing := [name for name in columns if name not in scores]:
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
