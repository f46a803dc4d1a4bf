"""What a session explorer shows: which session, which stretch of it, in which order. Neither browser nor picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.widgets._explorer_data import (
    density,
    depth_order,
    direction_order,
    envelope,
    quality_table,
    spans_a_plane,
    sum_columns,
)

MODALITIES = {"spikes": "unit", "lfp": "channel", "behavior": "behavior_dim"}
ORDERS = ("as recorded", "rate", "depth", "preferred direction")
LFP_VIEWS = ("traces", "spectrogram")
COLUMNS = 700  # a stretch is shown in at most this many steps of time: about one a pixel
_CHANNELS, _AXES = 16, 4  # shown at first, at most
_SHOWN = ("subject", "session", "start_s", "span_s", "unit_order", "lfp_view",
          "first_channel", "n_channels", "axes")  # fmt: skip


class ExplorerState(traitlets.HasTraits):
    """A place in a cohort, and what there is to see.

    Values that cannot be shown are refused with a ``TraitError`` that says which can. A stretch that would run over the session's end is moved
    back, and one longer than the session becomes the whole session.

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
    subject, session : str
        Of ``subjects`` and ``sessions``; the latter change with the subject.
    start_s, span_s : float
        The stretch, in seconds.
    unit_order : str
        One of ``orders``, which holds those of "as recorded", "rate" (highest first), "depth" (coordinate ``depth`` of ``unit``, smallest
        first) and "preferred direction" that the session has the data for.
    lfp_view : {"traces", "spectrogram"}
    first_channel, n_channels : int
        Index of the first channel that is shown, and how many are. A spectrogram is of the first.
    axes : tuple of str
        Behavior axes that are shown.
    subjects, sessions, orders : tuple of str
        What can be chosen.
    revision : int
        Goes up by one when all that follows from a change has been settled: the one to observe in order to draw once a change.

    Raises
    ------
    SchemaError, DataError
        As :func:`spikelfp_lab.sessions.iterate_sessions`.
    ConfigError
        ``start_s`` or ``span_s`` does not suit the first session.

    Examples
    --------
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 20.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((200, 3)),
    ...     subject="I", session="s01", source="example")
    >>> state = ExplorerState(session, span_s=5)
    >>> state.start_s = 18
    >>> state.start_s, state.missing, state.raster().shape
    (15.0, ('lfp', 'behavior'), (3, 50))
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
        self._menu: dict[str, dict[str, str]] = {}  # subject -> label -> name
        for name, dataset in self._sessions.items():
            labels = self._menu.setdefault(dataset.attrs["subject"], {})
            label = name.removeprefix(f"{dataset.attrs['subject']}/")
            labels[name if label in labels else label] = name
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

        >>> from spikelfp_lab.datasets.simulated import session
        >>> state = ExplorerState(session(1, duration_s=25, n_units=2, n_channels=2))
        >>> state.turn(9)
        >>> state.start_s
        15.0
        """
        begin, end = self.limits_s
        wanted = self.start_s + pages * self.span_s
        self.start_s = max(begin, min(wanted, end - self.span_s))

    def order(self) -> np.ndarray:
        """(U,) indices of the units, from the top of the raster to its bottom. DataError without spikes."""
        counts = self._array("spikes")
        if self.unit_order == "rate":
            return self._once("rate", lambda: np.argsort(-counts.mean(axis=0), kind="stable"))
        if self.unit_order == "depth":
            return self._once("depth", lambda: depth_order(self.dataset))
        if self.unit_order == "preferred direction":
            moved = self._array("behavior")[:, :2]
            return self._once("direction", lambda: direction_order(counts, moved))
        return np.arange(counts.shape[1])

    def raster(self) -> xr.DataArray:
        """Spikes of the stretch, in as many columns as can be seen.

        Returns
        -------
        xr.DataArray
            (unit, time) float32 counts, units in the order chosen; ``time`` is the middle of each column in seconds, attribute ``width_s`` its
            width. NaN where nothing was recorded.

        Raises
        ------
        DataError
            The session has no spikes.
        """
        counts, order = self._array("spikes"), self.order()
        first, last = self.bins
        column, middle, width = self._columns()
        summed = sum_columns(counts[first:last], column, middle.size)[:, order]
        return xr.DataArray(
            summed.T,
            dims=("unit", "time"),
            coords={"unit": self.dataset["unit"].values[order], "time": middle},
            attrs={"width_s": width * self.bin_size_s, "units": "count"},
        )

    def traces(self) -> xr.DataArray:
        """LFP of the channels shown.

        Returns
        -------
        xr.DataArray
            (time, channel) float32 in the units of ``lfp``: its bins, or where these are more than can be seen, the minimum and the maximum of
            each column in turn. NaN where nothing was recorded.

        Raises
        ------
        DataError
            The session has no LFP.
        """
        return self._lines("lfp", self.channels)

    def behavior(self) -> xr.DataArray:
        """Behavior on the axes chosen, (time, behavior_dim), decimated as :meth:`traces`. DataError without behavior."""
        self._array("behavior")
        names = self.dataset["behavior_dim"].values.tolist()
        return self._lines("behavior", np.array([names.index(axis) for axis in self.axes], int))

    def spectrogram(self) -> xr.DataArray:
        """Power of the first channel shown over the stretch.

        Hann windows of 64 bins, or of two columns where these are longer, each without its mean.

        Returns
        -------
        xr.DataArray
            (frequency, time) power density in dB, 10 log10 of squared units of ``lfp`` per Hz; NaN where a window is not wholly recorded.

        Raises
        ------
        DataError
            The session has no LFP, or is shorter than 16 bins.
        """
        values = self._array("lfp")[:, self.first_channel]
        clock = self._clock()
        begin = self.limits_s[0]
        low = (self.start_s - begin) / self.bin_size_s
        high = low + self.span_s / self.bin_size_s
        hop = max(1, int(high - low) // (COLUMNS // 2))
        length = max(64, 2 * hop)
        # Half a window more on both sides fills the stretch; whole hops keep the columns where
        # they are while the stretch moves.
        low = max(0, math.floor(low - length / 2) // hop * hop)
        high = min(int(clock[-1]) + 1, math.ceil(high + length / 2))
        frequency, time, power = density(
            values, clock, low, high, length=length, hop=hop, rate=1 / self.bin_size_s
        )
        return xr.DataArray(
            power,
            dims=("frequency", "time"),
            coords={"frequency": frequency, "time": begin + time},
            attrs={"units": "dB", "width_s": hop * self.bin_size_s},
        )

    def spectrogram_limits(self) -> tuple[float, float]:
        """Range of the spectrogram of this channel over the whole session in dB, so that colors mean the same everywhere."""

        def limits() -> tuple[float, float]:
            values, clock = self._array("lfp")[:, self.first_channel], self._clock()
            power = density(
                values, clock, 0, int(clock[-1]) + 1, length=64, hop=32, rate=1 / self.bin_size_s
            )[2]
            power = power[np.isfinite(power)]
            return tuple(np.percentile(power, [5, 99.5]).tolist()) if power.size else (0.0, 1.0)

        return self._once(("limits", self.first_channel), limits)

    def scale(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each column of a variable, (C,) each, over the session.

        Of at most 5000 bins spread over it: enough to draw by. NaN for columns without data.
        """

        def scale() -> tuple[np.ndarray, np.ndarray]:
            values = self._array(name)
            table = pd.DataFrame(values[:: -(-len(values) // 5000)])  # whose mean skips NaN
            return table.mean().to_numpy(float), table.std(ddof=0).to_numpy(float)

        return self._once(("scale", name), scale)

    def spectra(self) -> xr.DataArray:
        """Welch power spectra over the whole session, computed once.

        Channels of which more than a tenth is not finite are left out: a spectrum needs stretches that are whole in all channels.

        Returns
        -------
        xr.DataArray
            As :func:`spikelfp_lab.plots.spectra`; attribute ``left_out`` names those channels.

        Raises
        ------
        DataError
            The session has no LFP, or no whole stretch of 16 bins.
        """

        def spectra() -> xr.DataArray:
            from spikelfp_lab.plots.spectra import spectra  # brings Matplotlib along

            values = self._array("lfp")
            good = np.isfinite(values).mean(axis=0) > 0.9
            labels = self.dataset["channel"].values.astype(str)
            if not good.any():
                raise DataError(f"No channel of {self.name} is nine tenths finite: drop them.")
            power = spectra(self.dataset[["lfp"]].isel(channel=np.flatnonzero(good)))
            return power.assign_attrs(left_out=labels[~good].tolist())

        return self._once("spectra", spectra)

    def quality(self) -> pd.DataFrame:
        """One row a unit and one a channel of the session, computed once.

        Returns
        -------
        pd.DataFrame
            ``kind`` ("unit", "channel"), ``name``, ``flag`` (what is wrong: "silent", "flat", "copy of ...", "not finite", "line noise";
            empty if nothing is), and, NaN where they do not apply: ``rate_hz``, ``fano`` (variance / mean of counts in windows of 1 s),
            ``empty_share`` (bins without a spike), ``drift`` (rate of the second half / of the first), ``sd`` (units of ``lfp``),
            ``nonfinite_share``, ``line_db`` (power at 50 or 60 Hz above its neighbors; NaN where the rate does not resolve it).
        """
        return self._once("quality", lambda: quality_table(self.dataset))

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
        offered = list(ORDERS[:1])
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

    def _clock(self) -> np.ndarray:
        """(T,) whole bins since the session's begin, which jump at gaps."""
        if "time" not in self._values:
            time = self.dataset["time"].values
            self._values["time"] = np.rint((time - time[0]) / self.bin_size_s).astype(int)
        return self._values["time"]

    def _columns(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Column of each bin of the stretch, middle of each column in seconds, bins a column.

        Columns are counted from the session's begin: the picture must not flicker while the stretch moves.
        """
        begin = self.limits_s[0]
        low = (self.start_s - begin) / self.bin_size_s
        high = low + self.span_s / self.bin_size_s
        width = math.ceil((high - low - 1e-6) / COLUMNS)
        shown = np.arange(math.floor((low + 1e-6) / width), math.ceil((high - 1e-6) / width))
        first, last = self.bins
        column = np.clip(self._clock()[first:last] // width - shown[0], 0, shown.size - 1)
        return column, begin + (shown + 0.5) * width * self.bin_size_s, width

    def _lines(self, name: str, chosen: np.ndarray) -> xr.DataArray:
        values = self._array(name)
        first, last = self.bins
        column, middle, width = self._columns()
        # A run of columns is a view of the array, others are copied.
        run = chosen.size and chosen[-1] - chosen[0] + 1 == chosen.size
        part = values[first:last, chosen[0] : chosen[-1] + 1] if run else values[first:last, chosen]
        time, lines = envelope(part, column, middle, width * self.bin_size_s, whole=width == 1)
        dim = MODALITIES[name]
        return xr.DataArray(
            lines,
            dims=("time", dim),
            coords={"time": time, dim: self.dataset[dim].values[chosen]},
            attrs=dict(self.dataset[name].attrs),
        )


def _either(choices: tuple[str, ...]) -> str:
    """At most ten of them, for a message."""
    listed = ", ".join(map(repr, choices[:10]))
    return f"one of {listed}" + (" and others" if len(choices) > 10 else "")
