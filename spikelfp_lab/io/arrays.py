"""Arrays from MATLAB, NumPy or anywhere else -> a session, through the same steps as files."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io._streams import Options, Reference, Stream
from spikelfp_lab.io.assemble import Recording

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
    causal: bool = False,
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
    reference : {None, "car", "none"}
        None is no new reference: ask for "car" where ``lfp`` is raw voltage.
    bin_size_s, start_s, stop_s, band_hz, line_hz, causal, max_gap_s, progress
        As in ``open_nwb``.
    subject, session, source : str
        Names, and where the data come from.

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
    given = {"spikes": spike_times, "lfp": lfp, "behavior": behavior}
    held = ", ".join(key for key, value in given.items() if value is not None)
    trials = np.empty((0, 2)) if trials is None else np.asarray(trials, np.float64)
    if trials.shape[1:] != (2,):
        what = f"trials has shape {trials.shape}"
        raise DataError(f"{what}: give (k, 2), start and stop of each in seconds.")
    lfp = _stream("lfp", lfp, lfp_rate_hz, lfp_times, channel_names, scale=TO_UV[lfp_units])
    behavior = _stream(
        "behavior", behavior, behavior_rate_hz, behavior_times, behavior_names, units=behavior_units
    )
    spikes = () if spike_times is None else _spike_times(spike_times)
    attrs = {"subject": subject, "session": session, "source": source}
    attrs["history"] = f"{held} of arrays"
    asked = bin_size_s, start_s, stop_s, max_gap_s, band_hz, line_hz, reference
    options, streams = Options(*asked, causal=causal), {"lfp": lfp, "behavior": behavior}
    recording = Recording(attrs, options, spikes, unit_names, trials=trials, **streams)
    made = recording.session(progress)
    if recording.findings:
        lines = "".join(f"\n  {what}: {text}" for what, _, text, *_ in recording.findings)
        warnings.warn(f"Session {subject}/{session}:{lines}", SpikeLFPWarning, stacklevel=2)
    return made


def _stream(
    what: str, data: Any, rate_hz: Any, times: Any, names: Sequence[str] | None, **more: Any
) -> Stream | None:
    """An array and its times, where they lie."""
    if (rate_hz is not None) + (times is not None) != (data is not None):
        text = f"Pass one of {what}_rate_hz and {what}_times, which say when the samples of {what}"
        raise ConfigError(f"{text} were taken, and neither without {what}.")
    if data is None:
        return None
    # HDF5 datasets and memory maps are left where they are
    data, times = (x if x is None or hasattr(x, "dtype") else np.asarray(x) for x in (data, times))
    columns, pattern = ("channels", "ch{:02d}") if what == "lfp" else ("columns", "behavior_{}")
    n_samples, width = (*data.shape, 1, 1)[:2]
    if width > n_samples > 0:
        text = f"{what} has shape {tuple(data.shape)}, more columns than samples"
        raise DataError(f"{text}: it is samples by {columns}. Transpose it: {what}={what}.T.")
    if names is None:
        names = [pattern.format(index) for index in range(width)]
    if isinstance(names, str) or len(names) != width:
        text = f"{what} has {width} columns and the names {names!r}"
        raise DataError(f"{text}: give a sequence of as many.")
    return Stream(what, data, rate_hz, times, names=list(map(str, names)), **more)


def _spike_times(spike_times: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One array of seconds for each unit, in float64 unless they are float32."""
    if isinstance(spike_times, np.ndarray) and spike_times.dtype == object:
        spike_times = list(spike_times.ravel())  # a cell array: (1, U) or (U, 1)
    arrays = [np.asarray(each) for each in spike_times]
    for unit, each in enumerate(arrays):
        if each.size and (each.dtype.kind not in "iuf" or max(each.shape, default=0) != each.size):
            what = f"spike_times of unit {unit} is {each.dtype} of shape {each.shape}: give one"
            cure = "array of seconds for each unit, as in [times_of_unit_0, times_of_unit_1]."
            raise DataError(f"{what} {cure}")
    if not arrays:
        raise DataError("spike_times has no units: give an array for each, or leave it out.")
    return [x.ravel() if x.dtype == np.float32 else x.astype(np.float64).ravel() for x in arrays]
