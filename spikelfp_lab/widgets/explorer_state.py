"""What a session explorer shows: which session, which stretch of it, in which order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.plots.session import DIMS, View
from spikelfp_lab.plots.spectra import spectra
from spikelfp_lab.sessions import check_quality, iterate_sessions

ORDERS = ("as recorded", "rate", "depth", "preferred direction")
LFP_VIEWS = ("traces", "spectrogram")
_CHANNELS, _AXES = 16, 4  # shown at first, at most
_SHOWN = ("subject", "session", "start_s", "span_s", "unit_order", "lfp_view",
          "first_channel", "n_channels", "axes")  # fmt: skip


class ExplorerState(traitlets.HasTraits):
    """A place in a cohort, and what there is to see.

    Values that cannot be shown are refused with a ``TraitError`` that says which can. A stretch
    beyond the session's end is moved back; one longer than the session becomes the session.

    Parameters
    ----------
    cohort : xr.Dataset, xr.DataTree or mapping
        A session, a cohort, or a mapping of name -> session.
    start_s : float, optional
        Where the stretch begins, in seconds on the session's clock; at its start by default.
    span_s : float
        Its length in seconds.

    Attributes
    ----------
    subject, session, unit_order, lfp_view : str
        Of ``subjects``, ``sessions``, ``orders`` (what the session has the data for), LFP_VIEWS.
    start_s, span_s : float
        The stretch, in seconds.
    first_channel, n_channels : int
        Channels that are shown. A spectrogram is of the first.
    axes : tuple of str
        Behavior axes that are shown.
    revision : int
        Goes up by one when all that follows from a change has been settled: observe it to draw.

    Raises
    ------
    SchemaError, DataError
        What was given is no session or cohort.
    ConfigError
        ``start_s`` or ``span_s`` does not suit the first session.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> state = ExplorerState(session(1, duration_s=25, n_units=2, n_channels=2))
    >>> state.turn(9)
    >>> state.start_s
    15.0
    """

    subject = traitlets.Unicode()
    session = traitlets.Unicode()
    start_s = traitlets.CFloat()
    span_s = traitlets.CFloat(10.0)
    unit_order = traitlets.Unicode(ORDERS[0])
    lfp_view = traitlets.Unicode(LFP_VIEWS[0])
    first_channel = traitlets.Int(0)
    n_channels = traitlets.Int(_CHANNELS)
    axes = traitlets.Tuple()
    subjects = traitlets.Tuple()
    sessions = traitlets.Tuple()
    orders = traitlets.Tuple()
    revision = traitlets.Int(0)

    def __init__(
        self,
        cohort: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree],
        *,
        start_s: float | None = None,
        span_s: float = 10.0,
    ):
        super().__init__()
        self._sessions = iterate_sessions(cohort)
        names: dict[str, list[str]] = {}
        for name, dataset in self._sessions.items():
            names.setdefault(dataset.attrs["subject"], []).append(name)
        self._menu: dict[str, dict[str, str]] = {}  # subject -> label -> name
        for subject, own in names.items():
            short = {name.removeprefix(f"{subject}/"): name for name in own}
            self._menu[subject] = short if len(short) == len(own) else {name: name for name in own}
        self._depth = 0
        self._loaded: tuple[str, xr.Dataset] | None = None
        self._quality: dict[str, pd.DataFrame] = {}
        self._order: dict[tuple[str, str], np.ndarray] = {}
        self.notice = ""
        with self._one_change():
            self.subjects = tuple(self._menu)
            self.subject = self.subjects[0]
            try:
                self.span_s = span_s
                if start_s is not None:
                    self.start_s = start_s
            except traitlets.TraitError as error:
                raise ConfigError(str(error)) from None

    @property
    def name(self) -> str:
        """Name of the session in the cohort, as in "I/s01"."""
        return self._menu[self.subject][self.session]

    @property
    def dataset(self) -> xr.Dataset:
        """The session in memory, time first."""
        if self._loaded is None or self._loaded[0] != self.name:
            dataset = self._sessions[self.name].compute().transpose("time", ...)
            self._loaded = self.name, dataset
        return self._loaded[1]

    @property
    def limits_s(self) -> tuple[float, float]:
        """Where the session begins and ends, in seconds: outer edges of its bins."""
        time, half = self.dataset["time"].values, float(self.dataset.attrs["bin_size_s"]) / 2
        return round(float(time[0]) - half, 6), round(float(time[-1]) + half, 6)

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of "spikes", "lfp" and "behavior" the session lacks."""
        return tuple(name for name in DIMS if name not in self.dataset)

    @property
    def view(self) -> View:
        """What is to be drawn."""
        last = min(self.first_channel + self.n_channels, self.dataset.sizes.get("channel", 0))
        names = [] if "behavior" in self.missing else self.dataset["behavior_dim"].values.tolist()
        how = self.unit_order if self.unit_order == ORDERS[0] else f"by {self.unit_order}"
        return View(
            start_s=self.start_s,
            span_s=self.span_s,
            order=None if "spikes" in self.missing else tuple(self.order().tolist()),
            order_name=how.replace("preferred ", ""),
            channels=tuple(range(self.first_channel, last)),
            axes=tuple(names.index(axis) for axis in self.axes),
            spectrogram=self.lfp_view == "spectrogram",
        )

    @property
    def status(self) -> str:
        """One line: what is shown."""
        begin, end = self.limits_s
        sizes, stop = self.dataset.sizes, self.start_s + self.span_s
        shown = len(self.view.channels)
        parts = [
            "no spikes" if "spikes" in self.missing else f"{sizes['unit']} units",
            "no LFP" if "lfp" in self.missing else f"{shown} of {sizes['channel']} channels",
            *(["no behavior"] if "behavior" in self.missing else []),
        ]
        whole = f"{end:.1f} s" if abs(begin) < 1e-3 else f"{begin:.1f} to {end:.1f} s"
        text = f"{self.name}: {self.start_s:.1f} to {stop:.1f} s of {whole}; {', '.join(parts)}"
        time = self.dataset["time"].values
        if not ((time >= self.start_s) & (time < stop)).any():
            text += ". Nothing was recorded in this stretch"
        return f"{text}. {self.notice}" if self.notice else text

    def order(self) -> np.ndarray:
        """(U,) indices of the units, from the top of the raster to its bottom."""
        key = self.name, self.unit_order
        if key not in self._order:
            self._order[key] = _unit_order(self.dataset, self.unit_order)
        return self._order[key]

    def turn(self, pages: int) -> None:
        """Move the stretch by whole pages, backward if negative, up to the session's ends."""
        begin, end = self.limits_s
        wanted = self.start_s + pages * self.span_s
        self.start_s = max(begin, min(wanted, end - self.span_s))

    def spectra(self) -> xr.DataArray:
        """Welch spectra (channel, frequency) of the channels of which nine tenths are finite.

        The attribute ``left_out`` names the others: a spectrum needs stretches that are whole in
        all channels. DataError without LFP, or without a whole stretch of 16 bins.
        """
        if "lfp" in self.missing:
            raise DataError(f"There is no LFP in {self.name}: choose another session.")
        good = np.isfinite(self.dataset["lfp"].values).mean(axis=0) > 0.9
        if not good.any():
            raise DataError(f"No channel of {self.name} is nine tenths finite: drop them.")
        power = spectra(self.dataset[["lfp"]].isel(channel=np.flatnonzero(good)))
        left_out = self.dataset["channel"].values.astype(str)[~good].tolist()
        return power.assign_attrs(left_out=left_out)

    def quality(self) -> pd.DataFrame:
        """Findings of :func:`spikelfp_lab.check_quality`, computed once a session."""
        if self.name not in self._quality:
            self._quality[self.name] = check_quality(self.dataset)
        return self._quality[self.name]

    @traitlets.validate("subject", "session", "unit_order", "lfp_view")
    def _one_of(self, proposal: Any) -> str:
        trait, value = proposal["trait"].name, proposal["value"]
        choices = {"subject": self.subjects, "session": self.sessions, "unit_order": self.orders}
        if value not in choices.get(trait, LFP_VIEWS):
            where = {"session": f" of subject {self.subject}", "unit_order": f" in {self.name}"}
            listed = ", ".join(map(repr, choices.get(trait, LFP_VIEWS)[:10]))
            raise traitlets.TraitError(
                f"{trait} is {value!r}, which is not there{where.get(trait, '')}: choose one of "
                f"{listed}."
            )
        return value

    @traitlets.validate("start_s")
    def _start_in_session(self, proposal: Any) -> float:
        begin, end = self.limits_s
        if not begin - 1e-6 <= proposal["value"] < end:  # NaN is not either
            raise traitlets.TraitError(
                f"start_s is {proposal['value']:g} s, but {self.name} lasts from {begin:g} to "
                f"{end:g} s: choose a start in it."
            )
        return round(max(begin, min(proposal["value"], end - self.span_s)), 6)

    @traitlets.validate("span_s")
    def _span_in_session(self, proposal: Any) -> float:
        begin, end = self.limits_s
        least = 2 * float(self.dataset.attrs["bin_size_s"])
        if not proposal["value"] >= least or math.isinf(proposal["value"]):
            raise traitlets.TraitError(
                f"span_s is {proposal['value']:g} s: choose at least two bins ({least:g} s), at "
                f"most the session ({end - begin:g} s)."
            )
        return round(min(proposal["value"], end - begin), 6)

    @traitlets.validate("first_channel", "n_channels")
    def _channels_there(self, proposal: Any) -> int:
        trait, total = proposal["trait"].name, self.dataset.sizes.get("channel", 0)
        low, high = (0, total - 1) if trait == "first_channel" else (1, total)
        if total and not low <= proposal["value"] <= high:
            raise traitlets.TraitError(
                f"{trait} is {proposal['value']}, but {self.name} has {total} channels: choose "
                f"{low} to {high}."
            )
        return proposal["value"]

    @traitlets.validate("axes")
    def _axes_there(self, proposal: Any) -> tuple[str, ...]:
        if "behavior" in self.missing:
            return ()
        there, wanted = self.dataset["behavior_dim"].values.tolist(), proposal["value"]
        if not wanted or not set(wanted) <= set(there):
            raise traitlets.TraitError(
                f"axes are {', '.join(map(str, wanted)) or 'none'}: choose one or more of "
                f"{', '.join(there)}."
            )
        return tuple(axis for axis in there if axis in wanted)

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """However much follows from a change, ``revision`` tells of it once, at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.revision += 1

    @traitlets.observe(*_SHOWN)
    def _settle(self, change: Any) -> None:
        with self._one_change():
            if change["name"] == "subject":
                wanted = self.session
                self.sessions = tuple(self._menu[self.subject])
                self.session = wanted if wanted in self.sessions else self.sessions[0]
                if self.session == wanted:  # the same label, another subject's session
                    self._enter_session()
            elif change["name"] == "session":
                self._enter_session()
            elif change["name"] == "span_s":
                begin, end = self.limits_s
                self.start_s = max(begin, min(self.start_s, end - self.span_s))

    def _enter_session(self) -> None:
        """Keep of the view what the new session has; say what it has not."""
        self.notice = ""
        begin, end = self.limits_s
        self.start_s = self.start_s if begin <= self.start_s < end else begin
        self.span_s = max(
            min(self.span_s, end - begin), 2 * float(self.dataset.attrs["bin_size_s"])
        )
        if channels := self.dataset.sizes.get("channel", 0):
            self.first_channel = min(self.first_channel, channels - 1)
            self.n_channels = min(self.n_channels, channels)
        there = [] if "behavior" in self.missing else self.dataset["behavior_dim"].values.tolist()
        kept = tuple(axis for axis in self.axes if axis in there)
        self.axes = kept or tuple(there[:_AXES])
        self.orders = _offered(self.dataset)
        if self.unit_order not in self.orders:
            self.notice = f"Units as recorded: {self.name} has no data for {self.unit_order!r}."
            self.unit_order = ORDERS[0]


def _offered(dataset: xr.Dataset) -> tuple[str, ...]:
    """Orders of units that a session has the data for."""
    if "spikes" not in dataset:
        return ORDERS[:1]
    offered = [*ORDERS[:2]]
    depth = dataset.coords.get("depth", xr.DataArray(0))
    numbers = depth.dims == ("unit",) and depth.dtype.kind in "iuf"
    if numbers and np.isfinite(depth.values).any():
        offered.append("depth")
    if "behavior" in dataset and dataset.sizes["behavior_dim"] > 1:
        moved = dataset["behavior"].values[:, :2].astype(float)
        moved = moved[np.isfinite(moved).all(axis=1)]
        sd = moved.std(axis=0) if len(moved) >= 10 else np.zeros(2)
        if (sd > 0).all() and abs(np.corrcoef(moved.T)[0, 1]) < 0.9999:  # there are directions
            offered.append("preferred direction")
    return tuple(offered)


def _unit_order(dataset: xr.Dataset, order: str) -> np.ndarray:
    """(U,) units from the highest rate, the smallest depth (unknown ones last) or direction on."""
    counts = dataset["spikes"].values
    if order == "rate":
        return np.argsort(-counts.mean(axis=0), kind="stable")
    if order == "depth":
        return np.argsort(dataset["depth"].values.astype(float), kind="stable")
    if order == "preferred direction":
        return _direction_order(counts, dataset["behavior"].values[:, :2])
    return np.arange(counts.shape[1])


def _direction_order(counts: np.ndarray, behavior: np.ndarray) -> np.ndarray:
    """(U,) units by the angle of the regression of their counts (T, U) on two axes (T, 2).

    >>> moved = np.random.default_rng(0).normal(size=(500, 2))
    >>> counts = np.stack([5 + moved[:, 1], 5 + moved[:, 0], 5 - moved[:, 1]], axis=1)
    >>> _direction_order(counts, moved).tolist()
    [2, 1, 0]
    """
    finite = np.isfinite(behavior).all(axis=1)
    moved = behavior[finite].astype(float)
    moved -= moved.mean(axis=0)  # which makes the counts' own mean drop out
    slopes = np.linalg.solve(moved.T @ moved, moved.T @ counts[finite].astype(np.float32))
    return np.argsort(np.arctan2(slopes[1], slopes[0]), kind="stable")
