"""Objects of an NWB file -> the arguments that a session is assembled from."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikelfp_lab.errors import DataError, SpikeLFPWarning
from spikelfp_lab.io._nwb_items import Item
from spikelfp_lab.io._streams import Stream, make_stream

# Columns of the electrodes table that mark an electrode as bad, and their values that do.
_BAD_COLUMNS = ("is_bad", "bad", "bad_channel", "bad_channels", "is_bad_channel")
_GOOD_COLUMNS = ("good", "is_good", "good_channel", "is_good_channel")
_TOUCHING_S = 1e-6  # spans with less between them are one
_LOCATIONS = ("location", "x", "y", "z", "group_name")
# Names that a column of the units table cannot have as a coordinate of the session.
_TAKEN = (*_LOCATIONS, "time", "unit", "channel", "behavior_dim", "spikes", "lfp", "behavior")
_TAKEN += ("trial", "latent_truth", "latent_truth_dim", "clipped_share")
_TAKEN += ("refractory_violations", "refractory_chance")


def spikes_of(item: Item | None, coords: dict[str, Any]) -> dict[str, Any]:
    if item is None:
        return {"spike_times": None, "unit_names": None, "observed": None}
    table = item.container
    ends = np.asarray(table.spike_times_index.data[:], np.int64)
    flat = np.asarray(table.spike_times.data[:], np.float64)
    if (np.diff(ends, prepend=0) < 0).any() or ends[-1] != flat.size:
        raise DataError(
            f"The index of its spike times does not fit {item.path}: it ends at {ends[-1]}, and "
            f"there are {flat.size} spikes. Copy the file again, or pass units=False."
        )
    times = np.split(flat, ends[:-1])
    if not np.isfinite(flat).all():
        bad = [str(u) for u, each in zip(table.id[:], times, strict=True) if np.isnan(each).any()]
        raise DataError(
            f"{item.path} has spike times that are not finite, in units {', '.join(bad[:10])}. "
            "Repair the file, or leave the spikes out with units=False."
        )
    for column in table.columns:
        values = _plain_column(column, len(table))
        if values is not None:
            coords[_label(column.name, coords)] = ("unit", values)
    return {
        "spike_times": times,
        "unit_names": [str(each) for each in np.asarray(table.id[:]).tolist()],
        "observed": _observed(table),
    }


def _label(name: str, taken: Mapping[str, Any]) -> str:
    """The name of a coordinate, which becomes that of a folder once the session is saved."""
    # xarray keeps no coordinate with a blank in its name
    label = re.sub(r"[/\\\s\0]", "_", name).lstrip(".")[:100] or "column"
    label = f"unit_{label}" if label in _TAKEN else label
    while label in taken:
        label += "_"
    return label


def _plain_column(column: Any, rows: int) -> np.ndarray | None:
    """(rows,) numbers or text of a column that holds one for each row, otherwise None."""
    from hdmf.common import VectorData

    if type(column) is not VectorData or np.shape(column.data) != (rows,):
        return None
    values = np.asarray(column.data[:])
    if values.dtype.kind in "biuf":
        return values
    texts = [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]
    return np.array(texts) if all(isinstance(each, str) for each in texts) else None


def _observed(table: Any) -> np.ndarray | None:
    """(k, 2) seconds in which every unit was observed; None where the file does not say."""
    if table.obs_intervals is None:
        return None
    common = None
    for row in range(len(table)):
        spans = np.asarray(table["obs_intervals"][row], np.float64).reshape(-1, 2)
        spans = _merged(spans)
        if common is None or not np.array_equal(common, spans):
            common = spans if common is None else _merged(_intersection(common, spans))
    if common is None or not len(common):
        raise DataError(
            "There is no moment in which all units were observed (obs_intervals). Open the file "
            "with units=False, or split the units into files of their own."
        )
    return common


def _merged(spans: np.ndarray) -> np.ndarray:
    """Spans in order of time; those that touch or overlap are one."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1]) if len(spans) else spans[:, 1]
    first = np.flatnonzero(np.concatenate([[True], spans[1:, 0] > reach[:-1] + _TOUCHING_S]))
    last = np.concatenate([first[1:], [len(spans)]]) - 1
    return np.stack([spans[first, 0], reach[last]], axis=1) if len(spans) else spans


