"""How near the limit: what a supervised network reads from hours of the same electrodes.

    python -m benchmarks.bound

Bidirectional GRUs of three sizes learn hand velocity, with labels, from the potential and band
power of three amounts of recording with the electrodes and the mixing of V/s05 (simulated); scored
on test time. Beside them the linear bound (lagged ridge) and, from ``report_simulated-V.csv``, the
models of that session's own minutes. Writes ``results/bound.csv``.
"""

from itertools import product
from pathlib import Path

import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

import spikelfp_lab as sl
from spikelfp_lab.analysis import gru, score_predicted
from spikelfp_lab.study.scoring import references

HOURS = (0.5, 1.5, 4.0)
PARAMETERS = (50_000, 200_000, 800_000)
TRAIN = sl.TrainConfig(steps=3000, batch=32, val_every=100, patience=6, drop_inputs=0.3, noise=0.2)


def one(hours: float, parameters: int | None) -> dict[str, float]:
    """R² on test time of the bound's network, or of lagged ridge (None)."""
    torch.set_num_threads(1)
    session = sl.cohorts.simulated.session(5, subject="V", duration_s=3600 * hours)
    inputs = references(session)["LFP and power ridge"]
    row = {"hours": hours, "parameters": parameters or 0}
    if parameters is None:
        scores = sl.decode(inputs, session, readouts=["lagged"])
        return row | {"r2": scores.query("split == 'test'")["r2"].mean()}
    own = {"parameters": parameters, "bidirectional": True, "train": TRAIN, "progress": False}
    predicted = gru(inputs, session, **own)
    scores = score_predicted(predicted, session).query("split == 'test'")
    return row | {"r2": scores["r2"].mean(), "best_step": predicted.attrs["best_step"]}


def main() -> None:
    """Train and score all, the table as it grows."""
    jobs = [(1.0, None), *product(HOURS, PARAMETERS)]
    made = Parallel(n_jobs=2, return_as="generator")(delayed(one)(*job) for job in jobs)
    rows, path = [], Path(__file__).parent / "results" / "bound.csv"
    for row in tqdm(made, total=len(jobs), desc="bound", unit="network"):
        rows.append(row)
        pd.DataFrame(rows).round(4).to_csv(path, index=False)
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
