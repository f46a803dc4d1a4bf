"""What an NWB file holds, found by type, and which of it a session is made of."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal.timeline import usual_period

Role = Literal["spikes", "lfp", "behavior", "trials", ""]
Choice = str | bool | None

# Which argument of open_nwb chooses, or leaves out, what has a role.
ARGUMENTS: dict[str, str] = {
    "spikes": "units",
    "lfp": "lfp",
    "behavior": "behavior",
    "trials": "trials",
}

UNDECLARED = 2
"""The tier of an ElectricalSeries that is neither inside LFP nor inside FilteredEphys."""

RAW_ABOVE_HZ = 2000.0
"""A potential that is not said to be LFP, and faster than this, is taken for raw voltage."""

ONLY_BY_NAME = 9
"""The tier of what is used only when it is asked for by name."""


@dataclass(frozen=True)
class Item:
    """One object of the file: where it is, what it is, what it could be in a session."""

    path: str
    container: Any
    role: Role
    tier: int = 0  # within a role, lower is preferred
    note: str = ""  # why it is in that tier, or has no role
    fault: str = ""  # why it cannot be used
    shape: tuple[int, ...] = ()
    rate_hz: float | None = None
    unit: str = ""

    @property
    def is_raw(self) -> bool:
        """Whether, as LFP, it is raw voltage: not said to be LFP, and as fast as no LFP is."""
        declared = self.role != "lfp" or self.tier < UNDECLARED
        return not declared and (self.rate_hz or 0) > RAW_ABOVE_HZ

    @property
    def type(self) -> str:
        return type(self.container).__name__

    def __str__(self) -> str:
        parts = [f"shape {self.shape}"]
        parts += [f"{self.rate_hz:g} Hz"] if self.rate_hz is not None else []
        parts += [self.unit] if self.unit else []
        return f"{self.path} ({self.type}, {', '.join(parts)})"


def find_items(nwbfile: Any, io: Any) -> list[Item]:
    """Everything in the file that is a recording or a table of its times, in order of path.

    Looks at shapes, attributes and the first timestamps; reads no data.
    """
    from pynwb import TimeSeries
    from pynwb.epoch import TimeIntervals
    from pynwb.misc import Units

    items = []
    for container in nwbfile.objects.values():
        if not isinstance(container, (TimeSeries, Units, TimeIntervals)):
            continue
        path = io.manager.get_builder(container).path.removeprefix("root").strip("/")
        if isinstance(container, Units):
            items.append(_units(path, container))
        elif isinstance(container, TimeIntervals):
            is_trials = container is nwbfile.trials
            note = "" if is_trials else "intervals other than trials are not read"
            if container is nwbfile.invalid_times:
                note = "what was recorded then is left out of the session"
            role: Role = "trials" if is_trials else ""
            shape = (len(container),)
            items.append(Item(path, container, role, note=note, shape=shape, unit="s"))
        else:
            items.append(_series(path, container))
    return sorted(items, key=lambda item: item.path)


def choose(items: list[Item], role: Role, choice: Choice, *, name: str) -> Item | None:
    """The one item of a role that is used; None when there is none, or ``choice`` is False.

    ``choice`` is a path of :func:`find_items` or the end of one; None finds the only one.
    """
    able = [item for item in items if item.role == role]
    argument = ARGUMENTS[role]
    if choice is False:
        return None
    if isinstance(choice, str):
        wanted = choice.strip("/")
        found = [item for item in able if item.path == wanted] or [
            item for item in able if f"/{item.path}".endswith(f"/{wanted}")
        ]
        if len(found) != 1:
            what = "is no" if not found else f"is the name of {len(found)} objects that can be"
            raise ConfigError(
                f"{argument}={choice!r} {what} {role} in {name}. {_listed(found or able, argument)}"
            )
    else:
        best = min((item.tier for item in able), default=ONLY_BY_NAME)
        found = [item for item in able if item.tier == best < ONLY_BY_NAME]
        if len(found) > 1:
            raise DataError(
                f"{name} holds {len(found)} objects that can be {role}, and only one is used. "
                f"{_listed(found, argument)}"
            )
    if not found:
        return None
    if found[0].fault:
        raise DataError(
            f"{found[0].path} of {name} cannot be used: {found[0].fault}. Repair the file, or "
            f"leave it out with {argument}=False."
        )
    return found[0]


def _listed(items: list[Item], argument: str) -> str:
    if not items:
        return f"There is none at all; pass {argument}=False or nothing."
    lines = "".join(f"\n  {argument}={item.path!r}  {item}" for item in items)
    return f"Choose one, or pass {argument}=False to leave it out:{lines}"


def _units(path: str, table: Any) -> Item:
    shape = (len(table),)
    fault = ""
    if len(table) == 0:
        fault = "the table has no units"
    elif table.spike_times is None:
        fault = "the table has no column spike_times"
    elif table.spike_times_index is None:
        fault = "it has no spike_times_index, which says which unit each spike is of"
    elif len(set(ids := np.asarray(table.id[:]).tolist())) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        fault = f"the unit id {twice} is there more than once"
    return Item(path, table, "spikes", fault=fault, shape=shape, unit="s")


def _series(path: str, series: Any) -> Item:
    from pynwb.behavior import BehavioralTimeSeries, EyeTracking, SpatialSeries
    from pynwb.ecephys import LFP, ElectricalSeries, FilteredEphys, SpikeEventSeries

    role: Role = ""
    unit = str(series.unit or "")
    tier, note = 0, "not a type that sessions are made of"
    if isinstance(series, SpikeEventSeries):
        note = "waveforms of spikes are not used"
    elif isinstance(series, ElectricalSeries):
        role = "lfp"
        tier = next(
            (n for n, kind in enumerate((LFP, FilteredEphys)) if isinstance(series.parent, kind)),
            UNDECLARED,
        )
        note = "there is one inside LFP or FilteredEphys, which comes first"
    elif isinstance(series, SpatialSeries) or isinstance(series.parent, BehavioralTimeSeries):
        role = "behavior"
        tier = int(isinstance(series.parent, EyeTracking))
        note = "behavior other than the eyes' comes first"
    elif type(series).__name__ == "TimeSeries" and _kind(series.data) in "biuf":
        role, tier = "behavior", ONLY_BY_NAME
        note = f"a plain TimeSeries: used if asked for, behavior={os.path.basename(path)!r}"
    shape = tuple(int(size) for size in np.shape(series.data))
    rate_hz, fault = _timing(series, shape)
    if role and not fault:
        fault = _shape_fault(series, shape, role)
    return Item(path, series, role, tier, note, fault, shape, rate_hz, unit)


def _kind(data: Any) -> str:
    return getattr(getattr(data, "dtype", None), "kind", "O")


def _timing(series: Any, shape: tuple[int, ...]) -> tuple[float | None, str]:
    """Samples a second, and what is wrong with them."""
    if series.rate is not None:
        rate_hz = float(series.rate)
        usable = np.isfinite([rate_hz, float(series.starting_time or 0.0)]).all() and rate_hz > 0
        return rate_hz, "" if usable else f"its rate is {rate_hz} Hz"
    if series.timestamps is None:
        return None, "it has neither a rate nor timestamps"
    stamps = tuple(int(size) for size in np.shape(series.timestamps))
    count = max(stamps, default=0)
    if stamps not in ((count,), (count, 1), (1, count)):
        return None, f"the shape of its timestamps is {stamps}, not one for each sample"
    if shape and count != shape[0]:
        return None, f"it has {shape[0]} samples and {count} timestamps"
    if count < 2:
        return None, f"it has {count} samples"
    first = series.timestamps[:1000] if len(stamps) == 1 else np.ravel(series.timestamps)[:1000]
    period = usual_period(np.asarray(first, np.float64))
    return (1 / period if np.isfinite(period) and period > 0 else None), ""


def _shape_fault(series: Any, shape: tuple[int, ...], role: Role) -> str:
    if len(shape) not in (1, 2) or _kind(series.data) not in "biuf":
        return f"its data are {_kind(series.data)!r} of shape {shape}, not numbers by time"
    if shape[0] < 2:
        return f"it has {shape[0]} samples"
    channels = shape[1] if len(shape) == 2 else 1
    if channels == 0:
        return f"it has no {'channels' if role == 'lfp' else 'columns'}: its shape is {shape}"
    if role == "lfp":
        for what, values in (
            ("electrodes", series.electrodes.data if series.electrodes is not None else None),
            ("factors in channel_conversion", series.channel_conversion),
        ):
            if values is not None and len(values) != channels:
                return f"it has {channels} channels and {len(values)} {what}"
    return ""
