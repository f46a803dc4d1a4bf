"""Self-paced reaching of two monkeys, motor cortex: spikes, broadband, cursor (Makin, O'Doherty).

O'Doherty, Cardoso, Makin and Sabes, *Nonhuman primate reaching with multichannel sensorimotor
cortex electrophysiology*, Zenodo, https://doi.org/10.5281/zenodo.3854034 (CC BY 4.0). 47 sessions
(37 of indy, 10 of loco) with spikes and kinematics; 30 of indy have a broadband recording too,
each in a record of its own (1 to 30 GB).

The layouts follow public descriptions and published code, and were tested on small files made so.
A file that departs from them is refused.

- ``*.mat``: MATLAB 7.3. ``t`` (s, 250 Hz), ``cursor_pos`` and ``target_pos`` (mm), ``finger_pos``
  (cm; z, -x, -y and, in some, three angles), ``chan_names``, ``spikes``: a cell of channels by
  units, the first column the unsorted threshold crossings.
- ``*.nwb``: NWB 1.x, ``acquisition/timeseries/broadband`` with ``data`` (int16), ``timestamps`` on
  the clock of ``t``, and ``electrode_names``; about 24,414 Hz.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from spikelfp_lab.cohorts import _published, paper_protocol
from spikelfp_lab.cohorts.download import RemoteFile, fetch, record_files
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import cache_folder
from spikelfp_lab.sessions import build_session, drop_bad_channels, refractory_coords, session_clock
from spikelfp_lab.signal import bin_spikes, broadband_to_lfp

# The Zenodo record of the 47 ``.mat`` files.
RECORD = 3854034

_DOI = f"10.5281/zenodo.{RECORD}"

_LIST = Path(__file__).with_name("makin_sessions.txt")  # name, record of the broadband
_ROWS = [line.split() for line in _LIST.read_text().splitlines()]
# All sessions, monkey by monkey in order of time.
SESSIONS = tuple(name for name, *_ in _ROWS)

_BROADBAND = {name: int(record) for name, *records in _ROWS for record in records}
# Sessions with a broadband recording, those of the paper.
BROADBAND_SESSIONS = tuple(_BROADBAND)

# Sessions that no model of the paper was pre-trained on.
HELD_OUT = tuple(BROADBAND_SESSIONS[index] for index in (0, 3, 4, 15, 27))

# Zenodo records of the broadband recordings; which session one holds, its file list says.
BROADBAND_RECORDS = tuple(_BROADBAND.values())

_MAX_GAP_S, _RATE_HZ = 0.25, 250.0
_FARTHEST = 1e9  # in any unit of length
_LONGEST_PAUSES = 10  # times as long as all samples take; a wrong time would make a session endless
_BROADBAND_RATE_HZ = 24414.0625  # as reported; the timestamps decide


def cohort(
    *, sessions: Sequence[str] | None = None, broadband: bool = True,
    protocol: Literal["paper"] | None = None, units: Literal["sorted", "threshold"] = "sorted",
    bin_size_s: float = 0.01, n_jobs: int | None = None, progress: bool = True,
) -> xr.DataTree:  # fmt: skip
    """Open sessions as a cohort; what is not in the cache folder is downloaded and prepared.

    Interrupted downloads go on; where a prepared session is kept, the files are not needed.

    ``sessions`` are names of ``SESSIONS``; None is all of them, or with ``protocol="paper"`` those
    with broadband: with ``broadband=True`` that is hundreds of GB, so name a few. ``broadband`` is
    whether to make ``lfp`` of the broadband recording, where there is one. ``protocol="paper"``
    takes the filters of Erturk et al. (2025), leaves out units under 1 Hz, and z-scores over the
    whole session, test windows included; ours: see ``signal.broadband_to_lfp``. ``units`` are the
    "sorted" ones, or of all "threshold" crossings of a channel. ``bin_size_s`` is 0.002 to 1.

    A ConfigError for unknown names and options; a DataError when a download fails, and for files
    that are damaged or depart from the layout.

    >>> cohort(units="best")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No units 'best' in makin. There are: sorted, threshold.
    """
    _published.check_option("units", units, ("sorted", "threshold"), of="makin")
    _published.check_option("protocol", protocol, (None, "paper"), of="makin")
    if not 0.002 <= bin_size_s <= 1:
        raise ConfigError(f"bin_size_s is {bin_size_s}: give seconds, from 0.002 to 1.")
    if sessions is None:
        sessions = BROADBAND_SESSIONS if protocol == "paper" else SESSIONS
    _published.check_names("session", sessions, SESSIONS, of="makin")
    jobs, missing = [], []
    for name in sessions:
        base, lfp = cache_folder("makin") / name, broadband and name in BROADBAND_SESSIONS
        parts = (name, units, "cursor", "lfp" if lfp else "spikes", protocol or "ours")
        kept = _published.kept_at("makin", *parts, f"{bin_size_s * 1000:g}ms")
        files = [base.with_suffix(end) for end in (".mat", ".nwb")[: 1 + lfp]]
        missing += [file for file in files if not file.exists() and not kept.exists()]
        options = lfp, protocol, units, float(bin_size_s), progress and len(sessions) == 1
        jobs.append((kept, _build, base, *options))
    fetch([_remote(file) for file in missing], progress=progress)
    build = _published.kept_session
    return _published.opened_cohort("makin", build, jobs, n_jobs=n_jobs, progress=progress)


def session(name: str, **options: Any) -> xr.Dataset:
    """Open one session, from the first change of the target to the last; see ``cohort``.

    ``behavior`` is the velocity of the cursor (``vx``, ``vy``) in mm/s: the displacement over a bin
    by its length. Coordinates ``target_x`` and ``target_y`` (time) in mm. LFP in uV, common average
    reference; NaN where the broadband recording does not reach.
    """
    return cohort(sessions=[name], **options).leaves[0].to_dataset()


def _remote(file: Path) -> RemoteFile:
    """The file in the record that lists it."""
    records = [RECORD]
    if file.suffix == ".nwb":
        # sessions and records seem to be in one order, so that one is likely; its list decides
        records = [_BROADBAND[file.stem], *BROADBAND_RECORDS]
    for record in records:
        for found in record_files(record, file.parent):
            if found.path.name == file.name:
                return found
    what = f"{file.name} is in none of the Zenodo records {sorted(set(records))}"
    raise DataError(f"{what}. Put it into {file.parent} by other means.")


def _build(
    base: Path, broadband: bool, protocol: str | None, units: str, bin_size_s: float, progress: bool
) -> xr.Dataset:
    """The session of the original files, whose names begin as the base."""
    path, raw = base.with_suffix(".mat"), base.with_suffix(".nwb")
    with _published.opened_hdf5(path, "MATLAB 7.3") as file:
        streams = (file[name][()] for name in ("t", "cursor_pos", "target_pos"))
        t, position, target = (values.astype(np.float64).T for values in streams)
        t = t.ravel()
        _check_samples(path, t, cursor_pos=position, target_pos=target)
        shown = np.nan_to_num(target, nan=np.inf)  # a target that is not shown stays the same
        changes = np.flatnonzero((shown[1:] != shown[:-1]).any(axis=1)) + 1
        what = f"'target_pos' changes {changes.size} times, so it does not say when the task ran"
        _published.refuse_if(changes.size < 2, path, what)
        clock = session_clock(*t[changes[[0, -1]]].tolist(), bin_size_s=bin_size_s)
        unit_names, times = zip(*_spike_times(file, units), strict=True)
    edges = np.stack([clock - bin_size_s / 2, clock + bin_size_s / 2])
    velocity = _displacement(position, t, edges) / bin_size_s, clock
    if protocol:
        velocity = paper_protocol.makin_velocity(position, t, bin_size_s=bin_size_s)
    history, lfp, channels = f"{path.name} of https://doi.org/{_DOI}", None, None
    if broadband:
        lfp, channels = _lfp(raw, clock, bin_size_s, paper=bool(protocol), progress=progress)
        history += f"\nLFP of {raw.name}, {protocol or 'our'} filters"
    subject, day = path.stem.split("_", 1)
    built = build_session(
        clock, bin_size_s=bin_size_s, max_gap_s=_MAX_GAP_S,
        subject=subject, session=day, source="makin", history=history,
        spikes=bin_spikes(times, clock, bin_size_s=bin_size_s), unit_names=unit_names,
        lfp=lfp, channel_names=channels, behavior=velocity, behavior_names=("vx", "vy"),
        attrs={"license": "CC BY 4.0", "doi": _DOI, "protocol": protocol or "ours"},
        variable_attrs={"spikes": {"kind": units}, "lfp": {"kind": "LFP", "units": "uV"},
                        "behavior": {"kind": "cursor velocity", "units": "mm/s"}},
    )  # fmt: skip
    target = target[np.searchsorted(t, clock, side="right") - 1].astype(np.float32)
    targets = zip(("target_x", "target_y"), target.T, strict=True)
    coords = {name: ("time", values, {"units": "mm"}) for name, values in targets}
    built = drop_bad_channels(built.assign_coords(coords | refractory_coords(times, clock)))
    return paper_protocol.z_scored(paper_protocol.drop_slow_units(built)) if protocol else built


def _check_samples(path: Path, t: np.ndarray, **positions: np.ndarray) -> None:
    """Times in seconds, increasing by 4 ms but for pauses, each with positions that are some."""
    step_s, span_s = np.median(np.diff(t)), t[-1] - t[0]
    right = (np.diff(t) > 0).all() and abs(step_s * _RATE_HZ - 1) < 0.01
    right = right and span_s < _LONGEST_PAUSES * t.size / _RATE_HZ
    what = f"'t' has {t.size} samples from {t[0]:g} to {t[-1]:g} s, {step_s:g} s apart"
    _published.refuse_if(not right, path, f"{what}; they must increase, by {1 / _RATE_HZ:g} s")
    for name, values in positions.items():
        far = np.fmax.reduce(np.abs(values), axis=None, initial=0.0)  # infinite in float32
        what = f"{name!r} has shape {values.shape} and reaches {far:g}; 't' has {t.size} samples"
        _published.refuse_if(values.shape != (t.size, 2) or far > _FARTHEST, path, what)


def _displacement(position: np.ndarray, t: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(T, axes) from one edge (2, T) of each bin to the other; NaN where ``t`` has a gap."""
    at_edges = np.stack([np.interp(edges, t, axis) for axis in position.T], axis=-1)
    before = np.clip(np.searchsorted(t, edges, side="right") - 1, 0, t.size - 2)
    at_edges[:, (np.diff(t)[before] > _MAX_GAP_S).any(axis=0)] = np.nan
    return at_edges[1] - at_edges[0]


