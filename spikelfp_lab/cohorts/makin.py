"""Self-paced reaching of two monkeys, motor cortex: spikes, broadband, cursor (Makin, O'Doherty).

O'Doherty, Cardoso, Makin and Sabes, *Nonhuman primate reaching with multichannel sensorimotor
cortex electrophysiology*, Zenodo, https://doi.org/10.5281/zenodo.3854034 (CC BY 4.0); first used
in Makin et al., *J. Neural Eng.* 2018. 47 sessions (37 of indy, 10 of loco) with spikes and
kinematics; 30 of indy have a broadband recording too, each in a record of its own (1 to 30 GB).

The layouts were followed from their public descriptions and from how published code reads them.
The files themselves could not be opened where this was written: the tests read small files made
in the same layouts. A file that departs from them is refused with the place named.

- ``*.mat``: MATLAB 7.3, so HDF5 with every array transposed. ``t`` (s, 250 Hz), ``cursor_pos`` and
  ``target_pos`` (mm), ``finger_pos`` (cm; z, -x, -y and, in some, three angles), ``chan_names``,
  ``spikes``: a cell of channels by units, the first column the unsorted threshold crossings.
- ``*.nwb``: NWB 1.x, ``acquisition/timeseries/broadband`` with ``data`` (int16), ``timestamps`` on
  the clock of ``t``, and ``electrode_names``; about 24,414 Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import xarray as xr

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts import _makin_layout as layout
from spikelfp_lab.cohorts import paper_protocol as _paper
from spikelfp_lab.cohorts._zenodo import RemoteFile, download, record_files
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import _matlab
from spikelfp_lab.io.prepare import cache_folder, cached_session, prepare_sessions
from spikelfp_lab.sessions import refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.schema import drop_bad_channels
from spikelfp_lab.sessions.tree import cohort_from_sessions
from spikelfp_lab.signal.spikes import bin_spikes

RECORD = 3854034
"""The Zenodo record of the 47 ``.mat`` files."""

_EARLY = "20160407_02 20160411_01 20160411_02 20160418_01 20160419_01 20160420_01 20160426_01"
_BROADBAND = (
    "20160622_01 20160624_03 20160627_01 20160630_01 20160915_01 20160916_01 20160921_01 "
    "20160927_04 20160927_06 20160930_02 20160930_05 20161005_06 20161006_02 20161007_02 "
    "20161011_03 20161013_03 20161014_04 20161017_02 20161024_03 20161025_04 20161026_03 "
    "20161027_03 20161206_02 20161207_02 20161212_02 20161220_02 20170123_02 20170124_01 "
    "20170127_03 20170131_02"
)
_LOCO = (
    "20170210_03 20170213_02 20170214_02 20170215_02 20170216_02 20170217_02 20170227_04 "
    "20170228_02 20170301_05 20170302_02"
)

BROADBAND_SESSIONS: tuple[str, ...] = tuple(f"indy_{day}" for day in _BROADBAND.split())
"""Sessions with a broadband recording, those of the paper."""

BROADBAND_RECORDS: tuple[int, ...] = (
    *(1488440, 1486147, 1484824, 1473703, 1467953, 1467050, 1451793, 1433942, 1432818, 1421880),
    *(1421310, 1419774, 1419172, 1413592, 1412635, 1412094, 1411978, 1411882, 1411474, 1410423),
    *(1321264, 1321256, 1303720, 1302866, 1302832, 1301045, 1167965, 1163026, 1161225, 854733),
)
"""Zenodo records of the broadband recordings; which session one holds, its file list says."""

SESSIONS: tuple[str, ...] = (
    *(f"indy_{day}" for day in _EARLY.split()),
    *BROADBAND_SESSIONS,
    *(f"loco_{day}" for day in _LOCO.split()),
)
"""All sessions, monkey by monkey in order of time."""

HELD_OUT: tuple[str, ...] = (
    *("indy_20160622_01", "indy_20160630_01", "indy_20160915_01"),
    *("indy_20161013_03", "indy_20170124_01"),
)
"""Sessions that no model of the paper was pre-trained on."""

Units = Literal["sorted", "threshold", "all"]
Behavior = Literal["cursor", "finger"]

_PREPARED = 1  # goes up when sessions come out differently, so that none is mixed with older ones


@dataclass(frozen=True)
class _Options:
    """What makes a prepared session differ from another of the same recording."""

    lfp: bool
    protocol: str | None
    units: str
    behavior: str
    bin_size_s: float

    def path(self, name: str, folder: Path) -> Path:
        """Where the prepared session is kept."""
        parts = (
            *(name, self.units, self.behavior, "lfp" if self.lfp else "spikes"),
            *(self.protocol or "ours", f"{self.bin_size_s * 1000:g}ms", f"v{_PREPARED}"),
        )
        return folder / "prepared" / f"{'-'.join(parts)}.zarr"


def available(*, broadband: bool = True) -> tuple[str, ...]:
    """Names of the sessions whose original files are in the cache folder.

    Parameters
    ----------
    broadband : bool
        Whether the broadband recording must be there too, for the sessions that have one.

    Returns
    -------
    tuple of str
        In the order of ``SESSIONS``; the files are not checked.

    Examples
    --------
    >>> set(available()) <= set(SESSIONS)
    True
    """
    folder = cache_folder("makin")
    return tuple(
        name
        for name in SESSIONS
        if all((folder / file).exists() for file in _file_names(name, broadband))
    )


def cohort(
    *,
    sessions: Sequence[str] | None = None,
    broadband: bool = True,
    protocol: Literal["paper"] | None = None,
    units: Units = "sorted",
    behavior: Behavior = "cursor",
    bin_size_s: float = 0.01,
    n_jobs: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Open sessions as a cohort, downloading and preparing what is not in the cache folder yet.

    The space that is needed is said, and checked, before the first download. Interrupted
    downloads go on where they stopped. A prepared session is kept as Zarr in the cache folder;
    where it is, the original files are not needed.

    Parameters
    ----------
    sessions : sequence of str or None
        Names of ``SESSIONS``. None is all of them, or with ``protocol="paper"`` those with
        broadband: with ``broadband=True`` that is hundreds of GB, so name a few.
    broadband, protocol, units, behavior, bin_size_s
        See :func:`session`.
    n_jobs : int, optional
        Processes that prepare sessions, see
        :func:`spikelfp_lab.sessions.prepare_sessions`.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    DataTree with leaves such as ``indy/20160622_01``

    Raises
    ------
    ConfigError
        For an unknown or repeated name, or an option that does not exist.
    DataError
        For a file that cannot be downloaded, is damaged or departs from the layout.

    Examples
    --------
    >>> cohort(sessions=["indy_20160622_02"])
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No session 'indy_20160622_02' in makin. makin.SESSIONS lists \
all 47, such as 'indy_20160622_01'.
    """
    if sessions is None:
        sessions = BROADBAND_SESSIONS if protocol == "paper" else SESSIONS
    options = _options(broadband, protocol, units, behavior, bin_size_s)
    _check_names(sessions)
    folder = cache_folder("makin")
    jobs = []
    for name in sessions:
        own = replace(options, lfp=broadband and name in BROADBAND_SESSIONS)
        jobs.append((name, folder, own))
    _fetch(jobs, progress=progress)
    prepared = prepare_sessions(
        prepare, jobs, n_jobs=n_jobs, label="Opening makin", progress=progress
    )
    return cohort_from_sessions(prepared)


