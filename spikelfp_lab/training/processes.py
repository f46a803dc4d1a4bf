"""The processes that train one model together: what they know of each other, and the sum over them.

``torchrun`` starts the processes, Hugging Face Accelerate connects them. Without ``torchrun`` there
is one process, for which all of this does nothing and nothing further is imported."""

from __future__ import annotations

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
    """This process among those that train together; by default the only one.

    Every process calls :meth:`sum`, :meth:`any` and :meth:`together` the same number of times and
    in the same order: each waits for the others there.

    Attributes
    ----------
    device : torch.device
        Of this process.
    rank, count : int
        Which process this is, from 0, of how many.

    Examples
    --------
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
        """Join the others that ``torchrun`` started, if it started more than one.

        Parameters
        ----------
        device : str or torch.device
            "auto" and "cuda" are, for each process, the GPU of its place on its machine.

        Raises
        ------
        ConfigError
            Accelerate is not installed, a machine has fewer GPUs than processes, or all processes
            are sent to one GPU.
        """
        place = pick_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(place)
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ConfigError(
                "training in many processes needs the package accelerate, which is not installed: "
                'pip install "spikelfp_lab[distributed]"'
            ) from error
        if place.type == "cuda":
            place = _own_gpu(place)
        try:
            accelerator = Accelerator(cpu=place.type == "cpu")
        except ValueError as error:  # Accelerate is set up once a process
            raise ConfigError(_OTHER_DEVICE.format(place.type)) from error
        if accelerator.device.type != place.type:
            raise ConfigError(_OTHER_DEVICE.format(place.type))
        return cls(place, accelerator.process_index, accelerator.num_processes, accelerator.reduce)  # type: ignore[arg-type]

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that shows progress, writes files and calls callbacks."""
        return self.rank == 0

    def own(self, shards: int) -> range:
        """This process's part of so many shards; a :class:`ConfigError` unless all processes get
        the same number.
        """
        if shards % self.count:
            raise ConfigError(
                f"{self.count} processes cannot share TrainConfig(shards={shards}) evenly: set "
                f"shards to {self.count} or a multiple of it, and batch to a "
                f"multiple of shards, or start a number of processes that divides {shards}"
            )
        each = shards // self.count
        return range(self.rank * each, (self.rank + 1) * each)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes of a tensor of the same shape in each, the same to the last bit in
        all of them.
        """
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
        """A context for what may fail in one process alone: the others then raise too, instead of
        waiting for it.
        """
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.any(failure is not None):
            raise failure or DataError(
                "another process of this training failed: its message says why"
            )


_OTHER_DEVICE = (
    "this process has trained on another kind of device than {0!r} before: under torchrun, give "
    "all calls of a script the same device"
)  # fmt: skip


def _own_gpu(asked: torch.device) -> torch.device:
    """The GPU of this process's place on its machine."""
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if asked.index not in (None, place):
        raise ConfigError(
            f"device {str(asked)!r} sends all processes to one GPU: under torchrun use "
            "device='auto'"
        )
    if place >= gpus:
        raise ConfigError(
            f"torchrun started process {place} of this machine, which has {gpus} "
            f"GPU{'s' * (gpus > 1)}: "
            "set --nproc-per-node to the number of GPUs, or train with device='cpu'"
        )
    return torch.device("cuda", place)
