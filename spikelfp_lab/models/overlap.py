"""Windows that overlap by a margin, and the weighted mean of what a network gives in each."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from spikelfp_lab.models.device import autocast


def cover(runs: np.ndarray, length: int, batch: int, shared: int) -> list[tuple[int, np.ndarray]]:
    """Batches (size, starts) of windows that cover every run (start, stop), each the last
    ``shared`` bins of the one before; a short run is one window.
    """
    by_size: dict[int, list[int]] = {}
    for start, stop in runs.tolist():
        size = min(length, stop - start)
        last = stop - size  # flush with the end
        by_size.setdefault(size, []).extend([*range(start, last, max(1, size - shared)), last])
    return [
        (size, chunk)
        for size, starts in by_size.items()
        for chunk in np.array_split(starts, -(-len(starts) // batch))
    ]


def ramps(shared: int, size: int) -> Tensor:
    """(size,) weights of a window's bins: one window fades into the next where they overlap."""
    inside = torch.arange(0.5, size).minimum(torch.arange(size - 0.5, 0, -1))
    return (inside / max(shared, 1)).clamp(max=1.0)


def after(reach: int, size: int) -> Tensor:
    """(size,) weights for a causal network: the first ``reach`` bins count where nothing else is
    known of them, at the start of a run.
    """
    return torch.where(torch.arange(size) < reach, 1e-9, 1.0)


@torch.inference_mode()
def overlap_mean(
    network: Callable[[Tensor], Tensor], values: Tensor,
    windows: Iterable[tuple[int, np.ndarray]], weigh: Callable[[int], Tensor], width: int,
) -> np.ndarray:  # fmt: skip
    """(time, width) mean of what the network gives for windows (B, size, C) of values (time, C)."""
    place = values.device
    total, weight = (torch.zeros(len(values), n, device=place) for n in (width, 1))
    with autocast(place):
        for size, starts in windows:
            own, steps = weigh(size).to(place)[:, None], torch.arange(size, device=place)
            bins = torch.as_tensor(starts, device=place)[:, None] + steps
            total.index_add_(0, bins.flatten(), (network(values[bins]).float() * own).flatten(0, 1))
            weight.index_add_(0, bins.flatten(), own.repeat(len(bins), 1))
    return (total / torch.where(weight > 0, weight, torch.nan)).cpu().numpy()
