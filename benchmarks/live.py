"""Live decoding: what one frame costs, on one core, beside recomputing the window and beside a GRU
of the same size; and what an amplifier's samples add.

    python -m benchmarks.live [--long]
    python -m benchmarks.live --seeds 3      # what a student loses that does not see ahead

Untrained models: time does not depend on weights. A frame every 10 ms for 60 s; milliseconds, p50
and p99. ``--long`` sends ten minutes through the Lab Streaming Layer too. Writes
``results/live.csv``.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
import pandas as pd
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

import spikelfp_lab as sl
from spikelfp_lab.live import Decoder, run
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import BANDS_HZ
from spikelfp_lab.study import Study
from spikelfp_lab.study.scoring import tabulate
from spikelfp_lab.study.specs import ModelSpec, model_specs

SIZES = {
    "d 64, 4 layers": {"mlp_ratio": 2},
    "d 256, 4 layers": {"width": 256, "heads": 8},
    "d 256, 10 layers": {"width": 256, "heads": 8, "layers": 10},
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


def specs_of(study: Study, seed: int, name: str) -> dict[str, ModelSpec]:
    """The student of a held-out session, and its causal twin."""
    spec = model_specs(study, "comparison", name, seed)["Distilled"]
    changes = {"model": {"causal": True}}
    return {
        "Distilled": spec,
        "Causal": replace(spec, folder=f"{spec.folder}_causal", changes=changes),
    }


def in_int8(model: Autoencoder, latents: xr.DataArray, session: xr.Dataset) -> xr.DataArray:
    """Latents of a session, frame by frame by the exported decoder with 8-bit weights."""
    decoder = Decoder(model, session=latents.attrs["encoded_as"])
    with tempfile.TemporaryDirectory() as folder:
        path = sl.live.export(decoder, Path(folder) / "decoder.onnx", int8=True)
        runtime, state = onnxruntime.InferenceSession(path), sl.live.first_state(decoder)
        made = []
        for frame in session["lfp"].to_numpy().astype(float):
            latent, _, *rest = runtime.run(None, {"frame": frame} | state)
            state = dict(zip(state, rest, strict=True))
            made.append(latent)
    return latents.copy(data=np.array(made, np.float32))


def score(study: Study, seed: int, name: str) -> pd.DataFrame:
    """All on test time, read out by the past alone."""
    session, options = study.sessions[name], {"split": study.split(name, seed)}
    options["readouts"] = ["one_frame", "past"]
    models = {label: study.model(spec) for label, spec in specs_of(study, seed, name).items()}
    found = {label: study.encode(model, session) for label, model in models.items()}
    found["Causal, int8"] = in_int8(models["Causal"], found["Causal"], session)
    tables = [sl.decode(x, session, **options).assign(model=label) for label, x in found.items()]
    return pd.concat(tables, ignore_index=True)


def accuracy(runs: Path, seeds: int) -> pd.DataFrame:
    """What a student loses that does not see ahead: subject V, after ``benchmarks.report``."""
    study = Study(cohort_name="simulated-V", n_seeds=seeds, runs=runs, full=True)
    study.make([s for run in study.runs_of_all for s in specs_of(study, *run).values()])
    table = tabulate(study, score, study.runs_of_all, "decode").query("split == 'test'")
    return table.groupby(["readout", "model", "session", "seed"], as_index=False)["r2"].mean()


def main() -> None:
    """Measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--long", action="store_true", help="ten minutes of a stream too")
    parser.add_argument(
        "--seeds", type=int, default=0, help="train causal students of V, and score"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trained models")
    asked, path = parser.parse_args(), Path(__file__).parent / "results" / "live.csv"
    if asked.seeds:
        table = accuracy(asked.runs, asked.seeds)
        table.round(4).to_csv(path.with_name("live_accuracy.csv"), index=False)
        print(
            table.groupby(["readout", "model"])["r2"].mean().unstack("model").round(3).to_string()
        )
        return
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = pd.DataFrame(frame_costs() + raw_costs()).round(3)
    table.to_csv(path, index=False)
    print(table.to_string(index=False))
    if asked.long:
        stream(600.0)


if __name__ == "__main__":
    main()
