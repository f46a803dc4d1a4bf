"""Arrays from MATLAB, NumPy or anywhere else -> a session, through the same steps as files."""

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._streams import LFPFilter, Reference, Stream, make_stream
from spikelfp_lab.io.assemble import Behavior, Grid, Intervals, Potential, Spikes, assemble

TO_UV = {"uV": 1.0, "mV": 1e3, "V": 1e6, "volts": 1e6, "\N{GREEK SMALL LETTER MU}V": 1.0}
TO_UV["\N{MICRO SIGN}V"] = 1.0


def session_from_arrays(
    *,
    spike_times: Sequence[np.ndarray] | None = None,
    unit_names: Sequence[str] | None = None,
    lfp: Any = None,
    lfp_rate_hz: float | None = None,
    lfp_times: Any = None,
    lfp_units: str = "uV",
    channel_names: Sequence[str] | None = None,
    behavior: Any = None,
    behavior_rate_hz: float | None = None,
    behavior_times: Any = None,
    behavior_names: Sequence[str] | None = None,
    behavior_units: str = "",
    trials: np.ndarray | None = None,
    bin_size_s: float = 0.01,
    start_s: float | None = None,
    stop_s: float | None = None,
    band_hz: tuple[float, float] = (0.05, 50.0),
    line_hz: float | None = 60.0,
    reference: Reference | None = None,
    max_gap_s: float = 0.25,
    subject: str = "subject",
    session: str = "session",
    source: str = "arrays",
    progress: bool = True,
) -> xr.Dataset:
    """Make a session of arrays at their own rates, all on one clock in seconds.

    The session reaches over the time that everything given shares, cut as in
    :func:`spikelfp_lab.io.nwb_read.open_nwb`. ``lfp`` may be an HDF5 dataset or a memory map that
    is larger than memory. With a rate, the first sample is at 0 s; with times, wherever they say.

    Parameters
    ----------
    spike_times : sequence of (n_u,) arrays, optional
        Seconds, one array a unit; a MATLAB cell array as ``scipy.io.loadmat`` gives it will do.
    unit_names, channel_names, behavior_names : sequence of str, optional
        Labels; ``u000``, ``ch00`` and ``behavior_0`` by default.
    lfp : (n, C) or (n,) array or HDF5 dataset, optional
        Samples by channels, in ``lfp_units``: "uV", "mV" or "V". The session has uV.
    behavior : (n, D) or (n,) array, optional
        NaN where missing, in ``behavior_units`` such as ``"cm/s"``. Columns in degrees or radians
        that wrap become their cos and sin.
    lfp_rate_hz, lfp_times, behavior_rate_hz, behavior_times : optional
        Of each, samples a second or (n,) seconds, not decreasing, perhaps with gaps.
    trials : (k, 2) array, optional
        Start and stop of trials in seconds; ``trial`` is the row, and -1 outside. No window
        crosses the edge of a trial.
    bin_size_s, start_s, stop_s : float
        Seconds a bin; the session is no longer than from start to stop.
    band_hz, line_hz
        As in :func:`spikelfp_lab.signal.broadband_to_lfp`, for LFP faster than the clock.
    reference : {None, "car", "none"}
        None is no new reference: ask for "car" where ``lfp`` is raw voltage.
    max_gap_s : float
        Longest stretch without a sample that is bridged, in seconds.
    subject, session, source : str
        Names, and where the data come from.
    progress : bool

    Raises
    ------
    DataError, ConfigError
        When arrays are missing, do not fit each other, share no time, or their times run backward;
        for an option that is not known, or a rate and times of the same array.

    Warns
    -----
    SpikeLFPWarning
        Says what was dropped or cannot be right, with numbers.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> session = session_from_arrays(
    ...     spike_times=[np.sort(rng.uniform(0, 60, 500)) for _ in range(3)],
    ...     lfp=rng.normal(size=(60_000, 4)), lfp_rate_hz=1000.0, lfp_units="mV",
    ...     behavior=rng.normal(size=(3000, 2)), behavior_rate_hz=50.0,
    ...     behavior_names=("vx", "vy"), bin_size_s=0.02, start_s=0.0, stop_s=60.0,
    ...     progress=False,
    ... )
    >>> {name: int(size) for name, size in session.sizes.items()}
    {'time': 2999, 'unit': 3, 'channel': 4, 'behavior_dim': 2}
    """
    if lfp_units not in TO_UV:
        raise ConfigError(f"lfp_units is {lfp_units!r}: use uV, mV or V.")
    potential = _stream("lfp", lfp, lfp_rate_hz, lfp_times, scale=TO_UV[lfp_units])
    moved = _stream("behavior", behavior, behavior_rate_hz, behavior_times)
    times = None if spike_times is None else _spike_times(spike_times)
    given = {"spikes": times, "lfp": lfp, "behavior": behavior}
    held = ", ".join(key for key, value in given.items() if value is not None)
    if trials is not None and (trials := np.asarray(trials, np.float64)).shape[1:] != (2,):
        raise DataError(
            f"trials has shape {trials.shape}: give (k, 2), start and stop of each in seconds."
        )
    channels = potential and _names(channel_names, "ch{:02d}", potential)
    columns = moved and _names(behavior_names, "behavior_{}", moved)
    chain = LFPFilter(band_hz, line_hz, reference)
    attrs = {"subject": subject, "session": session, "source": source}
    made = assemble(
        Grid(bin_size_s, start_s, stop_s, max_gap_s),
        None if times is None else Spikes(times, unit_names),
        potential and Potential(potential, channels or [], chain),
        moved and Behavior(moved, columns or [], units=behavior_units),
        Intervals(trials),
        attrs=attrs | {"history": f"{held} of arrays"},
        progress=progress,
    )
    found = json.loads(made.attrs.get("findings", "[]"))
    if found:
        lines = "".join(f"\n  {each['what']}: {each['message']}" for each in found)
        warnings.warn(f"Session {subject}/{session}:{lines}", SpikeLFPWarning, stacklevel=2)
    return made


