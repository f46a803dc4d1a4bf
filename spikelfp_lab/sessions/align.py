"""From native rates to one clock: spikes, LFP and behavior become one valid session."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions.schema import SCHEMA_VERSION, package_version, validate_session

_MAX_COUNT = np.iinfo(np.uint16).max


def session_clock(start_s: float, stop_s: float, *, bin_size_s: float) -> np.ndarray:
    """Bin centers of a uniform clock.

    Bin ``i`` covers ``[start_s + i * bin_size_s, start_s + (i + 1) * bin_size_s)``. What is left
    before ``stop_s`` and is shorter than a bin is not covered.

    Returns (T,) float64; raises a DataError when values are not finite, or not one bin fits.

    Examples
    --------
    >>> session_clock(1.0, 1.07, bin_size_s=0.02).round(6).tolist()
    [1.01, 1.03, 1.05]
    """
    if not (np.isfinite([start_s, stop_s, bin_size_s]).all() and bin_size_s > 0):
        raise DataError(
            f"A clock from {start_s} s to {stop_s} s in bins of {bin_size_s} s cannot be made. "
            "Give finite times and a bin size above 0."
        )
    # the last bin stays when (stop - start) / bin rounds just below a whole
    rounding = 4 * np.spacing(max(abs(start_s), abs(stop_s))) / bin_size_s
    count = int(np.floor((stop_s - start_s) / bin_size_s + 1e-6 + rounding))
    if count < 1:
        raise DataError(
            f"No bin of {bin_size_s:g} s fits between {start_s:g} s and {stop_s:g} s. "
            "Check the start and stop (the streams may not overlap), or take smaller bins."
        )
    return start_s + (np.arange(count) + 0.5) * bin_size_s


def build_session(
    clock: np.ndarray,
    *,
    bin_size_s: float,
    subject: str,
    session: str,
    source: str,
    spikes: np.ndarray | None = None,
    unit_names: Sequence[str] | None = None,
    lfp: tuple[np.ndarray, np.ndarray] | None = None,
    channel_names: Sequence[str] | None = None,
    behavior: tuple[np.ndarray, np.ndarray] | None = None,
    behavior_names: Sequence[str] | None = None,
    latent_truth: tuple[np.ndarray, np.ndarray] | None = None,
    latent_names: Sequence[str] | None = None,
    trial: np.ndarray | None = None,
    max_gap_s: float = 0.25,
    history: str = "",
    attrs: Mapping[str, Any] | None = None,
    variable_attrs: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.Dataset:
    """Put the streams of a recording on one clock and make a valid session of them.

    LFP, behavior and true latents are interpolated linearly, channel by channel; a bin is NaN
    outside of the stream, and between good samples more than ``max_gap_s`` apart. Bring a stream
    faster than the clock down first (:func:`spikelfp_lab.signal.lfp_to_rate`), or it aliases.

    Parameters
    ----------
    clock : np.ndarray
        (T,) seconds, bin centers ``bin_size_s`` apart; steps longer than 1.5 bins are gaps.
    subject, session, source : str
        Names, and where the data come from.
    spikes : np.ndarray, optional
        (T, U) counts on the clock; stored as uint8, or uint16 when a count exceeds 255.
    lfp, behavior, latent_truth : tuple of np.ndarray, optional
        Values (n, C) and their timestamps (n,) in seconds, strictly increasing; each its own n.
    unit_names, channel_names, behavior_names, latent_names : sequence of str, optional
        Labels; ``u000``, ``ch00`` and ``z0`` by default. ``behavior`` needs names.
    trial : np.ndarray, optional
        (T,) whole numbers on the clock; a change of value is the edge of a trial.
    max_gap_s : float
        Longest stretch without a good sample that is bridged, in seconds.
    history, attrs, variable_attrs
        How the data were made, a line a step; more attributes (JSON values) of the session, and of
        variables, as in ``{"lfp": {"kind": "LFP", "units": "uV"}}``.

    Returns
    -------
    xr.Dataset
        A session that passes :func:`spikelfp_lab.sessions.validate_session`.

    Raises
    ------
    DataError, SchemaError
        When shapes, clocks or counts do not fit; when the result breaches the schema.

    Examples
    --------
    >>> clock = session_clock(0.0, 1.0, bin_size_s=0.1)
    >>> samples = np.arange(0.0, 1.0, 0.01)
    >>> session = build_session(
    ...     clock, bin_size_s=0.1, subject="I", session="s01", source="example",
    ...     spikes=np.ones((10, 3)), lfp=(samples[:, None], samples),
    ... )
    >>> session["spikes"].dtype.name, session["lfp"].values[:2, 0].round(3).tolist()
    ('uint8', [0.05000000074505806, 0.15000000596046448])
    """
    clock = np.asarray(clock, dtype=np.float64)
    if clock.ndim != 1 or clock.size < 2:
        raise DataError(f"The clock has shape {clock.shape}; give (T,) bin centers, T at least 2.")
    extra = variable_attrs or {}
    data: dict[str, tuple] = {}
    coords: dict[str, tuple] = {"time": ("time", clock, {"units": "s", **extra.get("time", {})})}
    if spikes is not None:
        counts = _as_counts(np.asarray(spikes), clock)
        data["spikes"] = (("time", "unit"), counts, {"units": "count", **extra.get("spikes", {})})
        coords["unit"] = ("unit", _labels(unit_names, "u{:03d}", counts.shape[1], "unit_names"))
    if behavior is not None and behavior_names is None:
        raise DataError("behavior has no names; pass behavior_names, as in ('vx', 'vy').")
    for what, stream, dim, names, pattern in (
        ("lfp", lfp, "channel", channel_names, "ch{:02d}"),
        ("behavior", behavior, "behavior_dim", behavior_names, ""),
        ("latent_truth", latent_truth, "latent_truth_dim", latent_names, "z{:d}"),
    ):
        if stream is not None:
            values = _onto_clock(stream, clock, max_gap_s=max_gap_s, what=what)
            where = coords if what == "latent_truth" else data
            where[what] = (("time", dim), values, dict(extra.get(what, {})))
            coords[dim] = (dim, _labels(names, pattern, values.shape[1], f"{dim} names"))
    if trial is not None:
        coords["trial"] = ("time", _as_trials(np.asarray(trial), clock))

    about = {
        "subject": subject, "session": session, "bin_size_s": float(bin_size_s), "source": source,
        "history": history, "schema_version": SCHEMA_VERSION,
        "spikelfp_lab_version": package_version(),
    }  # fmt: skip
    dataset = xr.Dataset(data, coords, {**(attrs or {}), **about})
    validate_session(dataset)
    return dataset


def _labels(names: Sequence[str] | None, pattern: str, count: int, what: str) -> np.ndarray:
    if names is None:
        return np.array([pattern.format(index) for index in range(count)])
    if len(names) != count:
        raise DataError(f"{what} has {len(names)} names for {count} columns; give one for each.")
    return np.array([str(name) for name in names])


def _as_counts(counts: np.ndarray, clock: np.ndarray) -> np.ndarray:
    if counts.ndim != 2 or counts.shape[0] != clock.size:
        raise DataError(
            f"spikes has shape {counts.shape}, but the clock has {clock.size} bins; "
            f"give counts of shape ({clock.size}, units), as from spikelfp_lab.signal.bin_spikes."
        )
    if counts.size and not (
        counts.dtype.kind in "biuf"
        and np.isfinite(counts).all()
        and (counts >= 0).all()
        and (counts <= _MAX_COUNT).all()
        and (counts == np.floor(counts)).all()
    ):
        raise DataError(
            f"spikes must be counts, whole numbers from 0 to {_MAX_COUNT}; "
            "pass binned counts, neither rates nor NaN (drop those bins from the clock)."
        )
    small = counts.size == 0 or counts.max() <= np.iinfo(np.uint8).max
    return counts.astype(np.uint8 if small else np.uint16)


def _as_trials(trial: np.ndarray, clock: np.ndarray) -> np.ndarray:
    whole = trial.dtype.kind in "iu" or (
        trial.dtype.kind == "f" and np.isfinite(trial).all() and (trial == np.floor(trial)).all()
    )
    if trial.shape != clock.shape or not whole:
        raise DataError(
            f"trial has shape {trial.shape} and dtype {trial.dtype}; "
            f"give one whole number for each of the {clock.size} bins."
        )
    return trial.astype(np.int64)


def _onto_clock(
    stream: tuple[np.ndarray, np.ndarray], clock: np.ndarray, *, max_gap_s: float, what: str
) -> np.ndarray:
    """Interpolate (n, C) values onto the clock -> (T, C) float32, NaN where there are none."""
    values, times = np.asarray(stream[0]), np.asarray(stream[1], dtype=np.float64)
    if values.ndim != 2 or times.shape != values.shape[:1] or times.size < 2:
        raise DataError(
            f"{what} has values of shape {values.shape} and timestamps of shape {times.shape}; "
            "give (n, columns) and (n,), n at least 2."
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DataError(
            f"The timestamps of {what} are not finite and strictly increasing; "
            "sort them and drop what is double or NaN."
        )
    if times[-1] < clock[0] or times[0] > clock[-1]:
        raise DataError(
            f"The clocks do not overlap: {what} runs from {times[0]:g} s to {times[-1]:g} s, "
            f"the session from {clock[0]:g} s to {clock[-1]:g} s. "
            "Check the units (seconds) and the offset of each stream."
        )
    step = float(np.median(np.diff(times)))
    if step > max_gap_s:
        cure = f"If they are, pass a max_gap_s above {step:g}." if step < 5 else ""
        raise DataError(
            f"The samples of {what} are {step:g} s apart, so every bin would be NaN. Are their "
            f"times in seconds, not milliseconds or sample numbers? {cure}".strip()
        )
    out = np.full((clock.size, values.shape[1]), np.nan, dtype=np.float32)
    finite = np.isfinite(values)
    whole = finite.all(axis=0)
    if whole.any():  # channels without a missing sample share their neighbors and weights
        columns = slice(None) if whole.all() else whole
        out[:, columns] = _interpolate(values[:, columns], times, clock, max_gap_s)
    for column in np.flatnonzero(~whole):
        good = finite[:, column]
        if good.any():
            out[:, [column]] = _interpolate(
                values[good][:, [column]], times[good], clock, max_gap_s
            )
    return out


def _interpolate(
    values: np.ndarray, times: np.ndarray, clock: np.ndarray, max_gap_s: float
) -> np.ndarray:
    """Linear interpolation of finite (n, C) values; NaN outside and in gaps."""
    right = np.minimum(np.maximum(np.searchsorted(times, clock), 1), times.size - 1)
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
    mixed = values[left] * (1 - weight) + values[right] * weight
    return np.where(keep, mixed, np.nan).astype(np.float32)
