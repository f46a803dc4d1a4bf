"""How training is shared: sessions are dealt into shards, and processes take some each.

Each step draws, from every shard, one session in proportion to its training windows and a part of
the batch in it; gradients are weighted by the shards' shares of all windows, so that a session
counts for its length. What is drawn depends on (seed, step, shard) alone, which lets a killed run
go on exactly where it stopped. ``torchrun`` starts processes, Hugging Face Accelerate connects
them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.autoencoder import VARIABLES, Modality
from spikelfp_lab.models.device import pick_device
from spikelfp_lab.training.batches import SessionWindows, windows_of


@dataclass(frozen=True)
class Processes:
    """This process, of ``rank``, among the ``count`` that train together; by default the only one.
    All call its methods equally often and in the same order: each waits there.
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

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes of a tensor of the same shape in each, equal to the last bit."""
        if self.reduce is None:
            return tensor
        return self.reduce(tensor.to(self.device), "sum").to(tensor.device)

    def gather(self, items: list) -> list:
        """The items of all processes, in the order of their ranks."""
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
    """Deal sessions of so many training windows into shards that have about the same number: 100,
    60, 50, 10 into [[0, 3], [1, 2]]. Of fewer sessions than shards the longest are in several.
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
    """Each shard's share of all training windows; a session gives each of its shards the same."""
    copies, total = np.bincount([i for group in groups for i in group]), sum(windows)
    return [float(sum(windows[i] / copies[i] for i in group) / total) for group in groups]


class Shards:
    """All ``sessions`` of a training, of which this process holds those of its own shards, made
    ready: ``held``, by place. ``groups`` are the places of each shard, ``shares`` the weights of
    this process's shards.
    """

    def __init__(
        self, named: Mapping[str, xr.Dataset], make: Callable[[xr.Dataset, str], SessionWindows], *,
        modality: Modality, train: TrainConfig, processes: Processes,
    ):  # fmt: skip
        self.train, self.processes, counts = train, processes, [1] * len(named)
        if train.shards % processes.count:
            raise ConfigError(
                f"{processes.count} processes cannot share TrainConfig(shards={train.shards}) "
                f"evenly: set shards to {processes.count} or a multiple of it, and batch to a "
                "multiple of shards"
            )
        each = train.shards // processes.count
        own = range(processes.rank * each, (processes.rank + 1) * each)
        if train.shards > 1:  # each process counts the training windows of some sessions
            mine = [*enumerate(named.values())][processes.rank :: processes.count]
            with processes.together():
                found = {i: len(windows_of(one, train, VARIABLES[modality])) for i, one in mine}
            counts = self._of_all(found)
        self.groups = deal(counts, train.shards)
        with processes.together():
            self.held = {
                i: make(session, name)
                for i, (name, session) in enumerate(named.items())
                if any(i in self.groups[shard] for shard in own)
            }
        self.sessions = self._of_all({i: one.outline() for i, one in self.held.items()})
        weights = shard_weights(self.groups, [one.n_train for one in self.sessions])
        self.shares = {shard: weights[shard] for shard in own}

    def turns(self, step: int) -> Iterator[tuple[float, SessionWindows, np.ndarray]]:
        """Each own shard's weight, a session and starts of its windows; sets torch's seed."""
        seed, part = self.train.seed, self.train.batch // self.train.shards
        for shard, weight in self.shares.items():
            # On the CPU only 32 bits of a seed count: the odd factor spreads shards over all of it.
            torch.manual_seed(seed * 1_000_003 + step + shard * 2_654_435_761)
            # numpy takes the seed of shard 0 for [seed, step]
            rng, group = np.random.default_rng([seed, step, shard]), self.groups[shard]
            counts = np.array([self.sessions[i].n_train for i in group], float)
            windows = self.held[group[rng.choice(len(group), p=counts / counts.sum())]]
            yield weight, windows, rng.choice(windows.train, size=part)

    def average(self, measure: Callable[[SessionWindows], dict[str, float]]) -> dict[str, float]:
        """Mean over all sessions of what is measured on each, the same in every process."""
        rows = self._of_all({i: measure(windows) for i, windows in self.held.items()})
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _of_all(self, own: dict[int, Any]) -> list[Any]:
        """What is known of each session, from the processes that hold it."""
        found = dict(self.processes.gather([*own.items()]))
        return [found[i] for i in sorted(found)]
