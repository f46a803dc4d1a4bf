"""The model comparison: models side by side on one or many sessions, in linked panels."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab.analysis.readout import READOUTS, SPLITS
from spikelfp_lab.errors import DataError, SpikeLFPError
from spikelfp_lab.plots.bars import plot_scores
from spikelfp_lab.plots.decoded import plot_decoded
from spikelfp_lab.plots.latents import plot_latents
from spikelfp_lab.plots.save import save_figure, save_table
from spikelfp_lab.plots.tables import plot_layers
from spikelfp_lab.plots.theme import break_at_gaps, model_color, new_figure, number, style
from spikelfp_lab.sessions import TEST
from spikelfp_lab.widgets.base import WRAP, Job, Message, Picture, button, control, job_bar, link
from spikelfp_lab.widgets.compare_state import COLORS, CompareState

# Matplotlib's style is set for the whole process: one figure is drawn at a time.
_drawing = threading.RLock()

Drawn = dict[str, tuple[Figure | None, pd.DataFrame]]  # name of the file -> figure, its numbers


class Comparison(ipywidgets.VBox):
    """Models side by side; made by :func:`compare`.

    The tables of ``state`` are the numbers of every panel; ``job`` is what "Compute" runs.
    """

    def __init__(self, state: CompareState):
        self.state, self.job, self.message = state, Job(), Message()
        self._computed, self._closed = 0, False  # ends of jobs: older pictures are out of date
        self._keys, self._errors = {}, {}  # of the pictures shown, by tab
        self.pictures = {name: [Picture(), Picture()] for name in TABS}
        self._tests, self._notes = ipywidgets.HTML(), ipywidgets.HTML()
        boxes: Any = {name: [p.widget for p in pair] for name, pair in self.pictures.items()}
        boxes["Scores"].append(self._tests)
        self.tabs = ipywidgets.Tab([ipywidgets.VBox(box) for box in boxes.values()], titles=[*TABS])
        tooltip = "Encode and decode what is shown and not computed yet"
        bar = job_bar(self.job, "Compute", tooltip, self.compute)
        rows = [self._choices(), bar, self._notes, self.tabs, self.message.widget]
        super().__init__([*rows, self._export_row()])
        self.add_class("spikelfp-compare")
        self.tabs.observe(self._redraw, "selected_index")
        state.observe(self._redraw, [*state.class_own_traits()])
        self.job.observe(self._when_done, "running")
        self._redraw()

    def close(self) -> None:
        """End the computation, free the latents and take the widget out of the page."""
        self.job.cancel()
        with _drawing:  # not under the hands of a picture that is being drawn
            self._closed = True
            self.state.clear()
        super().close()

    def compute(self) -> None:
        """Start what the button "Compute" does; ``job.wait()`` waits for its end."""
        self.job.start(self.state.compute)

    def export(self) -> list[Path]:
        """Write the visible tab as PNG, SVG and CSV into the folder of the control.

        DataError where there is nothing to show or a file is there already and not to be replaced.
        """
        folder = Path(self._folder.value.strip() or ".").expanduser()
        about, made = self._name.value.strip() or self.state.session.replace("/", "-"), []
        with _drawing:
            drawn = TABS[self._tab][0](self.state)
            paths = [folder / f"{name}_{about}.csv" for name in drawn]
            if old := [path for path in paths if path.exists() and not self._overwrite.value]:
                raise DataError(f"{old[0]} exists already: tick 'Overwrite', or give a name.")
            for path, (figure, table) in zip(paths, drawn.values(), strict=True):
                made.append(save_table(table, folder, path.stem))
                if figure is not None:
                    made += save_figure(figure, folder, path.stem).values()
        return made

    def _choices(self) -> ipywidgets.Box:
        state, made = self.state, {}
        options: Any
        for trait, label, tooltip, options in (
            ("models", "Models", "Models shown; Ctrl or Shift for several", state.labels),
            ("sessions", "Sessions", "Those of the scores; Ctrl or Shift for several", state.names),
            ("session", "In focus", "The session of panels that show only one", state.names),
            ("reference", "Reference", "The model that others are compared with", state.labels),
            ("readout", "Read-out", "Lagged sees 0.1 s on either side of a bin", READOUTS[::-1]),
            ("split", "Split", "Only test tells how well a model does", [*SPLITS][::-1]),
            ("color_by", "Color by", "What the color of a latent shows", COLORS),
            ("span_s", "Span (s)", "Length of the stretch of time shown, seconds", 120.0),
            ("window_s", "Windows (s)", "Windows of error and alignment, seconds", 60.0),
        ):
            kind: Any = ipywidgets.Dropdown
            more: dict[str, Any] = {"options": options}
            if isinstance(options, float):
                kind, more = ipywidgets.BoundedFloatText, {"min": 0.1, "max": options, "step": 0.5}
            elif trait in ("models", "sessions"):
                kind, more = (
                    ipywidgets.SelectMultiple,
                    more | {"rows": max(2, min(6, len(options)))},
                )
            made[trait] = control(kind, label, tooltip, layout={"width": "auto"}, **more)
            link(state, trait, made[trait], self.message)
        self._start = control(
            ipywidgets.FloatSlider, "Start (s)", "Where the stretch of time begins, seconds",
            continuous_update=False, step=0.5, layout={"width": "100%"},
        )  # fmt: skip
        self._fit_start()
        state.observe(self._fit_start, ["start_s", "session"])
        self._start.observe(lambda change: setattr(state, "start_s", change["new"]), "value")
        columns = {"grid_template_columns": "repeat(2, minmax(14em, 1fr))", "grid_gap": "2px 12px"}
        grid = ipywidgets.GridBox([*made.values()][2:], layout=columns)
        lists = ipywidgets.Box([made["models"], made["sessions"], grid], layout=WRAP)
        return ipywidgets.VBox([lists, self._start])

    def _fit_start(self, _: Any = None) -> None:
        """Limits of the slider are those of the session in focus."""
        first, last = self.state.extent()
        with self._start.hold_trait_notifications():
            self._start.min, self._start.max = min(first, self._start.min), last
            self._start.min, self._start.value = first, self.state.start_s

    def _export_row(self) -> ipywidgets.Box:
        text, box = ipywidgets.Text, ipywidgets.Checkbox
        self._folder = control(text, "Folder", "Where the files are written", value="exports")
        self._name = control(text, "Name", "End of the files' names; by default the session")
        self._overwrite = control(box, "Overwrite", "Replace files of that name", indent=False)
        export = button("Export", "Write the visible tab as PNG, SVG and CSV", self._export)
        return ipywidgets.Box([export, self._folder, self._name, self._overwrite], layout=WRAP)

    def _export(self) -> None:
        with self.message.errors():
            made = self.export()
            self.message.say(f"Wrote {', '.join(p.name for p in made)} to {made[0].parent}.")

    @property
    def _tab(self) -> str:
        return [*TABS][self.tabs.selected_index or 0]

    def _when_done(self, change: Any) -> None:
        self._computed += not change["new"]
        self._redraw()

    def _redraw(self, _: Any = None) -> None:
        """Draw the visible tab, unless its picture is up to date, and say what is shown."""
        with _drawing:
            if self._closed:
                return
            notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.state.notes())
            self._notes.value = f"Not shown:<ul>{notes}</ul>" if notes else ""
            traits = (getattr(self.state, name) for name in TABS[self._tab][1].split())
            key = (self._computed, *traits)
            if self._keys.get(self._tab) != key:
                self._keys[self._tab] = key
                self._draw(self._tab)
            self._say(self._errors[self._tab])

    def _draw(self, tab: str) -> None:
        drawn: Drawn = {}
        self._errors[tab] = ""
        try:
            drawn = TABS[tab][0](self.state)
        except SpikeLFPError as error:
            self._errors[tab] = str(error)
        figures = [figure for figure, _ in drawn.values() if figure is not None]
        for picture, figure in zip_longest(self.pictures[tab], figures):
            picture.clear() if figure is None else picture.show(figure)
        if tab == "Scores":
            tests = drawn.get("paired-tests", (None, pd.DataFrame()))[1]
            self._tests.value = "" if tests.empty else tests.round(3).to_html(index=False)

    def _say(self, error: str) -> None:
        state, todo = self.state, self.state.to_make()
        todo = [key for key in todo if key[0] != "layers" or self._tab == "Alignment"]
        if todo:
            models, sessions = (", ".join(sorted({key[i] for key in todo})) for i in (1, 2))
            what = "layers" if todo[0][0] == "layers" else "latents"
            press = "Computing" if self.job.running else "Press Compute"
            self.message.say(f"{press}: {what} of {models} on {sessions} are not there yet.")
        elif error:
            self.message.fail(error)
        else:
            shown = ", ".join(state.readable()) or "no model"
            self.message.say(f"{self._tab}: {shown} on {state.session}, {state.split} split.")


def _scores(state: CompareState) -> Drawn:
    table, tests = state.scores(), state.tests()
    if table.empty:
        raise DataError("No scores of the models and sessions chosen: press Compute.")
    shown: Any = table.loc[table["split"] == state.split]
    drawn: Drawn = {"scores": (plot_scores(shown, split=state.split), shown)}
    return drawn if tests.empty else drawn | {"paired-tests": (None, tests)}


def _decoded(state: CompareState) -> Drawn:
    made, code, true = state.predictions(), SPLITS[state.split], state.dataset()["behavior"]
    # the picture's ground and R² are those of the test split: let the split shown be that one
    shown = {
        m: v.assign_coords(split=("time", np.where(v["split"] == code, TEST, -1)))
        for m, v in made.items()
    }
    figure = plot_decoded(state.dataset(), shown, start_s=state.start_s, span_s=state.span_s)
    about = f"{state.split} split (gray: not in it), {state.readout.replace('_', ' ')} read-out"
    title = f"{state.session}, {about}; R² over all of the split"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    part = slice(state.start_s, state.start_s + state.span_s)
    tables = [
        v.sel(time=part).to_series().rename("value").reset_index().assign(model=m)
        for m, v in {"True": true, **made}.items()
    ]
    table: Any = pd.concat(tables, ignore_index=True)
    return {"decoded": (figure, table[["time", "behavior_dim", "model", "value"]])}


def _latents(state: CompareState) -> Drawn:
    made, color = state.latents()
    align_to = state.reference if state.reference in made else None
    title = f"{state.session}, {state.split}: latents turned onto {state.reference}'s components"
    figure = plot_latents(made, color, align_to=align_to, title=title)
    tables = [
        pd.DataFrame({"model": m, "time": v["time"], "pc1": v.values[:, 0], "pc2": v.values[:, 1]})
        for m, v in made.items()
    ]
    return {"latents": (figure, pd.concat(tables, ignore_index=True))}


def _alignment(state: CompareState) -> Drawn:
    windows, layers = state.alignment_over_time(), state.alignment_by_layer()
    others: Any = windows[windows["model"] != state.reference]
    with style():
        title = f"{state.session}, {state.split}: alignment with {state.reference}"
        figure = new_figure(9.0, 2.8, title)
        axes = figure.subplots()
        shown: Any = windows if others.empty else others
        for m, own in shown.groupby("model", sort=False):
            mean = f"{m} (mean {number(own['alignment'].mean())})"
            line = own["start_s"].to_numpy(), own["alignment"].to_numpy()
            look: Any = {"color": model_color(str(m)), "marker": ".", "markersize": 4}
            axes.plot(*break_at_gaps(*line, step=state.window_s), **look, label=mean)
        axes.axvspan(state.start_s, state.start_s + state.span_s, color="#ffefb0", zorder=0)
        label = f"Start of the window of {state.window_s:g} s (s); yellow: shown in Decoded"
        axes.set(xlabel=label, ylabel=f"Mean cosine to {state.reference}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
    drawn: Drawn = {"alignment": (figure, windows)}
    if not layers.empty:
        below = plot_layers(layers, cohort=f"{state.session}, test")
        for axes in below.axes:
            axes.set_xlabel(axes.get_xlabel().replace("Teacher's", f"{state.reference}'s"))
        drawn["layers"] = (below, layers)
    return drawn


def _why(state: CompareState) -> Drawn:
    table: Any = state.errors_by_window()
    about = f"windows of {state.window_s:g} s, {state.split}; color: {state.session}"
    title, count = f"{about}; gray: others; diamonds: means; ρ: Spearman", table["model"].nunique()
    with style():
        figure = new_figure(max(4.6, min(9.6, 0.8 + 2.3 * count)), 3.2, title)
        grid = figure.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0]
        for axes, (m, panel) in zip(grid, table.groupby("model", sort=False), strict=True):
            for name, own in panel.groupby("session", sort=False):
                focus = name == state.session
                look: Any = {"color": model_color(str(m)) if focus else "#bbbbbb"}
                x, y = own["alignment"], own["error"]
                axes.scatter(x, y, s=14 if focus else 8, zorder=1 + focus, linewidth=0, **look)
                look |= {"marker": "D", "edgecolor": "#222222", "zorder": 4}
                axes.scatter(x.mean(), y.mean(), **look)
                if focus:
                    axes.set_title(f"{m}: ρ = {number(own['rho'].iloc[0])}, n = {len(own)}")
            axes.set_xlabel(f"Alignment with {state.reference}")
        grid[0].set(ylabel="Error (RMS / SD of behavior)", ylim=(0, None))
    return {"why-worse": (figure, table)}


# name -> how it is drawn, and the traits that its picture depends on
TABS: dict[str, tuple[Callable[[CompareState], Drawn], str]] = {
    "Scores": (_scores, "models sessions reference split"),
    "Decoded behavior": (_decoded, "models session readout split start_s span_s"),
    "Latents": (_latents, "models session reference color_by split"),
    "Alignment": (_alignment, "models session split start_s span_s reference window_s"),
    "Why worse?": (_why, "models sessions session readout split reference window_s"),
}


def compare(models: Mapping[str, Any], cohort: Any, *, reference: str | None = None) -> Comparison:
    """Look at models side by side in a notebook.

    Raises ConfigError or DataError: no models, something that is no model, an unknown
    reference; no session that can be read.

    Parameters
    ----------
    models : mapping
        Label -> model, or label -> {session name: model}; latents (time, latent) may stand for a
        model. Labels of the palette, such as "Teacher" and "Distilled", have their colors.
    cohort : Dataset, DataTree or mapping
        A session, a cohort, or name -> session. A note says which model cannot read which.
    reference : str, optional
        The model that others are aligned to and compared with; by default "Teacher", or else the
        first that reads spikes, or else the first.

    Returns
    -------
    Comparison
        A widget. Nothing is encoded before "Compute" is pressed; ``.state`` has the numbers,
        ``.close()`` frees them.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> data = session(1, duration_s=60, n_units=4, n_channels=3)
    >>> latents = data["lfp"].rename(channel="latent")
    >>> widget = compare({"Teacher": latents, "Mine": 2 * latents}, data)
    >>> widget.compute()
    >>> widget.job.wait()
    >>> widget.state.missing()
    []
    >>> widget.close()
    """
    return Comparison(CompareState(models, cohort, reference=reference))
