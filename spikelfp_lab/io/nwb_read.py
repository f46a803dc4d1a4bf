"""NWB 2 files -> sessions: what is in them is found by its type, never by a fixed path.

==========  ======================================================================================
in session  in the file, first that there is
==========  ======================================================================================
spikes      a ``Units`` table with ``spike_times``
lfp         an ``ElectricalSeries`` inside ``LFP``; inside ``FilteredEphys``; anywhere else
behavior    a ``SpatialSeries``, or a series inside ``BehavioralTimeSeries``; one of the eyes
trial       the table ``trials``
==========  ======================================================================================

Of what qualifies equally well there must be one, or an argument chooses.
"""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError
from spikelfp_lab.io._nwb_items import (
    ARGUMENTS,
    ONLY_BY_NAME,
    Choice,
    Item,
    Role,
    choose,
    find_items,
)
from spikelfp_lab.io._nwb_streams import behavior_of, lfp_of, spikes_of, times_of
from spikelfp_lab.io._recorded import Notes
from spikelfp_lab.io._streams import Derive, LFPFilter
from spikelfp_lab.io.assemble import Grid, Intervals, assemble
from spikelfp_lab.io.nwb_write import MODULE, is_written_here, read_back
from spikelfp_lab.io.remote import is_remote, kept, opened_nwb, plain_name
from spikelfp_lab.signal.broadband import Reference

BIN_SIZE_S = 0.01

Trials = Literal["mark", "only", False]

_USED: dict[Role, str] = {
    "spikes": "counted in bins",
    "lfp": "brought to the clock",
    "behavior": "brought to the clock",
    "trials": "rows become the coordinate trial",
}


