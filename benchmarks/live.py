"""Live decoding: what one frame costs, on one core, beside recomputing the window and beside a GRU
of the same size; and what an amplifier's samples add.

    python -m benchmarks.live [--long]

Untrained models: time does not depend on weights. A frame every 10 ms for 60 s; milliseconds, p50
and p99. ``--long`` sends ten minutes through the Lab Streaming Layer too. Writes
``results/live.csv``.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

import spikelfp_lab as sl
from spikelfp_lab.live import Decoder, run
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import BANDS_HZ

SIZES = {
    "d 64, 4 layers": {"mlp_ratio": 2},
    "d 256, 4 layers": {"width": 256, "heads": 8, "mlp_ratio": 2},
    "d 256, 10 layers": {"width": 256, "heads": 8, "layers": 10, "mlp_ratio": 2},
}
FRAMES, WINDOW = 6000, 200


def model_of(channels: int, fields: dict) -> Autoencoder:
    """A causal model that nobody has trained."""
    config = sl.ModelConfig(causal=True, bands_hz=BANDS_HZ, predictor_layers=0, **fields)
    torch.manual_seed(0)
    sizes = {"I/s01": channels}
    return Autoencoder(config, modality="lfp", sessions=sizes, bin_size_s=0.01).eval()


def timed(function, items) -> dict[str, float]:
    """Milliseconds a call, p50 and p99, the first hundred left out."""
    took = []
    for item in items:
        start = perf_counter()
        function(item)
        took.append(1000 * (perf_counter() - start))
    took = took[100:] if len(took) > 200 else took
    return {"p50_ms": np.percentile(took, 50), "p99_ms": np.percentile(took, 99)}


def gru_of(model: Autoencoder, channels: int) -> torch.nn.GRUCell:
    """A GRU cell of as many weights."""
    weights, inputs = sum(p.numel() for p in model.parameters()), channels * 4
    width = np.arange(8, 4096)
    hidden = int(width[np.argmin(np.abs(3 * width * (inputs + width) - weights))])
    return torch.nn.GRUCell(inputs, hidden)


@torch.inference_mode()
def frame_costs() -> list[dict]:
    """A row for each size, number of channels and way."""
    rows = []
    for channels in (32, 96):
        frames = np.random.default_rng(0).normal(size=(FRAMES, channels))
        for size, fields in SIZES.items():
            model = model_of(channels, fields)
            decoder = Decoder(model, session="I/s01")
            cell, state = gru_of(model, channels), None
            window = torch.zeros(1, WINDOW, channels * 4)
            inputs = torch.zeros(1, channels * 4)

            def step(_, cell=cell, inputs=inputs):
                nonlocal state
                state = cell(inputs, state)

            ways = {
                "Decoder.push": (decoder.push, frames),
                "window of 200 frames": (
                    lambda _, m=model, w=window: m.latents(w, "I/s01"),
                    range(60),
                ),
                "GRU": (step, range(2000)),
            }
            for way, (function, items) in ways.items():
                rows.append(
                    {"channels": channels, "size": size, "way": way} | timed(function, items)
                )
                print(rows[-1], flush=True)
    return rows


def raw_costs() -> list[dict]:
    """What 10 ms of 96 channels at 30 kHz take in all, for a minute of them."""
    model = model_of(96, SIZES["d 64, 4 layers"])
    decoder = Decoder(model, session="I/s01", raw_rate_hz=30_000.0, band_hz=(0.5, 50.0))
    pieces = [np.random.default_rng(i).normal(size=(300, 96)) for i in range(10)]
    took = timed(lambda i: decoder.push_raw(pieces[i % 10]), range(3000))
    about = {"channels": 96, "size": "d 64, 4 layers", "way": "Decoder.push_raw, 10 ms at 30 kHz"}
    return [about | took]


def stream(seconds: float) -> None:
    """Frames at 100 Hz through the Lab Streaming Layer: how many arrive, and how late."""
    session = sl.cohorts.simulated.session(duration_s=seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s01.zarr"
        sl.save_session(session, path)
        command = [sys.executable, "-m", "spikelfp_lab.live", "replay", str(path)]
        with subprocess.Popen(command):
            model = model_of(32, SIZES["d 64, 4 layers"])
            model.labels = {"I/s01": {"channel": [*map(str, session["channel"].values)]}}
            decoder = Decoder(model, session="I/s01")
            out = run(decoder, inlet="lfp")
    late = np.percentile(1000 * out["delay_s"], [50, 99])
    print(
        f"{len(out['delay_s'])} of {session.sizes['time']} frames, {decoder.gaps} gaps; decoded "
        f"{late[0]:.2f} ms after they were stamped, p99 {late[1]:.2f}"
    )


def main() -> None:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--long", action="store_true", help="ten minutes of a stream too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        rows = frame_costs() + raw_costs()
    path = Path(__file__).parent / "results" / "live.csv"
    pd.DataFrame(rows).round(3).to_csv(path, index=False)
    if asked.long:
        stream(600.0)


if __name__ == "__main__":
    main()
