"""Callbacks that write the history of a training to an experiment tracker.

``sl.pretrain(..., callbacks=[sl.loggers.TensorBoard("logs")])``. Any function of the tidy history
(step, split, metric, value) is a callback; these hand on the rows that are new. The tracker's
package is imported when the logger is made.
"""

from pathlib import Path
from typing import Any

import pandas as pd


class Logger:
    """Hands each new row on to :meth:`write`."""

    def __init__(self) -> None:
        self._done = 0

    def __call__(self, history: pd.DataFrame) -> None:
        for step, split, metric, value in history.iloc[self._done :].itertuples(index=False):
            self.write(f"{split}/{metric}", float(value), int(step))
        self._done = len(history)

    def write(self, name: str, value: float, step: int) -> None:
        raise NotImplementedError


class TensorBoard(Logger):
    """To a folder that ``tensorboard --logdir`` shows."""

    def __init__(self, folder: str | Path):
        super().__init__()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)
        self._writer.flush()


class WandB(Logger):
    """To a run of Weights & Biases, as ``wandb.init`` gives it."""

    def __init__(self, run: Any):
        super().__init__()
        self._run = run

    def write(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value}, step=step)


class MLflow(Logger):
    """To the active run of MLflow."""

    def __init__(self) -> None:
        super().__init__()
        import mlflow  # type: ignore[import-not-found]

        self._mlflow = mlflow

    def write(self, name: str, value: float, step: int) -> None:
        self._mlflow.log_metric(name, value, step=step)
