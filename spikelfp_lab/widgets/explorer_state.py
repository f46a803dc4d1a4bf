"""What a session explorer shows: which session, which stretch of it, in which order. Neither browser nor picture."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.errors import DataError
from spikelfp_lab.widgets._explorer_data import (
    density,
    depth_order,
    direction_order,
    envelope,
    quality_table,
    sum_columns,
)
from spikelfp_lab.widgets._explorer_place import LFP_VIEWS, MODALITIES, ORDERS, Place

__all__ = ["LFP_VIEWS", "MODALITIES", "ORDERS", "ExplorerState"]

COLUMNS = 700  # a raster has at most so many steps of time: about one a pixel
POINTS = 1600  # of a line, at most: two a pixel
_ALL_POINTS = 100_000  # of all lines of a panel together: what can be drawn while one scrubs


class ExplorerState(Place):
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
        column, middle, width = self._columns(COLUMNS)
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
            each column, in the order that suits its course. NaN where nothing was recorded.

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
            part = self._array(name)
            part = part[:: -(-len(part) // 5000)]
            # The mean and the sd of a table skip NaN.
            table = pd.DataFrame(np.where(np.isfinite(part), part, np.nan))
            return table.mean().to_numpy(float), table.std(ddof=0).to_numpy(float)

        return self._once(("scale", name), scale)

    def spectra(self) -> xr.DataArray:
        """Welch power spectra over the whole session, computed once.

        Channels of which more than a tenth is not finite are left out: a spectrum needs stretches that are whole in all channels.

        Returns
        -------
        xr.DataArray
            (channel, frequency) as :func:`spikelfp_lab.plots.spectra`; attribute ``left_out`` names those channels.

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
            power = power.assign_coords(channel=labels[good])
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

    def _clock(self) -> np.ndarray:
        """(T,) whole bins since the session's begin, which jump at gaps."""
        if "time" not in self._values:
            time = self.dataset["time"].values
            self._values["time"] = np.rint((time - time[0]) / self.bin_size_s).astype(int)
        return self._values["time"]

    def _columns(self, most: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Column of each bin of the stretch, middle of each of ``most`` columns at most in seconds, bins a column.

        Columns are counted from the session's begin: the picture must not flicker while the stretch moves.
        """
        begin = self.limits_s[0]
        low = (self.start_s - begin) / self.bin_size_s
        high = low + self.span_s / self.bin_size_s
        width = math.ceil((high - low - 1e-6) / most)
        shown = np.arange(math.floor((low + 1e-6) / width), math.ceil((high - 1e-6) / width))
        first, last = self.bins
        column = np.clip(self._clock()[first:last] // width - shown[0], 0, shown.size - 1)
        return column, begin + (shown + 0.5) * width * self.bin_size_s, width

    def _lines(self, name: str, chosen: np.ndarray) -> xr.DataArray:
        values = self._array(name)
        first, last = self.bins
        points = min(POINTS, _ALL_POINTS // max(chosen.size, 1))
        column, middle, width = self._columns(points)
        if width > 1:  # two points a column
            column, middle, width = self._columns(points // 2)
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
