"""The model comparison: models side by side on one or many sessions, in panels that are linked."""

from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets

from spikelfp_lab.errors import DataError, SpikeLFPError
from spikelfp_lab.plots import save_figure
from spikelfp_lab.widgets._compare_tabs import READOUT_NAMES, Tab, all_tabs
from spikelfp_lab.widgets.base import Job, Message, button, control, job_bar, link
from spikelfp_lab.widgets.compare_panels import colors_of
from spikelfp_lab.widgets.compare_state import COLORS, CompareState

# Matplotlib's style is set for the whole process while a figure is drawn, so that one is drawn at a time.
_drawing = threading.RLock()


class Comparison(ipywidgets.VBox):
    """Models side by side: scores, decoded behavior, latents, alignment, and why one session is worse.

    Made by :func:`compare`.

    Attributes
    ----------
    state : CompareState
        What is shown and computed; its tables are the numbers of every panel.
    job : Job
        The computation behind the button "Compute".

    Examples
    --------
    >>> from spikelfp_lab.widgets.compare_state import CompareState
    >>> Comparison.__mro__[1].__name__
    'VBox'
    """

    def __init__(self, state: CompareState):
        self.state, self.job = state, Job()
        self._colors = colors_of(state.labels)
        self._message = Message()
        self._computed = 0  # ends of jobs: what was drawn before one is out of date
        self._closed = False
        self._tabs = all_tabs()
        self._views = ipywidgets.Tab(
            [ipywidgets.VBox([tab.picture.widget]) for tab in self._tabs],
            titles=[tab.name for tab in self._tabs],
        )
        super().__init__(
            [
                self._choices(),
                self._bar(),
                self._notes(),
                self._views,
                self._message.widget,
                self._export_row(),
            ]
        )
        self.add_class("spikelfp-compare")
        self._views.observe(self._redraw, "selected_index")
        state.observe(self._redraw, [name for name in state.trait_names() if name in _SHOWN])
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

    def export(self) -> dict[str, Path]:
        """Write the tab that is visible as PNG, SVG and CSV into the folder of the control.

        Returns
        -------
        dict
            "png", "svg" and "csv" -> path.

        Raises
        ------
        DataError
            There is nothing to show yet, a file exists already and is not to be overwritten, or the name is not a plain one.
        """
        tab = self._visible()
        folder = Path(self._folder.value.strip() or ".").expanduser()
        name = self._name.value.strip() or f"{tab.slug}_{self.state.session.replace('/', '-')}"
        there = [end for end in ("png", "svg", "csv") if (folder / f"{name}.{end}").exists()]
        if there and not self._overwrite.value:
            raise DataError(
                f"{folder / name}.{there[0]} exists already: tick 'Overwrite', or give another name or folder."
            )
        with _drawing:
            figure, data = tab.draw(self.state, self._colors)
            return save_figure(figure, folder, name, data=data)

    # Controls

    def _choices(self) -> ipywidgets.Box:
        state = self.state
        rows = max(2, min(6, max(len(state.labels), len(state.names))))
        select, drop = ipywidgets.SelectMultiple, ipywidgets.Dropdown
        made = {
            "models": control(select, "Models", "Models shown; Ctrl or Shift for several", options=state.labels, rows=rows),
            "sessions": control(select, "Sessions", "Sessions of the scores; Ctrl or Shift for several", options=state.names, rows=rows),
            "session": control(drop, "In focus", "The session of all panels that show only one", options=state.names),
            "reference": control(drop, "Reference", "The model that the others are aligned to and compared with", options=state.labels),
            "readout": control(drop, "Read-out", "Lagged sees 0.1 s on either side of a bin, one frame only the bin itself",
                options=[(name, key) for key, name in READOUT_NAMES.items()]),
            "split": control(drop, "Split", "Part of the session shown; only test tells how well a model does", options=["test", "val", "train"]),
            "color_by": control(drop, "Color by", "What the color of a latent tells", options=COLORS),
            "dimensions": control(drop, "Latents in", "Principal components of the reference that are shown", options=[("2-D", 2), ("3-D", 3)]),
            "span_s": control(ipywidgets.BoundedFloatText, "Span (s)", "Length of the stretch of time shown, seconds",
                value=state.span_s, min=0.1, max=120.0, step=1.0),
            "window_s": control(ipywidgets.BoundedFloatText, "Windows (s)", "Length of the windows that error and alignment are told for, seconds",
                value=state.window_s, min=0.1, max=60.0, step=0.5),
        }  # fmt: skip
        for trait, widget in made.items():
            link(state, trait, widget, self._message)
            widget.layout.width = "auto"
        for trait in ("models", "sessions"):
            made[trait].layout.min_width = "15em"
        self._start = control(
            ipywidgets.FloatSlider,
            "Start (s)",
            "Where the stretch of time shown begins, seconds",
            continuous_update=False,
            step=0.5,
            readout_format=".1f",
            layout=ipywidgets.Layout(width="100%"),
        )
        self._sync_start()
        state.observe(self._sync_start, ["start_s", "session"])
        self._start.observe(self._move_start, "value")
        kept = (
            "session",
            "reference",
            "readout",
            "split",
            "color_by",
            "dimensions",
            "span_s",
            "window_s",
        )
        grid = ipywidgets.GridBox(
            [made[trait] for trait in kept],
            layout=ipywidgets.Layout(
                grid_template_columns="repeat(2, minmax(14em, 1fr))", grid_gap="2px 12px"
            ),
        )
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
        return ipywidgets.VBox(
            [ipywidgets.Box([made["models"], made["sessions"], grid], layout=wrap), self._start]
        )

    def _bar(self) -> ipywidgets.Box:
        tooltip = "Encode and decode what is shown and not computed yet"
        return job_bar(self.job, "Compute", tooltip, self.compute)

    def _export_row(self) -> ipywidgets.Box:
        text = ipywidgets.Text
        self._folder = control(
            text,
            "Folder",
            "Where the files are written; made if it does not exist",
            value="exports",
        )
        self._name = control(text, "Name", "Of the files, without ending; by default that of the tab and the session",
            placeholder="tab_session")  # fmt: skip
        self._overwrite = control(
            ipywidgets.Checkbox,
            "Overwrite",
            "Replace files of the same name",
            value=False,
            indent=False,
        )
        self._overwrite.layout.width = "auto"
        export = button("Export", "Write the visible tab as PNG, SVG and CSV", self._export)
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        return ipywidgets.Box([export, self._folder, self._name, self._overwrite], layout=wrap)

    def _notes(self) -> ipywidgets.HTML:
        """Why models are not offered: few lines at once, many when asked for."""
        notes = [html.escape(note) for note in self.state.notes()]
        listed = "".join(f"<li>{note}</li>" for note in notes)
        count = f"{len(notes)} pair{'' if len(notes) == 1 else 's'} of model and session cannot be shown"
        widget = ipywidgets.HTML(
            f"<details{' open' if len(notes) < 4 else ''}><summary>{count}</summary><ul>{listed}</ul></details>"
            if notes
            else ""
        )
        widget.add_class("spikelfp-notes")
        return widget

    def _sync_start(self, _: Any = None) -> None:
        first, last = self.state.extent()
        if not first <= self.state.start_s <= last:
            return  # the state is on its way to another session and sets its start next
        with self._start.hold_trait_notifications():
            # the ends may only move in an order in which the one is never above the other
            self._start.min = min(first, self._start.min)
            self._start.max = last
            self._start.min = first
            self._start.value = self.state.start_s

    def _move_start(self, change: Any) -> None:
        if self.state.start_s != change["new"]:
            with self._message.errors():
                self.state.start_s = change["new"]

    # Drawing

    def _visible(self) -> Tab:
        return self._tabs[self._views.selected_index or 0]

    def _when_done(self, change: Any) -> None:
        self._computed += not change["new"]
        self._redraw()

    def _redraw(self, _: Any = None) -> None:
        """Draw the visible tab, unless its picture is up to date."""
        with _drawing:
            if self._closed:
                return
            tab = self._visible()
            key = (self._computed, *(getattr(self.state, name) for name in tab.traits))
            if key != tab.key:
                self._draw(tab)
                tab.key = key
            self._say(tab)

    def _draw(self, tab: Tab) -> None:
        tab.error = ""
        try:
            tab.picture.show(tab.draw(self.state, self._colors)[0])
        except (SpikeLFPError, traitlets.TraitError) as error:
            tab.picture.clear()
            tab.error = str(error)

    def _say(self, tab: Tab) -> None:
        state = self.state
        missing = state.missing()
        if missing:
            models, sessions = ({pair[i] for pair in missing} for i in (0, 1))
            self._message.say(
                f"{'Computing' if self.job.running else 'Press Compute'}: latents of {_count(models, 'model')} on "
                f"{_count(sessions, 'session')} are not there yet."
            )
        elif tab.error:
            self._message.fail(tab.error)
        elif tab.slug == "alignment" and (layers := state.missing_layers()):
            models = _count(set(layers), "model")
            self._message.say(
                f"Press Compute: layers of {models} on {state.session} are not compared yet."
            )
        else:
            shown = ", ".join(state.readable()) or "no model"
            self._message.say(f"{tab.name}: {shown} on {state.session}, {state.split} split.")

    def _export(self) -> None:
        try:
            paths = self.export()
        except (SpikeLFPError, traitlets.TraitError, OSError) as error:
            self._message.fail(error)
        else:
            names = ", ".join(path.name for path in paths.values())
            self._message.say(f"Wrote {names} to {next(iter(paths.values())).parent}.")


