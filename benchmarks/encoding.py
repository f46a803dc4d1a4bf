"""Time and memory of encoding an LFP session with a model of the paper's size (d 256, 10 layers),
by the session's length.

Each length runs in a process of its own, whose highest memory is told beside that of its imports
and of the session.

    python -m benchmarks.encoding
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

CHANNELS, BIN_S = 96, 0.01
MINUTES = (1, 2, 10)
WINDOWS_S = (1.0, 5.0)


def measure(minutes: float, window_s: float) -> dict[str, float]:
    from spikelfp_lab.models import Autoencoder, encode
    from spikelfp_lab.presets import preset_configs

    config = preset_configs("paper", "distill").model
    model = Autoencoder(config, modality="lfp", sessions={"I/s01": CHANNELS}, bin_size_s=BIN_S)
    bins = round(60 * minutes / BIN_S)
    lfp = np.random.default_rng(0).standard_normal((bins, CHANNELS), dtype=np.float32)
    session = xr.Dataset(
        {"lfp": (("time", "channel"), lfp)},
        coords={"time": BIN_S * (0.5 + np.arange(bins)), "channel": np.arange(CHANNELS)},
        attrs={"subject": "I", "session": "s01", "bin_size_s": BIN_S},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    encode(model, session, window_s=window_s, progress=False)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "before_mb": before / 1000, "highest_mb": after / 1000}


def main() -> None:
    rows = []
    for window_s in WINDOWS_S:
        for minutes in MINUTES:
            command = [sys.executable, "-m", "benchmarks.encoding", str(minutes), str(window_s)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(
                {"minutes": minutes, "window_s": window_s}
                | dict(
                    zip(
                        ("seconds", "before_mb", "highest_mb"),
                        map(float, said.split()),
                        strict=True,
                    )
                )
            )
    table = pd.DataFrame(rows)
    print(
        f"{CHANNELS} channels in bins of {BIN_S:g} s, d 256, 10 layers, windows that overlap by an "
        "eighth\n"
    )
    print(table.round(1).to_string(index=False))
    target = Path(__file__).parent / "results" / "encoding.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(2).to_csv(target, index=False)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(*measure(float(sys.argv[1]), float(sys.argv[2])).values())
    else:
        main()
