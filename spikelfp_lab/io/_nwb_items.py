"""What an NWB file holds, found by type, and which of it a session is made of."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io._streams import fault_of
from spikelfp_lab.signal.timeline import usual_period

Choice = str | bool | None

# Role -> the argument of open_nwb that chooses or leaves out, and what becomes of what is used.
ARGUMENTS = {"spikes": "units", "lfp": "lfp", "behavior": "behavior", "trials": "trials"}
_USED = {"spikes": "counted in bins", "trials": "rows become the coordinate trial"}
_BARE = 2  # the tier of an ElectricalSeries that is neither inside LFP nor FilteredEphys
_RAW_ABOVE_HZ = 2000.0  # such a one that is faster than this is taken for raw voltage
_ONLY_BY_NAME = 9  # the tier of what is used only when it is asked for


@dataclass(frozen=True, eq=False)
class Item:
    """One object of the file: where it is, what it is, what it could be in a session."""

    path: str
    container: Any
    role: str
    shape: tuple[int, ...]
    unit: str = "s"
    tier: int = 0  # within a role, lower is preferred
    note: str = ""  # why it is in that tier, or has no role
    fault: str = ""  # why it cannot be used
    rate_hz: float | None = None

    @property
    def is_raw(self) -> bool:
        """Whether it is raw voltage: not said to be LFP, and as fast as no LFP is."""
        return self.tier == _BARE and (self.rate_hz or 0) > _RAW_ABOVE_HZ

    def __str__(self) -> str:
        kind, rate = type(self.container).__name__, f"{self.rate_hz or np.nan:g} Hz"
        return f"{self.path} ({kind}, shape {self.shape}, {rate}, {self.unit})"


def find_items(nwbfile: Any) -> list[Item]:
    """Everything in the file that is a recording or a table of its times, in order of path.

    Looks at shapes, attributes and the first timestamps; reads no data.
    """
    from pynwb import TimeSeries
    from pynwb.epoch import TimeIntervals
    from pynwb.misc import Units

    items = []
    for each in nwbfile.objects.values():
        if not isinstance(each, (TimeSeries, Units, TimeIntervals)):
            continue
        path = nwbfile.read_io.manager.get_builder(each).path.removeprefix("root").strip("/")
        if isinstance(each, TimeSeries):
            items.append(_series(path, each))
        elif isinstance(each, Units):
            fault = "the table has no spike_times" if each.spike_times is None else ""
            items.append(Item(path, each, "spikes", (len(each),), fault=fault))
        else:
            notes = [(nwbfile.trials, ""), (nwbfile.invalid_times, "left out of the session")]
            others = "intervals other than trials are not read"
            note = next((note for table, note in notes if each is table), others)
            items.append(Item(path, each, "" if note else "trials", (len(each),), note=note))
    return sorted(items, key=lambda item: item.path)


def _series(path: str, series: Any) -> Item:
    """What a TimeSeries can be, and what is wrong with it."""
    from pynwb.behavior import BehavioralTimeSeries, EyeTracking, SpatialSeries
    from pynwb.ecephys import LFP, ElectricalSeries, FilteredEphys, SpikeEventSeries

    shape, rate_hz, stamps = tuple(map(int, np.shape(series.data))), series.rate, series.timestamps
    role, tier, note, inside = "", 0, "not a type that sessions are made of", series.parent
    unit, factors = str(series.unit or ""), getattr(series, "channel_conversion", None)
    region = getattr(series, "electrodes", None)
    fault = fault_of(series.name, series.data, rate_hz, stamps)
    if stamps is not None:
        period = usual_period(np.asarray(stamps[:1000], np.float64))
        rate_hz = 1 / period if 0 < period < np.inf else None
    if isinstance(series, SpikeEventSeries):
        note = "waveforms of spikes are not used"
    elif isinstance(series, ElectricalSeries):
        role, note = "lfp", "there is one inside LFP or FilteredEphys, which comes first"
        tier = 0 if isinstance(inside, LFP) else 1 if isinstance(inside, FilteredEphys) else _BARE
        parts = {"electrodes": region and region.data, "factors in channel_conversion": factors}
        for part, values in parts.items():
            if not fault and values is not None and len(values) != (*shape, 1)[1]:
                fault = f"{series.name} has {(*shape, 1)[1]} channels and {len(values)} {part}"
    elif isinstance(series, SpatialSeries) or isinstance(inside, BehavioralTimeSeries):
        role, note = "behavior", "behavior other than the eyes' comes first"
        tier = int(isinstance(inside, EyeTracking))
    elif type(series).__name__ == "TimeSeries" and not fault:
        role, tier = "behavior", _ONLY_BY_NAME
        note = f"a plain TimeSeries: used if asked for, behavior={os.path.basename(path)!r}"
    return Item(path, series, role, shape, unit, tier, note, fault, rate_hz)


def _candidates(items: list[Item], role: str, choice: Choice) -> list[Item]:
    """What a choice leaves of a role: a path or the end of one, or None for the best tier."""
    able = [item for item in items if item.role == role and choice is not False]
    if isinstance(choice, str):
        path = choice.strip("/")
        whole = [item for item in able if item.path == path]
        return whole or [item for item in able if f"/{item.path}".endswith(f"/{path}")]
    best = min((item.tier for item in able), default=0)
    return [item for item in able if item.tier == best < _ONLY_BY_NAME]


def choose(items: list[Item], role: str, choice: Choice, name: str) -> Item | None:
    """The one item of a role that is used; None when there is none, or ``choice`` is False."""
    found, argument = _candidates(items, role, choice), ARGUMENTS[role]
    if len(found) > 1 or (isinstance(choice, str) and not found):
        listed = found or [item for item in items if item.role == role]
        lines = "".join(f"\n  {argument}={item.path!r}  {item}" for item in listed)
        what = f"{argument}={choice!r} is not one object of {name}, which holds {len(listed)} "
        what += f"objects that can be {role}. Choose one, or pass {argument}=False to leave it out:"
        raise (ConfigError if isinstance(choice, str) else DataError)(what + lines)
    if found and found[0].fault:
        what = f"{found[0].path} of {name} cannot be used: {found[0].fault}"
        raise DataError(f"{what}. Repair the file, or leave it out with {argument}=False.")
    return found[0] if found else None


def verdict(item: Item, items: list[Item], choice: Choice) -> tuple[bool, str]:
    """Whether an item is used, and why."""
    if not item.role:
        return False, item.note
    found, argument = _candidates(items, item.role, choice), ARGUMENTS[item.role]
    used = found == [item]
    reasons = {
        f"malformed: {item.fault}": item.fault,
        "raw voltage: filtered and resampled": used and item.is_raw,
        _USED.get(item.role, "brought to the clock"): used,
        f"left out: {argument}=False": choice is False,
        f"{argument}={choice!r} is another, or not one object": isinstance(choice, str),
        item.note: item not in found,
        f"one of several: choose with {argument}=": True,
    }
    return used and not item.fault, next(why for why, holds in reasons.items() if holds)
