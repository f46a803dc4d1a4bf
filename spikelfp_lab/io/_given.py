"""What a session is assembled from: small frozen objects, one for each part of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelfp_lab.io._streams import Derive, LFPFilter, Stream


@dataclass(frozen=True)
class Grid:
    """The clock that is asked for: bins, from when to when, and what is bridged."""

    bin_size_s: float = 0.01
    start_s: float | None = None
    stop_s: float | None = None
    max_gap_s: float = 0.25


@dataclass(frozen=True)
class Spikes:
    """Spike times (s) of units, and when each unit was observed, (k, 2), if that is known."""

    times: Sequence[np.ndarray]
    names: Sequence[str] | None = None
    observed: Sequence[np.ndarray | None] | None = None


@dataclass(frozen=True)
class Potential:
    """LFP, the names of its channels, and how it is filtered."""

    stream: Stream
    names: Sequence[str]
    chain: LFPFilter = field(default_factory=LFPFilter)


@dataclass(frozen=True)
class Behavior:
    """Positions or whatever they are, and what is derived from them."""

    stream: Stream
    names: Sequence[str]
    kind: str = "behavior"
    units: str = ""
    circular: bool = False
    derive: Derive | None = None
    smooth_s: float = 0.1


@dataclass(frozen=True)
class Intervals:
    """Trials (k, 2) in seconds, whether only they are kept, and times (k, 2) that do not count."""

    trials: np.ndarray | None = None
    only: bool = False
    invalid: np.ndarray | None = None


class Notes(list[tuple[Any, ...]]):
    """What the reader of a recording found: the arguments of add_finding, one by one."""

    def add(self, *finding: Any) -> None:
        self.append(finding)
