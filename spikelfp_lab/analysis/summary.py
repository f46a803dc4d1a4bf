"""Means of scores, with intervals, as a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spikelfp_lab.analysis.stats import bootstrap_interval
from spikelfp_lab.errors import DataError


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
        What one row is of.
    value : str
        Column that is averaged.

    Returns
    -------
    pd.DataFrame
        The columns of ``by``, in order of appearance; ``value``, ``low``, ``high`` (NaN for a single session),
        ``n_sessions`` and ``n_seeds``.

    Raises
    ------
    DataError
        A column is missing, or there is more than one split.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "model": "Distilled", "readout": "lagged", "session": ["s1", "s1", "s2"], "seed": [0, 1, 0],
    ...     "r2": [0.4, 0.6, 0.7],
    ... })
    >>> row = summarize(scores).iloc[0]
    >>> round(float(row["r2"]), 2), int(row["n_sessions"]), int(row["n_seeds"])
    (0.6, 2, 2)
    """
    if missing := {*by, "session", "seed", value} - set(scores):
        raise DataError(f"The scores have no column {', '.join(sorted(missing))}.")
    if "split" in scores and len(set(scores["split"])) > 1:
        raise DataError(
            f"The scores mix the splits {', '.join(sorted(set(scores['split'])))}: select one first."
        )
    rows = []
    groups: list[tuple[Any, pd.DataFrame]] = list(scores.groupby(list(by), sort=False))
    for labels, group in groups:
        # (session, seed), NaN where a session was not run with a seed
        wide = group.pivot_table(index="session", columns="seed", values=value).to_numpy(float)
        by_session = np.nanmean(wide, axis=1)
        low, high = bootstrap_interval(by_session)
        rows.append((*labels, by_session.mean(), low, high, *wide.shape))
    columns = [*by, value, "low", "high", "n_sessions", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)
