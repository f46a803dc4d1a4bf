"""The network of :func:`spikelfp_lab.analysis.gru`: a GRU, its training and its predictions."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from spikelfp_lab._ridge import standardization
from spikelfp_lab.analysis._inputs import Inputs
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.device import autocast, own_random_state, pick_device
from spikelfp_lab.models.overlap import cover, overlap_mean, ramps
from spikelfp_lab.sessions import bins_in, usable_runs, window_starts
from spikelfp_lab.training.batches import augment

GRU_TRAIN = TrainConfig(
    steps=600, batch=16, lr=3e-3, val_every=25, patience=8, drop_inputs=0.5, noise=0.5
)
BATCH = 64  # windows at a time, where nothing is learned
WIDEST = 4096


class GRU(nn.Module):
    """(B, T, inputs) -> (B, T, outputs)."""

    def __init__(self, inputs: int, outputs: int, hidden: int, bidirectional: bool):
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True, bidirectional=bidirectional)
        self.output = nn.Linear(hidden * (1 + bidirectional), outputs)

    def forward(self, values: Tensor) -> Tensor:
        return self.output(self.gru(values)[0])

    def weight(self, length: int) -> Tensor:
        """(length,) how much a bin of a window counts: by how much of it the bin can draw on."""
        both = self.gru.bidirectional
        return ramps(length // 2, length) if both else torch.arange(1, length + 1) / length


@own_random_state()
def fit_and_predict(
    data: Inputs, train: TrainConfig, parameters: int, ahead: bool, device: str, progress: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """(time, axis) predictions of the behavior from standardized inputs, and attrs."""
    place, split, behavior = pick_device(device), data.split, data.behavior
    table = data.session.assign(
        inputs=(("time", "input"), data.values), behavior=(("time", "behavior_dim"), behavior)
    )
    length = bins_in(split.attrs.get("window_s", 2.0), bin_size_s=table.attrs["bin_size_s"])
    window, both = np.arange(length), ("inputs", "behavior")
    starts = window_starts(table, split, "train", length=length, stride=1, variables=both)
    val = window_starts(table, split, "val", length=length, variables=both)
    mean, scale = standardization(behavior[np.unique(starts[:, None] + window)])
    x = torch.as_tensor(data.values, dtype=torch.float32, device=place)
    y = torch.as_tensor((behavior - mean) / scale, dtype=torch.float32, device=place)
    inputs, outputs, ways = x.shape[1], y.shape[1], 1 + ahead

    def off(n: int) -> int:
        """By how many parameters a hidden width misses what is asked for."""
        return abs(ways * 3 * n * (inputs + n + 2) + outputs * (ways * n + 1) - parameters)

    hidden = min(range(1, WIDEST + 1), key=off)
    torch.manual_seed(train.seed)
    model = GRU(inputs, outputs, hidden, ahead).to(place)
    weight = model.weight(length).to(place)

    def error(values: Tensor, bins: np.ndarray) -> Tensor:
        squared = (model(values).float() - y[bins]).square().mean(dim=(0, 2))
        return (squared * weight).sum() / weight.sum()

    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, weight_decay=train.weight_decay)
    last = 1 / (25 * max(train.final_lr, 1e-6))
    rates = {"total_steps": train.steps + 1, "pct_start": train.warmup, "final_div_factor": last}
    schedule = OneCycleLR(optimizer, train.lr, cycle_momentum=False, **rates)
    rng = np.random.default_rng(train.seed)
    best, best_step, weights = np.inf, 0, deepcopy(model.state_dict())
    for step in tqdm(range(1, train.steps + 1), desc="gru", unit="step", disable=not progress):
        bins = rng.choice(starts, size=train.batch)[:, None] + window
        with autocast(place):
            loss = error(augment(x[bins], train), bins)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
        schedule.step()
        if step % train.val_every == 0 or step == train.steps:
            chunks = np.array_split(val[:, None] + window, -(-len(val) // BATCH))
            with torch.inference_mode(), autocast(place):
                found = sum(float(error(x[chunk], chunk)) * len(chunk) for chunk in chunks)
            if not np.isfinite(found):
                raise DataError(f"the GRU's loss is no longer finite at step {step}: lower lr.")
            if found < best:
                best, best_step, weights = found, step, deepcopy(model.state_dict())
            elif train.patience and step - best_step >= train.patience * train.val_every:
                break
    model.load_state_dict(weights)
    runs = usable_runs(table, variables=("inputs",))
    windows = [batch for run in runs for batch in cover(run[None], length, BATCH, length // 2)]
    predicted = overlap_mean(model, x, windows, model.weight, outputs)
    count = sum(p.numel() for p in model.parameters())
    attrs = {"hidden": hidden, "parameters": count, "best_step": best_step, "seed": train.seed}
    return predicted.astype(np.float64) * scale + mean, attrs
