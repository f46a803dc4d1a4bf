"""Sessions -> NWB 2 files, with the latents of models beside the data, and back.

=============================  ===================================================================
in the file                    what
=============================  ===================================================================
processing/ecephys/LFP/lfp     LFP in volts, an ``ElectricalSeries`` with its electrodes
processing/behavior            a series inside ``BehavioralTimeSeries``
intervals/trials               the runs of one value of ``trial`` that is not negative
processing/spikelfp_lab        ``spikes``, the counts; ``latents...`` (time, latent); the other
                               variables: series over time, else columns of a table for each
                               dimension; the table ``variables`` has their dims, dtypes and attrs
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

from spikelfp_lab._files import whole_file
from spikelfp_lab._guard import reason
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.arrays import TO_UV
from spikelfp_lab.io.store import refuse_existing
from spikelfp_lab.sessions.align import session_clock
from spikelfp_lab.sessions.schema import as_dataset, validate_session

MODULE = "spikelfp_lab"
"""The processing module of what NWB has no place for."""

_TABLE = "variables"  # the table in it that lists the variables of the session
_LONGEST_TEXT = 1 << 16  # bytes of a label


def write_nwb(
    session: xr.Dataset | xr.DataTree,
    path: str | os.PathLike,
    *,
    latents: xr.DataArray | Mapping[str, xr.DataArray] | None = None,
    session_start_time: datetime | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a session as NWB 2, with latents as a processing module.

    ``path`` is absent or complete at any time. ``open_session`` brings the session back as it was.

    Parameters
    ----------
    session : xr.Dataset or xr.DataTree
        A valid session.
    path : path
        A file to be made, ending in ``.nwb``. Parent folders are made.
    latents : xr.DataArray or mapping of name -> xr.DataArray, optional
        (time, latent), as from ``encode``; each with its own ``time`` in seconds.
    session_start_time : datetime, optional
        When its 0 s was (UTC without a time zone); else ``attrs["session_start_time"]``; else
        1970-01-01, as NWB needs one, and the description says that it is not known. Age, sex and
        species are those of ``attrs["subject_age"]`` and so on.
    overwrite : bool
        Replace a file that is there already.

    Raises
    ------
    SchemaError, DataError
        When the session is not valid; when the path does not end in ``.nwb``, or exists and
        ``overwrite`` is False; for what cannot be written; when the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=10, progress=False)
    >>> with TemporaryDirectory() as folder:
    ...     back = sl.open_session(write_nwb(cohort["I/s01"], f"{folder}/s01.nwb"))
    >>> back.identical(cohort["I/s01"].to_dataset())
    True
    """
    from pynwb import NWBHDF5IO

    dataset = as_dataset(session)
    validate_session(dataset)
    nwbfile = _nwbfile(dataset, _titled_latents(latents), session_start_time)
    with nwb_file(path, overwrite=overwrite) as partial, NWBHDF5IO(path=partial, mode="w") as io:
        io.write(container=nwbfile)
    return Path(path)


