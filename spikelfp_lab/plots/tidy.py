"""Tidy scores as figures need them: checked, averaged and counted."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from spikelfp_lab.errors import DataError

KEYS = ("model", "session", "seed")
READOUTS = ("one_frame", "lagged")
LOWEST_R2 = -0.2


def check(table: Any, columns: Sequence[str], filled: Sequence[str] = ()) -> None:
    """Raise a DataError where a column is missing, there are no rows, or one has NaN."""
    missing = [name for name in (*columns, *filled) if name not in table]
    if missing or table.empty:
        what = f"The table has {len(table)} rows and no column {', '.join(missing) or '-'}"
        raise DataError(f"{what}: one row a {', '.join((*columns, *filled))}.")
    for name in filled:
        if table[name].isna().any():
            raise DataError(f"Some of {name!r} are NaN: leave those rows out, and say so.")


def select(
    scores: Any, keys: Sequence[str] = KEYS,
    *, readouts: Sequence[str] = READOUTS, split: str = "test", rows: str | None = None,
) -> tuple[Any, list[str]]:  # fmt: skip
    """R² of one split, mean over what is not among the keys, and what its panels are made by."""
    by = ["readout", rows] if rows else ["readout"]
    check(scores, [*dict.fromkeys([*keys, *by, "split", "axis"])])
    own = scores.loc[scores["split"] == split]
    if absent := [readout for readout in readouts if readout not in set(own["readout"])]:
        raise DataError(f"No scores of the read-out {absent[0]!r} in the split {split!r}.")
    parts = [part for _, part in own.groupby(rows, sort=False, dropna=False)] if rows else [own]
    shown = pd.concat([p.loc[p["readout"] == readout] for p in parts for readout in readouts])
    check(shown, [], ["r2", *by])
    return means(shown, "r2", by=[*by, *keys]), by


def means(table: Any, values: str | list[str], *, by: Sequence[str]) -> Any:
    """Means by some columns, whose NaN are a group of their own, in order of appearance."""
    groups = table.groupby([*dict.fromkeys(by)], dropna=False, sort=False)
    return groups[values].mean().reset_index()


def counted(points: Any, cohort: str) -> str:
    """A title that says how many sessions and seeds there are."""
    counts = points[["session", "seed"]].nunique()
    text = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n > 0)
    return f"{cohort}: {text}" if cohort else text


def r2_label(scores: pd.DataFrame, split: str = "test", width: int = 40) -> str:
    """Label of an axis of R², with the split and the axes of behavior it is a mean of."""
    about = f"({split}; mean of {', '.join(dict.fromkeys(map(str, scores['axis'])))})"
    label = f"Decoding R² {about}"
    return label if len(label) <= width else f"Decoding R²\n{textwrap.fill(about, width)}"
