"""Are the differences between models more than chance? Paired, over sessions and seeds.

Few sessions allow few conclusions, and these functions say so instead of hiding it: every test
comes with its number of pairs and the smallest p it could have given.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from spikelfp_lab.errors import DataError

UNIT = ("session", "seed")


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Give one value for each independent unit, that is for each session (average the seeds first).
    With fewer than about eight the interval is narrower than it claims to be.

    Parameters
    ----------
    values : sequence of float
        (n,), without NaN.
    level : float
        Confidence level.
    seed : int
        Of the resampling.

    Returns
    -------
    tuple of float
        Low and high, in the units of the values; NaN both for a single value.

    Raises
    ------
    DataError
        No values, or NaN among them.

    References
    ----------
    Efron & Tibshirani 1993; ``scipy.stats.bootstrap``.

    Examples
    --------
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


def paired_test(
    scores: pd.DataFrame,
    *,
    a: str,
    b: str,
    unit: Sequence[str] = UNIT,
    value: str = "r2",
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
        ``a``, ``b``; ``n`` pairs; ``difference``: mean over the first column of ``unit`` (every
        session weighs the same), with its 95 % bootstrap interval ``low`` and ``high``; ``wins``:
        pairs in which a is ahead; ``effect``: rank-biserial correlation, from -1 (b always ahead)
        to 1; ``p``, two-sided; ``p_min``, the least that so many pairs can give (2 / 2^n).

    Raises
    ------
    DataError
        An unknown model or column; more than one split; units that only one of them has; NaN.

    References
    ----------
    Wilcoxon 1945; effect size: Kerby, Comprehensive Psychology 2014.

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
    """
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
    clusters = (pairs["score_a"] - pairs["score_b"]).groupby(pairs[keys[0]]).mean().to_numpy()
    low, high = bootstrap_interval(clusters)
    p = stats.wilcoxon(changed)[1] if changed.size else 1.0
    return {
        "a": a,
        "b": b,
        "n": len(pairs),
        "difference": float(clusters.mean()),
        "low": low,
        "high": high,
        "wins": int((differences > 0).sum()),
        "effect": float((ranks * np.sign(changed)).sum() / ranks.sum()) if changed.size else 0.0,
        "p": float(np.asarray(p)),
        "p_min": min(1.0, 2.0 / 2.0**changed.size),
    }


def compare(
    scores: pd.DataFrame,
    *,
    reference: str,
    unit: Sequence[str] = UNIT,
    value: str = "r2",
) -> pd.DataFrame:
    """One model against every other: :func:`paired_test` for each, false discoveries controlled.

    Parameters
    ----------
    scores : pd.DataFrame
        As for :func:`paired_test`; with a column ``readout``, each read-out is compared by itself.
    reference : str
        The model that is compared with the others.
    unit, value
        As for :func:`paired_test`.

    Returns
    -------
    pd.DataFrame
        One row a pair (and read-out): ``readout`` if given, then what :func:`paired_test` returns,
        with ``a`` the reference (a positive difference: the reference is ahead), then
        ``p_adjusted`` (Benjamini-Hochberg over all rows).

    Raises
    ------
    DataError
        As :func:`paired_test`, or no other model.

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
    _check(scores, [*unit, "model", value])
    groups = {None: scores}
    if "readout" in scores:
        groups = dict(iter(scores.groupby("readout", sort=False)))
    rows = []
    for readout, group in groups.items():
        for model in group["model"].unique():
            if model == reference:
                continue
            row = {} if readout is None else {"readout": readout}
            rows.append(row | paired_test(group, a=reference, b=model, unit=unit, value=value))
    if not rows:
        raise DataError(f"There is no model but {reference!r} to compare it with.")
    table = pd.DataFrame(rows)
    return table.assign(p_adjusted=stats.false_discovery_control(table["p"]))


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