def _spike_times(file: Any, units: str) -> list[tuple[str, np.ndarray]]:
    """Units by name with their spike times; an empty cell is no unit."""
    named: list[tuple[str, np.ndarray]] = []
    names, cells = file["chan_names"][()].ravel(), file["spikes"][()].T
    for name, row in zip(names, cells, strict=True):
        channel = "".join(chr(int(letter)) for letter in _in_cell(file, name)).strip(" \0")
        # the first column is the unsorted one
        unsorted, *found = (_in_cell(file, reference) for reference in row)
        own = {f"{channel}{chr(97 + unit)}": times for unit, times in enumerate(found)}
        own = {channel: np.concatenate([unsorted, *found])} if units == "threshold" else own
        named += [(name, times) for name, times in own.items() if times.size]
    what = f"no cell of 'spikes' has a spike (units={units!r})"
    _published.refuse_if(not named, file.filename, what)
    return named


def _in_cell(file: Any, reference: Any) -> np.ndarray:
    """(n,) numbers or letters of a cell; MATLAB stores an empty one as its dimensions."""
    found = file[reference]
    values = () if found.attrs.get("MATLAB_empty", 0) else found[()]
    return np.asarray(values, np.float64).ravel()


def _lfp(
    path: Path, clock: np.ndarray, bin_size_s: float, *, paper: bool, progress: bool
) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    """LFP (n, C) in uV with its times, and names of channels: on the clock, unless the paper's."""
    with _published.opened_hdf5(path, "NWB 1") as file:
        broadband = file["acquisition/timeseries/broadband"]
        data, timestamps = broadband["data"], broadband["timestamps"]
        names = [name.strip(" \0") for name in broadband["electrode_names"].asstr()[()]]
        what = f"'data' of the broadband has the shape {data.shape}, and {len(names)} electrodes"
        _published.refuse_if(data.shape[1:] != (len(names),), path, what)
        scale = 1e6 * np.asarray(data.attrs["conversion"], float).item()
        chain: dict[str, Any] = {"timestamps": timestamps, "rate_hz": _BROADBAND_RATE_HZ}
        chain |= {"scale": scale, "progress": progress}
        if not paper:
            return broadband_to_lfp(data, clock=clock, **chain), names
        # a decimation by 32, as wide as that allows, and without the offset: the chain's high-pass
        # takes 0.2 % at the paper's edge of 0.05 Hz, one far lower would cost its length
        rate_hz = _BROADBAND_RATE_HZ / 32
        chain |= {"to_rate_hz": rate_hz, "band_hz": (0.01, rate_hz / 2)}
        raw, times = broadband_to_lfp(data, line_hz=None, reference="none", **chain)
    lfp = paper_protocol.makin_lfp(raw, rate_hz=rate_hz, to_rate_hz=1 / bin_size_s)
    return (lfp, times[0] + np.arange(len(lfp)) * (len(raw) / rate_hz / len(lfp))), names
