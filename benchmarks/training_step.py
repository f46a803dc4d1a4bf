"""Time of a masked-autoencoding training step, beside the same model without the savings, in one
run.

``dense`` is the plain masked autoencoder: all tokens go through the encoder, dropped ones as mask
tokens, and all of them through the predictor. ``visible only`` encodes the visible tokens and
predicts the dropped ones from these; ``half predicted`` asks for a random half of them, the same
loss on average, as ``smoke`` and ``demo`` do. Same sizes, same optimizer, same batch, same blocks;
the three take turns, so that a machine whose speed drifts is fair to all.

    python -m benchmarks.training_step
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pandas as pd
import torch

from spikelfp_lab import MaskConfig, ModelConfig
from spikelfp_lab.models import Autoencoder

BATCH, TIME, CHANNELS = 32, 100, 96  # x 3 patches of 32
MASK = MaskConfig(ratio=0.6)
HALF = MaskConfig(ratio=0.6, predicted=0.5)
MODEL = ModelConfig(width=64, layers=4, heads=2, spike_patch=32, channel_patch=32)
ROUNDS = 15


def visible_only(model: Autoencoder, values: torch.Tensor) -> torch.Tensor:
    return model.masked_loss(values, "I/s01", mask=MASK)


def half_predicted(model: Autoencoder, values: torch.Tensor) -> torch.Tensor:
    return model.masked_loss(values, "I/s01", mask=HALF)


def dense(model: Autoencoder, values: torch.Tensor) -> torch.Tensor:
    """The same objective with mask tokens in the encoder and self-attention over all tokens
    everywhere.
    """
    assert model.predictor is not None
    tokens = model.tokenizer(values, "I/s01")
    n_tokens = tokens.shape[1]
    patches = n_tokens // values.shape[1]
    positions = torch.arange(values.shape[1], device=values.device).repeat_interleave(patches)
    space = model.tokenizer.space[0].repeat(values.shape[1], 1)
    dropped = torch.rand(len(values), n_tokens, 1) < MASK.ratio
    latents = model.transformer(
        torch.where(dropped, model.predictor.mask_token + space, tokens), positions
    )
    states = model.predictor.transformer(model.predictor.narrow(latents), positions)
    index = torch.arange(n_tokens).expand(len(values), -1)
    use = dropped.view(len(values), -1, patches).repeat_interleave(MODEL.spike_patch, dim=2)
    return model.mean_loss(model.predictor.read_out, states, values, "I/s01", index, use)


STEPS = {"dense": dense, "visible only": visible_only, "half predicted": half_predicted}


def measure(modality: str) -> pd.DataFrame:
    torch.manual_seed(0)
    values = torch.randn(BATCH, TIME, CHANNELS)
    if modality == "spikes":
        values = torch.poisson(torch.full_like(values, 0.1))
    model = Autoencoder(MODEL, modality=modality, sessions={"I/s01": CHANNELS}, bin_size_s=0.01)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for round_ in range(ROUNDS + 2):
        for name, loss in STEPS.items():
            start = time.perf_counter()
            loss(model, values).backward()
            optimizer.step()
            optimizer.zero_grad()
            if round_ >= 2:  # the first two warm up
                times[name].append(time.perf_counter() - start)
    rows = [
        {
            "modality": modality,
            "step": name,
            "median_s": statistics.median(t),
            "min_s": min(t),
            "max_s": max(t),
        }
        for name, t in times.items()
    ]
    return pd.DataFrame(rows)


def main() -> None:
    table = pd.concat([measure("spikes"), measure("lfp")], ignore_index=True)
    dense_s = table[table["step"] == "dense"].set_index("modality")["median_s"]
    table["dense / this"] = table["modality"].map(dense_s) / table["median_s"]
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; {MODEL.layers} layers, "
        f"width {MODEL.width}, "
    )
    print(f"batch {BATCH} x {TIME} steps x {CHANNELS // 32} patches, {MASK.ratio:.0%} dropped\n")
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / "training_step.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(target, index=False)


if __name__ == "__main__":
    main()
