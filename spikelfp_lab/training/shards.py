"""How training is shared: sessions are dealt into shards, and processes take some each.

Each step draws, from every shard, one session in proportion to its training windows and a part of
the batch in it; gradients are weighted by the shards' shares of all windows, so that a session
counts for its length. What is drawn depends on (seed, step, shard) alone, which lets a killed run
go on exactly where it stopped. ``torchrun`` starts processes, Hugging Face Accelerate connects
them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.autoencoder import VARIABLES, Modality
from spikelfp_lab.models.device import pick_device
from spikelfp_lab.training.batches import KnownSession, SessionWindows, windows_of


@dataclass(frozen=True)
class Processes:
    """This process, of ``rank``, among the ``count`` that train together; by default the only one.

    Every process calls the methods below equally often and in the same order: each waits there.

    >>> alone = Processes(torch.device("cpu"))
    >>> alone.is_main, alone.sum(torch.ones(2)).tolist(), list(alone.own(3))
    (True, [1.0, 1.0], [0, 1, 2])
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    reduce: Callable[[Tensor, str], Tensor] | None = None

    @classmethod
    def join(cls, device: str | torch.device = "auto") -> Self:
        """Join the others that ``torchrun`` started; each takes the GPU of its place."""
        place = pick_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(place)
        try:
            from accelerate import Accelerator
        except ImportError as error:
            cure = 'pip install "spikelfp_lab[distributed]"'
            raise ConfigError(f"many processes need the package accelerate: {cure}") from error
        if place.type == "cuda":
            place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        all_ = Accelerator(cpu=place.type == "cpu")
        return cls(place, all_.process_index, all_.num_processes, all_.reduce)  # type: ignore[arg-type]

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that shows progress, writes files and calls callbacks."""
        return self.rank == 0

    def own(self, shards: int) -> range:
        """This process's part of so many shards, which all processes must share evenly."""
        if shards % self.count:
            raise ConfigError(
                f"{self.count} processes cannot share TrainConfig(shards={shards}) evenly: set "
                f"shards to {self.count} or a multiple of it, and batch to a multiple of shards"
            )
        each = shards // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes of a tensor of the same shape in each, equal to the last bit."""
        if self.reduce is None:
            return tensor
        return self.reduce(tensor.to(self.device), "sum").to(tensor.device)

    def gather(self, items: list) -> list:
        """The items (JSON-like or arrays) of all processes, in the order of their ranks."""
        if self.count == 1:
            return items
        from accelerate.utils import gather_object

        return gather_object(items)

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.sum(torch.tensor(float(flag))).item())

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails here in one process alone is an error in all, which else would wait for it."""
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.any(failure is not None):
            raise failure or DataError("another process of this training failed: see its message")


def deal(windows: Sequence[int], shards: int) -> list[list[int]]:
    """Deal sessions of so many training windows into shards that have about the same number.

    Where there are fewer sessions than shards, the longest ones are in several.

    >>> deal([100, 60, 50, 10], 2), deal([100, 60], 3)
    ([[0, 3], [1, 2]], [[0], [0], [1]])
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
    """Each shard's share of all training windows; a session gives each of its shards the same.

    >>> shard_weights([[0], [0], [1]], [100, 100])
    [0.25, 0.25, 0.5]
    """
    copies, total = np.bincount([i for group in groups for i in group]), sum(windows)
    return [float(sum(windows[i] / copies[i] for i in group) / total) for group in groups]


Named = Mapping[str, xr.Dataset]
Make = Callable[[xr.Dataset, str], SessionWindows]


class Shards:
    """All sessions of a training, of which this process holds those of its own shards.

    ``make(session, name)`` makes a session ready, in a process that holds it. ``sessions`` are all
    of them, ``held`` those of this process, by their place; ``groups`` the places of each shard;
    ``shares`` this process's shards, and the weight of each.
    """

    def __init__(
        self,
        named: Named,
        make: Make,
        *,
        modality: Modality,
        train: TrainConfig,
        processes: Processes,
    ):
        self.train, self.processes, self.turn = train, processes, 0
        own = processes.own(train.shards)
        counts = torch.ones(len(named), dtype=torch.float64)
        with processes.together():
            for i, session in enumerate(named.values()) if train.shards > 1 else ():
                counts[i] = 0  # of those that another process counts
                if i % processes.count == processes.rank:
                    counts[i] = len(windows_of(session, train, VARIABLES[modality]))
        self.groups = deal(processes.sum(counts).int().tolist(), train.shards)
        with processes.together():
            self.held = {
                i: make(session, name)
                for i, (name, session) in enumerate(named.items())
                if any(i in self.groups[shard] for shard in own)
            }
        # A session in several shards is told of by the process that has the first of these.
        first = {i: shard for shard, group in reversed([*enumerate(self.groups)]) for i in group}
        self.told = [i for i in self.held if first[i] in own]
        names = [each.name for each in fields(KnownSession)]
        known = [(i, {name: getattr(self.held[i], name) for name in names}) for i in self.told]
        rows = sorted(processes.gather(known), key=lambda row: row[0])
        self.sessions = [KnownSession(**one) for _, one in rows]
        weights = shard_weights(self.groups, [one.n_train for one in self.sessions])
        self.shares = {shard: weights[shard] for shard in own}

    def turns(self, step: int) -> Iterator[float]:
        """Set torch's random numbers for the turn of each own shard, and give its weight."""
        for shard, weight in self.shares.items():
            self.turn = shard
            seed_step(self.train, step, shard)
            yield weight

    def draw(self, step: int) -> tuple[SessionWindows, np.ndarray]:
        """A session of the shard whose turn it is, and starts of the shard's part of the batch."""
        rng, i = self._pick(step, self.turn)
        windows = self.held[i]
        return windows, rng.choice(windows.train, size=self.train.batch // self.train.shards)

    def drawn(self, step: int, shard: int) -> str:
        """Name of the session that a shard, of this or of another process, draws in a step."""
        return self.sessions[self._pick(step, shard)[1]].name

    def average(self, measure: Callable[[SessionWindows], dict[str, float]]) -> dict[str, float]:
        """Mean over all sessions of what is measured on each, the same in every process."""
        rows = dict(self.processes.gather([(i, measure(self.held[i])) for i in self.told]))
        return {name: float(np.mean([rows[i][name] for i in sorted(rows)])) for name in rows[0]}

    def _pick(self, step: int, shard: int) -> tuple[np.random.Generator, int]:
        seed = [self.train.seed, step, shard]  # numpy takes those of shard 0 for [seed, step]
        rng, group = np.random.default_rng(seed), self.groups[shard]
        weights = np.array([self.sessions[i].n_train for i in group], float)
        return rng, group[rng.choice(len(group), p=weights / weights.sum())]


def seed_step(train: TrainConfig, step: int, shard: int = 0) -> None:
    """Set torch's random numbers by (seed, step, shard) alone."""
    # On the CPU only 32 bits of a seed count: the odd factor spreads the shards over all of these.
    torch.manual_seed(train.seed * 1_000_003 + step + shard * 2_654_435_761)
