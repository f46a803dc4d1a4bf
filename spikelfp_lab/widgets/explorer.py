"""The session explorer: menus, a time slider and a picture over :class:`ExplorerState`."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import traitlets
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.errors import SpikeLFPError
from spikelfp_lab.plots.spectra import draw_spectra
from spikelfp_lab.plots.style import pretty_units, style
from spikelfp_lab.sessions import GAP_BINS
from spikelfp_lab.widgets._explorer_picture import SCREEN_DPI, ExplorerPicture
from spikelfp_lab.widgets.base import Message, Picture, button, control, link
from spikelfp_lab.widgets.explorer_state import LFP_VIEWS, ExplorerState

_TABS = ("Session", "Power spectra", "Units and channels")


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

    Parameters
    ----------
    state : ExplorerState
        What is shown; a change of it changes the view, and the other way round.

    Attributes
    ----------
    state : ExplorerState
    controls : dict of str -> widget
        By the trait they set, and the buttons "previous" and "next".
    picture : Picture
        Raster, LFP and behavior.
    message : Message
        What is shown, or what was wrong with an input.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> explorer = Explorer(ExplorerState(session(1, duration_s=20, n_units=4, n_channels=3)))
    >>> explorer.controls["next"].click()
    >>> explorer.state.start_s
    10.0
    >>> explorer.close()
    """

    def __init__(self, state: ExplorerState):
        self.state = state
        self.message = Message()
        self.picture = Picture()
        self.controls = _controls(state)
        self._board: ExplorerPicture | None = ExplorerPicture()
        self._refreshing = False
        self._in_tab: dict[int, str] = {}  # tab -> session it was made for
        self._info, self._table = ipywidgets.HTML(), ipywidgets.HTML()
        self._spectra = Picture()
        self._spectra_message, self._table_message = Message(), Message()
        self.tabs = ipywidgets.Tab(
            [
                self._info,
                ipywidgets.VBox([self._spectra_message.widget, self._spectra.widget]),
                ipywidgets.VBox([self._table_message.widget, self._table]),
            ],
            titles=_TABS,
        )
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
        self._connect()
        self._refresh()

    def close(self) -> None:
        """Free the widgets, the figure and what was computed. The state can still be used."""
        if getattr(self, "_board", None) is None:
            return  # closed before, or never made
        self._board = None
        self.state.unobserve(self._refresh, "revision")
        self.tabs.unobserve_all()
        self.state.forget()
        for widget in [*_family(self)][1:]:
            widget.close()
        layout = self.layout
        super().close()
        layout.close()

    def _connect(self) -> None:
        for trait in ("lfp_view", "span_s", "n_channels"):
            link(self.state, trait, self.controls[trait], self.message)
        # A span longer than the session becomes the session's, which may be what it was.
        self.controls["span_s"].observe(lambda _: self._refresh_controls(), "value")
        # The choices or limits of these change with the session, and with them a value that
        # nobody chose: they are set by _refresh_controls alone.
        for trait in ("subject", "session", "unit_order", "start_s", "first_channel", "axes"):
            self.controls[trait].observe(self._setter(trait), "value")
        self.controls["previous"].on_click(lambda _: self._turn(-1))
        self.controls["next"].on_click(lambda _: self._turn(1))
        self.state.observe(self._refresh, "revision")
        self.tabs.observe(lambda _: self._refresh_tab(), "selected_index")

    def _setter(self, trait: str) -> Any:
        def to_state(change: Any) -> None:
            if self._refreshing:
                return
            try:
                setattr(self.state, trait, change["new"])
            except (SpikeLFPError, traitlets.TraitError) as error:
                self.message.fail(error)
            self._refresh_controls()

        return to_state

    def _turn(self, pages: int) -> None:
        with self.message.errors():
            self.state.turn(pages)

    @contextmanager
    def _set_by_code(self) -> Iterator[None]:
        outer, self._refreshing = self._refreshing, True
        try:
            yield
        finally:
            self._refreshing = outer

    def _refresh(self, _: Any = None) -> None:
        if self._board is None:
            return
        self._refresh_controls()
        try:
            self._board.update(self.state)
            with style():
                self.picture.show(self._board.figure, dpi=SCREEN_DPI)
        except SpikeLFPError as error:
            self.picture.clear()
            self.message.fail(error)
        else:
            self.message.say(self.state.status)
        self._refresh_tab()

    def _refresh_controls(self) -> None:
        state, c = self.state, self.controls
        begin, end = state.limits_s
        latest = round(end - state.span_s, 6)
        channels = [] if "lfp" in state.missing else state.dataset["channel"].values.tolist()
        dims = [] if "behavior" in state.missing else state.dataset["behavior_dim"].values.tolist()
        with self._set_by_code():
            _choose(c["subject"], state.subjects, state.subject)
            _choose(c["session"], state.sessions, state.session)
            _choose(c["unit_order"], state.orders, state.unit_order)
            first = state.first_channel if channels else None
            _choose(c["first_channel"], tuple((str(x), i) for i, x in enumerate(channels)), first)
            _choose(c["axes"], tuple(dims), state.axes)
            # A slider cannot be of no length: where all is shown it is grey.
            _slide(c["start_s"], begin, max(latest, begin + state.bin_size_s), state.start_s)
            c["start_s"].step = max(state.bin_size_s, round(state.span_s / 20, 3))
            c["span_s"].value = state.span_s
            c["n_channels"].value = state.n_channels
        c["start_s"].disabled = latest <= begin
        c["previous"].disabled = state.start_s <= begin
        c["next"].disabled = state.start_s >= latest
        c["unit_order"].disabled = "spikes" in state.missing
        for name in ("lfp_view", "first_channel"):
            c[name].disabled = not channels
        c["n_channels"].disabled = not channels or state.lfp_view != "traces"
        c["axes"].disabled = not dims

    def _refresh_tab(self) -> None:
        """Make the open tab, unless it shows this session already: two of them take their time."""
        index, name = self.tabs.selected_index, self.state.name
        if self._board is None or index is None or self._in_tab.get(index) == name:
            return
        self._in_tab[index] = name
        if index == 0:
            self._info.value = _session_html(self.state.dataset)
        elif index == 1:
            self._show_spectra()
        else:
            self._table_message.say("Computing ...")
            table = self.state.quality()
            flagged = sum(flag != "" for flag in table["flag"])
            self._table_message.say(f"{name}: {flagged} of {len(table)} units and channels flagged")
            self._table.value = _quality_html(table, self.state)

    def _show_spectra(self) -> None:
        if "lfp" in self.state.missing:
            self._spectra.clear()
            self._spectra_message.say("no LFP in this session")
            return
        self._spectra_message.say("Computing ...")
        try:
            power = self.state.spectra()
        except SpikeLFPError as error:
            self._spectra.clear()
            self._spectra_message.fail(error)
            return
        left_out = power.attrs["left_out"]
        self._spectra_message.say(
            f"{self.state.name}, Welch, {power.sizes['channel']} channels"
            + (f"; left out as not finite: {', '.join(left_out)}" if left_out else "")
        )
        with style():
            self._spectra.show(_spectra_figure(power), dpi=SCREEN_DPI)


