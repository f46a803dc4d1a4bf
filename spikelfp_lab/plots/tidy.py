"""Tidy scores as figures need them: checked, averaged, counted."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spikelfp_lab.errors import DataError

READOUT_TITLES = {"one_frame": "One-frame read-out", "lagged": "Lagged read-out"}
SCORE_COLUMNS = ("model", "session", "seed", "readout", "split", "axis")
LOWEST_R2 = -0.2


def check(table: pd.DataFrame, columns: Sequence[str], numbers: Sequence[str]) -> None:
    """Raise a DataError where a column is missing, there are no rows, or a number is NaN."""
    needed = [*columns, *numbers]
    if table.empty or not set(needed) <= set(table):
        missing = ", ".join(name for name in needed if name not in table) or "-"
        raise DataError(
            f"The table has {len(table)} rows and no column {missing}: one row a "
            f"{', '.join(needed)}."
        )
    for name in numbers:
        if np.isnan(table[name].to_numpy(dtype=float)).any():
            raise DataError(f"Some of {name!r} are NaN: leave those sessions out, and say so.")


def select(
    scores: pd.DataFrame,
    readouts: Sequence[str],
    *,
    keys: Sequence[str],
    split: str = "test",
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """R² of one split and some read-outs, mean over what is not among the keys."""
    check(scores, [*{*keys, "readout", "split", "axis", *also}], [])
    shown = scores.loc[(scores["split"] == split) & scores["readout"].isin(list(readouts))]
    for readout in readouts:
        if not (shown["readout"] == readout).any():
            raise DataError(f"No scores of the read-out {readout!r} in the split {split!r}.")
    check(shown, [], ["r2"])
    return means(shown, ["r2"], by=[*dict.fromkeys(["readout", *keys, *also])])


def means(table: pd.DataFrame, values: Sequence[str], *, by: Sequence[str]) -> pd.DataFrame:
    """Means by some columns, whose NaN are a group of their own, in order of appearance."""
    groups: Any = table.groupby(list(by), dropna=False, sort=False)
    return groups[list(values)].mean().reset_index()


def counted(points: pd.DataFrame, cohort: str) -> str:
    """A title that says how many sessions and seeds there are."""
    counts = {name: len(points[name].dropna().drop_duplicates()) for name in ("session", "seed")}
    text = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n > 0)
    return f"{cohort}: {text}" if cohort else text


def r2_label(scores: pd.DataFrame, split: str = "test", width: int = 44) -> str:
    """Label of an axis of R², with the split and the axes of behavior it is a mean of."""
    names = ", ".join(dict.fromkeys(map(str, scores["axis"])))
    return textwrap.fill(f"Decoding R² ({split}; mean of {names})", width)


def number(value: float) -> str:
    """Two decimals with a true minus.

    >>> number(-0.061), number(-0.001)
    ('−0.06', '0.00')
    """
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
