"""The session explorer: menus, a time slider and a picture over :class:`ExplorerState`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

import ipywidgets
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.errors import SpikeLFPError
from spikelfp_lab.plots.session import SessionPicture
from spikelfp_lab.plots.spectra import draw_spectra
from spikelfp_lab.plots.style import style
from spikelfp_lab.sessions import GAP_BINS
from spikelfp_lab.widgets.base import Message, Picture, button, control
from spikelfp_lab.widgets.explorer_state import LFP_VIEWS, ExplorerState

_DPI = 120  # with the style's 8 points: letters of 13 pixels


def explore(
    cohort: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree],
    *,
    start_s: float | None = None,
    span_s: float = 10.0,
) -> Explorer:
    """Look through the sessions of a cohort in a notebook.

    Parameters
    ----------
    cohort : xr.Dataset, xr.DataTree or mapping
        A session, a cohort, or a mapping of name -> session.
    start_s : float, optional
        Where the first stretch begins, in seconds; at the session's start by default.
    span_s : float
        How much is shown at once, in seconds.

    Returns
    -------
    Explorer
        A widget; as the last line of a cell it is shown. ``explorer.state`` drives it from code.

    Raises
    ------
    SchemaError, DataError
        What was given is no session or cohort, or one of its sessions is not valid.
    ConfigError
        ``start_s`` or ``span_s`` does not suit the first session.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> explorer = explore(session(1, duration_s=20, n_units=4, n_channels=3), start_s=5)
    >>> explorer.state.status
    'I/s01: 5.0 to 15.0 s of 20.0 s; 4 units, 3 of 3 channels'
    >>> explorer.close()
    """
    return Explorer(ExplorerState(cohort, start_s=start_s, span_s=span_s))


class Explorer(ipywidgets.VBox):
    """The view over a state. It draws once a change, and only what is in sight.

    Attributes
    ----------
    state : ExplorerState
        What is shown; a change of it changes the view, and the other way round.
    controls : dict of str -> widget
        By the trait they set, and the buttons "previous" and "next".
    picture : Picture
        Raster, LFP and behavior.
    message : Message
        What is shown, or what was wrong with an input.
    """

    def __init__(self, state: ExplorerState):
        self.state = state
        self.message, self.picture = Message(), Picture()
        self._drawing: SessionPicture | None = SessionPicture()
        self._refreshing = False
        self._in_tab: dict[int, str] = {}  # tab -> session it was made for
        self.controls = _controls(state, self._turn)
        self._pages = [_Page(_session_html), _Page(_quality_html), _Page(_spectra_figure)]
        titles = ["Session", "Quality", "Power spectra"]
        self.tabs = ipywidgets.Tab([page.widget for page in self._pages], titles=titles)
        row = {"flex_flow": "row wrap", "align_items": "flex-end"}
        rows = [
            ipywidgets.HBox([self.controls[name] for name in names], layout=row)
            for names in (
                ("subject", "session", "unit_order", "lfp_view"),
                ("start_s", "previous", "next", "span_s"),
                ("first_channel", "n_channels", "axes"),
            )
        ]
        super().__init__([*rows, self.message.widget, self.picture.widget, self.tabs])
        self.add_class("spikelfp-explorer")
        for trait, widget in self.controls.items():
            if trait not in ("previous", "next"):
                widget.observe(lambda change, trait=trait: self._set(trait, change["new"]), "value")
        self.state.observe(self._refresh, "revision")
        self.tabs.observe(lambda _: self._refresh_tab(), "selected_index")
        self._refresh()

    def close(self) -> None:
        """Free the widgets and the figure. The state can still be used."""
        if getattr(self, "_drawing", None) is None:
            return  # closed before, or never made
        self._drawing = None
        self.state.unobserve(self._refresh, "revision")
        self.tabs.unobserve_all()
        for widget in [*_family(self)][1:]:
            widget.close()
        layout = self.layout
        super().close()
        layout.close()

    def _set(self, trait: str, value: Any) -> None:
        """Take a control's value into the state; one that it refuses is explained and set back."""
        if self._refreshing:
            return
        with self.message.errors():
            setattr(self.state, trait, value)
        self._refresh_controls()

    def _turn(self, pages: int) -> None:
        with self.message.errors():
            self.state.turn(pages)

    def _refresh(self, _: Any = None) -> None:
        if self._drawing is None:
            return
        self._refresh_controls()
        try:
            self._drawing.draw(self.state.dataset, self.state.view)
            with style():
                self.picture.show(self._drawing.figure, dpi=_DPI)
            self.message.say(self.state.status)
        except SpikeLFPError as error:
            self.picture.clear()
            self.message.fail(error)
        self._refresh_tab()

    def _refresh_controls(self) -> None:
        """Choices, limits and values that follow from the state, none of them sent back."""
        state, c, outer = self.state, self.controls, self._refreshing
        self._refreshing = True
        begin, end = state.limits_s
        latest, bin_size_s = round(end - state.span_s, 6), float(state.dataset.attrs["bin_size_s"])
        channels = [] if "lfp" in state.missing else state.dataset["channel"].values.tolist()
        axes = [] if "behavior" in state.missing else state.dataset["behavior_dim"].values.tolist()
        _choose(c["subject"], state.subjects, state.subject)
        _choose(c["session"], state.sessions, state.session)
        _choose(c["unit_order"], state.orders, state.unit_order)
        _choose(c["lfp_view"], LFP_VIEWS, state.lfp_view)
        first = tuple((str(name), i) for i, name in enumerate(channels))
        _choose(c["first_channel"], first, state.first_channel)
        _choose(c["axes"], tuple(axes), state.axes)
        # A slider cannot be of no length: where all is shown it is grey.
        slider, most = c["start_s"], max(latest, begin + bin_size_s)
        with slider.hold_trait_notifications():
            slider.min, slider.max = begin, most
            slider.step = max(bin_size_s, round(state.span_s / 20, 3))
            # A rounding is not sent back: it would come in the way of a hand on the slider.
            if abs(slider.value - state.start_s) > 1e-5:
                slider.value = state.start_s
        c["span_s"].value, c["n_channels"].value = state.span_s, state.n_channels
        slider.disabled = latest <= begin
        c["previous"].disabled, c["next"].disabled = state.start_s <= begin, state.start_s >= latest
        c["unit_order"].disabled = "spikes" in state.missing
        c["lfp_view"].disabled = c["first_channel"].disabled = not channels
        c["n_channels"].disabled = not channels or state.lfp_view != "traces"
        c["axes"].disabled = not axes
        self._refreshing = outer

    def _refresh_tab(self) -> None:
        """Make the open tab, unless it shows this session already: they take their time."""
        index, name = self.tabs.selected_index, self.state.name
        if self._drawing is not None and index is not None and self._in_tab.get(index) != name:
            self._in_tab[index] = name
            self._pages[index].show(self.state)


