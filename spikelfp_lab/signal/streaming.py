"""Filters that take a recording piece by piece and keep what the next piece needs.

Raw rows go through :class:`Bridge` (missing samples are replaced), then :class:`Chain`: an FIR
low-pass with decimation to an inner rate of about eight times the upper edge of the band, and a
kernel that is the band's own low-pass, with its notches, evaluated at any moment between inner
samples. A causal chain has recursive sections between the two. All in float32.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import signal

from spikelfp_lab.signal.lfp import low_pass_and_notches

_OUTPUTS_AT_ONCE = 4  # of the decimation: a few share one matrix product (measured: 4 is fastest)
_PHASES = 64  # of the kernel in its table, between which it is interpolated: an error of -94 dB
_NOTCH_S = 1.0  # length of a notch's impulse response: 40 dB within 0.12 Hz of its frequency


@dataclass(frozen=True)
class ChainDesign:
    """The filters of a chain.

    Parameters
    ----------
    factor : int
        Raw rows an inner sample.
    taps : (n,) float32, n odd
        Of the decimation, symmetric.
    sections : (k, 6) float64
        Second-order sections at the inner rate; none unless the chain is causal.
    kernel : (_PHASES * half + 1,) float32
        Right half of the symmetric kernel.
    half : int
        Inner samples the kernel reaches to either side.
    """

    factor: int
    taps: np.ndarray
    sections: np.ndarray
    kernel: np.ndarray
    half: int

    @property
    def reach(self) -> int:
        """Raw rows that an output needs on either side of its own."""
        return self.taps.size // 2 + self.half * self.factor


def design_chain(
    rate_hz: float,
    *,
    band_hz: tuple[float, float],
    line_hz: float | None,
    causal: bool = False,
) -> ChainDesign:
    """Filters for a band: flat to 0.9 of its upper edge, down by 65 dB and more from 1.1 of it.

    Parameters
    ----------
    rate_hz : float
        Of the raw rows; for a causal chain at least four times the upper edge.
    band_hz : (float, float)
        Edges in Hz. The lower one is the causal chain's; a zero-phase high-pass is run on the
        result of the chain, which is small.
    line_hz : float or None
        Notched with its harmonics: by a zero-phase chain where its low-pass would let them
        through, by a causal one always.

    Examples
    --------
    >>> design = design_chain(24414.0625, band_hz=(0.05, 50.0), line_hz=60.0)
    >>> design.factor, design.taps.size % 2, len(design.sections)
    (61, 1, 0)
    """
    low, high = band_hz
    factor = max(1, int(rate_hz / (8 * high)))
    inner_hz = rate_hz / factor
    if causal:
        sections = np.concatenate(
            [
                low_pass_and_notches(
                    inner_hz, high=high, line_hz=line_hz, passes=1, edges=(0.92, 1.1)
                ),
                np.asarray(signal.butter(2, low, "highpass", fs=inner_hz, output="sos")),
            ]
        )
        # the sections have the edge of the band; this only takes away images
        kernel = _kernel(inner_hz, 1.1 * high, inner_hz - 1.1 * high, lines_hz=np.empty(0))
    else:
        sections = np.empty((0, 6))
        lines = np.empty(0) if line_hz is None else np.arange(line_hz, 1.1 * high, line_hz)
        kernel = _kernel(inner_hz, 0.9 * high, 1.1 * high, lines_hz=lines)
    return ChainDesign(
        factor=factor,
        taps=_decimation_taps(rate_hz, factor, keep_hz=1.15 * high),
        sections=sections,
        kernel=kernel,
        half=(kernel.size - 1) // _PHASES,
    )


def _decimation_taps(rate_hz: float, factor: int, *, keep_hz: float) -> np.ndarray:
    """A low-pass after which nothing aliases below ``keep_hz``, down by 80 dB."""
    if factor == 1:
        return np.ones(1, np.float32)
    inner_hz = rate_hz / factor
    count, beta = signal.kaiserord(80.0, (inner_hz - 2 * keep_hz) / (rate_hz / 2))
    size = int(count) | 1
    time = np.arange(size) - size // 2
    taps = np.sinc(time / factor) * np.kaiser(size, beta)
    return (taps / taps.sum()).astype(np.float32)


def _kernel(rate_hz: float, keep_hz: float, stop_hz: float, *, lines_hz: np.ndarray) -> np.ndarray:
    """Right half of a low-pass with notches, tabulated _PHASES times a sample of ``rate_hz``."""
    count, beta = signal.kaiserord(72.0, (stop_hz - keep_hz) / (rate_hz / 2))
    half = int(np.ceil(count / 2))
    time = np.arange(-half * _PHASES, half * _PHASES + 1) / _PHASES
    cycles = (keep_hz + stop_hz) / rate_hz  # twice the cut-off, a sample
    kernel = cycles * np.sinc(cycles * time) * np.kaiser(time.size, beta)
    if len(lines_hz):
        width = round(_NOTCH_S / 2 * rate_hz)
        time = np.arange(-width * _PHASES, width * _PHASES + 1) / _PHASES
        window = np.hanning(time.size)
        # lines lie so far apart, for so long a window, that their notches simply add
        tones = np.cos(2 * np.pi / rate_hz * np.outer(lines_hz, time)).sum(axis=0)
        taken = signal.fftconvolve(kernel, 2 * window / window.sum() * tones)
        kernel = np.pad(kernel, width * _PHASES) - taken
    # ends in zeros: whether the last sample within reach counts must not hang on rounding
    kernel = np.pad(kernel, _PHASES)
    return kernel[kernel.size // 2 :].astype(np.float32)


class Chain:
    """Raw rows in, the filtered signal at given positions out.

    Parameters
    ----------
    design : ChainDesign
    first_row : int
        Number of the first row that will be pushed; positions are counted alike.
    zeros : int
        Rows of silence before it.

    Examples
    --------
    >>> design = design_chain(1000.0, band_hz=(0.05, 50.0), line_hz=None)
    >>> chain = Chain(design, first_row=0)
    >>> rows = 5.0 + np.sin(2 * np.pi * 10 * np.arange(2000) / 1000)[:, None]
    >>> chain.push(rows[:300]); chain.push(rows[300:])
    >>> float((chain.take(np.array([1000.0, 1025.0]))[:, 0] + chain.offset[0]).round(2)[1])
    6.0
    """

    def __init__(self, design: ChainDesign, *, first_row: int, zeros: int = 0):
        self.design = design
        self.offset = np.empty(0)
        self._zeros = zeros
        self._inner_row = first_row - zeros + design.taps.size // 2  # of the first inner sample
        self._shared = _toeplitz(design.taps, design.factor)
        self._grid = np.arange(design.kernel.size) / _PHASES

    def push(self, rows: np.ndarray) -> None:
        """Take in rows (n, C) without missing samples; the first ever is subtracted from all."""
        if not self.offset.size:
            exact = np.float32 if np.result_type(rows, np.float32) == np.float32 else np.float64
            self.offset = rows[0].astype(exact)
            self._buffer = np.zeros((self._zeros, rows.shape[1]), np.float32)
            self._held = self._zeros
            self._inner = np.empty((0, rows.shape[1]), np.float32)
            self._state = np.zeros((len(self.design.sections), 2, rows.shape[1]))
        need = self._held + len(rows)
        if need > len(self._buffer):
            grown = np.empty((need, rows.shape[1]), np.float32)
            grown[: self._held] = self._buffer[: self._held]
            self._buffer = grown
        np.subtract(rows, self.offset, out=self._buffer[self._held : need], casting="same_kind")
        self._held = need
        inner = self._decimated()
        if len(inner) and len(self.design.sections):
            filtered, self._state = signal.sosfilt(
                self.design.sections, inner, axis=0, zi=self._state
            )
            inner = filtered.astype(np.float32)
        self._inner = np.concatenate([self._inner, inner])

    def _decimated(self) -> np.ndarray:
        """Inner samples that the held rows suffice for; rows no longer needed are dropped."""
        taps, factor = self.design.taps, self.design.factor
        count = max(0, (self._held - taps.size) // factor + 1)
        rows, n_shared = self._buffer[: self._held], count // _OUTPUTS_AT_ONCE * _OUTPUTS_AT_ONCE
        inner = np.empty((count, rows.shape[1]), np.float32)
        if n_shared:
            windows = np.lib.stride_tricks.sliding_window_view(rows, self._shared.shape[1], axis=0)
            windows = windows[:: _OUTPUTS_AT_ONCE * factor][: n_shared // _OUTPUTS_AT_ONCE]
            np.matmul(
                self._shared,
                windows.swapaxes(1, 2),
                out=inner[:n_shared].reshape(-1, _OUTPUTS_AT_ONCE, rows.shape[1]),
            )
        for index in range(n_shared, count):
            np.dot(taps, rows[index * factor : index * factor + taps.size], out=inner[index])
        self._held -= count * factor
        self._buffer[: self._held] = rows[count * factor :]
        return inner

    @property
    def end(self) -> float:
        """Positions below this one can be taken."""
        return self._inner_row + (len(self._inner) - self.design.half) * self.design.factor

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The signal (n, C) float32 at positions (n,) in raw rows, increasing and below ``end``."""
        half = self.design.half
        result = np.empty((positions.size, self._inner.shape[1]), np.float32)
        for begin in range(0, positions.size, 256):
            inner = (positions[begin : begin + 256] - self._inner_row) / self.design.factor
            first = np.floor(inner).astype(np.int64) - half + 1
            # rounding may put a position just below ``end`` on it
            first = np.minimum(first, len(self._inner) - 2 * half)
            away = np.abs(inner[:, None] - (first[:, None] + np.arange(2 * half)))
            weights = np.interp(away, self._grid, self.design.kernel).astype(np.float32)
            for index, (start, weight) in enumerate(zip(first, weights, strict=True), begin):
                np.dot(weight, self._inner[start : start + 2 * half], out=result[index])
        return result

    def forget_before(self, position: float) -> None:
        """Drop what only positions before this one need."""
        inner = (position - self._inner_row) / self.design.factor
        # one less than could go: the same position may round to either side of an inner sample
        drop = int(np.clip(np.floor(inner) - self.design.half, 0, len(self._inner)))
        self._inner = self._inner[drop:].copy()
        self._inner_row += drop * self.design.factor


