"""Sessions -> NWB 2 files, with the latents of models beside the data, and back.

=============================  ===================================================================
in the file                    what
=============================  ===================================================================
processing/ecephys/LFP/lfp     LFP in volts, an ``ElectricalSeries`` with its electrodes
processing/behavior            a series inside ``BehavioralTimeSeries``
intervals/trials               the runs of one value of ``trial`` that is not negative
processing/spikelfp_lab        ``spikes``, the counts; ``latents...`` (time, latent); the other
                               variables, over ``time`` as series, over another dimension as
                               columns of a table of its name; the table ``variables``, with the
                               dimensions, type and attributes of each
=============================  ===================================================================

Counts in bins cannot be turned into spike times, so the file has no ``Units`` table.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from spikelfp_lab._files import flush, put, workspace
from spikelfp_lab.errors import DataError
from spikelfp_lab.io._nwb_back import MODULE, TABLE, regular_clock
from spikelfp_lab.io.arrays import TO_UV
from spikelfp_lab.sessions.schema import as_dataset, validate_session

_UNKNOWN_START = datetime(1970, 1, 1, tzinfo=UTC)


def write_nwb(
    session: xr.Dataset | xr.DataTree,
    path: str | os.PathLike,
    *,
    latents: xr.DataArray | Mapping[str, xr.DataArray] | None = None,
    session_start_time: datetime | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a session as NWB 2, with latents as a processing module.

    ``path`` is absent or complete at any time. ``open_nwb`` brings the session back as it was.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A valid session.
    path : path
        A file to be made, ending in ``.nwb``. Parent folders are made.
    latents : xr.DataArray or mapping of name -> xr.DataArray, optional
        (time, latent), as from ``encode``; each with its own ``time`` in seconds.
    session_start_time : datetime, optional
        When the session began, which is what its 0 s means; without a time zone, UTC. By default
        the attribute ``session_start_time`` that files opened from NWB have. NWB needs one: where
        there is none it is 1970-01-01, and the description says that it is not known. In the same
        way ``subject_age``, ``subject_sex`` and ``subject_species`` are attributes; an age that is
        not known is ``"P0D/"``, 0 days or more.
    overwrite : bool
        Replace a file that is there already.

    Returns
    -------
    Path

    Raises
    ------
    SchemaError, DataError
        When the session is not valid; when the path does not end in ``.nwb``, or exists and
        ``overwrite`` is False; for what cannot be written; when the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import spikelfp_lab as sl
    >>> from spikelfp_lab.io.nwb_read import open_nwb
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)
    >>> with TemporaryDirectory() as folder:
    ...     back = open_nwb(write_nwb(cohort["I/s01"], f"{folder}/s01.nwb"))
    >>> back.identical(cohort["I/s01"].to_dataset())
    True
    """
    from pynwb import NWBHDF5IO

    dataset = as_dataset(session)
    validate_session(dataset)
    nwbfile = _nwbfile(dataset, _named_latents(latents), session_start_time)
    with nwb_file(path, overwrite=overwrite) as partial, NWBHDF5IO(path=partial, mode="w") as io:
        io.write(container=nwbfile)
    return Path(path)


def _nwbfile(
    dataset: xr.Dataset, latents: Mapping[str, xr.DataArray], start: datetime | None
) -> Any:
    from pynwb import NWBFile
    from pynwb.file import Subject

    begin, known = _start_time(dataset, start)
    about = f"Session {dataset.attrs['subject']}/{dataset.attrs['session']} ({dataset.source})."
    nwbfile: Any = NWBFile(
        session_description=about if known else f"{about} The session start time is not known.",
        identifier=str(uuid4()),
        session_start_time=begin,
        session_id=dataset.attrs["session"],
        subject=Subject(subject_id=dataset.attrs["subject"], **_about_subject(dataset.attrs)),
    )
    module = nwbfile.create_processing_module(
        name=MODULE, description="Binned counts, latents and labels, written by spikelfp_lab."
    )
    clock = _Clock(dataset)
    for name, variable in dataset.variables.items():
        if name != "time" and variable.dims[:1] == ("time",):
            _add_series(nwbfile, dataset, str(name), clock)
    titles = {
        name: re.sub(r"[/:]", "_", f"latents_{name}" if name else "latents") for name in latents
    }
    if len(set(titles.values())) < len(titles):
        raise DataError(
            f"Two of the latents {', '.join(map(repr, titles))} have one name in the file, where "
            "'/' and ':' become '_'. Rename one."
        )
    for name, values in latents.items():
        same = np.array_equal(values["time"].values, dataset["time"].values)
        labels = ", ".join(map(str, values[values.dims[1]].values.tolist()))
        module.add(
            (clock if same else _Clock(values)).series(
                titles[name],
                values.values,
                description=f"Latents {name} (time, latent): {labels}".replace("  ", " "),
                unit="a.u.",
            )
        )
    for table in _tables(dataset):
        module.add(table)
    module.add(_variables(dataset))
    _add_trials(nwbfile, dataset)
    return nwbfile