def session(
    name: str,
    *,
    broadband: bool = True,
    protocol: Literal["paper"] | None = None,
    units: Units = "sorted",
    behavior: Behavior = "cursor",
    bin_size_s: float = 0.01,
    progress: bool = True,
) -> xr.Dataset:
    """Open one session, from the first change of the target to the last.

    Parameters
    ----------
    name : str
        A name of ``SESSIONS``, such as "indy_20160622_01".
    broadband : bool
        Whether to make ``lfp`` of the broadband recording. Without it, and for sessions that
        have none, the session has spikes only.
    protocol : "paper" or None
        "paper" for the filters of Erturk et al. (2025), units under 1 Hz left out, and LFP and
        behavior z-scored over the whole session, test windows included. Ours otherwise: see
        :func:`spikelfp_lab.signal.broadband_to_lfp`.
    units : "sorted", "threshold" or "all"
        What a unit is: the sorted ones; all threshold crossings of a channel, sorted or not; or
        every column of the file, unsorted crossings ("u") among them.
    behavior : "cursor" or "finger"
        Velocity of the cursor (``vx``, ``vy``), as in the paper, or of the fingertip (``vx``,
        ``vy``, ``vz``), in mm/s: the displacement over a bin by its length.
    bin_size_s : float
        Seconds a bin.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    Dataset
        With coordinates ``target_x`` and ``target_y`` (time) in mm. LFP in uV, common average
        reference; NaN where the broadband recording does not reach.

    Raises
    ------
    ConfigError, DataError
        As for :func:`cohort`.

    Examples
    --------
    >>> session("indy_20160622_01", units="best")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No units 'best' in makin. There are: sorted, threshold, all.
    """
    options = _options(broadband, protocol, units, behavior, bin_size_s)
    _check_names([name])
    job = (
        name,
        cache_folder("makin"),
        replace(options, lfp=broadband and name in BROADBAND_SESSIONS),
    )
    _fetch([job], progress=progress)
    return prepare(*job, progress=progress)


def prepare(name: str, folder: Path, options: _Options, *, progress: bool = False) -> xr.Dataset:
    """The session of files that are in ``folder``: kept there as Zarr once made.

    What :func:`cohort` runs in parallel processes.
    """
    make = partial(_build, name, folder, options, progress=progress)
    return cached_session(options.path(name, folder), make)


