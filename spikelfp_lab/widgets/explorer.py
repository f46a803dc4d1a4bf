"""The session explorer: which stretch of which session is shown, and the widget over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import traitlets
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.plots.session import HEIGHTS, SessionPicture, View
from spikelfp_lab.plots.spectral import plot_spectra
from spikelfp_lab.plots.theme import style
from spikelfp_lab.sessions import check_quality, iterate_sessions
from spikelfp_lab.widgets.base import WRAP, Message, Panel, Picture, button
from spikelfp_lab.widgets.cards import session_html

AS_RECORDED = "as recorded"
LFP_VIEWS = ("traces", "spectrogram")
Cohort = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree]
_DIMS = {"lfp": "channel", "behavior": "behavior_dim"}
_SHOWN = ("subject", "session", "unit_order", "lfp_view", "start_s", "span_s")
_SHOWN += ("first_channel", "n_channels", "axes")
_DPI = 120  # with the style's 8 points: letters of 13 pixels
_MENU, _SEVERAL = ipywidgets.Dropdown, ipywidgets.SelectMultiple
_SLIDER = ipywidgets.FloatSlider
_CONTROLS = (
    ("subject", _MENU, "Subject", "Whose sessions to choose from"),
    ("session", _MENU, "Session", "The session that is shown"),
    ("unit_order", _MENU, "Units", "Order of the units in the raster"),
    ("lfp_view", _MENU, "LFP", "Traces, or power of the first channel"),
    ("span_s", ipywidgets.FloatText, "Span (s)", "How much is shown at once, in seconds"),
    ("first_channel", _MENU, "First channel", "First channel shown; the spectrogram's"),
    ("n_channels", ipywidgets.IntText, "Channels", "How many LFP channels are shown"),
    ("axes", _SEVERAL, "Behavior", "Axes that are shown; Ctrl or Shift takes several"),
    ("start_s", _SLIDER, "Start (s)", "Where the stretch begins; arrow keys move it"),
)


class ExplorerState(traitlets.HasTraits):
    """A place in a cohort, and what there is to see; parameters as of :func:`spikelfp_lab.explore`.

    Values that cannot be shown are refused with a ``TraitError`` that says which can. A stretch
    beyond the session's end is moved back; one longer than the session becomes the session.

    Attributes
    ----------
    subject, session, unit_order, lfp_view : str
        Of ``subjects``, ``sessions``, ``orders`` (what the session has the data for), LFP_VIEWS.
    start_s, span_s : float
        The stretch, in seconds; ``limits_s`` are the outer edges of the session's bins.
    first_channel, n_channels, axes : int, int, tuple of str
        LFP channels (a spectrogram is of the first) and behavior axes that are shown.
    dataset : xr.Dataset
        The session in memory, time first.
    revision : int
        Goes up by one when all that follows from a change has been settled: observe it to draw.
    """

    subject = traitlets.Unicode()
    session = traitlets.Unicode()
    start_s = traitlets.CFloat()
    span_s = traitlets.CFloat(10.0)
    unit_order = traitlets.Unicode(AS_RECORDED)
    lfp_view = traitlets.Unicode(LFP_VIEWS[0])
    first_channel = traitlets.Int(0)
    n_channels = traitlets.Int(16)
    axes = traitlets.Tuple()
    revision = traitlets.Int(0)

    def __init__(self, cohort: Cohort, *, start_s: float | None = None, span_s: float = 10.0):
        super().__init__()
        self._sessions = iterate_sessions(cohort)
        self._menu: dict[str, dict[str, str]] = {}  # subject -> label -> name
        for name, dataset in self._sessions.items():
            own = self._menu.setdefault(subject := dataset.attrs["subject"], {})
            label = name.removeprefix(f"{subject}/")
            own[name if label in self._sessions else label] = name
        self._settling, self._quality = False, {}
        self.subjects, self.sessions, self.orders = tuple(self._menu), (), ()
        self.subject = self.subjects[0]
        try:
            self.span_s = span_s
            self.start_s = self.start_s if start_s is None else start_s
        except traitlets.TraitError as error:
            raise ConfigError(str(error)) from None

    @property
    def name(self) -> str:
        """Name of the session in the cohort, as in "I/s01"."""
        return self._menu[self.subject][self.session]

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of "spikes", "lfp" and "behavior" the session lacks."""
        return tuple(name for name in HEIGHTS if name not in self.dataset)

    def choices(self) -> dict[str, tuple[str, ...]]:
        """What the menus offer."""
        own = {"subject": self.subjects, "session": self.sessions}
        return own | {"unit_order": self.orders, "lfp_view": LFP_VIEWS}

    def labels(self, variable: str) -> list[str]:
        """Channels of "lfp" or axes of "behavior"; none where there is no such variable."""
        there = variable in self.dataset
        return self.dataset[variable][_DIMS[variable]].values.tolist() if there else []

    @property
    def view(self) -> View:
        """What is to be drawn."""
        last = min(self.first_channel + self.n_channels, len(self.labels("lfp")))
        names = self.labels("behavior")
        how = self.unit_order if self.unit_order == AS_RECORDED else f"by {self.unit_order}"
        return View(
            start_s=self.start_s,
            span_s=self.span_s,
            order=tuple(self._order[self.unit_order].tolist()),
            order_name=how.replace("preferred ", ""),
            channels=tuple(range(self.first_channel, last)),
            axes=tuple(names.index(axis) for axis in self.axes),
            spectrogram=self.lfp_view == "spectrogram",
        )

    @property
    def status(self) -> str:
        """One line: what is shown."""
        (begin, end), sizes, lacks = self.limits_s, self.dataset.sizes, self.missing
        stop, channels = self.start_s + self.span_s, len(self.view.channels)
        whole = f"{end:.1f} s" if abs(begin) < 1e-3 else f"{begin:.1f} to {end:.1f} s"
        shown = ["no spikes" if "spikes" in lacks else f"{sizes['unit']} units"]
        shown += ["no LFP" if "lfp" in lacks else f"{channels} of {sizes['channel']} channels"]
        shown += ["no behavior"] if "behavior" in lacks else []
        text = f"{self.name}: {self.start_s:.1f} to {stop:.1f} s of {whole}; {', '.join(shown)}"
        time = self.dataset["time"].values
        if not ((time >= self.start_s) & (time < stop)).any():
            text += ". Nothing was recorded in this stretch"
        return f"{text}. {self.notice}" if self.notice else text

    def turn(self, pages: float) -> None:
        """Move the stretch by pages, backward if negative, up to the session's ends."""
        begin, end = self.limits_s
        wanted = self.start_s + pages * self.span_s
        self.start_s = max(begin, min(wanted, end - self.span_s))

    def quality(self) -> pd.DataFrame:
        """Findings of :func:`spikelfp_lab.check_quality`, computed once a session."""
        if self.name not in self._quality:
            self._quality[self.name] = check_quality(self.dataset)
        return self._quality[self.name]

    @traitlets.validate(*_SHOWN)
    def _check(self, proposal: Any) -> Any:
        """Refuse what cannot be shown; move a stretch that reaches beyond the session's ends."""
        trait, value = proposal["trait"].name, proposal["value"]
        if there := self.choices().get(trait):
            good, cure = value in there, f"one of {', '.join(map(repr, there[:10]))}"
        elif trait == "start_s":
            begin, end = self.limits_s  # NaN is in no session
            good, cure = begin - 1e-6 <= value < end, f"a start from {begin:g} to {end:g} s"
            value = round(max(begin, min(value, end - self.span_s)), 6)
        elif trait == "span_s":
            least, whole = 2 * float(self.dataset.attrs["bin_size_s"]), np.ptp(self.limits_s)
            good, cure = least <= value < math.inf, f"at least two bins ({least:g} s)"
            value = round(min(value, float(whole)), 6)
        elif trait == "axes":
            there = self.labels("behavior")
            good, cure = set(value) <= set(there), f"one or more of {', '.join(there)}"
            good, value = good and bool(value or not there), tuple(a for a in there if a in value)
        else:
            total = len(self.labels("lfp"))
            low, high = (0, total - 1) if trait == "first_channel" else (1, total)
            good, cure = not total or low <= value <= high, f"{low} to {high}"
        if not good:
            refused = f"{trait} cannot be {proposal['value']!r} in {self.name}"
            raise traitlets.TraitError(f"{refused}: choose {cure}.")
        return value

    @traitlets.observe(*_SHOWN)
    def _settle(self, change: Any) -> None:
        """Let all follow from a change; ``revision`` tells of it once, at its end."""
        if self._settling:
            return
        self._settling = True
        try:
            if change["name"] == "subject":
                self.sessions = tuple(self._menu[self.subject])
                self.session = self.session if self.session in self.sessions else self.sessions[0]
            if change["name"] in ("subject", "session"):
                self._enter_session()
            elif change["name"] == "span_s":
                self.turn(0)
        finally:
            self._settling = False
            self.revision += 1

    def _enter_session(self) -> None:
        """Keep of the view what the new session has; say what it has not."""
        self.dataset = self._sessions[self.name].compute().transpose("time", ...)
        time, bin_size_s = self.dataset["time"].values, float(self.dataset.attrs["bin_size_s"])
        begin, end = (round(float(t), 6) for t in time[[0, -1]] + [-bin_size_s / 2, bin_size_s / 2])
        self.limits_s = begin, end
        self.span_s = max(self.span_s, 2 * bin_size_s)
        self.start_s = self.start_s if begin <= self.start_s < end else begin
        channels = len(self.labels("lfp")) or 10**9
        self.first_channel = min(self.first_channel, channels - 1)
        self.n_channels = min(self.n_channels, channels)
        there = self.labels("behavior")
        self.axes = tuple(axis for axis in self.axes if axis in there) or tuple(there[:4])
        self._order, self.notice = _unit_orders(self.dataset), ""
        self.orders = tuple(self._order)
        if self.unit_order not in self.orders:
            self.notice = f"Units as recorded: {self.name} has no data for {self.unit_order!r}."
            self.unit_order = AS_RECORDED


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

    ``controls`` are by the trait they set ("previous" and "next" are buttons, "play" goes on by a
    tenth of a page at a time), ``picture`` is of raster, LFP and behavior, ``message`` says what is
    shown, or what was wrong with an input.
    """

    def __init__(self, state: ExplorerState):
        self._drawing = SessionPicture()
        super().__init__(state, _CONTROLS)
        self.picture = Picture()
        self._in_tab: dict[int, str] = {}  # tab -> session it was made for
        c = self.controls
        c["axes"].rows, c["span_s"].step, c["start_s"].readout_format = 3, 1, ".1f"
        c["previous"] = button("◀ Previous", "One page back", lambda: state.turn(-1))
        c["next"] = button("Next ▶", "One page on", lambda: state.turn(1))
        c["play"] = ipywidgets.Play(max=10**6, interval=300, show_repeat=False)
        c["play"].observe(lambda _: state.turn(0.1), "value")
        self.pages = [(Message(), ipywidgets.HTML(), Picture()) for _ in _TABS]
        boxes = [ipywidgets.VBox([text.widget, table, p.widget]) for text, table, p in self.pages]
        self.tabs = ipywidgets.Tab(boxes, titles=[*_TABS])
        moves = [c["previous"], c["next"], c["play"], self.message.widget]
        row = ipywidgets.HBox(moves, layout=WRAP)
        self.children = [self.look, self.grid, row, self.picture.widget, self.tabs]
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
        numbered = tuple((str(name), i) for i, name in enumerate(channels))
        choices = state.choices() | {"first_channel": numbered, "axes": axes}
        # a slider cannot be of no length
        self.show_values(begin, max(latest, begin + bin_size_s), **choices)
        c["previous"].disabled, c["next"].disabled = state.start_s <= begin, state.start_s >= latest
        if state.start_s >= latest:
            c["play"].playing = False
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


def _unit_orders(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Name -> (U,) units from the top; those orders that the session has the data for."""
    if "spikes" not in dataset:
        return {AS_RECORDED: np.arange(0)}
    counts, orders = dataset["spikes"].values, {AS_RECORDED: np.arange(dataset.sizes["unit"])}
    orders["rate"] = np.argsort(-counts.mean(axis=0), kind="stable")
    depth = dataset.coords.get("depth", xr.DataArray(0))
    if depth.dims == ("unit",) and depth.dtype.kind in "iuf" and depth.notnull().any():
        orders["depth"] = np.argsort(depth.values.astype(float), kind="stable")
    if "behavior" in dataset and dataset.sizes["behavior_dim"] > 1:
        moved = dataset["behavior"].values[:, :2].astype(float)
        known = np.isfinite(moved).all(axis=1)
        moved -= moved[known].mean(axis=0) if known.any() else 0  # the counts' mean drops out
        # the preferred direction is that in which a unit's counts rise
        slopes, _, rank, _ = np.linalg.lstsq(moved[known], counts[known].astype(float), rcond=1e-4)
        if rank == 2 and known.sum() >= 10:  # there are directions
            angle = np.arctan2(slopes[1], slopes[0])
            orders["preferred direction"] = np.argsort(angle, kind="stable")
    return orders


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