def _about_subject(attrs: Mapping[Any, Any]) -> dict[str, str]:
    # the attributes that open_nwb gives; an age of "P0D/" is one from 0 days on, so any
    known = {key: attrs.get(f"subject_{key}") for key in ("age", "sex", "species")}
    return {"age": "P0D/", "sex": "U", **{key: str(value) for key, value in known.items() if value}}


def _start_time(dataset: xr.Dataset, given: datetime | None) -> tuple[datetime, bool]:
    """When the session began, and whether that is known."""
    text = dataset.attrs.get("session_start_time")
    if given is None and text:
        try:
            given = datetime.fromisoformat(str(text))
        except ValueError as error:
            raise DataError(
                f"attrs['session_start_time'] is {text!r}, which is no ISO date. Pass "
                "session_start_time to write_nwb, or drop the attribute."
            ) from error
    if given is None:
        return _UNKNOWN_START, False
    return (given if given.tzinfo else given.replace(tzinfo=UTC)), True


class _Clock:
    """The times of all series of a dataset: written as a rate where that gives them back."""

    def __init__(self, dataset: xr.Dataset | xr.DataArray) -> None:
        time = dataset["time"].values.astype(np.float64)
        bin_size_s = float(dataset.attrs.get("bin_size_s") or np.median(np.diff(time)))
        self.times: dict[str, Any] = {"timestamps": time}
        if np.array_equal(regular_clock(time[0], time.size, bin_size_s)[: time.size], time):
            self.times = {"starting_time": float(time[0]), "rate": 1 / bin_size_s}

    def series(self, name: str, values: np.ndarray, *, kind: Any = None, **more: Any) -> Any:
        from hdmf.backends.hdf5 import H5DataIO
        from pynwb import TimeSeries

        values = values.astype(np.uint8) if values.dtype == bool else values
        data = H5DataIO(data=values, compression="gzip", shuffle=True)
        made = (kind or TimeSeries)(name=name, data=data, **self.times, **more)
        if "timestamps" in self.times:
            self.times = {"timestamps": made}  # the others link to these
        return made


def _add_series(nwbfile: Any, dataset: xr.Dataset, name: str, clock: _Clock) -> None:
    from pynwb.behavior import BehavioralTimeSeries
    from pynwb.ecephys import LFP, ElectricalSeries

    variable = dataset.variables[name]
    values = variable.values
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{name} holds {values.dtype} over time, and NWB has numbers there. Drop it first, "
            f"with session.drop_vars({name!r})."
        )
    unit = str(variable.attrs.get("units", "")) or "a.u."
    about = str(variable.attrs.get("kind", name))
    if name == "lfp" and unit in TO_UV:
        module = nwbfile.create_processing_module(name="ecephys", description="LFP")
        module.add(LFP(name="LFP"))
        module["LFP"].add_electrical_series(
            clock.series(
                name,
                values,
                kind=ElectricalSeries,
                description=about,
                electrodes=_electrodes(nwbfile, dataset),
                conversion=TO_UV[unit] * 1e-6,
            )
        )
    elif name == "behavior":
        module = nwbfile.create_processing_module(name="behavior", description="behavior")
        module.add(BehavioralTimeSeries(name="BehavioralTimeSeries"))
        columns = ", ".join(dataset["behavior_dim"].values.tolist())
        series = clock.series(name, values, description=f"{about}: {columns}", unit=unit)
        module["BehavioralTimeSeries"].add_timeseries(series)
    else:
        if name == "spikes":
            about = "Spikes a bin (time, unit): counts, from which spike times cannot be had."
        nwbfile.processing[MODULE].add(clock.series(name, values, description=about, unit=unit))


def _electrodes(nwbfile: Any, dataset: xr.Dataset) -> Any:
    """The electrodes table, a row a channel, and the region of all of them."""
    device = nwbfile.create_device(name="unknown", description="not known to spikelfp_lab")
    group = nwbfile.create_electrode_group(
        name="channels", description="all channels", location="unknown", device=device
    )
    nwbfile.add_electrode_column(name="channel_name", description="name of the channel")
    places = {
        key: dataset[key].values.tolist()
        for key in ("location", "x", "y", "z")
        if key in dataset.coords and dataset[key].dims == ("channel",)
    }
    for index, label in enumerate(dataset["channel"].values.tolist()):
        place = {key: values[index] for key, values in places.items()}
        nwbfile.add_electrode(
            **{"location": "unknown", **place}, group=group, channel_name=str(label)
        )
    return nwbfile.create_electrode_table_region(
        region=list(range(dataset.sizes["channel"])), description="all channels"
    )


