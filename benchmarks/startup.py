"""Time until a reader can begin, and the weight of what is kept: the import, the first cell of
notebook 01, and models on disk.

Each import and each first cell runs in a process of its own, several times in turn; the first of
each is left out, since it fills the page cache. A notebook's kernel has started when its first cell
runs, so that of the cell's time Python's own start is no part. Models are those of each preset with
four sessions of 60 units and 32 channels; training does not change their size.

    python -m benchmarks.startup
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import Role, preset_configs

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
UNITS, CHANNELS, SESSIONS = 60, 32, 4
REPEATS = 7


def first_cell() -> str:
    """Source of the first code cell of notebook 01."""
    notebook = json.loads(next(NOTEBOOKS.glob("01_*.ipynb")).read_text())
    return next(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"
    )


def seconds(code: str) -> float:
    """Wall time of some code in a Python of its own."""
    timed = f"import time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    command = [sys.executable, "-c", timed]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=NOTEBOOKS)
    return float(done.stdout.split()[-1])


def megabytes(preset: str, role: Role) -> float:
    """Size of a saved model."""
    spikes = role == "spikes"
    sessions = {f"I/s{n:02}": UNITS if spikes else CHANNELS for n in range(SESSIONS)}
    config = preset_configs(preset, role).model
    model = Autoencoder(
        config, modality="spikes" if spikes else "lfp", sessions=sessions, bin_size_s=0.01
    )
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save(Path(folder) / "model")
        return sum(file.stat().st_size for file in saved.iterdir()) / 1e6


def main() -> None:
    codes = {
        "import spikelfp_lab": "import spikelfp_lab",
        "first cell of notebook 01": first_cell(),
    }
    times: dict[str, list[float]] = {name: [] for name in codes}
    for round_ in range(REPEATS + 1):
        for name, code in codes.items():
            took = seconds(code)
            if round_:
                times[name].append(took)
    rows = [
        {
            "what": name,
            "unit": "s",
            "median": statistics.median(t),
            "min": min(t),
            "max": max(t),
            "n": len(t),
        }
        for name, t in times.items()
    ]
    roles: tuple[Role, ...] = ("spikes", "lfp", "distill")
    for preset in ("smoke", "demo", "paper"):
        for role in roles:
            size = megabytes(preset, role)
            rows.append(
                {
                    "what": f"{preset} {role} model",
                    "unit": "MB",
                    "median": size,
                    "min": size,
                    "max": size,
                    "n": 1,
                }
            )
    table = pd.DataFrame(rows)
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / "startup.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(target, index=False)


if __name__ == "__main__":
    main()