class _Page:
    """A tab: a message over HTML or a figure, as ``make`` gives them for a state."""

    def __init__(self, make: Callable[[ExplorerState], tuple[str, str | Figure]]):
        self._make = make
        self.message, self.html, self.picture = Message(), ipywidgets.HTML(), Picture()
        self.widget = ipywidgets.VBox([self.message.widget, self.html, self.picture.widget])

    def show(self, state: ExplorerState) -> None:
        self.message.say("Computing ...")
        self.html.value = ""
        self.picture.clear()
        with self.message.errors():
            text, content = self._make(state)
            if isinstance(content, str):
                self.html.value = content
            else:
                with style():
                    self.picture.show(content, dpi=_DPI)
            self.message.say(text)


def _controls(state: ExplorerState, turn: Callable[[int], None]) -> dict[str, Any]:
    """Controls with labels and tooltips, by trait, narrow ones first."""
    menu, many = ipywidgets.Dropdown, ipywidgets.SelectMultiple
    kinds: dict[str, tuple[Any, str, str, str, dict[str, Any]]] = {
        "subject": (menu, "Subject", "Whose sessions to choose from", "13em", {}),
        "session": (menu, "Session", "The session that is shown", "13em", {}),
        "unit_order": (menu, "Units", "Order of the units in the raster", "16em", {}),
        "lfp_view": (
            ipywidgets.ToggleButtons, "LFP", "Traces, or power of the first channel", "22em",
            {"options": LFP_VIEWS, "tooltips": ["Traces of several channels",
                                                "Power of the first channel over time"]},
        ),
        "start_s": (
            ipywidgets.FloatSlider, "Start (s)", "Where the stretch begins; arrow keys move it",
            "36em", {"readout_format": ".1f"},
        ),
        "span_s": (ipywidgets.FloatText, "Span (s)", "How much is shown at once, in seconds", "9em",
                   {"value": state.span_s, "step": 1}),
        "first_channel": (menu, "First channel", "First of the LFP channels shown, and the one of "
                          "the spectrogram", "15em", {}),
        "n_channels": (ipywidgets.IntText, "Channels", "How many LFP channels are shown", "9em",
                       {"value": state.n_channels}),
        "axes": (many, "Behavior", "Axes that are shown; Ctrl or Shift takes several", "13em",
                 {"rows": 3}),
    }  # fmt: skip
    made = {
        name: control(kind, label, tooltip, layout={"width": width}, **options)
        for name, (kind, label, tooltip, width, options) in kinds.items()
    }
    made["lfp_view"].style.button_width = "8em"
    made["previous"] = button("◀ Previous", "One page back", lambda: turn(-1))
    made["next"] = button("Next ▶", "One page on", lambda: turn(1))
    return made