def _tables(dataset: xr.Dataset) -> Iterator[Any]:
    """For each dimension but time a table, a row a label, with all variables that begin with it."""
    from hdmf.common import DynamicTable, VectorData

    for dim, size in dataset.sizes.items():
        columns = []
        for name, variable in dataset.variables.items():
            if variable.dims[:1] == (dim,) and dim != "time":
                values = variable.values
                data = values if values.dtype.kind in "biuf" else list(map(str, values.tolist()))
                about = str(variable.attrs.get("kind", name))
                columns.append(VectorData(name=str(name), description=about, data=data))
        if columns:
            yield DynamicTable(
                name=str(dim), description=f"{size} of {dim}", columns=columns, id=list(range(size))
            )


def _variables(dataset: xr.Dataset) -> Any:
    """What series and tables cannot say: dimensions, types and attributes."""
    from hdmf.common import DynamicTable

    table = DynamicTable(
        name=TABLE, description="The variables of the session; the one without a name is itself."
    )
    for column in ("variable", "dims", "dtype", "attributes"):
        table.add_column(name=column, description=column)
    table.add_column(name="coordinate", description="whether it is a coordinate")
    table.add_row(
        variable="", dims="[]", dtype="", attributes=_json(dataset.attrs), coordinate=False
    )
    for name, variable in dataset.variables.items():
        if not variable.dims:
            raise DataError(
                f"{name} has no dimension, and cannot be written. Make it an attribute, or drop "
                f"it with session.drop_vars({name!r})."
            )
        text = variable.dtype.kind not in "biuf"
        longest = max(map(len, map(str, np.ravel(variable.values).tolist())), default=1)
        table.add_row(
            variable=str(name),
            dims=json.dumps(variable.dims),
            dtype=f"<U{max(longest, 1)}" if text else variable.dtype.str,
            attributes=_json(variable.attrs),
            coordinate=name in dataset.coords,
        )
    return table


def _json(attrs: Mapping[Any, Any]) -> str:
    # the schema has made sure that there is nothing but numpy's numbers beside JSON
    return json.dumps(dict(attrs), default=lambda value: value.tolist())


def _add_trials(nwbfile: Any, dataset: xr.Dataset) -> None:
    if "trial" not in dataset.coords:
        return
    trial, time = dataset["trial"].values, dataset["time"].values
    half = dataset.attrs["bin_size_s"] / 2
    edges = np.flatnonzero(np.diff(trial)) + 1
    starts, stops = np.concatenate([[0], edges]), np.concatenate([edges, [trial.size]])
    kept = [(a, b) for a, b in zip(starts, stops, strict=True) if trial[a] >= 0]
    if kept:
        nwbfile.add_trial_column(name="trial", description="number of the trial")
    for start, stop in kept:
        nwbfile.add_trial(
            start_time=float(time[start] - half),
            stop_time=float(time[stop - 1] + half),
            trial=int(trial[start]),
        )


def _named_latents(
    latents: xr.DataArray | Mapping[str, xr.DataArray] | None,
) -> dict[str, xr.DataArray]:
    if latents is None:
        return {}
    named = {"": latents} if isinstance(latents, xr.DataArray) else dict(latents)
    for name, values in named.items():
        if (
            not isinstance(values, xr.DataArray)
            or values.ndim != 2
            or values.dims[0] != "time"
            or "time" not in values.coords
            or values.sizes["time"] < 2
        ):
            raise DataError(
                f"Latents {name!r} are not a DataArray (time, latent) with a coordinate time in "
                "seconds. Pass what spikelfp_lab.encode gives."
            )
    return named


@contextmanager
def nwb_file(path: str | os.PathLike, *, overwrite: bool) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` at one stroke once it is written."""
    path = Path(path)
    if path.suffix != ".nwb":
        raise DataError(f"Give a path that ends in '.nwb': {path} does not.")
    if os.path.lexists(path) and not overwrite:
        raise DataError(
            f"{path} exists already and is not overwritten. Pass overwrite=True to replace it, or "
            "choose another path."
        )
    with workspace(path) as folder:
        yield folder / "partial.nwb"
        flush(folder / "partial.nwb")
        put(folder / "partial.nwb", path)