_SHOWN = {
    "models", "sessions", "session", "readout", "reference", "color_by", "dimensions", "split",
    "start_s", "span_s", "window_s",
}  # fmt: skip


def compare(models: Mapping[str, Any], cohort: Any, *, reference: str | None = None) -> Comparison:
    """Look at models side by side in a notebook.

    Parameters
    ----------
    models : mapping
        Label -> model, or label -> {session name: model}, as a student is of one session; latents (time, latent) may stand for a model. Labels of the
        palette, such as "Teacher" and "Distilled", have their colors.
    cohort : Dataset, DataTree or mapping
        A session, a cohort, or name -> session. A model is not offered where it cannot read a session; a note says why.
    reference : str, optional
        Label of the model that the others are aligned to; by default "Teacher", or else the first that reads spikes, or else the first.

    Returns
    -------
    Comparison
        A widget. Nothing is encoded before "Compute" is pressed. ``.state`` has the numbers, ``.close()`` frees them.

    Raises
    ------
    ConfigError
        No models, something that is no model, or an unknown reference.
    DataError
        No sessions, or none that any of the models can read.

    Examples
    --------
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> import numpy as np
    >>> clock = session_clock(0.0, 20.0, bin_size_s=0.01)
    >>> moved = np.stack([np.sin(2 * clock), np.cos(3 * clock)], axis=1)
    >>> session = build_session(
    ...     clock, bin_size_s=0.01, subject="I", session="s01", source="example",
    ...     lfp=(moved, clock), behavior=(moved, clock), behavior_names=("vx", "vy"),
    ... )
    >>> latents = session["lfp"].rename(channel="latent").assign_attrs(window_s=0.5)
    >>> widget = compare({"Teacher": latents, "Mine": latents.copy(data=2 * latents)}, session)
    >>> widget.compute()
    >>> widget.job.wait()
    >>> widget.state.missing()
    []
    >>> widget.close()
    """
    return Comparison(CompareState(models, cohort, reference=reference))


def _count(things: set[str], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
