"""Findings of quality, in words."""

from typing import NamedTuple

import pandas as pd
import xarray as xr

_SHOWN = 3  # findings of a kind in a warning
_THINGS = {
    "lfp": ("channel", "channels"),
    "spikes": ("unit", "units"),
    "behavior": ("axis", "axes"),
    "session": ("finding", "findings"),
}


class Finding(NamedTuple):
    check: str
    variable: str
    name: str
    value: float
    limit: float
    unit: str
    meaning: str


def told(dataset: xr.Dataset, table: pd.DataFrame) -> str:
    """The text of the warning: a line a kind of finding."""
    attrs = dataset.attrs
    findings = [Finding(*row) for row in table.itertuples(index=False, name=None)]
    kinds = dict.fromkeys((each.check, each.variable) for each in findings)
    lines = []
    for check, variable in kinds:
        rows = [each for each in findings if (each.check, each.variable) == (check, variable)]
        if variable == "session":
            lines += [f"  {check}: {each.name}: {each.meaning}" for each in rows[:_SHOWN]]
            lines += [f"  {check}: and {len(rows) - _SHOWN} more"] * (len(rows) > _SHOWN)
            continue
        one, many = _THINGS[variable]
        count = f"{len(rows)} {one if len(rows) == 1 else many}: "
        if check == "duplicated":
            count = f"{len(rows)} pair{'s' * (len(rows) != 1)} of {many}: "
        shown = ", ".join(
            f"{each.name} ({_number(each)}, limit {each.limit:.4g})" for each in rows[:_SHOWN]
        )
        more = ", ..." if len(rows) > _SHOWN else ""
        lines.append(
            f"  {check}: {'' if check == 'drift' else count}{shown}{more}. {rows[0].meaning}"
        )
    return "\n".join(
        [
            f"Session {attrs.get('subject', '?')}/{attrs.get('session', '?')}: "
            f"{len(table)} finding{'s' * (len(table) != 1)} of quality.",
            *lines,
            "  All of them with their numbers: spikelfp_lab.check_quality(session).",
        ]
    )


def _number(row: Finding) -> str:
    """The value with its unit, as one reads it."""
    unit = row.unit
    if unit.startswith("%"):
        return f"{row.value:.3g} {unit}"
    if unit.startswith("s over"):
        return f"{row.value:.2f} {unit}"
    name, _, of = unit.partition(", ")
    return f"{name} {row.value:.5g}" + (f" {of}" if of else "")