def open_nwb(
    path: str | os.PathLike,
    *,
    units: Choice = None,
    lfp: Choice = None,
    behavior: Choice = None,
    trials: Trials = "mark",
    derive: Derive | None = None,
    smooth_s: float = 0.1,
    bin_size_s: float | None = None,
    start_s: float | None = None,
    stop_s: float | None = None,
    band_hz: tuple[float, float] = (0.05, 50.0),
    line_hz: float | None = 60.0,
    reference: Reference | None = None,
    max_gap_s: float = 0.25,
    subject: str | None = None,
    session: str | None = None,
    cache: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Open an NWB 2 file as a session.

    The session reaches over the time that all its streams share; without ``obs_intervals``, spikes
    are taken to have been looked for from the first one of any unit to the last (``start_s`` and
    ``stop_s`` take the place of these two). Time in which nothing was recorded is left out, which
    makes gaps: ``invalid_times``, gaps of the LFP without a spike, and what lies outside of all
    ``obs_intervals``; where these differ, the coordinate ``observed`` (time, unit) says so.

    Parameters
    ----------
    path : str or path
        A path; an https address, whose file is read in parts and whose session is kept in the
        cache folder; or ``"dandi:000688/path.nwb"``, which needs ``spikelfp_lab[dandi]``.
    units, lfp, behavior : str, False or None
        Which object to use: its path, as :func:`describe_nwb` gives it, or the end of it. None
        takes the only one there is, False none. A plain ``TimeSeries`` can be named as behavior.
    trials : {"mark", "only", False}
        The coordinate ``trial`` is the row of the table ``trials``, and -1 outside of trials.
        "only" leaves out the bins outside. No window crosses the edge of a trial: pass False where
        trials are shorter than windows and the recording goes on between them.
    derive : {None, "velocity", "speed"}
        What behavior becomes, of positions smoothed by a Gaussian of SD ``smooth_s`` (seconds).
    bin_size_s, start_s, stop_s : float, optional
        Seconds a bin, 0.01 by default; the session is no longer than from start to stop.
    band_hz, line_hz
        As in :func:`spikelfp_lab.signal.broadband_to_lfp`, for LFP faster than the clock. Slower
        LFP is interpolated, and bins lie around its samples.
    reference : {None, "car", "none", "bipolar"}
        None is no new reference, but for raw voltage (an ``ElectricalSeries`` above 2 kHz that is
        neither inside ``LFP`` nor ``FilteredEphys``), which gets the common average.
    max_gap_s : float
        Longest stretch without a sample that is bridged, in seconds.
    subject, session : str, optional
        Names; by default those of the file, with what a name cannot have replaced by ``_``.
    cache, progress : bool
        Whether to keep the session of an address and use what was kept (pass False where the file
        behind it may change), and to show progress bars.

    Returns
    -------
    xr.Dataset
        A valid session. LFP in uV. Columns of the units table that hold a text or number each are
        coordinates of ``unit`` (with ``unit_`` before names that are taken), the electrodes'
        ``location``, ``x``, ``y``, ``z`` and ``group_name`` of ``channel``. A direction becomes
        its cos and sin. What was dropped or cannot be right is in ``attrs["findings"]``. A file
        from :func:`spikelfp_lab.write_nwb` comes back as it was written.

    Raises
    ------
    DataError, ConfigError
        When the file cannot be read, what it holds is malformed or nothing of it can be used;
        when several objects can be used and none is chosen; for an unknown name or option.

    Warns
    -----
    SpikeLFPWarning
        Names constant channels and silent units, which are dropped.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> from tempfile import TemporaryDirectory
    >>> from pynwb import NWBHDF5IO, NWBFile
    >>> nwbfile = NWBFile(session_description="example", identifier="s01",
    ...                   session_start_time=datetime(2020, 1, 1, tzinfo=timezone.utc))
    >>> nwbfile.add_unit(spike_times=[0.0, 0.5, 1.0])
    >>> with TemporaryDirectory() as folder:
    ...     with NWBHDF5IO(f"{folder}/s01.nwb", mode="w") as io:
    ...         io.write(nwbfile)
    ...     opened = open_nwb(f"{folder}/s01.nwb", bin_size_s=0.1)
    >>> opened.attrs["session"], opened["spikes"].values[:, 0].tolist()
    ('s01', [1, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    """
    if trials not in ("mark", "only", False):
        raise ConfigError(f"trials is {trials!r}: use 'mark', 'only' or False.")
    chosen = {"units": units, "lfp": lfp, "behavior": behavior}
    how: dict[str, Any] = {
        "trials": trials, "derive": derive, "smooth_s": smooth_s, "bin_size_s": bin_size_s,
        "start_s": start_s, "stop_s": stop_s, "band_hz": tuple(band_hz), "line_hz": line_hz,
        "reference": reference, "max_gap_s": max_gap_s,
    }  # fmt: skip
    names = {"subject": subject, "session": session}

    def make() -> xr.Dataset:
        return _read(path, chosen, how, names, progress)

    if not is_remote(path):
        return make()
    return kept(str(path), {**chosen, **how, **names}, make, cache=cache)


def describe_nwb(
    path: str | os.PathLike,
    *,
    units: Choice = None,
    lfp: Choice = None,
    behavior: Choice = None,
    trials: Trials = "mark",
) -> pd.DataFrame:
    """Table of what an NWB file holds, what :func:`open_nwb` would use, and what it leaves out.

    Parameters
    ----------
    path : str or path
        As in :func:`open_nwb`; of a file behind an address, little more than names is read.
    units, lfp, behavior, trials
        As in :func:`open_nwb`.

    Returns
    -------
    pd.DataFrame
        A row an object: ``object`` (its path), ``type``, ``shape``, ``rate_hz``, ``unit``, ``role``
        ("spikes", "lfp", "behavior", "trials", or "" for none), ``used`` and ``why``.

    Raises
    ------
    DataError, ConfigError
        When the file cannot be read. Objects that are malformed, or too many for their role, raise
        nothing here: ``why`` says so.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import spikelfp_lab as sl
    >>> from spikelfp_lab.io.nwb_write import write_nwb
    >>> session = sl.open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)["I/s01"]
    >>> with TemporaryDirectory() as folder:
    ...     table = describe_nwb(write_nwb(session, f"{folder}/s01.nwb"))
    >>> table.loc[table["used"], "role"].tolist()
    ['behavior', 'lfp', 'spikes']
    """
    name = plain_name(path)
    chosen: dict[Role, Any] = {
        "spikes": units,
        "lfp": lfp,
        "behavior": behavior,
        "trials": None if trials else False,
    }
    with opened_nwb(path) as (nwbfile, io, _):
        items = find_items(nwbfile, io)
        verdicts: dict[str, tuple[bool, str]] = {}
        if is_written_here(nwbfile):
            items = [_written_here(item) for item in items]
            verdicts = {item.path: (bool(item.role), item.note) for item in items}
        else:
            for role, choice in chosen.items():
                verdicts |= _verdicts(items, role, choice, name)
        rows = [
            (
                item.path, item.type, " x ".join(map(str, item.shape)), item.rate_hz, item.unit,
                item.role, *verdicts.get(item.path, (False, item.note)),
            )
            for item in items
        ]  # fmt: skip
        columns = ["object", "type", "shape", "rate_hz", "unit", "role", "used", "why"]
        return _Table(rows, columns=columns).astype({"rate_hz": float, "used": bool})


class _Table(pd.DataFrame):
    """A DataFrame that prints all of its columns, whatever the width."""

    @property
    def _constructor(self) -> type["_Table"]:
        return _Table

    def __repr__(self) -> str:
        return self.to_string(na_rep="")


def _written_here(item: Item) -> Item:
    """What the object is in a session that comes back as it was written."""
    name = item.path.rpartition("/")[2]
    roles: dict[str, Role] = {"spikes": "spikes", "lfp": "lfp", "behavior": "behavior"}
    roles["trial"] = "trials"
    latents = item.path.startswith(f"processing/{MODULE}/latents")
    note = "latents of a model" if latents else "written by write_nwb, comes back as it was"
    if item.type == "TimeIntervals":
        note = "for other programs: written a second time in processing/spikelfp_lab/trial"
    return replace(item, role=roles.get(name, ""), note=note)


def _verdicts(
    items: list[Item], role: Role, choice: Choice, name: str
) -> dict[str, tuple[bool, str]]:
    """Path -> is it used, and why, of everything that could have the role."""
    able = [item for item in items if item.role == role]
    argument = ARGUMENTS[role]
    try:
        used, trouble = choose(items, role, choice, name=name), ""
    except SpikeLFPError:
        used, trouble = None, f"one of several: choose with {argument}="
        if isinstance(choice, str):
            trouble = f"{argument}={choice!r} does not name one object"
    best = min((item.tier for item in able), default=0)
    verdicts = {}
    for item in able:
        if item is used:
            why = "raw voltage: filtered and resampled" if item.is_raw else _USED[role]
            verdicts[item.path] = (True, why)
        elif item.fault:
            verdicts[item.path] = (False, f"malformed: {item.fault}")
        elif choice is False:
            verdicts[item.path] = (False, f"left out: {argument}=False")
        elif used is not None and isinstance(choice, str):
            verdicts[item.path] = (False, f"{argument}={choice!r} is another")
        elif item.tier > best or item.tier == ONLY_BY_NAME:
            verdicts[item.path] = (False, item.note)
        else:
            verdicts[item.path] = (False, trouble)
    return verdicts


def _read(
    path: str | os.PathLike,
    chosen: dict[str, Choice],
    how: dict[str, Any],
    names: dict[str, str | None],
    progress: bool,
) -> xr.Dataset:
    name = plain_name(path)
    with opened_nwb(path) as (nwbfile, io, warned):
        if is_written_here(nwbfile):
            defaults = open_nwb.__kwdefaults__ or {}
            asked = {k: v for k, v in {**chosen, **how}.items() if v != defaults[k]}
            return read_back(nwbfile, name=name, asked=asked, names=names)
        items = find_items(nwbfile, io)
        table = choose(items, "spikes", chosen["units"], name=name)
        potential = choose(items, "lfp", chosen["lfp"], name=name)
        moved = choose(items, "behavior", chosen["behavior"], name=name)
        trials = choose(items, "trials", None if how["trials"] else False, name=name)
        if table is None and potential is None:
            held = "; ".join(map(str, items)) or "no recording at all"
            raise DataError(
                f"{name} has neither units with spike times nor an ElectricalSeries to make a "
                f"session of. It holds: {held}. Check that it is the file that is meant."
            )
        coords: dict[str, Any] = {}
        notes: Notes = [("pynwb", name, f"pynwb says of the file: {text}") for text in warned]
        chain = LFPFilter(how["band_hz"], how["line_hz"], how["reference"])
        grid = Grid(
            how["bin_size_s"] or BIN_SIZE_S, how["start_s"], how["stop_s"], how["max_gap_s"]
        )
        spikes = spikes_of(table, coords)
        lfp = lfp_of(potential, coords, chain, name, notes)
        behavior = behavior_of(moved, how["derive"], how["smooth_s"])
        if how["derive"] and behavior is None:
            raise ConfigError(
                f"derive={how['derive']!r} needs positions, and there is no behavior."
            )
        intervals = Intervals(
            times_of(trials and trials.container),
            how["trials"] == "only",
            times_of(nwbfile.invalid_times),
        )
        used = ", ".join(each.path for each in (table, potential, moved) if each is not None)
        start = nwbfile.session_start_time
        file = Path(name).name
        who = getattr(nwbfile.subject, "subject_id", None)
        day = nwbfile.session_id or nwbfile.identifier
        attrs = {
            "subject": names["subject"] or _safe(who, "subject"),
            "session": names["session"] or _safe(day, "session"),
            "source": f"NWB: {file}",
            "history": f"read {used} of {name if is_remote(path) else file}",
            "nwb_identifier": str(nwbfile.identifier),
            "session_start_time": start.isoformat() if start is not None else "",
            **_about_subject(nwbfile),
        }
        return assemble(
            grid, spikes, lfp, behavior, intervals,
            attrs=attrs, coords=coords, notes=notes, progress=progress,
        )  # fmt: skip


def _about_subject(nwbfile: Any) -> dict[str, str]:
    known = {key: getattr(nwbfile.subject, key, None) for key in ("age", "sex", "species")}
    return {f"subject_{key}": str(value) for key, value in known.items() if value}


def _safe(text: str | None, default: str) -> str:
    """A name that the schema takes: it becomes a folder's name."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", text or "").lstrip(".-")[:128] or default
