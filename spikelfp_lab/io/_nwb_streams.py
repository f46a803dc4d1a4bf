"""Objects of an NWB file -> the arguments that a session is assembled from."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._nwb_items import Item
from spikelfp_lab.io._recorded import Notes, merged
from spikelfp_lab.io._streams import Derive, LFPFilter, Stream, make_stream
from spikelfp_lab.io.assemble import Behavior, Potential, Spikes

# Columns of the electrodes table that mark an electrode as bad, and their values that do.
_BAD_COLUMNS = ("is_bad", "bad", "bad_channel", "bad_channels", "is_bad_channel")
_GOOD_COLUMNS = ("good", "is_good", "good_channel", "is_good_channel")
_LOCATIONS = ("location", "x", "y", "z", "group_name")
# Names that a column of the units table cannot have as a coordinate of the session.
_TAKEN = (*_LOCATIONS, "time", "unit", "channel", "behavior_dim", "spikes", "lfp", "behavior")
_TAKEN += ("trial", "observed", "latent_truth", "latent_truth_dim", "clipped_share")
_TAKEN += ("refractory_violations", "refractory_chance")


def spikes_of(item: Item | None, coords: dict[str, Any]) -> Spikes | None:
    if item is None:
        return None
    table = item.container
    ends = np.asarray(table.spike_times_index.data[:], np.int64)
    flat = np.asarray(table.spike_times.data[:])
    flat = flat if flat.dtype == np.float32 else flat.astype(np.float64)
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
    names = [str(each) for each in np.asarray(table.id[:]).tolist()]
    if table.obs_intervals is None:
        return Spikes(times, names)
    spans = [np.asarray(table["obs_intervals"][row], np.float64) for row in range(len(table))]
    spans = [merged(each.reshape(-1, 2)) for each in spans]
    observed = [each if len(each) else None for each in spans]  # an empty list does not say
    return Spikes(times, names, observed if any(map(len, spans)) else None)


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


def lfp_of(
    item: Item | None, coords: dict[str, Any], chain: LFPFilter, name: str, notes: Notes
) -> Potential | None:
    if item is None:
        return None
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
        text = f"dropped channel {dropped}: marked bad in the electrodes table."
        notes.append(("bad channels", item.path, text, int(bad.sum())))
    keep = np.flatnonzero(~bad)
    for column in _LOCATIONS:
        if column in table.colnames:
            values = _plain_column(table[column], len(table))
            if values is not None:
                coords[column] = ("channel", values[rows[keep]])
    factor = np.ones(width) if series.channel_conversion is None else series.channel_conversion[:]
    scale = float(series.conversion) * np.asarray(factor, np.float64) * 1e6
    stream = _stream(item, columns=keep, scale=scale, offset=float(series.offset) * 1e6)
    if chain.reference is None and item.is_raw and keep.size > 1:
        # raw voltage shares its reference's noise; who extracted LFP has dealt with that
        chain = replace(chain, reference="car")
    return Potential(stream, [labels[index] for index in keep], chain)


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


def behavior_of(item: Item | None, derive: Derive | None, smooth_s: float) -> Behavior | None:
    from pynwb.behavior import CompassDirection, SpatialSeries

    if item is None:
        return None
    series: Any = item.container
    name = str(series.name)
    scale, offset = float(series.conversion), float(series.offset)
    width = item.shape[1] if len(item.shape) == 2 else 1
    if width == 1:
        names = [name]
    elif isinstance(series, SpatialSeries) and width <= 3:
        names = list("xyz"[:width])
    else:
        names = [f"{name}_{column}" for column in range(width)]
    stream = _stream(item, scale=scale, offset=offset)
    circular = isinstance(item.container.parent, CompassDirection)
    return Behavior(stream, names, name, item.unit, circular, derive, smooth_s)


def times_of(table: Any) -> np.ndarray | None:
    """(k, 2) starts and stops, seconds, of a table of intervals."""
    if table is None:
        return None
    return np.stack(
        [np.asarray(table[name].data[:], np.float64) for name in ("start_time", "stop_time")],
        axis=1,
    ).reshape(-1, 2)
