"""Pieces of HTML that the cards of sessions, cohorts, models and scores are made of. All text that comes in is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

# Colors of the page, light or dark, where Jupyter names them; else those of the text around.
STYLE = """<style>
.spikelfp-card { color: var(--jp-content-font-color1, inherit); font-family: var(--jp-ui-font-family, sans-serif); font-size: 13px;
  line-height: 1.4; border: 1px solid var(--jp-border-color2, #8886); border-radius: 4px; padding: 8px 12px; max-width: 760px; margin: 2px 0; }
.spikelfp-card .title { font-weight: 600; font-size: 14px; }
.spikelfp-card .faint { color: var(--jp-content-font-color2, #777); }
.spikelfp-card .marks > span { display: inline-block; margin: 4px 14px 2px 0; }
.spikelfp-card table.facts { border-collapse: collapse; margin: 4px 0; font-size: 13px; color: inherit; }
.spikelfp-card table.facts :is(td, th) { text-align: left; vertical-align: top; padding: 1px 14px 1px 0; white-space: normal; background: none;
  border: 0; overflow-wrap: anywhere; }
.spikelfp-card table.facts td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.spikelfp-card table.facts th { font-weight: 600; white-space: nowrap; }
.spikelfp-card table.facts tr { background: none; }
.spikelfp-card .scroll { max-height: 360px; overflow: auto; }
.spikelfp-card .curve { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 12px; margin-bottom: 4px; }
.spikelfp-card svg { display: block; overflow: visible; }
.spikelfp-card details { margin-top: 6px; }
.spikelfp-card summary { cursor: pointer; }
</style>"""


def card(kind: str, title: str, *parts: str, note: str = "") -> str:
    """A card; ``kind`` and ``title`` are text, ``parts`` are HTML.

    >>> "&lt;b&gt;" in card("session", "<b>")
    True
    """
    heading = f'<div><span class="title">{escape(title)}</span> <span class="faint">{escape(kind)}</span></div>'
    tail = f'<div class="faint">{escape(note)}</div>' if note else ""
    return f'{STYLE}<div class="spikelfp-card">{heading}{"".join(parts)}{tail}</div>'


def marks(present: Iterable[tuple[str, bool]]) -> str:
    """What is there and what is not: a check or a dash, and the word for those who tell neither from its color.

    >>> marks([("spikes", True), ("LFP", False)])
    '<div class="marks"><span>✓ spikes</span><span class="faint">– no LFP</span></div>'
    """
    spans = (
        f"<span>✓ {escape(name)}</span>"
        if there
        else f'<span class="faint">– no {escape(name)}</span>'
        for name, there in present
    )
    return f'<div class="marks">{"".join(spans)}</div>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """A table of name and value; both text.

    >>> facts([("bins", "10 ms")])
    '<table class="facts"><tr><th scope="row">bins</th><td>10 ms</td></tr></table>'
    """
    return markup_facts([(name, escape(value)) for name, value in rows])


def markup_facts(rows: Sequence[tuple[str, str]]) -> str:
    """A table of name, which is text, and value, which is HTML."""
    lines = (
        f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>' for name, value in rows
    )
    return f'<table class="facts">{"".join(lines)}</table>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int]) -> str:
    """A table of text with a heading; columns in ``numbers`` are set to the right."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = []
    for row in rows:
        cells = (
            f'<td class="number">{escape(cell)}</td>' if i in numbers else f"<td>{escape(cell)}</td>"
            for i, cell in enumerate(row)
        )  # fmt: skip
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table class="facts"><tr>{head}</tr>{"".join(lines)}</table></div>'


def sparkline(values: np.ndarray, *, label: str, width: int = 300, height: int = 26) -> str:
    """A small curve, from 0 or its lowest value to its highest, broken where values are NaN.

    >>> sparkline(np.array([0.0, 1.0, np.nan, 2.0, 1.0]), label="rate").count("<polyline")
    2
    """
    finite = np.isfinite(values)
    low, high = (
        (min(0.0, values[finite].min()), values[finite].max()) if finite.any() else (0.0, 1.0)
    )
    x = np.linspace(0, width, len(values)) if len(values) > 1 else np.array([width / 2])
    y = height - 1 - (values - low) / ((high - low) or 1.0) * (height - 2)
    starts = np.flatnonzero(finite & ~np.concatenate([[False], finite[:-1]]))
    stops = np.flatnonzero(finite & ~np.concatenate([finite[1:], [False]])) + 1
    lines = []
    for start, stop in zip(starts, stops, strict=True):
        points = [f"{a:.1f},{b:.1f}" for a, b in zip(x[start:stop], y[start:stop], strict=True)]
        # A lone point is a dash one unit wide, or it would not be seen.
        points += [f"{x[start] + 1:.1f},{y[start]:.1f}"] if len(points) == 1 else []
        lines.append(f'<polyline points="{" ".join(points)}"/>')
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'fill="none" stroke="currentColor" stroke-width="1.2" stroke-linejoin="round">{"".join(lines)}</svg>'
    )


def bar(value: float, *, width: int = 160) -> str:
    """A bar of a number from 0 to 1; what is below 0 has none and what is above 1 is full, so write the number beside it.

    >>> 'width="80"' in bar(0.5)
    True
    """
    filled = 0 if np.isnan(value) else round(width * min(max(value, 0.0), 1.0))
    return (
        f'<svg aria-hidden="true" width="{width}" height="12" style="display:inline-block;vertical-align:-1px">'
        f'<rect width="{width}" height="12" fill="currentColor" opacity="0.12"/>'
        f'<rect width="{filled}" height="12" fill="currentColor" opacity="0.65"/></svg>'
    )


def details(summary: str, inside: str, *, shown: bool = False) -> str:
    """What is seen after a click on ``summary``, which is text; ``inside`` is HTML."""
    state = " open" if shown else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{inside}</details>"
