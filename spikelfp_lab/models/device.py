"""Which device to use, chosen once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spikelfp_lab._guard import reason
from spikelfp_lab.errors import ConfigError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """``"auto"``: the first CUDA device when there is one, else the CPU."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(best if device == "auto" else device)
        if chosen.type == "cuda" and best == "cpu":
            raise RuntimeError("torch sees no GPU")
        return chosen
    except RuntimeError as error:
        raise ConfigError(f"no device {device!r} ({reason(error)}); use device='auto'") from error


def autocast(device: torch.device) -> torch.autocast:
    """bf16 on CUDA; float32 on the CPU, where bf16 autocast is slower at these sizes."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@contextmanager
def own_random_state() -> Iterator[None]:
    """A context, or decorator, after which torch's random numbers go on as if it had not been."""
    own = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun gives each process a GPU
    with torch.random.fork_rng(devices=[own] if torch.cuda.is_available() else []):
        yield


@contextmanager
def on_device(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """A context in which a model is in eval mode on a device; then it is again as it was."""
    before, was_training = next(model.parameters()).device, model.training
    model.to(device).eval()
    try:
        yield
    finally:
        model.to(before).train(was_training)