def _toeplitz(taps: np.ndarray, factor: int) -> np.ndarray:
    """Matrix whose rows are the taps, each ``factor`` further: rows of raw -> inner samples."""
    matrix = np.zeros((_OUTPUTS_AT_ONCE, (_OUTPUTS_AT_ONCE - 1) * factor + taps.size), np.float32)
    for output, row in enumerate(matrix):
        row[output * factor : output * factor + taps.size] = taps
    return matrix


class Bridge:
    """Replaces missing (NaN or infinite) samples, so that filters can run over them.

    A run of missing samples of up to ``2 * reach`` becomes a straight line between its neighbors.
    A longer one holds the sample before it, and the sample after it in its last ``reach`` rows: a
    filter that reaches no further sees nothing of the other side.

    Parameters
    ----------
    reach : int
        Rows. With 0 nothing is looked at ahead of time, and all runs hold the sample before them.
    first_row : int
        Number of the first row that will be pushed.

    Examples
    --------
    >>> bridge = Bridge(reach=2)
    >>> rows, runs = bridge.push(np.array([[1.0], [np.nan], [3.0], [np.nan]]))
    >>> rows.ravel().tolist(), runs.tolist()
    ([1.0, 2.0, 3.0], [[0, 1, 2]])
    >>> rows, runs = bridge.push(np.array([[5.0]]), last=True)
    >>> rows.ravel().tolist(), runs.tolist()
    ([4.0, 5.0], [[0, 3, 4]])
    """

    def __init__(self, reach: int, *, first_row: int = 0):
        self.reach = reach
        self._row = first_row
        self._pending: np.ndarray | None = None
        self._before: np.ndarray | None = None  # last row given out
        self._open = np.zeros(0, bool)  # channels that were missing in it

    def push(self, rows: np.ndarray, *, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Take in rows (n, C), give out those that are settled, and what was missing in them.

        Returns
        -------
        rows : (k, C)
        runs : (r, 3) int
            Channel, first row and last row + 1 of each run of missing samples.
        """
        if self._pending is not None and len(self._pending):
            rows = np.concatenate([self._pending, rows])
        self._pending = None
        if self._before is None:
            self._before = np.full(rows.shape[1], np.nan)
            self._open = np.zeros(rows.shape[1], bool)
        no_runs = np.empty((0, 3), np.int64)
        if not len(rows):
            return rows, no_runs
        with np.errstate(all="ignore"):
            whole = rows.dtype.kind in "iu" or np.isfinite(rows.sum())  # NaN survives a sum
        if whole:
            self._done(rows, np.zeros(rows.shape[1], bool))
            return rows, no_runs
        missing = ~np.isfinite(rows)
        settled = len(rows) if last else self._settled(missing)
        filled, runs = rows.copy(), []
        for channel in np.flatnonzero(missing.any(axis=0)):
            edges = np.flatnonzero(np.diff(missing[:, channel], prepend=False, append=False))
            for start, stop in edges.reshape(-1, 2):
                self._fill(filled[:, channel], int(start), int(stop), int(channel))
                if start < settled:
                    runs.append((channel, self._row + start, self._row + min(stop, settled)))
        self._pending = rows[settled:]
        if settled:
            self._done(filled[:settled], missing[settled - 1])
        return filled[:settled], np.array(runs).reshape(-1, 3) if runs else no_runs

    def _settled(self, missing: np.ndarray) -> int:
        """Rows whose values can no longer change with what follows."""
        trailing = np.argmax(~missing[::-1], axis=0)
        trailing[missing.all(axis=0)] = len(missing)
        return len(missing) - min(int(trailing.max()), 2 * self.reach)

    def _fill(self, values: np.ndarray, start: int, stop: int, channel: int) -> None:
        assert self._before is not None
        began_before = start == 0 and bool(self._open[channel])
        left = values[start - 1] if start else self._before[channel]
        right = values[stop] if stop < values.size else np.nan
        long = began_before or stop - start > 2 * self.reach
        if np.isnan(right):
            values[start:stop] = np.nan_to_num(left)
        elif not long and not np.isnan(left):
            line = np.linspace(left, right, stop - start + 2, dtype=values.dtype)
            values[start:stop] = line[1:-1]
        else:
            change = max(start, stop - self.reach) if long else start
            values[start:change] = np.nan_to_num(left)
            values[change:stop] = right

    def _done(self, rows: np.ndarray, missing: np.ndarray) -> None:
        self._before, self._open = rows[-1].copy(), missing
        self._row += len(rows)


def mirrored(blocks: Iterable[np.ndarray], reach: int) -> Iterator[np.ndarray]:
    """Yield the blocks, with ``reach`` rows mirrored before the first and after the last.

    Together they must have more than ``reach`` rows.

    Examples
    --------
    >>> blocks = [np.array([[0], [1]]), np.array([[2], [3]])]
    >>> np.concatenate(list(mirrored(blocks, 2))).ravel().tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    tail, started = None, False
    for block in blocks:
        if not started and tail is not None:
            block = np.concatenate([tail, block])
        if not started and len(block) <= reach:
            tail = block
            continue
        if not started:
            yield block[reach:0:-1]
            started = True
        yield block
        ending = block if len(block) > reach or tail is None else np.concatenate([tail, block])
        tail = ending[-(reach + 1) :]
    assert tail is not None
    yield tail[-2::-1]


def missing_at(
    runs: np.ndarray, positions: np.ndarray, n_channels: int, half_step: float
) -> np.ndarray:
    """(m, C) whether a raw row is missing within half a step of the position."""
    missing = np.zeros((positions.size, n_channels), bool)
    first = np.searchsorted(positions, runs[:, 1] - half_step)
    stop = np.searchsorted(positions, runs[:, 2] - 1 + half_step, side="right")
    for channel, begin, end in zip(runs[:, 0], first, stop, strict=True):
        missing[begin:end, channel] = True
    return missing
