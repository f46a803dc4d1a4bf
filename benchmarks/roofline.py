"""Operations and bytes of a training step of each preset and model, the time they need at least on
this machine, and the time that was measured.

Operations are counted by PyTorch, forward and backward. Bytes are a lower bound: weights, gradients
and the two moments of AdamW are each read and written once, and the activations kept for the
backward pass are written once and read once. The floor is the larger of operations over the
measured rate of a large matrix product and bytes over the measured rate of a copy; no step can be
faster, and one of small matrices cannot come near.

    python -m benchmarks.roofline
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import Preset, Role, preset_configs
from spikelfp_lab.training.distillation import alignment

CHANNELS, BIN_S = 96, 0.01
PAPER_BATCH = 2  # of its 64 windows: a step of all is more than a CPU can be asked for here
CASES: tuple[tuple[str, Role], ...] = tuple(
    (preset, role) for preset in ("smoke", "demo", "paper") for role in ("spikes", "lfp", "distill")
)
ROUNDS = {"smoke": 9, "demo": 9, "paper": 3}


def machine_rates(device: torch.device) -> tuple[float, float]:
    """Operations a second of a matrix product in float32, and bytes a second of a copy; the best of
    several.
    """
    a = torch.randn(2048, 2048, device=device)
    block = torch.randn(2**26, device=device)  # 256 MB, more than any cache
    target = torch.empty_like(block)
    products = [_seconds(lambda: a @ a, device) for _ in range(8)]
    copies = [_seconds(lambda: target.copy_(block), device) for _ in range(8)]
    return 2 * 2048**3 / min(products), 2 * 4 * block.numel() / min(copies)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def step_of(
    preset: Preset, role: Role, batch: int, device: torch.device
) -> tuple[Autoencoder, Callable[[], None], list[int]]:
    """A model, one training step of it on random data, and where the step leaves the bytes of its
    kept activations.
    """
    torch.manual_seed(0)
    time_steps = round(preset.train.window_s / BIN_S)
    values = torch.randn(batch, time_steps, CHANNELS, device=device)
    if role == "spikes":
        values = torch.poisson(torch.full_like(values, 0.1))
    modality = "spikes" if role == "spikes" else "lfp"
    sessions = {"I/s01": CHANNELS}
    model = Autoencoder(preset.model, modality=modality, sessions=sessions, bin_size_s=BIN_S)
    model.to(device)
    teacher = torch.randn(batch, time_steps, preset.model.width, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    kept: list[int] = []

    def loss() -> torch.Tensor:
        if role != "distill":
            return model.masked_loss(values, "I/s01", mask=preset.mask)
        tokens = model.token_latents(values, "I/s01")
        return model.reconstruction_loss(tokens, values, "I/s01") + 5 * alignment(
            tokens.mean(dim=-2), teacher
        )

    def step() -> None:
        seen: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        if kept:
            total = loss()
        else:  # counted at the first step alone: the hook costs time
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                total = loss()
            kept.append(sum(seen.values()))
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return model, step, kept


def measure(device: torch.device) -> pd.DataFrame:
    flops_s, bytes_s = machine_rates(device)
    rows = []
    for name, role in CASES:
        preset = preset_configs(name, role)
        batch = PAPER_BATCH if name == "paper" and device.type == "cpu" else preset.train.batch
        preset = replace(preset, model=replace(preset.model, dropout=0.0))
        model, step, kept = step_of(preset, role, batch, device)
        step()
        # Products one by one: the counter does not know the fused attention of the CPU. What that
        # computes anew in the backward pass is not asked for.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            step()
        times = [_seconds(step, device) for _ in range(ROUNDS[name])]
        flops = counter.get_total_flops()
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        moved = (
            2 * kept[0] + 8 * weights
        )  # weights, gradients and two moments, each read and written
        floor = max(flops / flops_s, moved / bytes_s)
        rows.append(
            {
                "preset": name, "model": role, "batch": batch, "window_s": preset.train.window_s,
                "gflop": flops / 1e9, "mbyte": moved / 1e6, "floor_s": floor,
                "bound_by": "operations" if flops / flops_s > moved / bytes_s else "memory",
                "median_s": statistics.median(times), "min_s": min(times),
                "times_the_floor": statistics.median(times) / floor,
                "matrix_gflop_s": flops_s / 1e9, "copy_gbyte_s": bytes_s / 1e9,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = measure(device)
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}; 96 units or "
        "channels in bins of 10 ms\n"
    )
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / f"roofline_{device.type}.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(target, index=False)


if __name__ == "__main__":
    main()
