"""Where in a cohort an explorer is: what can be chosen, what is refused, and what follows from a choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import traitlets
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.widgets._explorer_data import depth_order, spans_a_plane

MODALITIES = {"spikes": "unit", "lfp": "channel", "behavior": "behavior_dim"}
ORDERS = ("as recorded", "rate", "depth", "preferred direction")
LFP_VIEWS = ("traces", "spectrogram")
_CHANNELS, _AXES = 16, 4  # shown at first, at most
_SHOWN = ("subject", "session", "start_s", "span_s", "unit_order", "lfp_view",
          "first_channel", "n_channels", "axes")  # fmt: skip


class Place(traitlets.HasTraits):
    """The part of :class:`ExplorerState`, which documents it, that is chosen rather than computed."""

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
        self._cache: dict[tuple, Any] = {}
        self._values: dict[str, np.ndarray] = {}
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
        """The session."""
        return self._sessions[self.name]

    @property
    def bin_size_s(self) -> float:
        """Seconds a bin."""
        return float(self.dataset.attrs["bin_size_s"])

    @property
    def limits_s(self) -> tuple[float, float]:
        """Where the session begins and ends, in seconds: outer edges of its bins."""
        time = self.dataset["time"].values
        half = self.bin_size_s / 2
        return round(float(time[0]) - half, 6), round(float(time[-1]) + half, 6)

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of "spikes", "lfp" and "behavior" the session lacks."""
        return tuple(name for name in MODALITIES if name not in self.dataset)

    @property
    def bins(self) -> tuple[int, int]:
        """First bin of the stretch and the one after its last; equal where it lies in a gap."""
        edges = [self.start_s, self.start_s + self.span_s]
        first, last = np.searchsorted(self.dataset["time"].values, np.array(edges) - 1e-9)
        return int(first), int(last)

    @property
    def channels(self) -> np.ndarray:
        """(n,) indices of the channels that are shown, fewer than ``n_channels`` at the end."""
        total = self.dataset.sizes.get("channel", 0)
        return np.arange(self.first_channel, min(self.first_channel + self.n_channels, total))

    @property
    def status(self) -> str:
        """One line: what is shown."""
        begin, end = self.limits_s
        whole = f"{end:.1f} s" if abs(begin) < 1e-3 else f"{begin:.1f} to {end:.1f} s"
        parts = [
            f"{self.dataset.sizes['unit']} units" if "spikes" not in self.missing else "no spikes",
            f"{self.channels.size} of {self.dataset.sizes['channel']} channels"
            if "lfp" not in self.missing
            else "no LFP",
        ]
        if "behavior" in self.missing:
            parts.append("no behavior")
        stop = self.start_s + self.span_s
        text = f"{self.name}: {self.start_s:.1f} to {stop:.1f} s of {whole}; {', '.join(parts)}"
        return f"{text}. {self.notice}" if self.notice else text

    def turn(self, pages: int) -> None:
        """Move the stretch by whole pages, backward if negative, up to the session's ends.

        >>> from spikelfp_lab.cohorts.simulated import session
        >>> state = Place(session(1, duration_s=25, n_units=2, n_channels=2))
        >>> state.turn(9)
        >>> state.start_s
        15.0
        """
        begin, end = self.limits_s
        wanted = self.start_s + pages * self.span_s
        self.start_s = max(begin, min(wanted, end - self.span_s))

    def forget(self) -> None:
        """Drop all that was computed; it is computed again when asked for."""
        self._cache.clear()
        self._values.clear()

    @traitlets.validate("subject", "session", "unit_order", "lfp_view")
    def _one_of(self, proposal: Any) -> str:
        trait = proposal["trait"].name
        choices = {
            "subject": self.subjects, "session": self.sessions, "unit_order": self.orders, "lfp_view": LFP_VIEWS,
        }[trait]  # fmt: skip
        if proposal["value"] not in choices:
            where = {"session": f" of subject {self.subject}", "unit_order": f" in {self.name}"}
            raise traitlets.TraitError(
                f"{trait} is {proposal['value']!r}, which is not there{where.get(trait, '')}: choose {_either(choices)}."
            )
        return proposal["value"]

    @traitlets.validate("start_s")
    def _start_in_session(self, proposal: Any) -> float:
        begin, end = self.limits_s
        if not begin - 1e-6 <= proposal["value"] < end:  # NaN is not either
            raise traitlets.TraitError(
                f"start_s is {proposal['value']:g} s, but {self.name} lasts from {begin:g} to {end:g} s: choose a start in it."
            )
        return round(max(begin, min(proposal["value"], end - self.span_s)), 6)

    @traitlets.validate("span_s")
    def _span_in_session(self, proposal: Any) -> float:
        begin, end = self.limits_s
        least = 2 * self.bin_size_s
        if not proposal["value"] >= least or math.isinf(proposal["value"]):
            raise traitlets.TraitError(
                f"span_s is {proposal['value']:g} s: choose at least two bins ({least:g} s), at most the session ({end - begin:g} s)."
            )
        return round(min(proposal["value"], end - begin), 6)

    @traitlets.validate("first_channel", "n_channels")
    def _channels_there(self, proposal: Any) -> int:
        trait, total = proposal["trait"].name, self.dataset.sizes.get("channel", 0)
        low, high = (0, total - 1) if trait == "first_channel" else (1, total)
        if total and not low <= proposal["value"] <= high:
            raise traitlets.TraitError(
                f"{trait} is {proposal['value']}, but {self.name} has {total} channels: choose {low} to {high}."
            )
        return proposal["value"]

    @traitlets.validate("axes")
    def _axes_there(self, proposal: Any) -> tuple[str, ...]:
        if "behavior" in self.missing:
            return ()
        there = self.dataset["behavior_dim"].values.tolist()
        wanted = proposal["value"]
        if not wanted or not set(wanted) <= set(there):
            raise traitlets.TraitError(
                f"axes are {', '.join(map(str, wanted)) or 'none'}: choose one or more of {', '.join(there)}."
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
        self._values.clear()
        self.notice = ""
        begin, end = self.limits_s
        self.start_s = self.start_s if begin <= self.start_s < end else begin
        self.span_s = max(min(self.span_s, end - begin), 2 * self.bin_size_s)
        channels = self.dataset.sizes.get("channel", 0)
        if channels:
            self.first_channel = min(self.first_channel, channels - 1)
            self.n_channels = min(self.n_channels, channels)
        there = [] if "behavior" in self.missing else self.dataset["behavior_dim"].values.tolist()
        kept = tuple(axis for axis in self.axes if axis in there)
        self.axes = kept or tuple(there[:_AXES])
        self.orders = self._once("orders", self._offered)
        if self.unit_order not in self.orders:
            self.notice = f"Units as recorded: {self.name} has no data for {self.unit_order!r}."
            self.unit_order = ORDERS[0]

    def _offered(self) -> tuple[str, ...]:
        offered: list[str] = [ORDERS[0]]
        if "spikes" not in self.missing:
            offered.append("rate")
            if depth_order(self.dataset) is not None:
                offered.append("depth")
            if "behavior" not in self.missing and spans_a_plane(self._array("behavior")):
                offered.append("preferred direction")
        return tuple(offered)

    def _once(self, what: Any, compute: Callable[[], Any]) -> Any:
        key = (self.name, what)
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def _array(self, name: str) -> np.ndarray:
        """(T, C) values of a variable; kept, for a session opened lazily would be read each time."""
        if name in self.missing:
            raise DataError(f"There are no {name} in {self.name}: choose another session.")
        if name not in self._values:
            self._values[name] = self.dataset[name].transpose("time", MODALITIES[name]).values
        return self._values[name]


def _either(choices: tuple[str, ...]) -> str:
    """At most ten of them, for a message."""
    listed = ", ".join(map(repr, choices[:10]))
    return f"one of {listed}" + (" and others" if len(choices) > 10 else "")
