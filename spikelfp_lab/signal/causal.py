"""An amplifier's samples -> LFP at the bins' rate, from the past alone, with its state kept."""

from typing import Literal

import numpy as np
from scipy import signal

from spikelfp_lab.signal.lfp import Reference, checked_band, hold, referenced


class CausalLFP:
    """A causal chain: decimation, notches, low-pass, high-pass, and the value at each bin's center.

    A low-pass (Butterworth, order 4) and decimation to some 40 times the upper edge, where the rate
    is higher; notches (Q 30) at the mains and its harmonics; an elliptic low-pass, 40 dB down at
    1.3 times the edge; a high-pass (Butterworth, order 2); linear interpolation, where bins do not
    fall on samples. The phase is not zero: :meth:`delay_s` says how late a rhythm arrives. The
    first sample of each channel is taken as its zero; a NaN holds the sample before.

    Parameters
    ----------
    channels : int
    rate_hz, to_rate_hz : samples a second of what comes in, and bins a second.
    band_hz, line_hz : as for :func:`spikelfp_lab.signal.lfp_to_rate`.
    reference : "none", or "car": less the mean over channels.
    first_s : seconds from the first sample to the center of the first bin; by default half a bin.

    >>> time_s = np.arange(4000) / 1000
    >>> chain = CausalLFP(1, rate_hz=1000.0, band_hz=(0.5, 50.0))
    >>> parts = [chain(part) for part in np.split(np.sin(40 * np.pi * time_s)[:, None], [3, 999])]
    >>> lfp = np.concatenate(parts)
    >>> lfp.shape, bool(abs(lfp[-100:].max() - 1) < 0.1), round(1000 * chain.delay_s(20.0))
    ((400, 1), True, 12)
    """

    def __init__(
        self, channels: int, *, rate_hz: float, to_rate_hz: float = 100.0,
        band_hz: tuple[float, float] = (0.05, 50.0), line_hz: float | None = 60.0,
        reference: Literal["none", "car"] = "none", first_s: float | None = None,
    ):  # fmt: skip
        low, high = checked_band(band_hz, line_hz, reference, rate_hz, to_rate_hz)
        self.rate_hz, self.to_rate_hz = rate_hz, to_rate_hz
        self.first_s = 0.5 / to_rate_hz if first_s is None else first_s
        self.reference: Reference = reference
        self.factor = max(1, int(rate_hz / (40 * high)))
        inner = rate_hz / self.factor
        first = signal.butter(4, 8 * high, fs=rate_hz, output="sos") if self.factor > 1 else None
        lines = [] if line_hz is None else np.arange(line_hz, 1.3 * high + 1, line_hz)
        parts = [signal.tf2sos(*signal.iirnotch(line, 30, fs=inner)) for line in lines]
        if 1.3 * high < inner / 2:
            edges = 0.9 * high, 1.3 * high
            parts.append(signal.iirdesign(*edges, 0.5, 40, ftype="ellip", output="sos", fs=inner))
        parts.append(signal.butter(2, low, "highpass", fs=inner, output="sos"))
        self.filters = [(first, rate_hz), (np.concatenate(parts), inner)]
        sections = [0 if each is None else len(each) for each, _ in self.filters]
        self.state: dict[str, np.ndarray] = {
            "first": np.full(channels, np.nan),
            "last": np.full(channels, np.nan),
            "raw": np.zeros((sections[0], channels, 2)),
            "inner": np.zeros((sections[1], channels, 2)),
            "before": np.zeros((1, channels)),  # the last filtered sample, of the inner rate
            "samples": np.zeros((), np.int64),  # that came in
            "bins": np.zeros((), np.int64),  # that went out
        }

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples (n, C) in time order -> the bins (k, C) float32 that are known by now."""
        state, n = self.state, len(samples)
        if not n:
            return np.empty((0, len(state["last"])), np.float32)
        held, zero = hold(np.concatenate([state["last"][None], samples]))
        state["first"] = np.where(np.isnan(state["first"]), zero, state["first"])
        state["last"] = held[-1]
        values = np.where(np.isfinite(held), held - state["first"], 0.0)[1:].T
        done = int(state["samples"])
        if self.factor > 1:
            values, state["raw"] = signal.sosfilt(self.filters[0][0], values, zi=state["raw"])
            values = values[:, -done % self.factor :: self.factor]
        count = values.shape[1]
        if count:
            values, state["inner"] = signal.sosfilt(self.filters[1][0], values, zi=state["inner"])
        passed = -(-done // self.factor)  # inner samples before these
        known_values = np.concatenate([state["before"], values.T])
        bins = int(state["bins"])
        newest = (passed + count - 1) * self.factor / self.rate_hz
        stop = max(bins, int(np.floor((newest - self.first_s) * self.to_rate_hz + 1 + 1e-9)))
        centers = np.arange(bins, stop) / self.to_rate_hz + self.first_s
        place = np.maximum(centers * self.rate_hz / self.factor - (passed - 1), 0.0)
        left = np.minimum(np.floor(place + 1e-9).astype(int), count)
        share = np.clip(place - left, 0.0, 1.0)[:, None]
        right = np.minimum(left + 1, count)
        out = (1 - share) * known_values[left] + share * known_values[right]
        state["before"] = known_values[-1:]
        state["samples"], state["bins"] = np.asarray(done + n), np.asarray(stop)
        return referenced(out.astype(np.float32), self.reference)

    def delay_s(self, hz: float) -> float:
        """Group delay in seconds of a rhythm of ``hz``."""
        total, around = 0.0, hz * np.array([0.999, 1.001])
        for sections, rate_hz in self.filters:
            if sections is not None:
                gain = np.asarray(signal.sosfreqz(sections, around, fs=rate_hz)[1])
                total -= np.angle(gain[1] / gain[0]) / (2 * np.pi * np.ptp(around))
        return float(total)
