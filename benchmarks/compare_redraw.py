"""Time of a comparison of models: what "Compute" takes, and a panel's redraw after a change.

Five models of the demo preset with random weights on two simulated sessions of four minutes. Each
redraw of a panel follows a change that its picture depends on; the panels take turns.

    python -m benchmarks.compare_redraw
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from spikelfp_lab.cohorts import simulated
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.widgets.compare import TABS, Comparison, compare

DURATION_S, UNITS, CHANNELS = 240.0, 60, 32
LABELS = {
    "Teacher": "spikes",
    "Distilled": "distill",
    "MS-LFP": "lfp",
    "SS-LFP": "lfp",
    "Untrained": "distill",
}
ROUNDS = 6


def made() -> Comparison:
    sessions = {
        f"I/s{n:02}": simulated.session(
            n, duration_s=DURATION_S, n_units=UNITS, n_channels=CHANNELS
        )
        for n in (1, 2)
    }
    models = {}
    for seed, (label, role) in enumerate(LABELS.items()):
        torch.manual_seed(seed)
        spikes = role == "spikes"
        models[label] = Autoencoder(
            preset_configs("demo", role).model,  # type: ignore[arg-type]
            modality="spikes" if spikes else "lfp",
            sessions=dict.fromkeys(sessions, UNITS if spikes else CHANNELS),
            bin_size_s=float(sessions["I/s01"].attrs["bin_size_s"]),
        ).eval()
    return compare(models, sessions)


def changes(comparison: Comparison) -> dict[int, tuple[str, Callable[[int], None]]]:
    """Panel -> a name for what is changed, and the change, which is another each time."""
    state = comparison.state

    def move(step: int) -> None:
        state.start_s = state.extent()[0] + 1.5 + step

    def split(step: int) -> None:
        state.split = ("val", "test")[step % 2]

    def color(step: int) -> None:
        state.color_by = ("speed", "time", "direction")[step % 3]

    return {
        0: ("split", split),
        1: ("start", move),
        2: ("color", color),
        3: ("start", move),
        4: ("start", move),
    }


def measure() -> pd.DataFrame:
    comparison = made()
    start = time.perf_counter()
    comparison.compute()
    comparison.job.wait()
    rows = [{"what": "Compute", "changed": "everything", "times": [time.perf_counter() - start]}]
    tabs = {tab: (what, change, []) for tab, (what, change) in changes(comparison).items()}
    step = 0
    for round_ in range(ROUNDS + 1):
        for tab, (_, change, times) in tabs.items():
            comparison.tabs.selected_index = tab
            step += 1  # another at each change, so that every one changes something
            start = time.perf_counter()
            change(step)
            if round_:  # the first warms up
                times.append(time.perf_counter() - start)
    rows += [
        {"what": [*TABS][tab], "changed": what, "times": times}
        for tab, (what, _, times) in tabs.items()
    ]
    errors = [error for error in comparison._errors.values() if error]
    comparison.close()
    assert not errors, errors
    return pd.DataFrame(
        {
            "what": row["what"],
            "changed": row["changed"],
            "n": len(row["times"]),
            "median_s": statistics.median(row["times"]),
            "min_s": min(row["times"]),
            "max_s": max(row["times"]),
        }
        for row in rows
    )


def main() -> None:
    table = measure()
    print(
        f"{len(LABELS)} models, 2 sessions of {DURATION_S:g} s, {UNITS} units, {CHANNELS} "
        "channels\n"
    )
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / "compare_redraw.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(target, index=False)


if __name__ == "__main__":
    main()
