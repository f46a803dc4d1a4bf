"""Time of a redraw of the session explorer while it is scrubbed, and of plot_session.

A simulated session of ten minutes, 96 channels and 60 units at 100 Hz. A redraw is all that lies
between a moved slider and the new picture. A stretch of 600 s is the whole session and cannot move:
there the order of the units changes, which makes all panels anew. The cases take turns, so that a
machine whose speed drifts is fair to all; a change between cases is not timed. plot_session is
timed with the PNG of a notebook.

    OMP_NUM_THREADS=1 python -m benchmarks.explorer_redraw
"""

from __future__ import annotations

import io
import statistics
import time
from pathlib import Path

import matplotlib
import pandas as pd

from spikelfp_lab.cohorts import simulated
from spikelfp_lab.plots import plot_session
from spikelfp_lab.widgets.explorer import Explorer, explore

DURATION_S, CHANNELS, UNITS = 600, 96, 60
VIEWS = {
    "16 traces": ("traces", 16),
    "96 traces": ("traces", CHANNELS),
    "spectrogram": ("spectrogram", CHANNELS),
}
SPANS_S = (10.0, 60.0, 590.0, 600.0)
ROUNDS, REDRAWS = 3, 5


def redraw(explorer: Explorer, step: int) -> float:
    """Seconds of one change and all that follows from it."""
    state = explorer.state
    start = time.perf_counter()
    if state.span_s < DURATION_S:
        state.start_s = (1.3 * step) % (DURATION_S - state.span_s)
    else:
        state.unit_order = next(order for order in state.orders if order != state.unit_order)
    return time.perf_counter() - start


def measure() -> pd.DataFrame:
    session = simulated.session(1, duration_s=DURATION_S, n_units=UNITS, n_channels=CHANNELS)
    explorer = explore(session)
    cases = [(view, span_s) for view in VIEWS for span_s in SPANS_S]
    times: dict[tuple[str, float], list[float]] = {case: [] for case in cases}
    step = 0
    for round_ in range(ROUNDS + 1):
        for view, span_s in cases:
            explorer.state.span_s = span_s
            explorer.state.lfp_view, explorer.state.n_channels = VIEWS[view]
            for _ in range(REDRAWS):
                step += 1
                seconds = redraw(explorer, step)
                if round_:  # the first warms up
                    times[view, span_s].append(seconds)
        for span_s in SPANS_S:
            for _ in range(REDRAWS):
                start = time.perf_counter()
                plot_session(session, span_s=span_s).savefig(io.BytesIO(), format="png")
                if round_:
                    plotted = times.setdefault(("plot_session", span_s), [])
                    plotted.append(time.perf_counter() - start)
    explorer.close()
    rows = [
        {
            "lfp": view,
            "span_s": span_s,
            "n": len(t),
            "median_ms": 1e3 * statistics.median(t),
            "min_ms": 1e3 * min(t),
            "max_ms": 1e3 * max(t),
        }
        for (view, span_s), t in times.items()
    ]
    return pd.DataFrame(rows)


def main() -> None:
    table = measure()
    print(
        f"matplotlib {matplotlib.__version__}; {DURATION_S} s at 100 Hz, {UNITS} units, "
        f"{CHANNELS} channels\n"
    )
    print(table.round(0).to_string(index=False))
    target = Path(__file__).parent / "results" / "explorer_redraw.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(1).to_csv(target, index=False)


if __name__ == "__main__":
    main()
