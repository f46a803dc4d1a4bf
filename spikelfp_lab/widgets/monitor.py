"""A training that is watched while it runs: curves, time left, and a button that ends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import ipywidgets
import pandas as pd
import traitlets
import xarray as xr

from spikelfp_lab.analysis import decode
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.plots.curves import plot_history
from spikelfp_lab.sessions import as_dataset
from spikelfp_lab.widgets.base import WRAP, Message, Picture, button

RECENT = 5  # validations that the speed is taken from: a machine that slows down is noticed
REDRAW_S = 1.0  # the picture is drawn at most so often
R2 = "validation R²"
ENDINGS = ("", "finished", "stopped", "interrupted", "failed")


class MonitorState(traitlets.HasTraits):
    """How far a training is, without a browser.

    ``history``: what the loop gave, and the metrics added with :meth:`extra`. ``left_s``:
    seconds that the rest takes at the speed of the last five validations. ``best_step``: that
    of the lowest validation score (None before the first). ``stop_requested`` is set by the button.
    """

    history = traitlets.Instance(pd.DataFrame, allow_none=True)
    step = traitlets.Int(0)
    steps = traitlets.Int(0)
    left_s = traitlets.Float(None, allow_none=True)
    best_step = traitlets.Int(None, allow_none=True)
    stop_requested = traitlets.Bool(False)
    ending = traitlets.Enum(ENDINGS, "")

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock

    def begin(self, *, step: int, steps: int) -> None:
        """Training goes from ``step`` to ``steps``; what was before is forgotten."""
        self._extra, self._marks = [], [(self._clock(), step)]
        self.history, self.left_s, self.best_step = None, None, None
        self.stop_requested, self.ending, self.step, self.steps = False, "", step, steps

    def extra(self, metric: str, value: float) -> None:
        """Add a validation metric of the last step."""
        self._extra.append((self.step, "val", metric, float(value)))

    def update(self, history: Any) -> None:
        """Take the loop's history after a validation."""
        self.step = int(history["step"].max())
        self._marks = [*self._marks, (self._clock(), self.step)][-RECENT - 1 :]
        (then, before), (now, _) = self._marks[0], self._marks[-1]
        done = self.step - before
        self.left_s = (self.steps - self.step) * (now - then) / done if done else None
        judged = history[(history["split"] == "val") & (history["metric"] == "score")]
        if len(judged):  # the first of equal ones, as the loop keeps it
            self.best_step = int(judged["step"].iloc[judged["value"].to_numpy().argmin()])
        rows = pd.DataFrame(self._extra, columns=["step", "split", "metric", "value"])
        self.history = pd.concat([history, rows], ignore_index=True) if len(rows) else history

    def stop(self) -> None:
        """Ask training to end at the next validation; too late once it has ended."""
        self.stop_requested = self.stop_requested or not self.ending

    def end(self, ending: str) -> None:
        """Training is over."""
        self.ending, self.left_s = ending, None

    @property
    def text(self) -> str:
        """One line: how far, how long yet, and which step is best so far."""
        at = f"step {self.step} of {self.steps}"
        if self.ending in ("interrupted", "failed"):
            return f"{self.ending} at {at}; with folder=, the same call goes on from there"
        if self.ending:
            how = "stopped early" if self.ending == "stopped" else "finished"
            return f"{how} at {at}; weights of step {self.best_step} kept"
        left = None if self.left_s is None else f"{timedelta(seconds=round(self.left_s))} left"
        best = None if self.best_step is None else f"best at step {self.best_step}"
        stopping = "stopping at the next validation" if self.stop_requested else None
        return ", ".join(filter(None, [at, left, best, stopping]))