def _intersection(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    start = np.maximum(one[:, None, 0], other[None, :, 0])
    stop = np.minimum(one[:, None, 1], other[None, :, 1])
    return np.stack([start, stop], axis=-1)[stop > start]


def lfp_of(item: Item | None, coords: dict[str, Any], name: str) -> dict[str, Any]:
    if item is None:
        return {"lfp": None, "channel_names": None}
    series = item.container
    width = item.shape[1] if len(item.shape) == 2 else 1
    rows = np.asarray(series.electrodes.data[:], np.int64)
    table = series.electrodes.table
    labels = _channel_names(table, rows)
    if len(set(labels)) < len(labels):
        raise DataError(
            f"{item.path} of {name} has an electrode more than once ({', '.join(labels)}). Repair "
            "its electrodes, or leave it out with lfp=False."
        )
    bad = _marked_bad(table)[rows]
    if bad.any():
        dropped = ", ".join(label for label, each in zip(labels, bad, strict=True) if each)
        if bad.all():
            raise DataError(
                f"The file marks every electrode of {item.path} as bad ({dropped}). Leave it out "
                "with lfp=False, or correct the electrodes table."
            )
        warnings.warn(
            f"{name}: dropped channel {dropped}: marked bad in the electrodes table.",
            SpikeLFPWarning,
            stacklevel=5,
        )
    keep = np.flatnonzero(~bad)
    for column in _LOCATIONS:
        if column in table.colnames:
            values = _plain_column(table[column], len(table))
            if values is not None:
                coords[column] = ("channel", values[rows[keep]])
    factor = np.ones(width) if series.channel_conversion is None else series.channel_conversion[:]
    scale = float(series.conversion) * np.asarray(factor, np.float64) * 1e6
    return {
        "lfp": _stream(item, columns=keep, scale=scale, offset=float(series.offset) * 1e6),
        "channel_names": [labels[index] for index in keep],
    }


def _stream(item: Item, **more: Any) -> Stream:
    series = item.container
    start = 0.0 if series.starting_time is None else float(series.starting_time)
    times = None if series.rate is not None else series.timestamps
    return make_stream(
        item.path, series.data, rate_hz=series.rate, start_s=start, timestamps=times, **more
    )


def _channel_names(table: Any, rows: np.ndarray) -> list[str]:
    """Names of the electrodes: their own, where these tell them apart, otherwise by id."""
    if "channel_name" in table.colnames:
        names = [str(table["channel_name"][int(row)]) for row in rows]
        if len(set(names)) == len(set(rows.tolist())) and all(names):
            return names
    return [f"ch{int(table.id[int(row)]):02d}" for row in rows]


def _marked_bad(table: Any) -> np.ndarray:
    bad = np.zeros(len(table), bool)
    for columns, words in ((_BAD_COLUMNS, ("bad",)), (_GOOD_COLUMNS, ("bad", "false", "0", "no"))):
        good = columns is _GOOD_COLUMNS
        for column in set(columns) & set(table.colnames):
            values = np.asarray(table[column].data[:])
            if values.dtype.kind in "biuf":
                # NaN is no mark, neither of the one nor of the other
                bad |= (values == 0) if good else ((values != 0) & (values == values))
            else:
                texts = [str(x.decode() if isinstance(x, bytes) else x).lower() for x in values]
                bad |= np.isin(texts, words if good else (*words, "true", "1", "yes"))
    return bad


def behavior_of(item: Item | None) -> dict[str, Any]:
    from pynwb.behavior import CompassDirection, SpatialSeries

    if item is None:
        return {"behavior": None}
    series = item.container
    scale, offset, unit = float(series.conversion), float(series.offset), item.unit
    width = item.shape[1] if len(item.shape) == 2 else 1
    if width == 1:
        names = [series.name]
    elif isinstance(series, SpatialSeries) and width <= 3:
        names = list("xyz"[:width])
    else:
        names = [f"{series.name}_{column}" for column in range(width)]
    circular = isinstance(series.parent, CompassDirection)
    if circular and unit.lower().startswith("deg"):
        scale, offset = np.deg2rad(scale), np.deg2rad(offset)
    return {
        "behavior": _stream(item, scale=scale, offset=offset),
        "behavior_names": names,
        "behavior_attrs": {"kind": series.name, "units": "1" if circular else unit},
        "circular": circular,
    }


def trial_times(item: Item) -> np.ndarray:
    table = item.container
    return np.stack(
        [np.asarray(table[name].data[:], np.float64) for name in ("start_time", "stop_time")],
        axis=1,
    ).reshape(-1, 2)
