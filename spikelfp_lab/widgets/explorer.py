"""The session explorer: menus, a time slider and a picture over :class:`ExplorerState`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.session import SessionPicture
from spikelfp_lab.plots.spectral import plot_spectra
from spikelfp_lab.plots.theme import style
from spikelfp_lab.widgets.base import WRAP, Message, Panel, Picture, button
from spikelfp_lab.widgets.cards import session_html
from spikelfp_lab.widgets.explorer_state import LFP_VIEWS, Cohort, ExplorerState

_DPI = 120  # with the style's 8 points: letters of 13 pixels
_ROWS = (
    ("subject", "session", "unit_order", "lfp_view"),
    ("start_s", "previous", "next", "span_s"),
    ("first_channel", "n_channels", "axes"),
)
_MENU, _SEVERAL = ipywidgets.Dropdown, ipywidgets.SelectMultiple
_SLIDER = ipywidgets.FloatSlider
_CONTROLS = (
    ("subject", _MENU, "Subject", "Whose sessions to choose from", "13em"),
    ("session", _MENU, "Session", "The session that is shown", "13em"),
    ("unit_order", _MENU, "Units", "Order of the units in the raster", "16em"),
    ("lfp_view", ipywidgets.ToggleButtons, "LFP", "Traces, or power of the first channel", "22em"),
    ("start_s", _SLIDER, "Start (s)", "Where the stretch begins; arrow keys move it", "36em"),
    ("span_s", ipywidgets.FloatText, "Span (s)", "How much is shown at once, in seconds", "9em"),
    ("first_channel", _MENU, "First channel", "First channel shown; the spectrogram's", "15em"),
    ("n_channels", ipywidgets.IntText, "Channels", "How many LFP channels are shown", "9em"),
    ("axes", _SEVERAL, "Behavior", "Axes that are shown; Ctrl or Shift takes several", "13em"),
)


def explore(cohort: Cohort, *, start_s: float | None = None, span_s: float = 10.0) -> Explorer:
    """Look through the sessions of a cohort in a notebook.

    Raises SchemaError or DataError or ConfigError: no session or cohort, or one that is not
    valid; a stretch that the first session lacks.

    Parameters
    ----------
    cohort : xr.Dataset, xr.DataTree or mapping
        A session, a cohort, or a mapping of name -> session.
    start_s, span_s : float
        Where the first stretch begins (by default the session's start), and how much is shown at
        once, in seconds.

    Returns
    -------
    Explorer
        A widget; as the last line of a cell it is shown. ``explorer.state`` drives it from code.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> explorer = explore(session(1, duration_s=20, n_units=4, n_channels=3), start_s=5)
    >>> explorer.state.status
    'I/s01: 5.0 to 15.0 s of 20.0 s; 4 units, 3 of 3 channels'
    >>> explorer.close()
    """
    return Explorer(ExplorerState(cohort, start_s=start_s, span_s=span_s))


class Explorer(Panel):
    """The view over a ``state``. It draws once a change, and only what is in sight.

    ``controls`` are by the trait they set ("previous" and "next" are buttons), ``picture`` is of
    raster, LFP and behavior, ``message`` says what is shown, or what was wrong with an input.
    """

    def __init__(self, state: ExplorerState):
        self._drawing = SessionPicture()
        super().__init__(state, _CONTROLS)
        self.picture = Picture()
        self._in_tab: dict[int, str] = {}  # tab -> session it was made for
        c = self.controls
        c["lfp_view"].style.button_width, c["axes"].rows = "8em", 3
        c["start_s"].readout_format, c["span_s"].step = ".1f", 1
        c["previous"] = button("◀ Previous", "One page back", lambda: state.turn(-1))
        c["next"] = button("Next ▶", "One page on", lambda: state.turn(1))
        self.pages = [(Message(), ipywidgets.HTML(), Picture()) for _ in _TABS]
        boxes = [ipywidgets.VBox([text.widget, table, p.widget]) for text, table, p in self.pages]
        self.tabs = ipywidgets.Tab(boxes, titles=[*_TABS])
        rows = [ipywidgets.HBox([c[name] for name in row], layout=WRAP) for row in _ROWS]
        self.children = [*rows, self.message.widget, self.picture.widget, self.tabs]
        self.add_class("spikelfp-explorer")
        state.observe(self._refresh, "revision")
        self.tabs.observe(self._refresh_tab, "selected_index")
        self._refresh()

    def close(self) -> None:
        """Free the widgets and the figure. The state can still be used."""
        if self.comm is not None:  # not closed before
            self._drawing = SessionPicture()
            self.state.unobserve(self._refresh, "revision")
        super().close()

    def follow(self) -> None:
        """Gray is what the session has not."""
        state, c = self.state, self.controls
        begin, end = state.limits_s
        latest, bin_size_s = round(end - state.span_s, 6), float(state.dataset.attrs["bin_size_s"])
        channels, axes = state.labels("lfp"), tuple(state.labels("behavior"))
        c["start_s"].step = max(bin_size_s, round(state.span_s / 20, 3))
        choices = {"subject": state.subjects, "session": state.sessions, "lfp_view": LFP_VIEWS}
        choices |= {"unit_order": state.orders, "axes": axes}
        choices["first_channel"] = tuple((str(name), i) for i, name in enumerate(channels))
        # a slider cannot be of no length
        self.show_values(begin, max(latest, begin + bin_size_s), **choices)
        c["previous"].disabled, c["next"].disabled = state.start_s <= begin, state.start_s >= latest
        c["start_s"].disabled, c["axes"].disabled = latest <= begin, not axes
        c["lfp_view"].disabled = c["first_channel"].disabled = not channels
        c["n_channels"].disabled = not channels or state.lfp_view != "traces"
        c["unit_order"].disabled = "spikes" in state.missing

    def _refresh(self, _: Any = None) -> None:
        self.follow()
        with self.message.errors(), style():
            self._drawing.draw(self.state.dataset, self.state.view)
            self.picture.show(self._drawing.figure, dpi=_DPI)
            self.message.say(self.state.status)
        if self.message.failed:
            self.picture.clear()
        self._refresh_tab()

    def _refresh_tab(self, _: Any = None) -> None:
        """Make the open tab, unless it shows this session already: they take their time."""
        index, state = self.tabs.selected_index, self.state
        if index is None or self._in_tab.get(index) == state.name:
            return
        self._in_tab[index] = state.name
        message, table, picture = self.pages[index]
        message.say("Computing ...")
        table.value = ""
        picture.clear()
        with message.errors():
            text, content = [*_TABS.values()][index](state)
            if isinstance(content, Figure):
                picture.show(content, dpi=_DPI)
            else:
                table.value = content
            message.say(f"{state.name}{text}")


def _quality(state: ExplorerState) -> tuple[str, str]:
    """What check_quality finds, as a table."""
    table = state.quality()
    if table.empty:
        return ": check_quality finds nothing", ""
    made = table.to_html(index=False, border=0, na_rep="–", float_format="{:.3g}".format)
    box = f'<div tabindex="0" style="max-height:26em;overflow:auto">{made}</div>'
    return f": {len(table)} findings of check_quality", box


def _spectra(state: ExplorerState) -> tuple[str, Figure]:
    """Power spectra of the LFP over the session."""
    if "lfp" in state.missing:
        raise DataError(f"There is no LFP in {state.name}: choose another session.")
    # stretches must be whole in all channels: those that are often NaN would leave none
    good = np.isfinite(state.dataset["lfp"].values).mean(axis=0) > 0.9
    if not good.any():
        raise DataError(f"No channel of {state.name} is nine tenths finite: drop them.")
    left_out = ", ".join(state.dataset["channel"].values.astype(str)[~good])
    figure = plot_spectra(state.dataset[["lfp"]].isel(channel=good))
    return ", Welch" + (f"; left out as not finite: {left_out}" if left_out else ""), figure


_TABS: dict[str, Callable[[ExplorerState], tuple[str, str | Figure]]] = {
    "Session": lambda state: ("", session_html(state.dataset)),
    "Quality": _quality,
    "Power spectra": _spectra,
}