class Monitor:
    """A callback of the training verbs that shows how training goes; made by :func:`monitor`."""

    def __init__(self, session: xr.Dataset | None, *, every: int, title: str):
        self.session, self.every, self.title = session, every, title
        self.state, self.picture = MonitorState(), Picture()
        self._shown, self._model = False, None
        self._bar = ipywidgets.IntProgress(max=1, tooltip="Steps that are done")
        self._text = Message()
        tooltip = "End training at its next validation and keep the weights of the best one so far"
        self.button = button("Stop early", tooltip, self.state.stop)
        row = ipywidgets.HBox([self.button, self._bar, self._text.widget], layout=WRAP)
        self.widget = ipywidgets.VBox([self.picture.widget, row])
        self.widget.add_class("spikelfp-monitor")
        self.state.observe(self._show)

    @contextmanager
    def watch(self, model: Any, *, step: int, steps: int) -> Iterator[None]:
        """The loop trains within this: it knows its length, and how it ended."""
        if not in_notebook():
            yield
            return
        from IPython.display import display  # there already, since this is a notebook

        # ipykernel sends a widget's messages to where it last spoke from, which is the busy cell:
        # let them be dealt with in the subshell that the front end names.
        comm: Any = self.button.comm
        comm._reply_subshell_for = lambda data, default: default
        self._model, self._validations, self._drawn = model, 0, 0.0
        self.picture.clear()
        self.state.begin(step=step, steps=steps)
        self._add_r2()  # before the first step: where it comes from, and that the session fits
        if not self._shown:
            display(self.widget)
            self._shown = True
        ending = "failed"
        try:
            yield
            ending = "stopped" if self.state.step < self.state.steps else "finished"
        except KeyboardInterrupt:
            ending = "interrupted"
            raise
        finally:
            self._model = None  # nothing here keeps a model in memory
            self.state.end(ending)
            self._draw()

    def __call__(self, history: Any) -> None:
        """Show the history so far; end training where the button asked for it."""
        if self._model is None:  # not in a notebook
            return
        self.state.step = int(history["step"].max())
        self._validations += 1
        if self._validations % self.every == 0:
            self._add_r2()
        self.state.update(history)
        if time.monotonic() - self._drawn >= REDRAW_S:
            self._draw()
        if self.state.stop_requested:
            from spikelfp_lab.training import StopTraining  # torch is here: it is training

            raise StopTraining

    def _add_r2(self) -> None:
        """The one-frame read-out on validation time, of the weights of this moment."""
        if self.session is None:
            return
        from spikelfp_lab.models import encode

        model: Any = self._model
        device = next(model.parameters()).device
        latents = encode(model, self.session, device=device, progress=False)
        scores = decode(latents, self.session, readouts=["one_frame"])
        self.state.extra(R2, scores.loc[scores["split"] == "val", "r2"].mean())

    def _draw(self) -> None:
        history: Any = self.state.history
        if history is not None:
            self.picture.show(plot_history(history, title=self.title))
            self._drawn = time.monotonic()

    def _show(self, _: object = None) -> None:
        state = self.state
        self._bar.max, self._bar.value = max(1, state.steps), state.step
        good = state.ending in ("finished", "stopped")
        self._bar.bar_style = "success" if good else "danger" if state.ending else "info"
        self._text.say(state.text)
        self.button.disabled = bool(state.ending) or state.stop_requested


def monitor(
    session: xr.Dataset | xr.DataTree | None = None, *, every: int = 1, title: str = ""
) -> Monitor:
    """Watch a training in the notebook while it runs, and end it early if it has learned enough.

    For ``callbacks=[sl.monitor()]`` of the training verbs. It changes no weight, and outside a
    notebook it does nothing.

    **Stop early** ends training at its next validation with the best weights so far. The click is
    heard while the cell runs in JupyterLab from 4.4 on with ipykernel from 7 on; elsewhere when the
    cell is done: interrupt the kernel instead, and with ``folder=`` the same call goes on.

    Raises ConfigError or SchemaError: ``every`` is less than 1; ``session`` is a cohort. A
    session that does not suit the model ends training before its first step.

    Parameters
    ----------
    session : Dataset or DataTree leaf, optional
        A session with behavior that the model is trained on: the one-frame R² of its latents on
        validation time, mean over axes, is shown too. Weights are never chosen by it.
    every : int
        Decode at every so many validations: a long session takes seconds.
    title : str
        Over the curves.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> session = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)["I/s01"]
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> model = sl.pretrain(session, "lfp", train=quick, progress=False, callbacks=[monitor()])
    """
    if every < 1:
        raise ConfigError(f"every is {every}: decode at every validation (1), every other (2), ...")
    return Monitor(None if session is None else as_dataset(session), every=every, title=title)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this: it alone can show a widget."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None