def _choose(menu: Any, options: tuple, value: Any) -> None:
    if tuple(menu.options) != options:
        menu.options = options
    if options and menu.value != value:
        menu.value = value


def _family(widget: Any) -> Iterator[ipywidgets.Widget]:
    """A widget, all within it, and what these are styled with."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _family(child)
        yield child.layout
        if isinstance(getattr(child, "style", None), ipywidgets.Widget):
            yield child.style


def _session_html(state: ExplorerState) -> tuple[str, str]:
    """What the session is, as a table."""
    dataset, bin_size_s = state.dataset, float(state.dataset.attrs["bin_size_s"])
    gaps = int((np.diff(dataset["time"].values) > GAP_BINS * bin_size_s).sum())
    rows = {"Length": f"{dataset.sizes['time']} bins of {bin_size_s:g} s, {gaps} gaps"}
    for name, array in dataset.data_vars.items():
        sizes = " × ".join(f"{n} {dim}" for dim, n in array.sizes.items())
        rows[str(name)] = f"{sizes}, {array.dtype}, {array.attrs.get('units', 'no units')}"
    rows |= {name: str(dataset.attrs.get(name.lower(), "")) for name in ("Source", "History")}
    cell = '<td style="white-space:pre-wrap;text-align:left;padding-left:1em">'
    lines = [f"<th>{escape(k)}</th>{cell}{escape(v)}</td>" for k, v in rows.items()]
    table = "".join(f'<tr style="vertical-align:top">{line}</tr>' for line in lines)
    return state.name, f"<table>{table}</table>"


def _quality_html(state: ExplorerState) -> tuple[str, str]:
    """What check_quality finds, as a table."""
    table = state.quality()
    count = (
        f"{len(table)} findings of check_quality" if len(table) else "check_quality finds nothing"
    )
    made = table.to_html(index=False, border=0, na_rep="–", float_format="{:.3g}".format)
    box = '<div tabindex="0" style="max-height:26em;overflow:auto">'
    return f"{state.name}: {count}", f"{box}{made}</div>" if len(table) else ""


def _spectra_figure(state: ExplorerState) -> tuple[str, Figure]:
    """Power spectra of the LFP over the session."""
    power = state.spectra()
    left_out = ", ".join(power.attrs["left_out"])
    text = f"{state.name}, Welch, {power.sizes['channel']} channels"
    with style():
        figure = Figure(figsize=(5.0, 3.0), layout="constrained")
        draw_spectra(figure.subplots(), power)
    return text + (f"; left out as not finite: {left_out}" if left_out else ""), figure
