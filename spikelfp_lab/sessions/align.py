"""From native rates to one clock: spikes, LFP and behavior become one valid session."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab import __version__
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions.schema import SCHEMA_VERSION, validate_session

Stream = tuple[np.ndarray, np.ndarray] | None  # values (n, C), and timestamps (n,)
Names = Sequence[str] | None


def session_clock(start_s: float, stop_s: float, *, bin_size_s: float) -> np.ndarray:
    """Bin centers (T,) float64 of a uniform clock; a DataError when not one bin fits.

    Bin ``i`` begins at ``start_s + i * bin_size_s``; a rest shorter than a bin is not covered.

    >>> session_clock(1.0, 1.07, bin_size_s=0.02).round(6).tolist()
    [1.01, 1.03, 1.05]
    """
    count = 0
    if np.isfinite([start_s, stop_s, bin_size_s]).all() and bin_size_s > 0:
        # the last bin stays when (stop - start) / bin rounds just below a whole
        rounding = 4 * np.spacing(max(abs(start_s), abs(stop_s))) / bin_size_s
        count = int(np.floor((stop_s - start_s) / bin_size_s + 1e-6 + rounding))
    if count < 1:
        what = f"No bin of {bin_size_s:g} s fits between {start_s:g} s and {stop_s:g} s"
        cure = "Check the start and stop (the streams may not overlap), or take smaller bins."
        raise DataError(f"{what}. {cure}")
    return start_s + (np.arange(count) + 0.5) * bin_size_s


def build_session(
    clock: np.ndarray, *, bin_size_s: float, subject: str, session: str, source: str,
    spikes: np.ndarray | None = None, unit_names: Names = None,
    lfp: Stream = None, channel_names: Names = None,
    behavior: Stream = None, behavior_names: Names = None,
    latent_truth: Stream = None, latent_names: Names = None,
    trial: np.ndarray | None = None, max_gap_s: float = 0.25, history: str = "",
    attrs: Mapping[str, Any] | None = None,
    variable_attrs: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.Dataset:  # fmt: skip
    """Put the streams of a recording on one clock and make a valid session of them.

    LFP, behavior and true latents are interpolated linearly, channel by channel; a bin is NaN
    outside of the stream, and between good samples more than ``max_gap_s`` (seconds) apart. Bring
    a stream faster than the clock down first (:func:`spikelfp_lab.signal.lfp_to_rate`), or it
    aliases. A DataError or SchemaError names what does not fit.

    Parameters
    ----------
    clock : (T,) seconds, bin centers ``bin_size_s`` apart; steps longer than 1.5 bins are gaps.
    subject, session, source : names, and where the data come from.
    spikes : (T, U) counts on the clock; stored as uint8, or uint16 when a count exceeds 255.
    lfp, behavior, latent_truth : values (n, C) and their increasing timestamps (n,), seconds.
    unit_names, channel_names, behavior_names, latent_names : labels; ``u000``, ``ch00``, ``y0``
        and ``z0`` by default.
    trial : (T,) whole numbers on the clock; a change of value is the edge of a trial.
    history, attrs, variable_attrs : how the data were made; more attributes (JSON values) of the
        session, and of variables.

    Examples
    --------
    >>> clock, samples = session_clock(0.0, 1.0, bin_size_s=0.1), np.arange(0.0, 1.0, 0.01)
    >>> session = build_session(
    ...     clock, bin_size_s=0.1, subject="I", session="s01", source="example",
    ...     spikes=np.ones((10, 3)), lfp=(samples[:, None], samples))
    >>> session["spikes"].dtype.name, dict(session.sizes)
    ('uint8', {'time': 10, 'unit': 3, 'channel': 1})
    """
    clock, extra = np.asarray(clock, dtype=np.float64), variable_attrs or {}
    data: dict[str, tuple] = {}
    coords: dict[str, tuple] = {"time": ("time", clock, {"units": "s", **extra.get("time", {})})}
    for what, stream, dim, names, pattern, where in (
        ("spikes", spikes, "unit", unit_names, "u{:03d}", data),
        ("lfp", lfp, "channel", channel_names, "ch{:02d}", data),
        ("behavior", behavior, "behavior_dim", behavior_names, "y{:d}", data),
        ("latent_truth", latent_truth, "latent_truth_dim", latent_names, "z{:d}", coords),
    ):
        if stream is None:
            continue
        about = {"units": "count"} if what == "spikes" else {}
        if what == "spikes":
            values = _whole(stream, np.uint16, "spikes must be counts")
            values = values if values.max(initial=0) > 255 else values.astype(np.uint8)
        else:
            values = _onto_clock(stream, clock, max_gap_s=max_gap_s, what=what)
        where[what] = (("time", dim), values, about | dict(extra.get(what, {})))
        names = map(pattern.format, range(values.shape[-1])) if names is None else map(str, names)
        coords[dim] = (dim, np.array(list(names)))
    if trial is not None:
        coords["trial"] = ("time", _whole(trial, np.int64, "trial must have numbers"))
    attrs = {
        **(attrs or {}),
        "subject": subject, "session": session, "bin_size_s": float(bin_size_s), "source": source,
        "history": history, "schema_version": SCHEMA_VERSION, "spikelfp_lab_version": __version__,
    }  # fmt: skip
    try:
        dataset = xr.Dataset(data, coords, attrs)
    except ValueError as error:
        what = "Clock, streams and names (unit_names, ...) differ in length"
        raise DataError(f"{what}: {error}.") from error
    validate_session(dataset)
    return dataset


def _whole(values: Any, dtype: Any, what: str) -> np.ndarray:
    """The values as whole numbers, when they are."""
    with np.errstate(invalid="ignore"):
        whole = np.asarray(values).astype(dtype)
    if not np.array_equal(whole, values):
        raise DataError(f"{what}, whole numbers that fit {whole.dtype}, neither rates nor NaN.")
    return whole


def _onto_clock(stream: Any, clock: np.ndarray, *, max_gap_s: float, what: str) -> np.ndarray:
    """Interpolate (n, C) values onto the clock -> (T, C) float32, NaN where there are none."""
    values, times = np.asarray(stream[0]), np.asarray(stream[1], dtype=np.float64)
    steps = np.diff(times) if times.shape == values.shape[:1] else np.zeros(1)
    if values.ndim != 2 or not steps.size or not ((steps > 0) & np.isfinite(steps)).all():
        both = f"values of shape {values.shape} and timestamps of shape {times.shape}"
        cure = "(n, columns) and (n,), n at least 2, the timestamps sorted, none twice or NaN."
        raise DataError(f"{what} has {both}: give {cure}")
    if times[-1] < clock[0] or times[0] > clock[-1]:
        own = f"{what} runs from {times[0]:g} s to {times[-1]:g} s"
        other = f"the session from {clock[0]:g} s to {clock[-1]:g} s"
        raise DataError(f"The clocks do not overlap: {own}, {other}. Are all times in seconds?")
    if (step := float(np.median(steps))) > max_gap_s:
        cure = f" If they are, pass a max_gap_s above {step:g}." if step < 5 else ""
        what = f"The samples of {what} are {step:g} s apart, so every bin would be NaN"
        cure = f"Are their times in seconds, not milliseconds or sample numbers?{cure}"
        raise DataError(f"{what}. {cure}")
    out = np.full((clock.size, values.shape[1]), np.nan, dtype=np.float32)
    finite = np.isfinite(values)
    whole = finite.all(axis=0)  # these share their neighbors and weights
    for columns in (np.flatnonzero(whole), *np.flatnonzero(~whole)[:, None]):
        good = finite[:, columns].all(axis=1)
        if columns.size and good.any():
            some = values[:, columns][good]
            out[:, columns] = _interpolate(some, times[good], clock, max_gap_s)
    return out


def _interpolate(
    values: np.ndarray, times: np.ndarray, clock: np.ndarray, max_gap_s: float
) -> np.ndarray:
    """Linear interpolation of finite (n, C) values; NaN outside and in gaps."""
    right = np.clip(np.searchsorted(times, clock), 1, times.size - 1)  # 0 of a single one
    left = np.maximum(right - 1, 0)
    span = times[right] - times[left]
    weight = np.divide(clock - times[left], span, out=np.zeros_like(clock), where=span > 0)
    # clocks that agree but for rounding must not lose their first and last bins, nor an exact
    # sample that stands alone beside a gap
    near = 1e-6 * max(max_gap_s, 1e-3)
    on_left, on_right = np.abs(clock - times[left]) <= near, np.abs(clock - times[right]) <= near
    weight = np.where(on_left, 0.0, np.where(on_right, 1.0, weight))
    inside = (weight >= 0) & (weight <= 1) & (span <= max_gap_s + near) & (span > 0)
    keep = (inside | on_left | on_right)[:, None]
    weight = np.clip(weight, 0, 1).astype(np.float32)[:, None]
    return np.where(keep, values[left] * (1 - weight) + values[right] * weight, np.nan)
