"""All benchmarks, each in a process of its own, and a description of the machine beside their
tables.

python -m benchmarks            # all
python -m benchmarks roofline   # some
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
# half an hour or more, or what ships: by their names alone
LONG = ("recipes", "report", "few_minutes", "regained", "bound", "shared_space", "shipped")
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def machine() -> dict[str, str | int]:
    """What the numbers depend on."""
    import torch  # the runner itself does not need it

    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":")[1] for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0].strip() if names else cpu
    return {
        "date": date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "matplotlib", "spikelfp_lab")},
    }


def main() -> None:
    names = sys.argv[1:] or [name for name in NAMES if name not in LONG]
    if unknown := sorted({*names} - {*NAMES}):
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in names:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    results = FOLDER / "results"
    results.mkdir(exist_ok=True)
    (results / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")


if __name__ == "__main__":
    main()