@contextmanager
def nwb_file(path: str | os.PathLike, *, overwrite: bool) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` at one stroke once it is written."""
    path = Path(path)
    if path.suffix != ".nwb":
        raise DataError(f"Give a path that ends in '.nwb': {path} does not.")
    if not overwrite:
        refuse_existing(path)
    with whole_file(path) as partial:
        yield partial


def is_written_here(nwbfile: Any) -> bool:
    """Whether the file is one of :func:`write_nwb`."""
    return MODULE in nwbfile.processing and _TABLE in nwbfile.processing[MODULE].data_interfaces


def read_back(
    nwbfile: Any, *, name: str, asked: Mapping[str, Any], names: Mapping[str, str | None]
) -> xr.Dataset:
    """The session that :func:`write_nwb` wrote, with other ``names`` if these are given.

    A ConfigError when ``asked``, the options that are not at their defaults, would change it.
    """
    try:
        rows = nwbfile.processing[MODULE][_TABLE].to_dataframe().set_index("variable")
        attrs = json.loads(rows.loc["", "attributes"])
        asked = {key: value for key, value in asked.items() if value != attrs.get(key)}
        if asked:
            raise ConfigError(
                f"{name} is a session that write_nwb wrote: it comes back as it was, with bins of "
                f"{attrs['bin_size_s']:g} s. Open it without {', '.join(asked)}."
            )
        variables = {}
        for variable, row in rows.drop(index="").iterrows():
            dims, dtype = tuple(json.loads(row["dims"])), np.dtype(row["dtype"])
            if dtype.kind not in "biufU" or dtype.itemsize > _LONGEST_TEXT:
                raise ValueError(f"{variable} has the dtype {dtype}")
            values = _stored(nwbfile, str(variable), dims, attrs["bin_size_s"]).astype(dtype)
            variables[variable] = (dims, values, json.loads(row["attributes"]))
        dataset = xr.Dataset(variables, attrs=attrs)
        dataset = dataset.set_coords([key for key in variables if rows.loc[key, "coordinate"]])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"The session in {name} is damaged ({reason(error)}). Write it again "
            "with write_nwb, or copy it again."
        ) from error
    dataset = dataset.assign_attrs({key: value for key, value in names.items() if value})
    validate_session(dataset)
    return dataset


def _stored(nwbfile: Any, variable: str, dims: tuple[str, ...], bin_size_s: float) -> np.ndarray:
    """The values of a variable, wherever they were put."""
    module = nwbfile.processing[MODULE]
    if dims[0] != "time":
        values = np.asarray(module[dims[0]][variable].data[:])
        return values if values.dtype != object else np.array(values.tolist(), str)
    series = dict(module.data_interfaces)
    if "ecephys" in nwbfile.processing:
        series["lfp"] = nwbfile.processing["ecephys"]["LFP"]["lfp"]
    if "behavior" in nwbfile.processing:
        series |= nwbfile.processing["behavior"]["BehavioralTimeSeries"].time_series
    if variable != "time":
        return np.asarray(series[variable].data[:])
    first = series["spikes" if "spikes" in series else "lfp"]
    if first.timestamps is not None:
        return np.asarray(first.timestamps[:])
    start = first.starting_time - bin_size_s / 2  # files of version 0.1.0 have a rate
    return session_clock(start, start + len(first.data) * bin_size_s, bin_size_s=bin_size_s)


def _nwbfile(
    dataset: xr.Dataset, latents: Mapping[str, xr.DataArray], start: datetime | None
) -> Any:
    """The whole file, in memory."""
    from pynwb import NWBFile
    from pynwb.file import Subject

    attrs = dataset.attrs
    about = f"Session {attrs['subject']}/{attrs['session']} ({dataset.source})."
    if start is None and (text := attrs.get("session_start_time")):
        try:
            start = datetime.fromisoformat(str(text))
        except ValueError as error:
            raise DataError(
                f"attrs['session_start_time'] is {text!r}, which is no ISO date. Pass "
                "session_start_time to write_nwb, or drop the attribute."
            ) from error
    if start is None:
        start, about = datetime(1970, 1, 1), f"{about} The session start time is not known."
    known = {key: attrs.get(f"subject_{key}") for key in ("age", "sex", "species")}
    known = {key: str(value) for key, value in known.items() if value}
    nwbfile: Any = NWBFile(
        session_description=about,
        identifier=str(uuid4()),
        session_start_time=start if start.tzinfo else start.replace(tzinfo=UTC),
        session_id=attrs["session"],
        # an age of "P0D/" is one from 0 days on, so any
        subject=Subject(subject_id=attrs["subject"], **{"age": "P0D/", "sex": "U", **known}),
    )
    module = nwbfile.create_processing_module(
        name=MODULE, description="Binned counts, latents and labels, written by spikelfp_lab."
    )
    clock = _Clock(dataset["time"].values)
    for name, variable in dataset.variables.items():
        if name != "time" and variable.dims[:1] == ("time",):
            _add_series(nwbfile, dataset, str(name), clock)
    for title, values in latents.items():
        labels = ", ".join(map(str, values[values.dims[1]].values.tolist()))
        name = title.removeprefix("latents").replace("_", " ", 1)
        time = values["time"].values
        own = clock if np.array_equal(time, dataset["time"].values) else _Clock(time)
        about = f"Latents{name} (time, latent): {labels}"
        module.add(own.series(title, values.values, description=about, unit="a.u."))
    for table in (*_tables(dataset), _variables(dataset)):
        module.add(table)
    if "trial" in dataset.coords:
        _add_trials(nwbfile, dataset)
    return nwbfile


class _Clock:
    """The times of series: the first one holds them, the others link to it."""

    def __init__(self, time: np.ndarray) -> None:
        self.timestamps: Any = time.astype(np.float64)

    def series(self, name: str, values: np.ndarray, *, kind: Any = None, **more: Any) -> Any:
        """A series of values (T, ...) at these times, compressed."""
        from hdmf.backends.hdf5 import H5DataIO
        from pynwb import TimeSeries

        values = values.astype(np.uint8) if values.dtype == bool else values
        data = H5DataIO(data=values, compression="gzip", shuffle=True)
        made = (kind or TimeSeries)(name=name, data=data, timestamps=self.timestamps, **more)
        if isinstance(self.timestamps, np.ndarray):
            self.timestamps = made
        return made


def _add_series(nwbfile: Any, dataset: xr.Dataset, name: str, clock: _Clock) -> None:
    """A variable over time, where other programs look for it."""
    from pynwb.behavior import BehavioralTimeSeries
    from pynwb.ecephys import LFP, ElectricalSeries

    variable = dataset.variables[name]
    values, unit = variable.values, str(variable.attrs.get("units", "")) or "a.u."
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{name} holds {values.dtype} over time, and NWB has numbers there. Drop it first, "
            f"with session.drop_vars({name!r})."
        )
    about = str(variable.attrs.get("kind", name))
    if name == "lfp" and unit in TO_UV:
        module = nwbfile.create_processing_module(name="ecephys", description="LFP")
        module.add(LFP(name="LFP"))
        series = clock.series(
            name, values, kind=ElectricalSeries, description=about,
            electrodes=_electrodes(nwbfile, dataset), conversion=TO_UV[unit] * 1e-6,
        )  # fmt: skip
        module["LFP"].add_electrical_series(series)
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
    places = {"location": ["unknown"] * dataset.sizes["channel"]}
    for key in ("location", "x", "y", "z"):
        if key in dataset.coords and dataset[key].dims == ("channel",):
            places[key] = dataset[key].values.tolist()
    for label, *place in zip(dataset["channel"].values.tolist(), *places.values(), strict=True):
        at = dict(zip(places, place, strict=True))
        nwbfile.add_electrode(**at, group=group, channel_name=str(label))
    region = list(range(dataset.sizes["channel"]))
    return nwbfile.create_electrode_table_region(region=region, description="all channels")


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
            about, ids = f"{size} of {dim}", list(range(size))
            yield DynamicTable(name=str(dim), description=about, columns=columns, id=ids)


def _variables(dataset: xr.Dataset) -> Any:
    """What series and tables cannot say: dimensions, dtypes and attributes, as JSON."""
    from hdmf.common import DynamicTable

    table = DynamicTable(
        name=_TABLE, description="The variables of the session; the one without a name is itself."
    )
    for column in ("variable", "dims", "dtype", "attributes", "coordinate"):
        table.add_column(name=column, description=column)

    def add(name: str, dims: str, dtype: str, attrs: Mapping[Any, Any]) -> None:
        text = json.dumps(dict(attrs), default=lambda value: value.tolist())  # of NumPy numbers
        coordinate = name in dataset.coords
        table.add_row(variable=name, dims=dims, dtype=dtype, attributes=text, coordinate=coordinate)

    add("", "[]", "", dataset.attrs)
    for name, variable in dataset.variables.items():
        if not variable.dims:
            raise DataError(
                f"{name} has no dimension, and cannot be written. Make it an attribute, or drop "
                f"it with session.drop_vars({name!r})."
            )
        dtype = variable.dtype.str
        if variable.dtype.kind not in "biuf":
            dtype = f"<U{max([1, *map(len, map(str, np.ravel(variable.values)))])}"
        add(str(name), json.dumps(variable.dims), dtype, variable.attrs)
    return table


def _add_trials(nwbfile: Any, dataset: xr.Dataset) -> None:
    """A row for each run of bins of one trial."""
    trial, time = dataset["trial"].values, dataset["time"].values
    half = dataset.attrs["bin_size_s"] / 2
    runs = np.split(np.arange(trial.size), np.flatnonzero(np.diff(trial)) + 1)
    runs = [run for run in runs if trial[run[0]] >= 0]
    if runs:
        nwbfile.add_trial_column(name="trial", description="number of the trial")
    for run in runs:
        begin, end = float(time[run[0]] - half), float(time[run[-1]] + half)
        nwbfile.add_trial(start_time=begin, stop_time=end, trial=int(trial[run[0]]))


def _titled_latents(
    latents: xr.DataArray | Mapping[str, xr.DataArray] | None,
) -> dict[str, xr.DataArray]:
    """Latents by the names that their series have in the file."""
    named = {"": latents} if isinstance(latents, xr.DataArray) else dict(latents or {})
    titled = {}
    for name, values in named.items():
        fits = isinstance(values, xr.DataArray) and values.ndim == 2 and values.dims[0] == "time"
        if not fits or "time" not in values.coords:
            raise DataError(
                f"Latents {name!r} are not a DataArray (time, latent) with a coordinate time in "
                "seconds. Pass what spikelfp_lab.encode gives."
            )
        title = re.sub(r"[/:]", "_", f"latents_{name}" if name else "latents")
        if title in titled:
            raise DataError(
                f"Two of the latents {', '.join(map(repr, named))} have one name in the file, "
                "where '/' and ':' become '_'. Rename one."
            )
        titled[title] = values
    return titled
