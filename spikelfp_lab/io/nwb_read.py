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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io._nwb_items import ARGUMENTS, Choice, Item, choose, find_items, verdict
from spikelfp_lab.io._streams import Derive, Options, Reference, Stream, merged
from spikelfp_lab.io.assemble import Recording
from spikelfp_lab.io.nwb_write import is_written_here, read_back
from spikelfp_lab.io.remote import is_remote, kept, opened_nwb, plain_name

# What marks an electrode as bad in columns such as is_bad and good_channel.
_MARKS = {"bad": ("bad", "true", "1", "1.0", "yes"), "good": ("bad", "false", "0", "0.0", "no")}
_LOCATIONS = ("location", "x", "y", "z", "group_name")
# Names that a column of the units table cannot have as a coordinate of the session.
_TAKEN = (*_LOCATIONS, "time", "unit", "channel", "behavior_dim", "spikes", "lfp", "behavior")
_TAKEN += ("trial", "observed", "latent_truth", "latent_truth_dim", "clipped_share")
_TAKEN += ("refractory_violations", "refractory_chance")


def open_nwb(
    path: str | os.PathLike, *, units: Choice = None, lfp: Choice = None, behavior: Choice = None,
    trials: bool = True, derive: Derive | None = None, smooth_s: float = 0.1,
    bin_size_s: float = 0.01, start_s: float | None = None, stop_s: float | None = None,
    band_hz: tuple[float, float] = (0.05, 50.0), line_hz: float | None = 60.0,
    reference: Reference | None = None, max_gap_s: float = 0.25, subject: str | None = None,
    session: str | None = None, causal: bool = False, cache: bool = True, progress: bool = True,
) -> xr.Dataset:  # fmt: skip
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
    trials : bool
        Whether rows of the table ``trials`` become the coordinate ``trial``, -1 outside. No window
        crosses the edge of a trial: pass False where they are shorter than windows.
    derive : {None, "velocity", "speed"}
        What behavior becomes, of positions smoothed by a Gaussian of SD ``smooth_s`` (seconds).
    bin_size_s, start_s, stop_s : float
        Seconds a bin; the session is no longer than from start to stop.
    band_hz, line_hz
        As in :func:`spikelfp_lab.signal.broadband_to_lfp`, for LFP faster than the clock. Slower
        LFP is interpolated, and bins lie around its samples.
    reference : {None, "car", "none"}
        None is no new reference, but for raw voltage (an ``ElectricalSeries`` above 2 kHz that is
        neither inside ``LFP`` nor ``FilteredEphys``), which gets the common average.
    max_gap_s : float
        Longest stretch without a sample that is bridged, in seconds.
    subject, session : str, optional
        Names; by default those of the file, with what a name cannot have replaced by ``_``.
    causal : bool
        Filter LFP faster than the clock by the past alone, as a live decoder does
        (``spikelfp_lab.signal.causal.CausalLFP``): rhythms arrive some ms late.
    cache, progress : bool
        Whether to keep the session of an address and use what was kept; whether to show bars.

    Returns
    -------
    xr.Dataset
        LFP in uV. Columns of the units table with a text or number each are coordinates of
        ``unit`` (``unit_`` before names that are taken), ``location``, ``x``, ``y``, ``z`` and
        ``group_name`` of electrodes of ``channel``. A direction becomes its cos and sin. What was
        dropped or cannot be right is in ``attrs["findings"]``. A file from
        :func:`spikelfp_lab.write_nwb` comes back as it was written.

    Raises
    ------
    DataError, ConfigError
        When the file cannot be read, is malformed or holds nothing that can be used; when several
        objects can be used and none is chosen; for an unknown name or option.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from pynwb import NWBHDF5IO
    >>> from pynwb.testing.mock.file import mock_NWBFile
    >>> nwbfile = mock_NWBFile(identifier="s01")
    >>> nwbfile.add_unit(spike_times=[0.0, 0.5, 1.0])
    >>> with TemporaryDirectory() as folder:
    ...     with NWBHDF5IO(f"{folder}/s01.nwb", mode="w") as io:
    ...         io.write(nwbfile)
    ...     opened = open_nwb(f"{folder}/s01.nwb", bin_size_s=0.1)
    >>> opened.attrs["session"], opened["spikes"].values[:, 0].tolist()
    ('s01', [1, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    """
    choices = {"units": units, "lfp": lfp, "behavior": behavior, "trials": trials}
    names = {"subject": subject, "session": session}
    clock = bin_size_s, start_s, stop_s, max_gap_s
    options = Options(*clock, band_hz, line_hz, reference, derive, smooth_s, causal)
    make = partial(_read, path, choices, names, options, progress)
    if not (cache and is_remote(path)):
        return make()
    return kept(str(path), choices | names | options._asdict(), make)


def describe_nwb(
    path: str | os.PathLike, *, units: Choice = None, lfp: Choice = None, behavior: Choice = None,
    trials: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Table of what an NWB file holds, what :func:`open_nwb` would use, and what it leaves out.

    Parameters are those of :func:`open_nwb`. Gives a row an object: ``object`` (its path),
    ``type``, ``shape``, ``rate_hz``, ``unit``, ``role`` ("spikes", "lfp", "behavior", "trials", or
    "" for none), ``used`` and ``why``. Raises when the file cannot be read; of objects that are
    malformed, or too many for their role, ``why`` says so.

    >>> from tempfile import TemporaryDirectory
    >>> import spikelfp_lab as sl
    >>> session = sl.open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)["I/s01"]
    >>> with TemporaryDirectory() as folder:
    ...     table = describe_nwb(sl.write_nwb(session, f"{folder}/s01.nwb"))
    >>> table.loc[table["used"], "role"].tolist()
    ['behavior', 'lfp', 'spikes']
    """
    choices = {"spikes": units, "lfp": lfp, "behavior": behavior, "trials": trials}
    rows = []
    with opened_nwb(path) as (nwbfile, _):
        items = find_items(nwbfile)
        for item in items:
            role, (used, why) = item.role, verdict(item, items, choices.get(item.role))
            if is_written_here(nwbfile):
                end = item.path.rpartition("/")[2]
                role = end if end in ("spikes", "lfp", "behavior") else ""
                used, why = bool(role), "comes back as it was written"
                why = "latents of a model" if "/latents" in item.path else why
            shape, kind = " x ".join(map(str, item.shape)), type(item.container).__name__
            rows.append((item.path, kind, shape, item.rate_hz, item.unit, role, used, why))
    columns = ["object", "type", "shape", "rate_hz", "unit", "role", "used", "why"]
    return _Table(rows, columns=columns).astype({"rate_hz": float, "used": bool})


class _Table(pd.DataFrame):
    """A DataFrame that prints all of its columns, whatever the width."""

    @property
    def _constructor(self) -> type["_Table"]:
        return _Table

    def __repr__(self) -> str:
        return self.to_string(na_rep="")


def _read(path: Any, choices: dict, names: dict, options: Options, progress: bool) -> xr.Dataset:
    """The session of a file; choices, names and options are the arguments of open_nwb."""
    name = plain_name(path)
    with opened_nwb(path) as (nwbfile, warned):
        if is_written_here(nwbfile):
            defaults = dict.fromkeys(choices) | {"trials": True} | Options()._asdict()
            given = choices | options._asdict()
            asked = {key: value for key, value in given.items() if value != defaults[key]}
            return read_back(nwbfile, name=name, asked=asked, names=names)
        items = find_items(nwbfile)
        units, lfp, behavior, trials = (
            choose(items, role, choices[argument], name) for role, argument in ARGUMENTS.items()
        )
        if units is None and lfp is None:
            held = "; ".join(map(str, items)) or "no recording at all"
            what = f"{name} has neither units with spike times nor an ElectricalSeries"
            raise DataError(f"{what}. It holds: {held}. Check that it is the file that is meant.")
        if options.derive and behavior is None:
            raise ConfigError(f"derive={options.derive!r}: there is no behavior in {name}.")
        used = ", ".join(each.path for each in (units, lfp, behavior) if each is not None)
        file, start, who = Path(name).name, nwbfile.session_start_time, nwbfile.subject
        about = {f"subject_{key}": getattr(who, key, None) for key in ("age", "sex", "species")}
        day = nwbfile.session_id or nwbfile.identifier
        attrs = {
            "subject": names["subject"] or _safe(getattr(who, "subject_id", None), "subject"),
            "session": names["session"] or _safe(day, "session"),
            "source": f"NWB: {file}",
            "history": f"read {used} of {name if is_remote(path) else file}",
            "nwb_identifier": str(nwbfile.identifier),
            "session_start_time": start.isoformat() if start is not None else "",
            **{key: str(value) for key, value in about.items() if value},
        }
        recording = Recording(attrs, options, invalid=_times(nwbfile.invalid_times))
        for text in warned:
            recording.note("pynwb", name, f"pynwb says of the file: {text}")
        for item, add in ((units, _add_spikes), (lfp, _add_lfp), (behavior, _add_behavior)):
            if item is not None:
                add(recording, item)
        recording.trials = _times(trials and trials.container)
        return recording.session(progress)


def _safe(text: str | None, default: str) -> str:
    """A name that the schema takes: it becomes a folder's name."""
    return re.sub(r"[^A-Za-z0-9_.\-]+", "_", text or "").lstrip(".-")[:128] or default


def _add_spikes(recording: Recording, item: Item) -> None:
    """Spike times, when units were observed, and the columns of the table as coordinates."""
    table, coords = item.container, recording.coords
    ends = np.asarray(table.spike_times_index.data[:], np.int64)
    flat = np.asarray(table.spike_times.data[:])
    flat = flat if flat.dtype == np.float32 else flat.astype(np.float64)
    if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != flat.size:
        what = f"The index of the spike times of {item.path} does not fit its {flat.size} spikes"
        raise DataError(f"{what}. Copy the file again, or pass units=False.")
    for column in table.columns:
        if (values := _plain_column(column, len(table))) is not None:
            # the name becomes that of a folder, and xarray keeps none with a blank in it
            label = re.sub(r"[/\\\s\0]", "_", column.name).lstrip(".")[:100] or "column"
            label = f"unit_{label}" if label in _TAKEN else label
            coords[label + "_" * (label in coords)] = ("unit", values)
    if table.obs_intervals is not None:
        spans = [np.reshape(table["obs_intervals"][row], (-1, 2)) for row in range(len(table))]
        recording.observed = [merged(each.astype(np.float64)) for each in spans]
    recording.spikes = np.split(flat, ends[:-1])
    recording.unit_names = list(map(str, table.id[:]))


def _plain_column(column: Any, rows: int) -> np.ndarray | None:
    """(rows,) numbers or text of a column that holds one for each row, otherwise None."""
    from hdmf.common import VectorData

    if type(column) is not VectorData or np.shape(column.data) != (rows,):
        return None
    values = np.asarray(column.data[:])
    texts = all(isinstance(each, (str, bytes)) for each in values.tolist())
    return values if values.dtype.kind in "biuf" else values.astype(str) if texts else None


def _add_lfp(recording: Recording, item: Item) -> None:
    """The channels that are not marked as bad, where they are, in uV."""
    series, table = item.container, item.container.electrodes.table
    rows = np.asarray(series.electrodes.data[:], np.int64)
    plain = {key: _plain_column(table[key], len(table)) for key in table.colnames}
    columns = {key: values[rows] for key, values in plain.items() if values is not None}
    names = columns.get("channel_name", np.array([""]))
    if len(set(names)) < len(set(rows)) or not all(names):
        # which do not tell them apart, as of two probes
        names = np.array([f"ch{each:02d}" for each in np.asarray(table.id[:])[rows]])
    bad = np.zeros(len(rows), bool)
    for key, values in columns.items():
        if mark := re.fullmatch(r"(is_)?(bad|good)(_channels?)?", key):
            bad |= np.isin(np.char.lower(values.astype(str)), _MARKS[mark[2]])
    if bad.any():
        text = f"dropped channel {', '.join(names[bad])}: marked bad in the electrodes table."
        recording.note("bad channels", item.path, text, int(bad.sum()))
        if bad.all():
            raise DataError(f"Of {item.path} every electrode is {text} Leave it out: lfp=False.")
    known = [key for key in _LOCATIONS if key in columns]
    recording.coords |= {key: ("channel", columns[key][~bad]) for key in known}
    factors = series.channel_conversion
    factors = 1.0 if factors is None else np.asarray(factors[:], np.float64)
    recording.lfp = _stream(item, 1e6, factors, used=np.flatnonzero(~bad), names=list(names[~bad]))
    if recording.options.reference is None and item.is_raw and (~bad).sum() > 1:
        # raw voltage shares its noise; who extracted LFP has dealt with that
        recording.options = recording.options._replace(reference="car")


def _add_behavior(recording: Recording, item: Item) -> None:
    """A series with the names of its columns."""
    from pynwb.behavior import CompassDirection, SpatialSeries

    series, name, width = item.container, str(item.container.name), (*item.shape, 1)[1]
    names = [f"{name}_{column}" for column in range(width)]
    if width == 1 or (isinstance(series, SpatialSeries) and width <= 3):
        names = [name] if width == 1 else list("xyz"[:width])
    circular = isinstance(series.parent, CompassDirection)
    recording.behavior = _stream(item, names=names, kind=name, units=item.unit, circular=circular)


def _stream(item: Item, unit: float = 1.0, factors: Any = 1.0, **more: Any) -> Stream:
    """The samples of a series, in a unit that is a part of its own."""
    series, start_s = item.container, float(item.container.starting_time or 0.0)
    more["scale"] = float(series.conversion) * factors * unit
    more["offset"] = float(series.offset) * unit
    return Stream(item.path, series.data, series.rate, series.timestamps, start_s, **more)


def _times(table: Any) -> Any:
    """(k, 2) starts and stops, seconds, of a table of intervals."""
    ends = ("start_time", "stop_time")
    return () if table is None else np.array([table[x].data[:] for x in ends], np.float64).T
