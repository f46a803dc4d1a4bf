"""Loggers hand on each row of a history once."""

import sys
import types

import pandas as pd

from spikelfp_lab import loggers

COLUMNS = ["step", "split", "metric", "value"]
FIRST = [(10, "train", "loss", 1.0), (10, "val", "score", 2.0)]


def test_each_row_is_logged_once(monkeypatch):
    rows = []
    run = types.SimpleNamespace(log=lambda values, step: rows.append((step, values)))
    writer = types.SimpleNamespace(
        SummaryWriter=lambda folder: types.SimpleNamespace(
            add_scalar=lambda name, value, step: rows.append((step, {name: value})),
            flush=lambda: None,
        )
    )
    flow = types.SimpleNamespace(log_metric=lambda n, v, step: rows.append((step, {n: v})))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writer)
    monkeypatch.setitem(sys.modules, "mlflow", flow)
    for logger in (loggers.WandB(run), loggers.TensorBoard("logs"), loggers.MLflow()):
        rows.clear()
        logger(pd.DataFrame(FIRST, columns=COLUMNS))
        logger(pd.DataFrame([*FIRST, (20, "val", "score", 1.5)], columns=COLUMNS))
        assert rows == [
            (10, {"train/loss": 1.0}),
            (10, {"val/score": 2.0}),
            (20, {"val/score": 1.5}),
        ]
