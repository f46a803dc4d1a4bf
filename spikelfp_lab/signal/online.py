"""LFP while the broadband is being recorded: the causal chain, piece by piece, and its delay."""

import numpy as np
from scipy import signal

from spikelfp_lab.errors import DataError
from spikelfp_lab.signal._arguments import (
    Reference,
    check_reference,
    checked_band,
    checked_data,
    checked_scale,
)
from spikelfp_lab.signal.lfp import referenced
from spikelfp_lab.signal.streaming import Bridge, Chain, design_chain, missing_at
from spikelfp_lab.signal.timeline import uniform_timeline


class LFPStream:
    """Broadband -> LFP while it is being recorded: samples in, causal LFP out.

    Gives what :func:`spikelfp_lab.signal.broadband_to_lfp` gives with ``causal=True``. The LFP of time t uses samples
    up to t and no later ones, and shows what was there :func:`causal_delay_s` before.

    Parameters
    ----------
    n_channels : int
    rate_hz, to_rate_hz : float
        Samples a second, raw and of the result.
    start_s : float
        Time of the first sample in seconds.
    band_hz, line_hz, reference, scale
        As in :func:`spikelfp_lab.signal.broadband_to_lfp`.

    Raises
    ------
    DataError, ConfigError
        As :func:`spikelfp_lab.signal.broadband_to_lfp` does.

    Examples
    --------
    >>> stream = LFPStream(4, rate_hz=1000.0)
    >>> lfp, times_s = stream.push(np.zeros((95, 4)))
    >>> lfp.shape, times_s.round(2).tolist()[-1]
    ((10, 4), 0.09)
    >>> lfp, times_s = stream.push(np.zeros((10, 4)))
    >>> times_s.tolist()
    [0.1]
    """

    def __init__(
        self,
        n_channels: int,
        *,
        rate_hz: float,
        to_rate_hz: float = 100.0,
        start_s: float = 0.0,
        band_hz: tuple[float, float] = (0.05, 50.0),
        line_hz: float | None = 60.0,
        reference: Reference = "car",
        scale: float | np.ndarray = 1.0,
    ):
        uniform_timeline(1, rate_hz=rate_hz, start_s=start_s)
        band_hz = checked_band(
            band_hz, rate_hz=rate_hz, to_rate_hz=to_rate_hz, line_hz=line_hz, causal=True
        )
        check_reference(reference, n_channels)
        self._n_channels = n_channels
        self._reference: Reference = reference
        self._scale = checked_scale(scale, n_channels)
        self._start_s, self._to_rate_hz = start_s, to_rate_hz
        self._step = rate_hz / to_rate_hz
        design = design_chain(rate_hz, band_hz=band_hz, line_hz=line_hz, causal=True)
        self._reach = design.reach
        self._bridge = Bridge(0)
        self._chain = Chain(design, first_row=0, zeros=2 * design.reach)
        self._runs = np.empty((0, 3), np.int64)
        self._given = 0

    def push(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in the next samples (n, C), any number of them, and give the LFP they bring.

        Returns
        -------
        lfp : (k, C) float32 array, or (k, C - 1) when bipolar
            k may be 0.
        times_s : (k,) float64 array, seconds
        """
        if np.shape(rows) == (0, self._n_channels):
            nothing = np.empty((0, self._n_channels), np.float32)
            return referenced(nothing, self._reference), np.empty(0)
        rows, _ = checked_data(rows, None, what="LFPStream.push")
        if rows.shape[1] != self._n_channels:
            raise DataError(
                f"LFPStream.push got {rows.shape[1]} channels, the stream has {self._n_channels}."
            )
        settled, runs = self._bridge.push(rows)
        self._runs = np.concatenate([self._runs, runs])
        self._chain.push(settled)
        count = max(0, int(np.ceil((self._chain.end + self._reach) / self._step)) - self._given)
        index = self._given + np.arange(count)
        positions = index * self._step - self._reach
        lfp = self._chain.take(positions)
        lfp[missing_at(self._runs, positions, lfp.shape[1], self._step / 2)] = np.nan
        lfp *= self._scale
        self._given += count
        upcoming = self._given * self._step - self._reach
        self._chain.forget_before(upcoming)
        self._runs = self._runs[self._runs[:, 2] > upcoming - self._step / 2]
        return referenced(lfp, self._reference), self._start_s + index / self._to_rate_hz


def causal_delay_s(
    frequency_hz: float | np.ndarray,
    *,
    rate_hz: float,
    to_rate_hz: float = 100.0,
    band_hz: tuple[float, float] = (0.05, 50.0),
    line_hz: float | None = 60.0,
) -> np.ndarray:
    """Group delay of the causal LFP: how long after a rhythm's amplitude changes it shows that.

    Parameters
    ----------
    frequency_hz : float or array
        Frequencies of interest in Hz, inside the band.
    rate_hz, to_rate_hz, band_hz, line_hz
        As in :func:`spikelfp_lab.signal.broadband_to_lfp`.

    Returns
    -------
    array of the shape of ``frequency_hz``, seconds

    Examples
    --------
    >>> causal_delay_s(np.array([5.0, 20.0, 40.0]), rate_hz=24414.0625).round(3).tolist()
    [0.036, 0.039, 0.063]
    """
    band_hz = checked_band(
        band_hz, rate_hz=rate_hz, to_rate_hz=to_rate_hz, line_hz=line_hz, causal=True
    )
    design = design_chain(rate_hz, band_hz=band_hz, line_hz=line_hz, causal=True)
    inner_hz = rate_hz / design.factor
    at = np.atleast_1d(np.asarray(frequency_hz, np.float64))
    samples = np.zeros(at.size)
    for section in design.sections:
        filter_ = (section[:3], section[3:])
        samples += signal.group_delay(filter_, at, fs=inner_hz)[1]  # type: ignore[arg-type]
    return (design.reach / rate_hz + samples / inner_hz).reshape(np.shape(frequency_hz))