def _controls(state: ExplorerState) -> dict[str, Any]:
    short, narrow = {"width": "13em"}, {"width": "9em"}
    made = {
        "subject": control(ipywidgets.Dropdown, "Subject", "Whose sessions to choose from", layout=short),
        "session": control(ipywidgets.Dropdown, "Session", "The session that is shown", layout=short),
        "unit_order": control(
            ipywidgets.Dropdown, "Units",
            "Order of the units in the raster; only orders that the session has the data for", layout={"width": "16em"},
        ),
        "lfp_view": control(
            ipywidgets.ToggleButtons, "LFP", "Show the LFP as traces, or the first channel as a spectrogram",
            options=LFP_VIEWS, tooltips=["Traces of several channels", "Power of the first channel over time and frequency"],
            layout={"width": "22em"},
        ),
        "start_s": control(
            ipywidgets.FloatSlider, "Start (s)", "Where the stretch begins; arrow keys move by a twentieth of it",
            readout_format=".1f", layout={"width": "36em"},
        ),
        "previous": button("◀ Previous", "One page back", lambda: None),
        "next": button("Next ▶", "One page on", lambda: None),
        "span_s": control(
            ipywidgets.FloatText, "Span (s)", "How much is shown at once, in seconds", value=state.span_s, step=1, layout=narrow,
        ),
        "first_channel": control(
            ipywidgets.Dropdown, "First channel", "First of the LFP channels shown, and the one of the spectrogram", layout={"width": "15em"},
        ),
        "n_channels": control(
            ipywidgets.IntText, "Channels", "How many LFP channels are shown as traces", value=state.n_channels, layout=narrow,
        ),
        "axes": control(
            ipywidgets.SelectMultiple, "Behavior", "Behavior axes that are shown; Ctrl or Shift takes several", rows=3, layout=short,
        ),
    }  # fmt: skip
    made["lfp_view"].style.button_width = "8em"
    return made


