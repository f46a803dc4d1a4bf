"""The tabs of a comparison: what each takes from the state, how it is drawn, and when a picture is out of date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import pretty_units
from spikelfp_lab.widgets import _compare_alignment_panels as alignment_panels
from spikelfp_lab.widgets import compare_panels as panels
from spikelfp_lab.widgets.base import Picture
from spikelfp_lab.widgets.compare_state import CompareState

READOUT_NAMES = {"lagged": "lagged", "one_frame": "one frame"}

Drawn = tuple[Figure, pd.DataFrame]
Draw = Callable[[CompareState, Mapping[str, str]], Drawn]  # with the models' colors


class Tab:
    """One panel: its name, how it is drawn, and the traits that its picture depends on."""

    def __init__(self, name: str, slug: str, draw: Draw, traits: str):
        self.name, self.slug, self.draw, self.traits = name, slug, draw, traits.split()
        self.picture = Picture()
        self.key: tuple | None = None  # of the picture shown
        self.error = ""  # why there is none


def all_tabs() -> list[Tab]:
    """The five of a comparison."""
    when = "models session readout split start_s span_s"
    return [
        Tab("Scores", "scores", _scores, "models sessions session split"),
        Tab("Decoded behavior", "decoded", _decoded, when),
        Tab("Latents", "latents", _latents, "models session reference color_by dimensions split"),
        Tab("Alignment", "alignment", _alignment, f"{when} reference window_s"),
        Tab("Why worse?", "why-worse", _why, f"{when} sessions reference window_s"),
    ]


def _about(state: CompareState) -> str:
    return f"{state.session}, {state.split}, {READOUT_NAMES[state.readout]} read-out"


def _stretch(state: CompareState) -> tuple[float, float]:
    return state.start_s, state.start_s + state.span_s


def _scores(state: CompareState, colors: Mapping[str, str]) -> Drawn:
    table = state.scores()
    table = table.loc[table["split"] == state.split]
    if table.empty:
        raise DataError(
            "No scores of the models and sessions chosen: choose others, or press Compute."
        )
    figure = panels.draw_scores(table, split=state.split, focus=state.session, colors=colors)
    return figure, table


def _decoded(state: CompareState, colors: Mapping[str, str]) -> Drawn:
    table, scores = state.decoded(), state.scores_of(state.session)
    own = scores.loc[(scores["split"] == state.split) & (scores["readout"] == state.readout)]
    r2: Any = own.groupby("model")["r2"].mean()
    behavior = state.dataset()["behavior"]
    figure = panels.draw_decoded(
        table,
        r2.to_dict(),
        title=f"{_about(state)}; R² over the whole split",
        units=pretty_units(str(behavior.attrs.get("units", ""))),
        colors=colors,
        bin_size_s=float(state.dataset().attrs["bin_size_s"]),
    )
    return figure, table


def _latents(state: CompareState, colors: Mapping[str, str]) -> Drawn:
    table = state.latents()
    behavior = state.dataset().get("behavior")
    label = "Time (s)"
    if behavior is not None and state.color_by != "time":
        names = ["vx", "vy"] if {"vx", "vy"} <= set(behavior["behavior_dim"].values) else None
        names = names or [str(name) for name in behavior["behavior_dim"].values[:2]]
        units = pretty_units(str(behavior.attrs.get("units", "")))
        label = ", ".join(names) if state.color_by == "direction" else f"Speed ({units})"
    figure = panels.draw_latents(
        table,
        by=state.color_by,
        label=label,
        reference=state.reference,
        title=f"{state.session}, {state.split}: latents turned onto {state.reference}'s components",
    )
    return figure, table


def _alignment(state: CompareState, colors: Mapping[str, str]) -> Drawn:
    windows, layers = state.alignment_over_time(), state.alignment_by_layer()
    missing = bool(state.missing_layers())
    figure = alignment_panels.draw_alignment(
        windows,
        layers,
        reference=state.reference,
        stretch=_stretch(state),
        window_s=state.window_s,
        title=f"{state.session}, {state.split}: alignment with {state.reference}",
        colors=colors,
        no_layers="press Compute; not there yet for this session and reference."
        if missing
        else "there is no other model with layers beside the reference.",
    )
    return figure, pd.concat([windows, layers], ignore_index=True)


def _why(state: CompareState, colors: Mapping[str, str]) -> Drawn:
    table = state.errors_by_window()
    figure = alignment_panels.draw_errors(
        table,
        state.rank_correlations(table),
        focus=state.session,
        stretch=_stretch(state),
        title=f"{_about(state)}: windows of {state.window_s:g} s, aligned to {state.reference}; ρ: Spearman",
        colors=colors,
        window_s=state.window_s,
    )
    return figure, table
