"""The network of :func:`spikelfp_lab.analysis.gru`: its shape, what it learns, how it predicts."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import autocast, own_random_state, pick_device
from spikelfp_lab.models.encode import _cover
from spikelfp_lab.sessions import bins_in, usable_runs, window_starts
from spikelfp_lab.training.batches import SessionWindows, augment, draw
from spikelfp_lab.training.loop import fit

_WIDEST = 8192
_BATCH = 64  # windows at a time, where nothing is learned


class Shape(NamedTuple):
    """All of a network but its width."""

    inputs: int
    outputs: int
    layers: int = 1
    bidirectional: bool = False

    def parameters(self, hidden: int) -> int:
        """Number of weights and biases."""
        ways = 1 + self.bidirectional
        first = 3 * hidden * (self.inputs + hidden + 2)
        further = 3 * hidden * (ways * hidden + hidden + 2)
        read_out = self.outputs * (ways * hidden + 1)
        return ways * (first + (self.layers - 1) * further) + read_out


def hidden_size(shape: Shape, *, hidden: int | None, parameters: int | None) -> int:
    """The width that is asked for, or the one whose number of parameters is nearest to that asked for."""
    if hidden is not None and parameters is not None:
        raise ConfigError(
            f"hidden is {hidden} and parameters {parameters}: each fixes the size, give one of them."
        )
    if shape.layers < 1 or (hidden is not None and hidden < 1):
        raise ConfigError(f"layers is {shape.layers} and hidden {hidden}: give at least 1 of each.")
    if parameters is None:
        return 64 if hidden is None else hidden
    least, most = shape.parameters(1), shape.parameters(_WIDEST)
    if not least <= parameters <= most:
        raise ConfigError(
            f"A GRU of {shape.inputs} inputs, {shape.outputs} outputs and {shape.layers} layer(s) "
            f"has between {least} and {most} parameters, not {parameters}."
        )
    return min(range(1, _WIDEST + 1), key=lambda n: abs(shape.parameters(n) - parameters))


class Recurrent(nn.Module):
    """(B, T, inputs) -> (B, T, outputs); with the two records that the training loop keeps."""

    def __init__(self, shape: Shape, hidden: int):
        super().__init__()
        self.gru = nn.GRU(
            shape.inputs,
            hidden,
            num_layers=shape.layers,
            bidirectional=shape.bidirectional,
            batch_first=True,
        )
        self.read_out = nn.Linear(hidden * (1 + shape.bidirectional), shape.outputs)
        self.history = pd.DataFrame()
        self.info: dict[str, Any] = {}

    def forward(self, values: Tensor) -> Tensor:
        return self.read_out(self.gru(values)[0])


class Regression:
    """The objective: squared error of the standardized behavior, each bin by what it will count for."""

    def __init__(self, windows: SessionWindows, weight: Tensor, *, train: TrainConfig):
        self.windows, self.weight, self.train = windows, weight, train

    def loss(self, model: Any, step: int) -> dict[str, Tensor]:
        train = self.train
        _, starts = draw([self.windows], batch=train.batch, seed=train.seed, step=step)
        values = self.windows.cut(self.windows.values, starts)
        values = augment(values, drop=train.drop_inputs, noise=train.noise)
        return {"loss": self._error(model, values, starts)}

    def validate(self, model: Any) -> dict[str, float]:
        errors = []
        for starts in np.array_split(self.windows.val, -(-len(self.windows.val) // _BATCH)):
            values = self.windows.cut(self.windows.values, starts)
            errors.append(self._error(model, values, starts).item() * len(starts))
        mean = sum(errors) / len(self.windows.val)
        return {"score": mean, "loss": mean}

    def _error(self, model: Any, values: Tensor, starts: np.ndarray) -> Tensor:
        behavior = self.windows.cut(self.windows.targets["behavior"], starts)
        squared = ((model(values).float() - behavior) ** 2).mean(dim=(0, 2))
        return (squared * self.weight).sum() / self.weight.sum()


@own_random_state()
def fit_and_predict(
    table: xr.Dataset,
    split: xr.DataArray,
    shape: Shape,
    hidden: int,
    *,
    train: TrainConfig,
    device: str | torch.device,
    progress: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
    """(time, axis) predictions in the units of ``behavior``, and what is to be said of the network.

    ``table`` has ``inputs``, standardized, and ``behavior``; ``split`` is that of ``train``.
    """
    place = pick_device(device)
    length = bins_in(train.window_s, bin_size_s=table.attrs["bin_size_s"])
    both = ("inputs", "behavior")
    starts = window_starts(table, split, "train", length=length, stride=1, variables=both)
    seen = np.unique(starts[:, None] + np.arange(length))
    behavior = table["behavior"].values
    mean, std = behavior[seen].mean(axis=0), behavior[seen].std(axis=0)
    std = np.where(std > 0, std, 1.0)
    windows = SessionWindows(
        name="gru",
        modality="lfp",
        size=shape.inputs,
        values=torch.as_tensor(table["inputs"].values, dtype=torch.float32, device=place),
        bin_size_s=float(table.attrs["bin_size_s"]),
        mean=mean,
        std=std,
        train=starts,
        val=window_starts(table, split, "val", length=length, variables=both),
        length=length,
        targets={
            "behavior": torch.as_tensor((behavior - mean) / std, dtype=torch.float32, device=place)
        },
    )
    torch.manual_seed(train.seed)
    model = Recurrent(shape, hidden).to(place)
    weight = _weight(length, shape.bidirectional, place)
    objective = Regression(windows, weight, train=train)
    # The loop asks of a model what every module has, and the two records.
    fit(cast(Autoencoder, model), objective, train=train, label="gru", progress=progress)

    runs = usable_runs(table, variables=("inputs",))
    predicted = _predict(model, windows.values, runs, length=length) * std + mean
    info = {
        "hidden": hidden,
        "layers": shape.layers,
        "bidirectional": int(shape.bidirectional),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "best_step": model.info["best_step"],
    }
    return predicted, info


def _weight(length: int, bidirectional: bool, device: torch.device) -> Tensor:
    """(length,) how much each bin of a window counts: by how much of the window it can draw on."""
    position = torch.arange(length, device=device, dtype=torch.float32)
    if bidirectional:
        return 1.0 - (position - (length - 1) / 2).abs() / length
    return (position + 1) / length


def _predict(model: Recurrent, values: Tensor, runs: np.ndarray, *, length: int) -> np.ndarray:
    """(time, axis) weighted mean over windows that overlap by half; NaN outside the runs."""
    place = values.device
    total = torch.zeros(len(values), model.read_out.out_features, device=place)
    weight = torch.zeros(len(values), 1, device=place)
    with torch.inference_mode(), autocast(place):
        for size, starts in _cover(runs, length):
            own = _weight(size, model.gru.bidirectional, place)[:, None]
            for chunk in np.array_split(starts, -(-len(starts) // _BATCH)):
                index = torch.as_tensor(chunk, device=place)[:, None] + torch.arange(
                    size, device=place
                )
                guess = model(values[index]).float() * own
                total.index_add_(0, index.flatten(), guess.flatten(0, 1))
                weight.index_add_(0, index.flatten(), own.repeat(len(chunk), 1))
    return (total / torch.where(weight > 0, weight, torch.nan)).cpu().numpy().astype(np.float64)