def _choose(menu: Any, options: tuple, value: Any) -> None:
    if tuple(menu.options) != options:
        menu.options = options
    if options and menu.value != value:
        menu.value = value


def _slide(slider: Any, low: float, high: float, value: float) -> None:
    """Limits in an order in which the lower one is never above the upper one."""
    if high < slider.min:
        slider.min, slider.max = low, high
    else:
        slider.max, slider.min = high, low
    # A rounding is not sent back: it would come in the way of a hand that is moving the slider.
    if abs(slider.value - value) > 1e-5:
        slider.value = value


def _family(widget: Any) -> Iterator[ipywidgets.Widget]:
    """A widget, all within it, and what these are styled with."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _family(child)
        yield child.layout
        if isinstance(getattr(child, "style", None), ipywidgets.Widget):
            yield child.style


def _session_html(dataset: xr.Dataset) -> str:
    time = dataset["time"].values
    gaps = int((np.diff(time) > GAP_BINS * dataset.attrs["bin_size_s"]).sum())
    rows = {
        "Length": f"{time.size} bins of {dataset.attrs['bin_size_s']:g} s, {gaps} gaps",
        **{
            str(name): f"{' × '.join(f'{n} {dim}' for dim, n in array.sizes.items())}, {array.dtype}, {array.attrs.get('units', 'no units')}"
            for name, array in dataset.data_vars.items()
        },
        "Source": str(dataset.attrs.get("source", "")),
        "History": str(dataset.attrs.get("history", "")),
    }  # fmt: skip
    cells = "".join(
        f'<tr><th scope="row" style="text-align:left;vertical-align:top;padding-right:1em">{html.escape(key)}</th>'
        f'<td style="white-space:pre-wrap;text-align:left">{html.escape(value)}</td></tr>'
        for key, value in rows.items()
    )
    # The last title is longer than the width that tabs have otherwise.
    wider = "<style>.spikelfp-explorer .lm-TabBar-tab{flex:0 1 auto!important}</style>"
    return f'{wider}<table style="line-height:1.5">{cells}</table>'


def _quality_html(table: pd.DataFrame, state: ExplorerState) -> str:
    """Two tables, flagged rows first: a unit and a channel share no measure."""
    parts = []
    units = "" if "lfp" in state.missing else state.dataset["lfp"].attrs.get("units", "")
    titles = {
        "flag": "flag", "name": "name", "rate_hz": "rate (Hz)", "fano": "Fano factor (1 s)",
        "empty_share": "empty bins", "drift": "rate, 2nd / 1st half",
        "sd": f"sd ({pretty_units(str(units))})" if units else "sd",
        "nonfinite_share": "not finite", "line_db": "line noise (dB)",
    }  # fmt: skip
    for kind, variable in (("unit", "spikes"), ("channel", "lfp")):
        if variable in state.missing:
            what = "LFP" if variable == "lfp" else variable
            parts.append(f"<p>no {what} in this session</p>")
            continue
        part = pd.DataFrame(table[table["kind"] == kind]).drop(columns="kind")
        shown = [name for name in part if name in ("name", "flag") or np.any(part[name].notna())]
        part = part[shown].iloc[np.argsort(part["flag"] == "", kind="stable")]
        made = part.rename(columns=titles).to_html(
            index=False, border=0, na_rep="–", float_format=lambda x: f"{x:.3g}", escape=True
        )
        look = "border-collapse:separate;border-spacing:1.2em 0;text-align:right"
        made = made.replace("<table ", f'<table style="{look}" ', 1)
        parts.append(f"<div><b>{kind.capitalize()}s ({len(part)})</b>{made}</div>")
    style = "display:flex;gap:3em;flex-wrap:wrap;max-height:26em;overflow:auto"
    return f'<div tabindex="0" style="{style}">{"".join(parts)}</div>'


def _spectra_figure(power: xr.DataArray) -> Figure:
    with style():
        figure = Figure(figsize=(5.0, 3.0), layout="constrained")
        draw_spectra(figure.subplots(), power)
    return figure