def _options(
    broadband: bool, protocol: str | None, units: str, behavior: str, bin_size_s: float
) -> _Options:
    for what, given, there in (
        ("units", units, get_args(Units)),
        ("behavior", behavior, get_args(Behavior)),
        ("protocol", protocol, (None, "paper")),
    ):
        if given not in there:
            raise ConfigError(
                f"No {what} {given!r} in makin. There are: {', '.join(map(str, there))}."
            )
    if not 0.002 <= bin_size_s <= 1:
        raise ConfigError(f"bin_size_s is {bin_size_s}: give seconds, from 0.002 to 1.")
    return _Options(broadband, protocol, units, behavior, float(bin_size_s))


def _check_names(names: Sequence[str]) -> None:
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ConfigError(
            f"sessions must be a sequence of different names, got {names!r}; "
            "makin.SESSIONS lists all."
        )
    for name in names:
        if name not in SESSIONS:
            raise ConfigError(
                f"No session {name!r} in makin. makin.SESSIONS lists all {len(SESSIONS)}, such "
                f"as {BROADBAND_SESSIONS[0]!r}."
            )


def _file_names(name: str, lfp: bool) -> list[str]:
    return [f"{name}.mat"] + ([f"{name}.nwb"] if lfp and name in BROADBAND_SESSIONS else [])


def _fetch(jobs: Sequence[tuple[str, Path, _Options]], *, progress: bool) -> None:
    """Download the original files of sessions that are not prepared yet."""
    wanted: list[RemoteFile] = []
    for name, folder, options in jobs:
        if options.path(name, folder).exists():
            continue
        for file in _file_names(name, options.lfp):
            if not (folder / file).exists():
                wanted.append(_remote(file, folder))
    if wanted:
        download(wanted, jobs[0][1], progress=progress)


def _remote(file: str, folder: Path) -> RemoteFile:
    """The file in the record that lists it."""
    records: tuple[int, ...] = (RECORD,)
    if file.endswith(".nwb"):
        # sessions and records seem to be in one order, so that one is likely; its list decides
        likely = BROADBAND_RECORDS[BROADBAND_SESSIONS.index(file.removesuffix(".nwb"))]
        records = (likely, *BROADBAND_RECORDS)
    for record in records:
        for found in record_files(record, folder):
            if found.name == file:
                return found
    raise DataError(
        f"{file} is in none of the Zenodo records {', '.join(map(str, sorted(set(records))))}. "
        f"Put it into {folder} by other means."
    )


def _build(name: str, folder: Path, options: _Options, *, progress: bool) -> xr.Dataset:
    with reading(folder / name, "is not as published", "Move it away and get it again."):
        return _assembled(name, folder, options, progress=progress)


def _assembled(name: str, folder: Path, options: _Options, *, progress: bool) -> xr.Dataset:
    subject, day = name.split("_", 1)
    path, paper = folder / f"{name}.mat", options.protocol == "paper"
    with _matlab.open_hdf5(path) as file:
        t = layout.sample_times(file)
        target = layout.aligned(file, "target_pos", t, columns=(2,))
        start_s, stop_s = layout.task(target, t, path)
        clock = session_clock(start_s, stop_s, bin_size_s=options.bin_size_s)
        position, axes = layout.position(file, t, options.behavior)
        unit_names, times = layout.spike_times(file, options.units)
    if paper:
        velocity = _paper.makin_velocity(position, t, bin_size_s=options.bin_size_s)
    else:
        velocity = layout.mean_velocity(position, t, clock, bin_size_s=options.bin_size_s), clock
    shown = target[np.searchsorted(t, clock, side="right") - 1].astype(np.float32)
    history = [f"{path.name} of https://doi.org/10.5281/zenodo.{RECORD}"]
    lfp, channels = None, None
    if options.lfp:
        broadband = folder / f"{name}.nwb"
        lfp, channels = layout.lfp(
            broadband, clock, bin_size_s=options.bin_size_s, paper=paper, progress=progress
        )
        history.append(f"LFP of {broadband.name}, {'paper' if paper else 'our'} filters")
    built = build_session(
        clock,
        bin_size_s=options.bin_size_s,
        subject=subject,
        session=day,
        source="makin",
        spikes=bin_spikes(times, clock, bin_size_s=options.bin_size_s),
        unit_names=unit_names,
        lfp=lfp,
        channel_names=channels,
        behavior=velocity,
        behavior_names=axes,
        max_gap_s=layout.MAX_GAP_S,
        history="\n".join(history),
        attrs={
            "license": "CC BY 4.0",
            "doi": f"10.5281/zenodo.{RECORD}",
            "protocol": options.protocol or "ours",
        },
        variable_attrs={
            "spikes": {"kind": options.units},
            "lfp": {"kind": "LFP", "units": "uV"},
            "behavior": {"kind": f"{options.behavior} velocity", "units": "mm/s"},
        },
    ).assign_coords(
        target_x=("time", shown[:, 0], {"units": "mm"}),
        target_y=("time", shown[:, 1], {"units": "mm"}),
    )
    built = drop_bad_channels(built.assign_coords(refractory_coords(times, clock)))
    return _paper.z_scored(_paper.drop_slow_units(built)) if paper else built
