"""What an NWB file holds, found by type, and which of it a session is made of."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.signal.timeline import usual_period

Role = Literal["spikes", "lfp", "behavior", "trials", ""]
Choice = str | bool | None

# Role -> the argument of open_nwb that chooses or leaves out, and what becomes of what is used.
ARGUMENTS = {"spikes": "units", "lfp": "lfp", "behavior": "behavior", "trials": "trials"}
_USED = {"spikes": "counted in bins", "trials": "rows become the coordinate trial"}
_UNDECLARED = 2  # the tier of an ElectricalSeries that is neither inside LFP nor FilteredEphys
_RAW_ABOVE_HZ = 2000.0  # such a one that is faster than this is taken for raw voltage
_ONLY_BY_NAME = 9  # the tier of what is used only when it is asked for


@dataclass(frozen=True, eq=False)
class Item:
    """One object of the file: where it is, what it is, what it could be in a session."""

    path: str
    container: Any
    role: Role
    shape: tuple[int, ...]
    unit: str = "s"
    tier: int = 0  # within a role, lower is preferred
    note: str = ""  # why it is in that tier, or has no role
    fault: str = ""  # why it cannot be used
    rate_hz: float | None = None

    @property
    def is_raw(self) -> bool:
        """Whether it is raw voltage: not said to be LFP, and as fast as no LFP is."""
        undeclared = self.role == "lfp" and self.tier == _UNDECLARED
        return undeclared and (self.rate_hz or 0) > _RAW_ABOVE_HZ

    @property
    def type(self) -> str:
        """Name of its neurodata type."""
        return type(self.container).__name__

    def __str__(self) -> str:
        rate = "" if self.rate_hz is None else f", {self.rate_hz:g} Hz"
        return f"{self.path} ({self.type}, shape {self.shape}{rate}, {self.unit})"


def find_items(nwbfile: Any, io: Any) -> list[Item]:
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
        path = io.manager.get_builder(each).path.removeprefix("root").strip("/")
        if isinstance(each, TimeSeries):
            items.append(_series(path, each))
        elif isinstance(each, Units):
            faults = {"has no units": len(each), "has no spike_times": each.spike_times is not None}
            fault = next((f"the table {what}" for what, well in faults.items() if not well), "")
            items.append(Item(path, each, "spikes", (len(each),), fault=fault))
        else:
            note = "intervals other than trials are not read"
            if each is nwbfile.invalid_times:
                note = "what was recorded then is left out of the session"
            role: Role = "trials" if each is nwbfile.trials else ""
            items.append(Item(path, each, role, (len(each),), note=note))
    return sorted(items, key=lambda item: item.path)


def _series(path: str, series: Any) -> Item:
    """What a TimeSeries can be, and what is wrong with it."""
    from pynwb.behavior import BehavioralTimeSeries, EyeTracking, SpatialSeries
    from pynwb.ecephys import LFP, ElectricalSeries, FilteredEphys, SpikeEventSeries

    role: Role = ""
    tier, note, inside = 0, "not a type that sessions are made of", series.parent
    kind = getattr(getattr(series.data, "dtype", None), "kind", "O")
    shape = tuple(map(int, np.shape(series.data)))
    if isinstance(series, SpikeEventSeries):
        note = "waveforms of spikes are not used"
    elif isinstance(series, ElectricalSeries):
        role, note = "lfp", "there is one inside LFP or FilteredEphys, which comes first"
        kinds = (LFP, FilteredEphys)
        tier = next((n for n, each in enumerate(kinds) if isinstance(inside, each)), _UNDECLARED)
    elif isinstance(series, SpatialSeries) or isinstance(inside, BehavioralTimeSeries):
        role, note = "behavior", "behavior other than the eyes' comes first"
        tier = int(isinstance(inside, EyeTracking))
    elif type(series).__name__ == "TimeSeries" and kind in "biuf":
        role, tier = "behavior", _ONLY_BY_NAME
        note = f"a plain TimeSeries: used if asked for, behavior={os.path.basename(path)!r}"
    samples, width = (*shape, 1, 1)[:2]
    rate_hz, stamps = series.rate, samples
    if series.timestamps is not None:
        stamps = len(series.timestamps)
        period = usual_period(np.asarray(series.timestamps[:1000], np.float64))
        rate_hz = 1 / period if np.isfinite(period) and period > 0 else None
    parts = {"electrodes": width, "channel_conversion": width}
    for part in parts if role == "lfp" else ():
        if (values := getattr(series, part)) is not None:
            parts[part] = len(getattr(values, "data", values))
    faults = {
        f"its data are {kind!r} of shape {shape}, not numbers by time": (
            kind not in "biuf" or len(shape) not in (1, 2)
        ),
        f"it has {samples} samples": samples < 2,
        f"its shape is {shape}: it has no channels": width == 0,
        f"it has {samples} samples and {stamps} timestamps": stamps != samples,
        f"its rate is {rate_hz} Hz": series.rate is not None and not 0 < series.rate < np.inf,
        **{f"it has {width} channels and {n} {part}": n != width for part, n in parts.items()},
    }
    fault = next((text for text, wrong in faults.items() if role and wrong), "")
    return Item(path, series, role, shape, str(series.unit or ""), tier, note, fault, rate_hz)


def _candidates(items: list[Item], role: str, choice: Choice) -> list[Item]:
    """What a choice leaves of a role: a path or the end of one, or None for the best tier."""
    able = [item for item in items if item.role == role and choice is not False]
    if isinstance(choice, str):
        wanted = choice.strip("/")
        return [item for item in able if item.path == wanted] or [
            item for item in able if f"/{item.path}".endswith(f"/{wanted}")
        ]
    best = min((item.tier for item in able), default=0)
    return [item for item in able if item.tier == best < _ONLY_BY_NAME]


def choose(items: list[Item], role: str, choice: Choice, name: str) -> Item | None:
    """The one item of a role that is used; None when there is none, or ``choice`` is False."""
    found, argument = _candidates(items, role, choice), ARGUMENTS[role]
    named = isinstance(choice, str)
    if len(found) > 1 or (named and not found):
        listed = found or [item for item in items if item.role == role]
        lines = "".join(f"\n  {argument}={item.path!r}  {item}" for item in listed)
        what = f"; {argument}={choice!r} is the name of {len(found)} of them" if named else ""
        raise (ConfigError if named else DataError)(
            f"{name} holds {len(listed)} objects that can be {role}, and only one is used{what}. "
            f"Choose one, or pass {argument}=False to leave it out:{lines}"
        )
    if found and found[0].fault:
        raise DataError(
            f"{found[0].path} of {name} cannot be used: {found[0].fault}. Repair the file, or "
            f"leave it out with {argument}=False."
        )
    return found[0] if found else None


def verdict(item: Item, items: list[Item], choice: Choice) -> tuple[bool, str]:
    """Whether an item is used, and why."""
    if not item.role:
        return False, item.note
    found, argument = _candidates(items, item.role, choice), ARGUMENTS[item.role]
    named = isinstance(choice, str)
    used = _USED.get(item.role, "brought to the clock")
    reasons = {
        f"malformed: {item.fault}": bool(item.fault),
        "raw voltage: filtered and resampled": found == [item] and item.is_raw,
        used: found == [item],
        f"left out: {argument}=False": choice is False,
        f"{argument}={choice!r} is another": named and len(found) == 1,
        f"{argument}={choice!r} does not name one object": named,
        item.note: item not in found,
        f"one of several: choose with {argument}=": True,
    }
    return found == [item] and not item.fault, next(why for why, holds in reasons.items() if holds)
