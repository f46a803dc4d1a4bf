"""The network of :func:`spikelfp_lab.analysis.gru`: a GRU, its training and its predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm.auto import tqdm

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.device import autocast, own_random_state, pick_device
from spikelfp_lab.sessions import bins_in, usable_runs, window_starts

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


def hidden_size(inputs: int, outputs: int, parameters: int, bidirectional: bool) -> int:
    """The width whose number of parameters is nearest to that asked for."""
    ways = 1 + bidirectional
    n = np.arange(1, WIDEST + 1)
    counts = ways * 3 * n * (inputs + n + 2) + outputs * (ways * n + 1)
    if not counts[0] <= parameters <= counts[-1]:
        raise ConfigError(
            f"A GRU of {inputs} inputs and {outputs} outputs has between {counts[0]} and "
            f"{counts[-1]} parameters, not {parameters}."
        )
    return int(n[np.argmin(np.abs(counts - parameters))])


@own_random_state()
def fit_and_predict(
    table: xr.Dataset,
    split: xr.DataArray,
    *,
    parameters: int,
    bidirectional: bool,
    train: TrainConfig,
    device: str | torch.device,
    progress: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
    """(time, axis) predictions of ``behavior`` from the standardized ``inputs``, and attrs."""
    place = pick_device(device)
    length = bins_in(split.attrs.get("window_s", 2.0), bin_size_s=table.attrs["bin_size_s"])
    both = ("inputs", "behavior")
    starts = window_starts(table, split, "train", length=length, stride=1, variables=both)
    val = window_starts(table, split, "val", length=length, variables=both)
    behavior = table["behavior"].values
    seen = behavior[np.unique(starts[:, None] + np.arange(length))]
    mean, scale = seen.mean(axis=0), np.where(seen.std(axis=0) > 0, seen.std(axis=0), 1.0)
    x = torch.as_tensor(table["inputs"].values, dtype=torch.float32, device=place)
    y = torch.as_tensor((behavior - mean) / scale, dtype=torch.float32, device=place)
    torch.manual_seed(train.seed)
    hidden = hidden_size(x.shape[1], y.shape[1], parameters, bidirectional)
    model = GRU(x.shape[1], y.shape[1], hidden, bidirectional).to(place)
    weight = _weight(length, bidirectional, place)

    def error(values: Tensor, starts: np.ndarray) -> Tensor:
        squared = (model(values).float() - _windows(y, starts, length)).square().mean(dim=(0, 2))
        return (squared * weight).sum() / weight.sum()

    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, weight_decay=train.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        train.lr,
        total_steps=train.steps + 1,
        pct_start=train.warmup,
        final_div_factor=1 / (25 * max(train.final_lr, 1e-6)),
        cycle_momentum=False,
    )
    rng = np.random.default_rng(train.seed)
    best, best_step = np.inf, 0
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in tqdm(range(1, train.steps + 1), desc="gru", unit="step", disable=not progress):
        drawn = rng.choice(starts, size=train.batch)
        values = _windows(x, drawn, length)
        share = train.drop_inputs * torch.rand(len(values), 1, 1, device=place)
        kept = torch.rand(len(values), 1, values.shape[2], device=place) >= share
        with autocast(place):
            loss = error(values * kept + train.noise * torch.randn_like(values), drawn)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
        schedule.step()
        if step % train.val_every == 0 or step == train.steps:
            with torch.inference_mode(), autocast(place):
                chunks = np.array_split(val, -(-len(val) // BATCH))
                found = sum(float(error(_windows(x, c, length), c)) * len(c) for c in chunks)
            if not np.isfinite(found):
                why = f"the loss of the GRU is no longer finite at step {step}: lower lr."
                raise DataError(why)
            if found < best:
                best, best_step = found, step
                weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif train.patience and step - best_step >= train.patience * train.val_every:
                break
    model.load_state_dict(weights)
    runs = usable_runs(table, variables=("inputs",))
    predicted = _predict(model, x, runs, length=length) * scale + mean
    count = sum(p.numel() for p in model.parameters())
    attrs = {"hidden": hidden, "parameters": count, "best_step": best_step, "seed": train.seed}
    return predicted, attrs | {"bidirectional": int(bidirectional)}


def _windows(values: Tensor, starts: np.ndarray, length: int) -> Tensor:
    """(window, length, feature)."""
    steps = torch.arange(length, device=values.device)
    return values[torch.as_tensor(starts, device=values.device)[:, None] + steps]


def _weight(length: int, bidirectional: bool, device: torch.device) -> Tensor:
    """(length,) how much each bin of a window counts: by how much of the window it can draw on."""
    position = torch.arange(length, device=device, dtype=torch.float32)
    if bidirectional:
        return 1.0 - (position - (length - 1) / 2).abs() / length
    return (position + 1) / length


def _predict(model: GRU, x: Tensor, runs: np.ndarray, *, length: int) -> np.ndarray:
    """(time, axis) weighted mean over windows that overlap by half; NaN outside the runs."""
    total = torch.zeros(len(x), model.output.out_features, device=x.device)
    weight = torch.zeros(len(x), 1, device=x.device)
    with torch.inference_mode(), autocast(x.device):
        for start, stop in runs:
            size = min(length, int(stop - start))
            starts = np.arange(start, stop - size + 1, max(1, size // 2))
            if starts[-1] + size < stop:  # one more, flush with the end
                starts = np.append(starts, stop - size)
            own = _weight(size, model.gru.bidirectional, x.device)[:, None]
            for chunk in np.array_split(starts, -(-len(starts) // BATCH)):
                guesses = model(_windows(x, chunk, size)).float() * own
                for first, guess in zip(chunk, guesses, strict=True):
                    total[first : first + size] += guess
                    weight[first : first + size] += own
    return (total / torch.where(weight > 0, weight, torch.nan)).cpu().numpy().astype(np.float64)
