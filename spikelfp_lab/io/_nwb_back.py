"""NWB files that write_nwb wrote -> the sessions they were."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import reason
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions.align import session_clock
from spikelfp_lab.sessions.schema import validate_session

MODULE = "spikelfp_lab"
"""The processing module of what NWB has no place for."""

_LONGEST_TEXT = 1 << 16  # bytes of a label

TABLE = "variables"
"""The table in it that lists the variables of the session."""


def is_written_here(nwbfile: Any) -> bool:
    """Whether the file is one of :func:`write_nwb`."""
    return MODULE in nwbfile.processing and TABLE in nwbfile.processing[MODULE].data_interfaces


def read_back(
    nwbfile: Any, *, name: str, asked: Mapping[str, Any], names: Mapping[str, str | None]
) -> xr.Dataset:
    """The session that :func:`write_nwb` wrote.

    ``asked`` are the options that are not at their defaults: a session has been made already, and
    is not made in another way. ``names`` replace those of the subject and session.
    """
    module = nwbfile.processing[MODULE]
    try:
        rows = module[TABLE].to_dataframe().set_index("variable")
        attrs = json.loads(rows.loc["", "attributes"])
        asked = {key: value for key, value in asked.items() if value != attrs.get(key)}
        if asked:
            raise ConfigError(
                f"{name} is a session that write_nwb wrote: it comes back as it was, with bins of "
                f"{attrs['bin_size_s']:g} s. Open it without {', '.join(asked)}."
            )
        variables = {}
        for variable, row in rows.drop(index="").iterrows():
            dims = tuple(json.loads(row["dims"]))
            dtype = np.dtype(row["dtype"])
            if dtype.kind not in "biufU" or dtype.itemsize > _LONGEST_TEXT:
                raise ValueError(f"{variable} has the dtype {dtype}")
            values = _stored(nwbfile, str(variable), dims, attrs).astype(dtype)
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


def _stored(
    nwbfile: Any, variable: str, dims: tuple[str, ...], attrs: Mapping[str, Any]
) -> np.ndarray:
    module = nwbfile.processing[MODULE]
    if variable == "time":
        series = _series(nwbfile, "spikes" if "spikes" in module.data_interfaces else "lfp")
        if series.timestamps is not None:
            return np.asarray(series.timestamps[:])
        return regular_clock(series.starting_time, len(series.data), attrs["bin_size_s"])
    if dims[0] == "time":
        return np.asarray(_series(nwbfile, variable).data[:])
    values = np.asarray(module[dims[0]][variable].data[:])
    return values if values.dtype != object else np.array(values.tolist(), str)


def _series(nwbfile: Any, variable: str) -> Any:
    module = nwbfile.processing[MODULE]
    if variable in module.data_interfaces:
        return module[variable]
    if variable == "lfp":
        return nwbfile.processing["ecephys"]["LFP"]["lfp"]
    return nwbfile.processing["behavior"]["BehavioralTimeSeries"][variable]


def regular_clock(start: float, size: int, bin_size_s: float) -> np.ndarray:
    """The clock of ``size`` bins whose first center is ``start``, to the last bit or nearly."""
    first = start - bin_size_s / 2
    return session_clock(first, first + size * bin_size_s, bin_size_s=bin_size_s)
