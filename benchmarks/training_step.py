"""A training step and encoding, beside a dense backbone of the same size in plain torch, in one
run, by turns.

The peer is written from the published description (arXiv 2512.12461, A.2): RMSNorm, rotary
positions (half of each head against the other), a gated MLP, one product for queries, keys and
values, fused attention, all tokens in every layer, no predictor. It stands for the authors'
backbone, which costs the same. Ours: the student's step, of all time steps and of the 40 % that it
sees (as trained); the masked autoencoder's with its predictor; and ``encode``, whose windows
overlap, against the peer's windows end to end. Writes ``results/training_step.csv``.

    python -m benchmarks.training_step
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

import spikelfp_lab as sl
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import PRESETS

# width, layers, heads, hidden width of the MLP / width; windows, bins, patches of 32 channels
SIZES = {
    "d 64, 4 layers, 8 x 400 x 1": (64, 4, 2, 2, 8, 400, 1),
    "d 64, 4 layers, 32 x 100 x 3": (64, 4, 2, 2, 32, 100, 3),
    "d 256, 10 layers, 2 x 500 x 3": (256, 10, 8, 4, 2, 500, 3),
}
ROUNDS, NAME, MINUTES = 5, "I/s01", 1
MASK = PRESETS["demo"]["lfp"].mask


class PeerBlock(nn.Module):
    """One block of the dense backbone."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate_up, self.down = (
            nn.Linear(width, 2 * ratio * width),
            nn.Linear(ratio * width, width),
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        parts = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        half = parts.shape[-1] // 2
        turned = torch.cat([-parts[:2, ..., half:], parts[:2, ..., :half]], dim=-1)
        q, k = parts[:2] * cos + turned * sin
        attended = F.scaled_dot_product_attention(q, k, parts[2])
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Peer(nn.Module):
    """Patches of 32 channels -> tokens -> blocks -> the patches again."""

    def __init__(self, width: int, layers: int, heads: int, ratio: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.tokens, self.read_out = nn.Linear(32, width), nn.Linear(width, 32)
        self.blocks = nn.ModuleList(PeerBlock(width, heads, ratio) for _ in range(layers))

    def forward(self, values: Tensor) -> Tensor:
        x = self.tokens(values.unflatten(-1, (-1, 32)).flatten(1, 2))
        at = torch.arange(values.shape[1]).repeat_interleave(values.shape[2] // 32)
        half = self.width // self.heads // 2
        angle = at[:, None] * 10_000 ** (-torch.arange(half) / half)
        cos, sin = (each(angle).repeat(1, 2) for each in (torch.cos, torch.sin))
        for block in self.blocks:
            x = block(x, cos, sin)
        return x


def step(model: nn.Module, loss) -> float:
    """Seconds of a step with its update."""
    start = time.perf_counter()
    loss().backward()
    with torch.no_grad():
        for each in model.parameters():
            if each.grad is not None:
                each -= 1e-6 * each.grad
    model.zero_grad()
    return time.perf_counter() - start


def measure(size: str) -> list[dict]:
    """Milliseconds of all, and how many times as long the peer's takes."""
    width, layers, heads, ratio, windows, bins, patches = SIZES[size]
    own = {"width": width, "layers": layers, "heads": heads, "mlp_ratio": ratio}
    channels = 32 * patches
    torch.manual_seed(0)
    values, peer = torch.randn(windows, bins, channels), Peer(width, layers, heads, ratio)
    known = {"modality": "lfp", "sessions": {NAME: channels}, "bin_size_s": 0.01}
    student = Autoencoder(sl.ModelConfig(predictor_layers=0, **own), **known)
    masked = Autoencoder(sl.ModelConfig(**own), **known)
    patched = values.unflatten(-1, (-1, 32)).flatten(1, 2)

    def of_student(share: float) -> Tensor:
        order = torch.rand(windows, bins).argsort(dim=1)
        steps = order[:, : round(share * bins)].sort(dim=1).values
        seen = None if share == 1 else steps
        latents = student.token_latents(values, NAME, steps=seen)
        wanted = values[torch.arange(windows)[:, None], steps] if share < 1 else values
        return student.reconstruction_loss(latents, wanted, NAME)

    steps = {
        "peer, dense": lambda: step(peer, lambda: F.mse_loss(peer.read_out(peer(values)), patched)),
        "student, all time steps": lambda: step(student, lambda: of_student(1.0)),
        "student, 60 % masked": lambda: step(student, lambda: of_student(0.4)),
        "masked autoencoder": lambda: step(
            masked, lambda: masked.masked_loss(values, NAME, mask=MASK)
        ),
    }
    rows = []
    for group in (steps, encoding(peer, student, windows, bins, channels)):
        times = {name: [] for name in group}
        for round_ in range(ROUNDS + 2):  # the first two warm up
            for name, one in group.items():
                took = one()
                times[name] += [took] * (round_ >= 2)
        first = np.median(next(iter(times.values())))
        rows += [
            {
                "size": size,
                "what": name,
                "ms": 1000 * np.median(t),
                "peer / this": first / np.median(t),
            }
            for name, t in times.items()
        ]
    return rows


def encoding(peer: Peer, student: Autoencoder, windows: int, bins: int, channels: int) -> dict:
    """The peer's windows end to end, four at a time, and ``encode``."""
    length = round(60 * MINUTES / 0.01) // bins * bins
    lfp = np.random.default_rng(0).standard_normal((length, channels), dtype=np.float32)
    coords = {"time": 0.01 * (0.5 + np.arange(length)), "channel": np.arange(channels)}
    attrs = {"subject": "I", "session": "s01", "bin_size_s": 0.01}
    session = xr.Dataset({"lfp": (("time", "channel"), lfp)}, coords, attrs)
    tiles = torch.as_tensor(lfp).unflatten(0, (-1, bins))

    def of_peer() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            for some in tiles.split(4):
                peer(some).unflatten(1, (bins, -1)).mean(2)
        return time.perf_counter() - start

    def ours() -> float:
        start = time.perf_counter()
        sl.encode(student, session, window_s=0.01 * bins, progress=False)
        return time.perf_counter() - start

    return {f"peer, {MINUTES} minute end to end": of_peer, f"encode, {MINUTES} minute": ours}


def main() -> None:
    """Measure, write the table."""
    table = pd.DataFrame([row for size in SIZES for row in measure(size)])
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32\n")
    print(table.round(2).to_string(index=False))
    path = Path(__file__).parent / "results" / "training_step.csv"
    table.round(3).to_csv(path, index=False)


if __name__ == "__main__":
    main()
