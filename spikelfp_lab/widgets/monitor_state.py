"""What is known of a training that runs: how far it is, how fast, when it will be done, which step is best."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import pandas as pd
import traitlets

RECENT = 5  # validations that the speed is taken from: a machine that slows down is noticed

Ending = Literal["finished", "stopped", "interrupted", "failed"]


class MonitorState(traitlets.HasTraits):
    """The state of a training monitor, without a browser.

    Parameters
    ----------
    clock : callable
        Gives seconds; the tests' own.

    Attributes
    ----------
    history : pandas.DataFrame or None
        Tidy, what the loop gave and the rows added with ``extra``.
    step, steps : int
        Done, and in all.
    started : float or None
        When training began, on the clock.
    rates : list of float
        Steps a second between validations, validation included.
    left_s : float or None
        Seconds that the rest will take at the speed of the last five validations; none before the first.
    best_step : int or None
    best_value : float or None
        Of the validation score, lower is better.
    stop_requested : bool
        Set by the button; training ends at the next validation.
    ending : {"", "finished", "stopped", "interrupted", "failed"}
        How it ended; empty while it runs.

    Examples
    --------
    >>> now = iter([0.0, 10.0])
    >>> state = MonitorState(clock=lambda: next(now))
    >>> state.begin(step=0, steps=400)
    >>> state.update(pd.DataFrame({"step": [100], "split": "val", "metric": "score", "value": [0.5]}))
    >>> state.step, state.left_s, state.best_step
    (100, 30.0, 100)
    """

    history = traitlets.Instance(pd.DataFrame, allow_none=True)
    step = traitlets.Int(0)
    steps = traitlets.Int(0)
    started = traitlets.Float(None, allow_none=True)
    rates = traitlets.List(traitlets.Float())
    left_s = traitlets.Float(None, allow_none=True)
    best_step = traitlets.Int(None, allow_none=True)
    best_value = traitlets.Float(None, allow_none=True)
    stop_requested = traitlets.Bool(False)
    ending = traitlets.Enum(["", "finished", "stopped", "interrupted", "failed"], "")

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock
        self._marks: list[tuple[float, int]] = []
        self._extra: list[tuple[int, str, str, float]] = []

    def begin(self, *, step: int, steps: int) -> None:
        """Training goes on from ``step`` (0, or where a run was resumed) to ``steps``; forgets what was before."""
        self._extra, self.rates = [], []
        self.history, self.left_s, self.best_step, self.best_value = None, None, None, None
        self.stop_requested, self.ending = False, ""
        self.step, self.steps = step, steps
        self.started = self._clock()
        self._marks = [(self.started, step)]

    def extra(self, metric: str, value: float) -> None:
        """Add a validation metric of the last step to the history that ``update`` shows."""
        self._extra.append((self.step, "val", metric, float(value)))

    def update(self, history: pd.DataFrame) -> None:
        """Take what the loop knows after a validation; ``begin`` came before."""
        self.step = int(history["step"].to_numpy().max())
        self._marks.append((self._clock(), self.step))
        self.rates = [
            (step - before) / max(now - then, 1e-9)
            for (then, before), (now, step) in zip(self._marks, self._marks[1:], strict=False)
        ]
        (then, before), (now, _) = self._marks[max(0, len(self._marks) - 1 - RECENT)], self._marks[-1]  # fmt: skip
        done = self.step - before
        self.left_s = (self.steps - self.step) * (now - then) / done if done else None
        judged = (history["split"] == "val") & (history["metric"] == "score")
        scores = history.loc[judged, ["step", "value"]].to_numpy(float)
        if len(scores):
            # The first of equal ones, as the loop keeps it.
            step, self.best_value = scores[scores[:, 1].argmin()].tolist()
            self.best_step = int(step)
        self.show(history)

    def show(self, history: pd.DataFrame) -> None:
        """Set ``history``, with the rows added by ``extra``."""
        rows = pd.DataFrame(self._extra, columns=["step", "split", "metric", "value"])
        self.history = pd.concat([history, rows], ignore_index=True) if len(rows) else history

    def stop(self) -> None:
        """Ask training to end at the next validation; too late once it has ended."""
        if not self.ending:
            self.stop_requested = True

    def end(self, ending: Ending) -> None:
        """Training is over."""
        self.ending, self.left_s = ending, None

    @property
    def text(self) -> str:
        """One line: how far, how long yet, and which step is best so far.

        >>> state = MonitorState()
        >>> state.set_trait("step", 120), state.set_trait("steps", 400), state.set_trait("left_s", 34.0)
        (None, None, None)
        >>> state.text
        'step 120 of 400, 0:34 left'
        """
        at = f"step {self.step} of {self.steps}"
        kept = "" if self.best_step is None else f"weights of step {self.best_step} kept"
        if self.ending in ("finished", "stopped"):
            early = "finished" if self.ending == "finished" else "stopped early"
            return f"{early} at {at}; {kept}" if kept else f"{early} at {at}"
        if self.ending:
            return f"{self.ending} at {at}; with a folder, the same call goes on from the last validation"
        parts = [at]
        if self.left_s is not None:
            parts.append(f"{clock_text(self.left_s)} left")
        if self.best_step is not None:
            parts.append(f"best at step {self.best_step}")
        if self.stop_requested:
            parts.append("stopping at the next validation")
        return ", ".join(parts)


def clock_text(seconds: float) -> str:
    """Seconds as minutes, or hours, on a clock.

    >>> clock_text(34.2), clock_text(3725)
    ('0:34', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
