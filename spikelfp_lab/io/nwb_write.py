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
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab._files import whole
from spikelfp_lab._guard import reading
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io.arrays import TO_UV
from spikelfp_lab.sessions.align import session_clock
from spikelfp_lab.sessions.schema import as_dataset, validate_session

Latents = xr.DataArray | Mapping[str, xr.DataArray] | None

_MODULE = "spikelfp_lab"  # the processing module of what NWB has no place for
_TABLE = "variables"  # the table in it that lists the variables of the session
_LONGEST_TEXT = 1 << 16  # bytes of a label


def write_nwb(
    session: xr.Dataset | xr.DataTree,
    path: str | os.PathLike,
    *,
    latents: Latents = None,
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
    dataset = as_dataset(session)
    validate_session(dataset)
    nwbfile = _nwbfile(dataset, latents, session_start_time)
    return save_nwb(nwbfile, path, overwrite=overwrite)


def save_nwb(nwbfile: Any, path: str | os.PathLike, *, overwrite: bool) -> Path:
    """Write a file that is in memory; ``path`` is absent or complete at any time."""
    from pynwb import NWBHDF5IO

    path = Path(path)
    if path.suffix != ".nwb":
        raise DataError(f"Give a path that ends in '.nwb': {path} does not.")
    with whole(path, overwrite=overwrite) as partial, NWBHDF5IO(path=partial, mode="w") as io:
        io.write(container=nwbfile)
    return path


def is_written_here(nwbfile: Any) -> bool:
    """Whether the file is one of :func:`write_nwb`."""
    return _MODULE in nwbfile.processing and _TABLE in nwbfile.processing[_MODULE].data_interfaces


def read_back(nwbfile: Any, *, name: str, asked: Mapping, names: Mapping) -> xr.Dataset:
    """The session that :func:`write_nwb` wrote, with other ``names`` if these are given.

    A ConfigError when ``asked``, the options that are not at their defaults, would change it.
    """
    cure = "Write it again with write_nwb, or copy it again."
    with reading(f"The session in {name}", "is damaged", cure):
        module = nwbfile.processing[_MODULE]
        rows = module[_TABLE].to_dataframe().set_index("variable")
        attrs = json.loads(rows.loc["", "attributes"])
        if asked := {key: value for key, value in asked.items() if value != attrs.get(key)}:
            what = f"it comes back as it was, with bins of {attrs['bin_size_s']:g} s"
            cure = f"Open it without {', '.join(asked)}."
            raise ConfigError(f"{name} is a session that write_nwb wrote: {what}. {cure}")
        time, series = _series_of(nwbfile, attrs["bin_size_s"])
        variables = {}
        for variable, row in rows.drop(index="").iterrows():
            dims, dtype = json.loads(row["dims"]), np.dtype(row["dtype"])
            if dtype.kind not in "biufU" or dtype.itemsize > _LONGEST_TEXT:
                raise ValueError(f"{variable} has the dtype {dtype}")
            held = series if dims[0] == "time" else module[dims[0]]
            values = time if variable == "time" else held[variable].data
            variables[variable] = (dims, values[:].astype(dtype), json.loads(row["attributes"]))
        attrs |= {key: value for key, value in names.items() if value}
        dataset = xr.Dataset(variables, attrs=attrs)
        dataset = dataset.set_coords([key for key in variables if rows.loc[key, "coordinate"]])
        validate_session(dataset)
    return dataset


def _series_of(nwbfile: Any, bin_size_s: float) -> tuple[Any, dict[str, Any]]:
    """The times of the bins, and the series of all variables over time, wherever they were put."""
    series = dict(nwbfile.processing[_MODULE].data_interfaces)
    if "ecephys" in nwbfile.processing:
        series["lfp"] = nwbfile.processing["ecephys"]["LFP"]["lfp"]
    if "behavior" in nwbfile.processing:
        series |= nwbfile.processing["behavior"]["BehavioralTimeSeries"].time_series
    first = series["spikes" if "spikes" in series else "lfp"]
    if first.timestamps is not None:
        return first.timestamps, series
    start = first.starting_time - bin_size_s / 2  # files of version 0.1.0 have a rate
    stop = start + len(first.data) * bin_size_s
    return session_clock(start, stop, bin_size_s=bin_size_s), series


def _nwbfile(dataset: xr.Dataset, latents: Latents, start: datetime | None) -> Any:
    """The whole file, in memory."""
    import pynwb

    attrs = dataset.attrs
    about = f"Session {attrs['subject']}/{attrs['session']} ({dataset.source})."
    known = start or attrs.get("session_start_time")
    cure = "Pass session_start_time to write_nwb, or drop the attribute."
    with reading("attrs['session_start_time']", "is no ISO date", cure):
        start = datetime.fromisoformat(str(known or "1970-01-01"))
    told = {key: attrs.get(f"subject_{key}") for key in ("age", "sex", "species")}
    subject = {"age": "P0D/", "sex": "U"}  # an age from 0 days on, so any
    subject |= {key: str(value) for key, value in told.items() if value}
    nwbfile: Any = pynwb.NWBFile(
        session_description=about if known else f"{about} The session start time is not known.",
        identifier=str(uuid4()),
        session_start_time=start if start.tzinfo else start.replace(tzinfo=UTC),
        session_id=attrs["session"],
        subject=pynwb.file.Subject(subject_id=attrs["subject"], **subject),
    )
    about = "Binned counts, latents and labels, written by spikelfp_lab."
    module = nwbfile.create_processing_module(name=_MODULE, description=about)
    for table in _tables(dataset):
        module.add(table)
    _add_series(nwbfile, dataset, _over_time(dataset, latents))
    if "trial" in dataset.coords:
        _add_trials(nwbfile, dataset)
    return nwbfile


def _over_time(dataset: xr.Dataset, latents: Latents) -> dict[str, xr.DataArray]:
    """What becomes series, by their names in the file: variables over time, and latents."""
    variables = dataset.reset_coords().items()  # all but labels and time
    series = {str(name): values for name, values in variables if values.dims[:1] == ("time",)}
    named = {"": latents} if isinstance(latents, xr.DataArray) else latents or {}
    for name, values in named.items():
        fits = isinstance(values, xr.DataArray) and values.ndim == 2 and values.dims[0] == "time"
        if not fits or "time" not in values.coords:
            what = "are not a DataArray (time, latent) with a coordinate time in seconds"
            raise DataError(f"Latents {name!r} {what}. Pass what spikelfp_lab.encode gives.")
        title = re.sub(r"[/:]", "_", f"latents_{name}" if name else "latents")
        if title in series:
            what = f"{title} is twice in the file, where '/' and ':' of a name become '_'"
            raise DataError(f"{what}. Rename one of the latents {', '.join(map(repr, named))}.")
        series[title] = values
    return series


def _add_series(nwbfile: Any, dataset: xr.Dataset, series: Mapping[str, xr.DataArray]) -> None:
    """Compressed series where other programs look for them; those of one clock share its times."""
    import pynwb
    from hdmf.backends.hdf5 import H5DataIO

    clocks: dict[bytes, Any] = {}
    for name, values in series.items():
        about, unit = str(values.attrs.get("kind", name)), str(values.attrs.get("units", ""))
        if name == "spikes":
            about = "Spikes a bin (time, unit): counts, from which spike times cannot be had."
        elif values.ndim == 2 and values.dims[1] not in ("unit", "channel"):
            labels = map(str, values[values.dims[1]].values)
            about += f" ({', '.join(map(str, values.dims))}): {', '.join(labels)}"
        values, time = values.values, values["time"].values.astype(np.float64)
        values = values.astype(np.uint8) if values.dtype == bool else values
        data = H5DataIO(data=values, compression="gzip", shuffle=True)
        kind, more = pynwb.TimeSeries, {"unit": unit or "a.u."}
        add = nwbfile.processing[_MODULE].add
        if name == "lfp" and unit in TO_UV:
            electrodes, kind = _electrodes(nwbfile, dataset), pynwb.ecephys.ElectricalSeries
            more = {"electrodes": electrodes, "conversion": TO_UV[unit] * 1e-6}
            module = nwbfile.create_processing_module(name="ecephys", description="LFP")
            add = module.add(pynwb.ecephys.LFP()).add_electrical_series
        elif name == "behavior":
            module = nwbfile.create_processing_module(name="behavior", description="behavior")
            add = module.add(pynwb.behavior.BehavioralTimeSeries()).add_timeseries
        clock = clocks.get(time.tobytes(), time)
        made = add(kind(name=name, data=data, timestamps=clock, description=about, **more))
        clocks.setdefault(time.tobytes(), made)


def _electrodes(nwbfile: Any, dataset: xr.Dataset) -> Any:
    """The electrodes table, a row a channel, and the region of all of them."""
    device = nwbfile.create_device(name="unknown", description="not known to spikelfp_lab")
    site = {"description": "all channels", "location": "unknown"}
    group = nwbfile.create_electrode_group(name="channels", device=device, **site)
    nwbfile.add_electrode_column(name="channel_name", description="name of the channel")
    known = [key for key in ("location", "x", "y", "z") if key in dataset.coords]
    columns = {key: dataset[key].values for key in known if dataset[key].dims == ("channel",)}
    table = pd.DataFrame({"location": "unknown"} | columns, index=dataset["channel"].values)
    for label, row in table.to_dict("index").items():
        nwbfile.add_electrode(**row, group=group, channel_name=str(label))
    region = list(range(len(table)))
    return nwbfile.create_electrode_table_region(region=region, description="all channels")


def _tables(dataset: xr.Dataset) -> Iterator[Any]:
    """A table for each dimension but time; one of dims, dtypes and attributes of all variables."""
    from hdmf.common import DynamicTable, VectorData

    columns = defaultdict(list)
    rows = [("", "[]", "", _as_json(dataset.attrs), False)]
    for name, variable in dataset.variables.items():
        values, dim = variable.values, str((*variable.dims, "no dimension")[0])
        is_text = values.dtype.kind not in "biuf"
        if not variable.dims or (is_text and dim == "time"):
            what = f"{values.dtype} over {dim}, for which NWB has no place"
            cure = f"Make it an attribute, or drop it with session.drop_vars({name!r})."
            raise DataError(f"{name} holds {what}. {cure}")
        values = values.astype(str) if is_text else values
        as_json = json.dumps(variable.dims), values.dtype.str, _as_json(variable.attrs)
        rows.append((str(name), *as_json, name in dataset.coords))
        if dim != "time":
            about, data = variable.attrs.get("kind", name), values.tolist() if is_text else values
            columns[dim].append(VectorData(name=str(name), description=str(about), data=data))
    for dim, each in columns.items():
        yield DynamicTable(name=dim, description=f"{dataset.sizes[dim]} of {dim}", columns=each)
    table = pd.DataFrame(rows, columns=["variable", "dims", "dtype", "attributes", "coordinate"])
    about = "The variables of the session; the one without a name is itself."
    yield DynamicTable.from_dataframe(df=table, name=_TABLE, table_description=about)


def _as_json(attrs: Mapping[Any, Any]) -> str:
    """Attributes, also those that are NumPy's."""
    return json.dumps(dict(attrs), default=lambda value: value.tolist())


def _add_trials(nwbfile: Any, dataset: xr.Dataset) -> None:
    """A row for each run of bins of one trial."""
    trial, half = dataset["trial"].to_series(), dataset.attrs["bin_size_s"] / 2
    if (trial >= 0).any():
        nwbfile.add_trial_column(name="trial", description="number of the trial")
    for _, run in trial.groupby(trial.diff().ne(0).cumsum()):
        begin, end, number = run.index[0] - half, run.index[-1] + half, int(run.iloc[0])
        if number >= 0:
            nwbfile.add_trial(start_time=begin, stop_time=end, trial=number)
