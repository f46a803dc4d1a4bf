"""The processes that train one model together: what they know of each other, and the sum over them.

``torchrun`` starts the processes, Hugging Face Accelerate connects them. Without ``torchrun`` there
is one process, for which all of this does nothing and nothing further is imported."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.device import pick_device


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
            place = _own_gpu(place)
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


def _own_gpu(asked: torch.device) -> torch.device:
    """The GPU of this process's place on its machine."""
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= gpus or asked.index not in (None, place):
        raise ConfigError(
            f"process {place} of this machine, which has {gpus} GPUs, cannot train on {asked}: set "
            "--nproc-per-node to the number of GPUs and device='auto', or device='cpu'"
        )
    return torch.device("cuda", place)
