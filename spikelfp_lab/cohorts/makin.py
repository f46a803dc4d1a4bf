"""Self-paced reaching of two monkeys, motor cortex: spikes, broadband, cursor (Makin, O'Doherty).

O'Doherty, Cardoso, Makin and Sabes, *Nonhuman primate reaching with multichannel sensorimotor
cortex electrophysiology*, Zenodo, https://doi.org/10.5281/zenodo.3854034 (CC BY 4.0). 47 sessions
(37 of indy, 10 of loco) with spikes and kinematics; 30 of indy have a broadband recording too,
each in a record of its own (1 to 30 GB).

The layouts were followed from their public descriptions and from how published code reads them,
and tested on small files made so. A file that departs from them is refused.

- ``*.mat``: MATLAB 7.3. ``t`` (s, 250 Hz), ``cursor_pos`` and ``target_pos`` (mm), ``finger_pos``
  (cm; z, -x, -y and, in some, three angles), ``chan_names``, ``spikes``: a cell of channels by
  units, the first column the unsorted threshold crossings.
- ``*.nwb``: NWB 1.x, ``acquisition/timeseries/broadband`` with ``data`` (int16), ``timestamps`` on
  the clock of ``t``, and ``electrode_names``; about 24,414 Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import xarray as xr

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts import _makin_layout as layout
from spikelfp_lab.cohorts import paper_protocol
from spikelfp_lab.cohorts.download import RemoteFile, fetch, record_files
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import _matlab
from spikelfp_lab.io._matlab import not_published
from spikelfp_lab.io.prepare import LOADER_VERSION, cache_folder, cached_session, prepare_sessions
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


@dataclass(frozen=True)
class _Job:
    """A session to open, and all that makes it differ from another of the same recording."""

    name: str
    folder: Path
    lfp: bool
    protocol: str | None
    units: str
    behavior: str
    bin_size_s: float

    @property
    def files(self) -> list[Path]:
        """The original files that it needs."""
        return [self.folder / f"{self.name}{end}" for end in (".mat", ".nwb")[: 1 + self.lfp]]

    @property
    def kept(self) -> Path:
        """Where the prepared session is kept."""
        parts = (
            *(self.name, self.units, self.behavior, "lfp" if self.lfp else "spikes"),
            *(self.protocol or "ours", f"{self.bin_size_s * 1000:g}ms", f"v{LOADER_VERSION}"),
        )
        return self.folder / "prepared" / f"{'-'.join(parts)}.zarr"


def available(*, broadband: bool = True) -> tuple[str, ...]:
    """Names of the sessions whose original files are in the cache folder.

    Parameters
    ----------
    broadband : bool
        Whether the broadband recording must be there too, for the sessions that have one.

    Examples
    --------
    >>> set(available()) <= set(SESSIONS)
    True
    """
    jobs = _jobs(SESSIONS, broadband, None, "sorted", "cursor", 0.01)
    return tuple(job.name for job in jobs if all(file.exists() for file in job.files))


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
    """Open sessions as a cohort; what is not in the cache folder is downloaded and prepared.

    The space that is needed is checked before the first download; interrupted ones go on. Where
    a prepared session is kept, the original files are not needed.

    Parameters
    ----------
    sessions : sequence of str or None
        Names of ``SESSIONS``. None is all of them, or with ``protocol="paper"`` those with
        broadband: with ``broadband=True`` that is hundreds of GB, so name a few.
    broadband, protocol, units, behavior, bin_size_s
        See :func:`session`.
    n_jobs : int, optional
        Processes, see :func:`spikelfp_lab.io.prepare_sessions`.
    progress : bool

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
    jobs = _jobs(sessions, broadband, protocol, units, behavior, bin_size_s)
    _fetch(jobs, progress=progress)
    arguments = [(job,) for job in jobs]
    return cohort_from_sessions(
        prepare_sessions(
            prepare, arguments, n_jobs=n_jobs, label="Opening makin", progress=progress
        )
    )


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
        Whether to make ``lfp`` of the broadband recording, where there is one.
    protocol : "paper" or None
        "paper" for the filters of Erturk et al. (2025), units under 1 Hz left out, and z-scores
        over the whole session, test windows included. Ours: see ``signal.broadband_to_lfp``.
    units : "sorted", "threshold" or "all"
        The sorted units; all threshold crossings of a channel; or every column of the file.
    behavior : "cursor" or "finger"
        Velocity (mm/s) of the cursor (``vx``, ``vy``) or the fingertip (``vx``, ``vy``, ``vz``):
        the displacement over a bin by its length.
    bin_size_s : float
    progress : bool

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
    jobs = _jobs([name], broadband, protocol, units, behavior, bin_size_s)
    _fetch(jobs, progress=progress)
    return prepare(jobs[0], progress=progress)


def prepare(job: _Job, *, progress: bool = False) -> xr.Dataset:
    """The session of a job, kept as Zarr once made; runs in parallel processes."""

    def make() -> xr.Dataset:
        what, cure = "is not as published", "Move it away and get it again."
        with reading(job.folder / job.name, what, cure):
            return _build(job, progress=progress)

    return cached_session(job.kept, make)


