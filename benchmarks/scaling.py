"""How the cost of training the ``demo`` spike model grows: with the number of sessions, with their
units, and with their minutes.

One of the three grows at a time, from a session of 96 units and 5 minutes. Each case runs in a
process of its own, whose highest memory is told beside that of its imports and of the recordings.
Recordings are random counts: what they are does not change what they cost.

    python -m benchmarks.scaling
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

BIN_S = 0.01
SESSIONS, UNITS, MINUTES = 1, 96, 5.0
CASES: dict[str, tuple[tuple[int, int, float], ...]] = {
    "sessions": tuple((n, UNITS, MINUTES) for n in (1, 10, 30, 100)),
    "units": tuple((SESSIONS, n, MINUTES) for n in (32, 64, 128, 256)),
    "minutes": tuple((SESSIONS, UNITS, n) for n in (2.0, 10.0, 30.0, 60.0)),
}
STEPS = 20
MEASURED = ("prepare_s", "step_s", "validate_s", "before_mb", "highest_mb")


def recording(index: int, units: int, minutes: float) -> xr.Dataset:
    """A session of Poisson counts, about ten spikes a second and unit."""
    bins = round(60 * minutes / BIN_S)
    counts = np.random.default_rng(index).poisson(10 * BIN_S, size=(bins, units)).astype(np.uint8)
    return xr.Dataset(
        {"spikes": (("time", "unit"), counts)},
        coords={"time": BIN_S * (0.5 + np.arange(bins)), "unit": np.arange(units)},
        attrs={"subject": "I", "session": f"s{index:03}", "bin_size_s": BIN_S},
    )


def highest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(sessions: int, units: int, minutes: float) -> tuple[float, ...]:
    """What ``MEASURED`` names, of one case."""
    import torch

    from spikelfp_lab.models import Autoencoder
    from spikelfp_lab.models.device import autocast
    from spikelfp_lab.presets import preset_configs
    from spikelfp_lab.training.batches import add_tables, augment, prepare
    from spikelfp_lab.training.loop import make_optimizer, validate
    from spikelfp_lab.training.pretraining import VALIDATION_WINDOWS, masked_reconstruction
    from spikelfp_lab.training.shards import Processes, Shards

    def wait() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    preset = preset_configs("demo", "spikes")
    train, processes = preset.train, Processes.join()
    device = processes.device
    named = {f"I/s{i:03}": recording(i, units, minutes) for i in range(sessions)}
    before = highest_mb()

    start = wait()
    cohort = Shards(
        named,
        lambda one, name: prepare(one, name, modality="spikes", train=train, device=device),
        modality="spikes",
        train=train,
        processes=processes,
    )
    model = Autoencoder(preset.model, modality="spikes", sessions={}, bin_size_s=BIN_S)
    for known in cohort.sessions:
        add_tables(model, known)
    model.to(device)
    prepared = wait() - start

    objective = partial(masked_reconstruction, preset.mask)
    optimizer = make_optimizer(model, train)
    times = []
    for step in range(STEPS):
        start = wait()
        for weight, windows, starts in cohort.turns(step):
            wanted = windows.cut(starts)
            inputs = augment(wanted["values"], train, windows.n_units)
            with autocast(device):
                loss = objective(model, windows.name, inputs, wanted)["loss"]
            (weight * loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(wait() - start)
    start = wait()
    validate(model.eval(), objective, cohort, VALIDATION_WINDOWS)
    validated = wait() - start
    return prepared, statistics.median(times[2:]), validated, before, highest_mb()


def main() -> None:
    rows = []
    for grows, cases in CASES.items():
        for case in cases:
            command = [sys.executable, "-m", "benchmarks.scaling", *map(str, case)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            values = zip(MEASURED, map(float, said.split()), strict=True)
            size = dict(zip(("sessions", "units", "minutes"), case, strict=True))
            rows.append({"grows": grows} | size | dict(values))
    table = pd.DataFrame(rows)
    print(
        f"demo, spikes, bins of {BIN_S:g} s; seconds of preparing all sessions, of a step (median "
        f"of {STEPS - 2}), of a validation\n"
    )
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / "scaling.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(target, index=False)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(*measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    else:
        main()
