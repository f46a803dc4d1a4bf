"""The model comparison: models side by side on one or many sessions, in linked panels."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError, SpikeLFPError
from spikelfp_lab.plots.bars import plot_scores
from spikelfp_lab.plots.latents import plot_decoded, plot_latents
from spikelfp_lab.plots.save import save_figure, save_table
from spikelfp_lab.plots.tables import plot_layers
from spikelfp_lab.plots.theme import break_at_gaps, model_color, new_figure, number, style
from spikelfp_lab.widgets.base import GRID, Job, Panel, Picture, button, close_within, control
from spikelfp_lab.widgets.compare_state import CompareState

# Matplotlib's style is set for the whole process: one figure is drawn at a time.
_drawing = threading.RLock()

_MENU, _SEVERAL = ipywidgets.Dropdown, ipywidgets.SelectMultiple
_NUMBER, _SLIDER = ipywidgets.BoundedFloatText, ipywidgets.FloatSlider
_CONTROLS = (
    ("models", _SEVERAL, "Models", "Models shown; Ctrl or Shift for several"),
    ("sessions", _SEVERAL, "Sessions", "Those of the scores; Ctrl or Shift for several"),
    ("session", _MENU, "In focus", "The session of panels that show only one"),
    ("reference", _MENU, "Reference", "The model that others are compared with"),
    ("readout", _MENU, "Read-out", "Lagged sees 0.1 s on either side of a bin"),
    ("split", _MENU, "Split", "Only test tells how well a model does"),
    ("color_by", _MENU, "Color by", "What the color of a latent shows"),
    ("span_s", _NUMBER, "Span (s)", "Length of the stretch of time shown, seconds"),
    ("window_s", _NUMBER, "Windows (s)", "Windows of error and alignment, seconds"),
    ("start_s", _SLIDER, "Start (s)", "Where the stretch of time begins, seconds"),
)
Drawn = dict[str, tuple[Figure | None, pd.DataFrame]]  # name of the file -> figure, its numbers


class Comparison(Panel):
    """Models side by side; made by :func:`compare`.

    The tables of ``state`` are the numbers of every panel; ``job`` is what "Compute" runs.
    """

    def __init__(self, state: CompareState):
        super().__init__(state, _CONTROLS)
        tooltip = "Encode and decode what is shown and not computed yet"
        self.job = Job("Compute", tooltip, state.compute)
        self._keys, self._errors = {}, {}  # of what is shown, by tab
        self.pictures = {name: [Picture(), Picture()] for name in TABS}
        self.tables = {name: ipywidgets.HTML(layout={"overflow": "auto"}) for name in TABS}
        boxes = [[*(p.widget for p in self.pictures[name]), self.tables[name]] for name in TABS]
        boxes[0][0].layout.grid_area, layout = "1 / 1", {"align_self": "flex-start"}
        self.scores = boxes[0][0] = ipywidgets.GridBox(boxes[0][:1], layout=layout)
        self.tabs = ipywidgets.Tab([*map(ipywidgets.VBox, boxes)], titles=[*TABS])
        self._notes = ipywidgets.HTML()
        self.follow()  # before there are limits: what they cut off would be sent to the state
        c = self.controls
        for trait in ("models", "sessions"):  # beside four others
            c[trait].rows, c[trait].layout.grid_area = 6, "span 4"
        for trait, most in (("span_s", 120.0), ("window_s", 60.0)):
            c[trait].min, c[trait].max, c[trait].step = 0.1, most, 0.5
        c["start_s"].continuous_update, c["start_s"].step = False, 0.5
        rows = [self.grid, self.job, self._notes, self.tabs, self.message.widget]
        self.children = [self.look, *rows, self._export_row()]
        self.add_class("spikelfp-compare")
        self.tabs.observe(self._redraw, "selected_index")
        traits = [*state.class_own_traits()]
        state.observe(lambda _: self.follow(), traits)
        state.observe(self._redraw, traits)
        self.job.observe(self._redraw, "running")
        self._redraw()

    def close(self) -> None:
        """End the computation, free the latents and take the widget out of the page."""
        self.job.cancel()
        with _drawing:  # not under the hands of a picture that is being drawn
            self.state.clear()
        super().close()

    def compute(self) -> None:
        """Start what the button "Compute" does; ``job.wait()`` waits for its end."""
        self.job.start()

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

    def follow(self) -> None:
        self.show_values(*self.state.extent(), **self.state.choices())

    def _export_row(self) -> ipywidgets.GridBox:
        text, box = ipywidgets.Text, ipywidgets.Checkbox
        self._folder = control(text, "Folder", "Where the files are written", value="exports")
        self._name = control(text, "Name", "End of the files' names; by default the session")
        self._overwrite = control(box, "Overwrite", "Replace files of that name")
        export = button("Export", "Write the visible tab as PNG, SVG and CSV", self._export)
        return ipywidgets.GridBox([self._folder, self._name, self._overwrite, export], layout=GRID)

    def _export(self) -> None:
        with self.message.errors():
            made = self.export()
            self.message.say(f"Wrote {', '.join(p.name for p in made)} to {made[0].parent}.")

    def _lay_points(self, figures: list[Figure]) -> None:
        """Lay a clear button over each point: a picture of ipywidgets takes no clicks."""
        picture, *old = self.scores.children
        found, made = [], []
        for axes in (axes for figure in figures for axes in figure.axes):
            for dots in (dots for dots in axes.collections if dots.get_label() in self.state.names):
                places = axes.transData.transform(dots.get_offsets())
                found += [(*at, dots.get_label()) for at in places if axes.bbox.contains(*at)]
        # no button reaches over the next point; percents are of the width, also those from the top
        room = min([14.0, *np.diff(np.unique([round(x, 1) for x, _, _ in found]))])
        for x, y, name in found:
            wide, high = figures[0].bbox.size
            left, top, half = (100 * each / wide for each in (x, high - y, room / 2))
            margin = f"calc({top:.2f}% - 7px) 0 0 calc({left:.2f}% - min(7px, {half:.2f}%))"
            layout = {"grid_area": "1 / 1", "margin": margin, "padding": "0", "height": "14px"}
            layout |= {"width": f"min(14px, {2 * half:.2f}%)"}
            look = made[0].style if made else {"button_color": "transparent"}
            go = partial(self.state.set_trait, "session", name)
            made.append(button("", name, go, style=look, layout=layout, tabbable=False))
        self.scores.children = picture, *made
        for each in old:
            close_within(each)
            each.close()

    @property
    def _tab(self) -> str:
        return [*TABS][self.tabs.selected_index or 0]

    def _redraw(self, _: Any = None) -> None:
        """Draw the visible tab, unless its picture is up to date, and say what is shown."""
        tab, state = self._tab, self.state
        with _drawing:
            if state.closed:
                return
            notes = "".join(f"<li>{html.escape(note)}</li>" for note in state.notes())
            self._notes.value = f"Not shown:<ul>{notes}</ul>" if notes else ""
            draw, traits = TABS[tab]
            todo = [key for key in state.to_make() if len(key) == 2 or tab == "Alignment"]
            key = [todo, *(getattr(state, name) for name in traits.split())]
            if self._keys.get(tab) != key:
                self._keys[tab], self._errors[tab], drawn = key, "", {}
                try:
                    drawn = draw(state)
                except SpikeLFPError as error:
                    self._errors[tab] = str(error)
                figures = [figure for figure, _ in drawn.values() if figure]
                for picture, figure in zip_longest(self.pictures[tab], figures):
                    picture.show(figure) if figure else picture.clear()
                tables = [table.round(3) for figure, table in drawn.values() if not figure]
                self.tables[tab].value = "".join(t.to_html(index=False, border=0) for t in tables)
                if tab == "Scores":
                    self._lay_points(figures)
            for point in self.scores.children[1:]:  # of one session a ring would tell nothing
                ring = point.tooltip == state.session and len(state.names) > 1
                (point.add_class if ring else point.remove_class)("spikelfp-focus")
            if todo:
                models, sessions = (", ".join(sorted({key[i] for key in todo})) for i in (0, 1))
                what = "latents" if len(todo[0]) == 2 else "layers"
                press = "Computing" if self.job.running else "Press Compute"
                self.message.say(f"{press}: {what} of {models} on {sessions} are not there yet.")
            elif self._errors[tab]:
                self.message.fail(self._errors[tab])
            else:
                shown = ", ".join(state.readable()) or "no model"
                self.message.say(f"{tab}: {shown} on {state.session}, {state.split} split.")


def _scores(state: CompareState) -> Drawn:
    table, tests = state.scores(), state.tests()
    if table.empty:
        raise DataError("No scores of the models and sessions chosen: press Compute.")
    shown: Any = table.loc[table["split"] == state.split]
    drawn: Drawn = {"scores": (plot_scores(shown, split=state.split), shown)}
    return drawn if tests.empty else drawn | {"paired-tests": (None, tests)}


def _decoded(state: CompareState) -> Drawn:
    made, stretch = state.predictions(), {"start_s": state.start_s, "span_s": state.span_s}
    figure = plot_decoded(state.dataset(), made, split=state.split, **stretch)
    about = f"{state.split} split (gray: not in it), {state.readout.replace('_', ' ')} read-out"
    title = f"{state.session}, {about}; R² over all of the split"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    part = slice(state.start_s, state.start_s + state.span_s)
    lines = {"True": state.dataset()["behavior"], **made}
    tables: Any = {m: v.sel(time=part).to_series() for m, v in lines.items()}
    table: Any = pd.concat(tables, names=["model"]).rename("value").reset_index()
    return {"decoded": (figure, table[["time", "behavior_dim", "model", "value"]])}


def _latents(state: CompareState) -> Drawn:
    made, color = state.latents()
    align_to = state.reference if state.reference in made else None
    title = f"{state.session}, {state.split}: latents turned onto {state.reference}'s components"
    figure = plot_latents(made, color, align_to=align_to, title=title)
    tables: Any = {m: v.to_pandas() for m, v in made.items()}
    table = pd.concat(tables, names=["model"])
    return {"latents": (figure, table.reset_index())}


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
    title = f"{about}; gray: others; diamonds: means; ρ: Spearman"
    with style():
        models = table.groupby("model", sort=False)
        width = max(4.6, min(9.6, 0.8 + 2.3 * len(models)))
        figure = new_figure(width, 3.2, title)
        grid = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (m, panel) in zip(grid, models, strict=True):
            focus = panel["session"] == state.session
            for shown, color, size in ((~focus, "#bbbbbb", 8), (focus, model_color(str(m)), 14)):
                own = panel[shown]
                axes.scatter(own["alignment"], own["error"], s=size, color=color, linewidth=0)
                means = own.groupby("session")[["alignment", "error"]].mean()
                look = {"color": color, "marker": "D", "edgecolor": "#222222", "zorder": 4}
                axes.scatter(means["alignment"], means["error"], **look)
            if focus.any():
                rho = number(panel.loc[focus, "rho"].iloc[0])
                axes.set_title(f"{m}: ρ = {rho}, n = {focus.sum()}")
            axes.set_xlabel(f"Alignment with {state.reference}")
        grid[0].set(ylabel="Error (RMS / SD of behavior)", ylim=(0, None))
    return {"why-worse": (figure, table)}


# name -> how it is drawn, and the traits that its picture depends on
TABS: dict[str, tuple[Callable[[CompareState], Drawn], str]] = {
    "Scores": (_scores, "models sessions reference split"),
    "Decoded": (_decoded, "models session readout split start_s span_s"),
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