def _stream(
    what: str, data: Any, rate_hz: float | None, times: Any, *, scale: float = 1.0
) -> Stream | None:
    """An array and its times, where they lie."""
    if data is None:
        if rate_hz is not None or times is not None:
            raise ConfigError(f"There are times or a rate of {what}, but no {what}: pass it too.")
        return None
    if (rate_hz is None) == (times is None):
        raise ConfigError(
            f"When the samples of {what} were taken takes one of {what}_rate_hz and {what}_times: "
            f"{'both are' if times is not None else 'neither is'} given."
        )
    if rate_hz is not None and not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ConfigError(f"{what}_rate_hz is {rate_hz}: give samples a second, above 0.")
    # HDF5 datasets and memory maps are left where they are
    data = data if hasattr(data, "shape") and hasattr(data, "dtype") else np.asarray(data)
    shape = tuple(data.shape)
    wanted = f"samples by {'channels' if what == 'lfp' else 'columns'}"
    if len(shape) not in (1, 2) or 0 in shape or np.dtype(data.dtype).kind not in "biuf":
        raise DataError(
            f"{what} holds {data.dtype} of shape {shape}: give numbers, {wanted}, at least one of "
            "each."
        )
    if len(shape) == 2 and shape[1] > shape[0]:
        raise DataError(
            f"{what} has shape {shape}, more columns than samples: it is {wanted}. Transpose it: "
            f"{what}={what}.T."
        )
    if times is not None and not hasattr(times, "dtype"):
        times = np.asarray(times, np.float64)
    return make_stream(what, data, rate_hz=rate_hz, timestamps=times, scale=scale)


def _names(names: Sequence[str] | None, pattern: str, stream: Stream) -> list[str]:
    """Labels of the columns."""
    if names is None:
        return [pattern.format(index) for index in range(stream.used.size)]
    if isinstance(names, str) or len(names) != stream.used.size:
        raise DataError(
            f"{stream.what} has {stream.used.size} columns and the names {names!r}: "
            "give a sequence of as many."
        )
    return list(map(str, names))


def _spike_times(spike_times: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One array of seconds for each unit, in float64 unless they are float32."""
    if isinstance(spike_times, np.ndarray) and spike_times.dtype == object:
        spike_times = list(spike_times.ravel())  # a cell array: (1, U) or (U, 1)
    arrays = [np.asarray(each) for each in spike_times]
    for unit, each in enumerate(arrays):
        if each.size and (each.dtype.kind not in "iuf" or max(each.shape, default=0) != each.size):
            raise DataError(
                f"spike_times of unit {unit} is {each.dtype} of shape {each.shape}: give one array "
                "of seconds for each unit, as in [times_of_unit_0, times_of_unit_1]."
            )
    if not arrays:
        raise DataError("spike_times has no units: give an array for each, or leave it out.")
    return [
        (each if each.dtype == np.float32 else each.astype(np.float64)).ravel() for each in arrays
    ]