def _jobs(
    names: Sequence[str],
    broadband: bool,
    protocol: str | None,
    units: str,
    behavior: str,
    bin_size_s: float,
) -> list[_Job]:
    """A job for each name, once all options are right."""
    given = {"units": (units, get_args(Units)), "behavior": (behavior, get_args(Behavior))}
    for what, (one, there) in (given | {"protocol": (protocol, (None, "paper"))}).items():
        if one not in there:
            raise ConfigError(
                f"No {what} {one!r} in makin. There are: {', '.join(map(str, there))}."
            )
    if not 0.002 <= bin_size_s <= 1:
        raise ConfigError(f"bin_size_s is {bin_size_s}: give seconds, from 0.002 to 1.")
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
    job = _Job("", cache_folder("makin"), False, protocol, units, behavior, float(bin_size_s))
    return [replace(job, name=name, lfp=broadband and name in BROADBAND_SESSIONS) for name in names]


def _fetch(jobs: Sequence[_Job], *, progress: bool) -> None:
    """Download the original files of sessions that are not prepared yet."""
    unmade = [job for job in jobs if not job.kept.exists()]
    files = [file for job in unmade for file in job.files if not file.exists()]
    fetch([_remote(file) for file in files], progress=progress)


def _remote(file: Path) -> RemoteFile:
    """The file in the record that lists it."""
    records: tuple[int, ...] = (RECORD,)
    if file.suffix == ".nwb":
        # sessions and records seem to be in one order, so that one is likely; its list decides
        likely = BROADBAND_RECORDS[BROADBAND_SESSIONS.index(file.stem)]
        records = (likely, *BROADBAND_RECORDS)
    for record in records:
        for found in record_files(record, file.parent):
            if found.path.name == file.name:
                return found
    numbers = ", ".join(map(str, sorted(set(records))))
    raise DataError(
        f"{file.name} is in none of the Zenodo records {numbers}. "
        f"Put it into {file.parent} by other means."
    )


def _build(job: _Job, *, progress: bool) -> xr.Dataset:
    """The session of the original files."""
    subject, day = job.name.split("_", 1)
    path, paper, bin_size_s = job.files[0], job.protocol == "paper", job.bin_size_s
    with _matlab.open_hdf5(path) as file:
        t = layout.sample_times(file)
        target = layout.aligned(file, "target_pos", t, columns=(2,))
        shown = np.nan_to_num(target, nan=np.inf)  # a target that is not shown stays the same
        changes = np.flatnonzero((shown[1:] != shown[:-1]).any(axis=1)) + 1
        if changes.size < 2:
            what = (
                f"'target_pos' changes {changes.size} times, so it does not say when the task ran"
            )
            raise not_published(path, what)
        start_s, stop_s = t[changes[[0, -1]]]
        clock = session_clock(float(start_s), float(stop_s), bin_size_s=bin_size_s)
        if job.behavior == "cursor":
            position, axes = layout.aligned(file, "cursor_pos", t, columns=(2,)), ("vx", "vy")
        else:
            z, minus_x, minus_y = layout.aligned(file, "finger_pos", t, columns=(3, 6))[:, :3].T
            position, axes = 10 * np.stack([-minus_x, -minus_y, z], axis=1), ("vx", "vy", "vz")
        unit_names, times = layout.spike_times(file, job.units)
    if paper:
        velocity = paper_protocol.makin_velocity(position, t, bin_size_s=bin_size_s)
    else:
        velocity = layout.mean_velocity(position, t, clock, bin_size_s=bin_size_s), clock
    target = target[np.searchsorted(t, clock, side="right") - 1].astype(np.float32)
    history = [f"{path.name} of https://doi.org/10.5281/zenodo.{RECORD}"]
    lfp, channels = None, None
    if job.lfp:
        lfp, channels = layout.lfp(
            job.files[1], clock, bin_size_s=bin_size_s, paper=paper, progress=progress
        )
        history.append(f"LFP of {job.files[1].name}, {'paper' if paper else 'our'} filters")
    built = build_session(
        clock,
        bin_size_s=bin_size_s,
        subject=subject,
        session=day,
        source="makin",
        spikes=bin_spikes(times, clock, bin_size_s=bin_size_s),
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
            "protocol": job.protocol or "ours",
        },
        variable_attrs={
            "spikes": {"kind": job.units},
            "lfp": {"kind": "LFP", "units": "uV"},
            "behavior": {"kind": f"{job.behavior} velocity", "units": "mm/s"},
        },
    ).assign_coords(
        target_x=("time", target[:, 0], {"units": "mm"}),
        target_y=("time", target[:, 1], {"units": "mm"}),
    )
    built = drop_bad_channels(built.assign_coords(refractory_coords(times, clock)))
    return paper_protocol.z_scored(paper_protocol.drop_slow_units(built)) if paper else built
