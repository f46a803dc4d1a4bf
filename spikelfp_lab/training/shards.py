"""The sessions of a training, dealt into shards.

Each step draws, from every shard, one session in proportion to its training windows and a part of
the batch in it. The step's gradient is the mean of the shards' gradients, each weighted by its
share of all training windows, so that whatever the dealing, a session counts for its length. What
is computed depends on the configs alone: one process takes all shards in turn, several take some
each, and their gradients are summed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.models.autoencoder import VARIABLES, Modality, Size
from spikelfp_lab.training.batches import (
    SessionWindows,
    draw,
    pick,
    session_size,
    training_windows,
)
from spikelfp_lab.training.processes import Processes


def deal(windows: Sequence[int], shards: int) -> list[list[int]]:
    """Deal sessions into shards that have about the same number of training windows.

    Parameters
    ----------
    windows : sequence of int
        Training windows of each session.
    shards : int

    Returns
    -------
    list of list of int
        The sessions of each shard, at least one. Where there are fewer sessions than shards, a
        shard is one session, and the longest sessions are in several.

    Examples
    --------
    >>> deal([100, 60, 50, 10], 2)
    [[0, 3], [1, 2]]
    >>> deal([100, 60], 3)
    [[0], [0], [1]]
    """
    order = sorted(range(len(windows)), key=lambda i: -windows[i])
    if len(order) < shards:
        copies = [1] * len(windows)
        for _ in range(shards - len(windows)):
            copies[max(order, key=lambda i: windows[i] / copies[i])] += 1
        return [[i] for i in range(len(windows)) for _ in range(copies[i])]
    groups: list[list[int]] = [[] for _ in range(shards)]
    for i in order:  # the longest first, each to the shard that has least
        min(groups, key=lambda group: (sum(windows[j] for j in group), len(group))).append(i)
    return [sorted(group) for group in groups]


def shard_weights(groups: Sequence[Sequence[int]], windows: Sequence[int]) -> list[float]:
    """Each shard's share of all training windows; a session that is in several shards gives each of
    them the same part.

    >>> shard_weights([[0], [0], [1]], [100, 100])
    [0.25, 0.25, 0.5]
    """
    copies = np.bincount([i for group in groups for i in group])
    return [
        float(sum(windows[i] / copies[i] for i in group) / sum(windows)) for group in groups
    ]  # fmt: skip


@dataclass(frozen=True)
class KnownSession:
    """What every process knows of a session, whichever holds its data."""

    name: str
    size: Size  # units or channels, or both
    bin_size_s: float
    mean: np.ndarray  # (unit or channel,) that its values are z-scored by
    std: np.ndarray
    labels: dict[str, list[str]]  # of its units and channels
    n_train: int  # training windows


class Shards:
    """All sessions of a training, of which this process holds those of its own shards.

    Parameters
    ----------
    named : mapping of str to Dataset
        The sessions, the same ones in every process.
    make : function of (name, session) -> SessionWindows
        Makes a session ready for training; called for the sessions that this process holds.
    modality : {"spikes", "lfp", "both"}
        What is read of them.
    train : TrainConfig
    processes : Processes

    Attributes
    ----------
    sessions : list of KnownSession
        All of them.
    held : dict of int to SessionWindows
        Those of this process's shards, by their place in ``sessions``.
    groups : list of list of int
        The sessions of each shard.
    shares : dict of int to float
        This process's shards, and the weight of each.

    Raises
    ------
    ConfigError
        The processes cannot share the shards evenly.
    DataError
        What ``make`` raises, in this or in another process.
    """

    def __init__(
        self,
        named: Mapping[str, xr.Dataset],
        make: Callable[[str, xr.Dataset], SessionWindows],
        *,
        modality: Modality,
        train: TrainConfig,
        processes: Processes,
    ):
        self.train, self.processes, self.turn = train, processes, 0
        own = processes.own(train.shards)
        with processes.together():
            counts = self._count(named, modality) if train.shards > 1 else torch.ones(len(named))
        self.groups = deal(processes.sum(counts).int().tolist(), train.shards)
        with processes.together():
            self.held = {
                i: make(name, session)
                for i, (name, session) in enumerate(named.items())
                if any(i in self.groups[shard] for shard in own)
            }
        # A session in several shards is told of by the process that has the first of these.
        first = {i: shard for shard, group in reversed([*enumerate(self.groups)]) for i in group}
        self.told = [i for i in self.held if first[i] in own]
        known = []
        for i in self.told:
            one = self.held[i]
            numbers = (one.bin_size_s, one.mean, one.std, one.labels, len(one.train))
            known.append((i, KnownSession(one.name, one.size, *numbers)))
        self.sessions = [one for _, one in sorted(processes.gather(known), key=lambda row: row[0])]
        weights = shard_weights(self.groups, [one.n_train for one in self.sessions])
        self.shares = {shard: weights[shard] for shard in own}

    def turns(self, step: int) -> Iterator[float]:
        """Take the turns of this process's shards in a step: set torch's random numbers for each,
        and give its weight.
        """
        for shard, weight in self.shares.items():
            self.turn = shard
            seed_step(self.train, step, shard)
            yield weight

    def draw(self, step: int) -> tuple[SessionWindows, np.ndarray]:
        """A session of the shard whose turn it is, in proportion to its length, and that shard's
        part of the batch in it.
        """
        return draw(
            [self.held[i] for i in self.groups[self.turn]],
            batch=self.train.batch // self.train.shards,
            seed=self.train.seed,
            step=step,
            shard=self.turn,
        )

    def drawn(self, step: int, shard: int) -> str:
        """Name of the session that a shard, of this or of another process, draws in a step."""
        sessions = [self.sessions[i] for i in self.groups[shard]]
        rng = np.random.default_rng([self.train.seed, step, shard])
        return sessions[pick(rng, [one.n_train for one in sessions])].name

    def average(self, measure: Callable[[SessionWindows], dict[str, float]]) -> dict[str, float]:
        """Mean over all sessions of what is measured on each, the same in every process."""
        rows = dict(self.processes.gather([(i, measure(self.held[i])) for i in self.told]))
        return {name: float(np.mean([rows[i][name] for i in sorted(rows)])) for name in rows[0]}

    def _count(self, named: Mapping[str, xr.Dataset], modality: Modality) -> torch.Tensor:
        """Training windows of the sessions that fall to this process to count; 0 for the others."""
        counts = torch.zeros(len(named), dtype=torch.float64)
        for i, session in enumerate(named.values()):
            if i % self.processes.count == self.processes.rank:
                session_size(session, modality)  # which says it well if the modality is missing
                counts[i] = len(training_windows(session, VARIABLES[modality], self.train))
        return counts


def seed_step(train: TrainConfig, step: int, shard: int = 0) -> None:
    """Set torch's random numbers by (seed, step, shard) alone."""
    # On the CPU only 32 bits of a seed count: the odd factor spreads the shards over all of these.
    torch.manual_seed(train.seed * 1_000_003 + step + shard * 2_654_435_761)
