"""Positions and directions, brought to the clock of a session."""

import re
from typing import Any

import numpy as np
from scipy import ndimage

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io._streams import Options, Stream
from spikelfp_lab.sessions.schema import GAP_BINS

_TURNS = {r"deg(rees?)?|°": 360.0, r"rad(ians?)?": 2 * np.pi}  # units of angles: a whole turn
_NO_UNIT = r"|n/?a|none|unknown|a\.?u\.?|arbitrary( units?)?|unitless|1|-|m|met(er|re)s?"


def behavior_on_clock(stream: Stream, clock: np.ndarray, options: Options) -> tuple[Any, ...]:
    """Values (n, D) and times, the names and unit of the columns, and what is odd about them."""
    derive, smooth_s, names, units = options.derive, options.smooth_s, stream.names, stream.units
    values, times = stream.near(clock, options.bin_size_s)
    lost, odd = _lost(values, stream.offset), []
    if lost.any():
        values[lost] = np.nan
        text = f"{lost.sum()} of {len(values)} samples are 0 in all columns, with jumps before and "
        text += "after, as where tracking is lost: they are taken for missing."
        odd.append(("tracking", text))
    turn, text = _turn(values, stream)
    if text:
        odd.append(("direction", text))
    wanted = derive is None or (derive in ("velocity", "speed") and 0 < smooth_s < np.inf)
    if not wanted or (derive and turn):
        what = f"derive={derive!r} with smooth_s={smooth_s} of {stream.what}"
        raise ConfigError(f"{what}: 'velocity' or 'speed' of positions, not directions, above 0 s.")
    if turn:  # cos and sin can be interpolated
        angle = values * (2 * np.pi / turn)
        values, units = np.concatenate([np.cos(angle), np.sin(angle)], axis=1), "1"
        names = [f"{part}_{name}" for part in ("cos", "sin") for name in names]
    # positions on either side of a gap in the times are not smoothed together
    limit = max(GAP_BINS / stream.rate_hz, smooth_s if derive else 0.0)
    cuts = np.flatnonzero(np.diff(times) > limit) + 1
    pieces = np.split(values, cuts)
    if derive:
        sd, units, names = smooth_s * stream.rate_hz, f"{units or '1'}/s", [f"v{x}" for x in names]
        pieces = [_velocity(*pair, sd) for pair in zip(pieces, np.split(times, cuts), strict=True)]
    if derive == "speed":
        pieces = [np.linalg.norm(piece, axis=1, keepdims=True) for piece in pieces]
        names = ["speed"]
    width = round(stream.rate_hz * options.bin_size_s)
    if width > 1:
        pieces = [_bin_mean(piece, width) for piece in pieces]
        if width % 2 == 0:  # the mean of samples i - width / 2 to i + width / 2 - 1
            times = times - 0.5 / stream.rate_hz
    return np.concatenate(pieces).astype(np.float32), times, names, units, odd


def _lost(values: np.ndarray, zero: float) -> np.ndarray:
    """(n,) rows at exactly 0 to which positions of two axes or more jump, and from which."""
    at, lost = (values == zero).all(axis=1), np.zeros(len(values), bool)
    steps = np.linalg.norm(np.diff(values, axis=0), axis=1)
    usual = steps[np.isfinite(steps) & ~at[1:] & ~at[:-1]]
    if values.shape[1] > 1 and usual.size and (far := 5 * np.percentile(usual, 99)) > 0:
        jumps = np.r_[True, ~(steps <= far), True]  # before each sample, and after the last
        for start, stop in np.flatnonzero(np.diff(np.r_[0, at, 0])).reshape(-1, 2):
            lost[start:stop] = jumps[start] and jumps[stop] and stop - start < len(at)
    return lost


def _turn(values: np.ndarray, stream: Stream) -> tuple[float, str]:
    """A whole turn in the unit of the values, 0 where they are no directions; what is odd."""
    what, units, circular = stream.what, stream.units, stream.circular
    unit = units.strip().lower()
    turn = next((turn for words, turn in _TURNS.items() if re.fullmatch(words, unit)), 0.0)
    known = values[np.isfinite(values).all(axis=1)]
    steps = np.abs(np.diff(known, axis=0))
    furthest, jump = float(np.abs(known).max(initial=0)), float(steps.max(initial=0))
    taken, likely = ("degrees", 360.0) if furthest > 6.4 else ("radians", 2 * np.pi)
    if turn:
        text = f"{what} says {units}, and its values reach {furthest:.4g}, as {taken} do"
        if (turn < 7 and 180 < jump < 361) or (turn > 7 and furthest < 6.4 and 4.7 < jump < 6.3):
            raise DataError(f"{text}. Correct its unit, or leave it out with behavior=False.")
        if circular and turn < 7 and 6.4 < furthest < 361:
            return turn, f"{text}: cos and sin are those of radians. Check its unit."
        wraps = 0.75 * turn < jump <= 1.01 * turn and furthest <= 1.01 * turn
        return turn * (circular or wraps), ""
    if circular and len(known):  # said to be a direction, in no unit that is known
        return likely, f"{what} has no unit of an angle ({units!r}): it is taken for {taken}."
    for name, column, step in zip(stream.names, known.T, steps.T, strict=True):
        turn = 360.0 if step.max(initial=0) > 7 else 2 * np.pi
        wraps, large = (step > 0.75 * turn).sum(), (step > 0.25 * turn).sum()
        inside = -0.51 * turn <= column.min(initial=0) and column.max(initial=0) <= 1.01 * turn
        if 1 < wraps > large / 1.5 and inside and re.fullmatch(_NO_UNIT, unit):
            text = f"{name} of {what} jumps by {step.max():.4g} {wraps} times, as directions do"
            text += f", and has no unit of an angle ({units!r}): means across the jumps are wrong. "
            return 0.0, text + "Give its unit, degrees or radians: it becomes a cos and a sin."
    return 0.0, ""


def _velocity(values: np.ndarray, times: np.ndarray, sd: float) -> np.ndarray:
    """(n, D) slope of Gaussian-weighted lines through finite positions: true beside holes too."""
    finite = np.isfinite(values)
    when = (times - times.mean())[:, None]
    center = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    x = np.where(finite, values - center, 0.0)

    def around(each: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter1d(each, sd, axis=0, mode="constant", truncate=4.0)

    weight, t, tt = (around(finite * when**power) for power in (0, 1, 2))
    spread = weight * tt - t**2
    step = np.median(np.diff(times)) if len(times) > 1 else np.inf
    known = (weight >= 0.5) & (spread > 1e-3 * (sd * step) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (weight * around(when * x) - t * around(x)) / spread
    return np.where(known, slope, np.nan)


def _bin_mean(values: np.ndarray, width: int) -> np.ndarray:
    """(n, D) mean over ``width`` samples; NaN where missing, or where most of these are."""
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0).astype(np.float64)
    weight = ndimage.uniform_filter1d(finite.astype(np.float64), width, axis=0)
    total = ndimage.uniform_filter1d(filled, width, axis=0)
    return np.where(finite & (weight >= 0.5), total / np.maximum(weight, 0.5), np.nan)
