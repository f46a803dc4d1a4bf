"""A training that is watched while it runs: curves, time left, and a button that ends it with its best weights."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.plots import plot_history
from spikelfp_lab.sessions import as_dataset
from spikelfp_lab.widgets.base import Picture, button
from spikelfp_lab.widgets.monitor_state import MonitorState

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

REDRAW_S = 1.0  # the picture is drawn at most so often: it must not cost what the training costs
R2 = "validation R²"


class Monitor:
    """A callback of the training verbs that shows how training goes; made by :func:`monitor`.

    Attributes
    ----------
    state : MonitorState
    widget : ipywidgets.VBox
        Picture, progress, and the button.
    """

    def __init__(self, session: xr.Dataset | None, *, every: int, title: str):
        self.session, self.every, self.title = session, every, title
        self.state = MonitorState()
        self._shown, self._validations, self._drawn = False, 0, 0.0
        self._model: Autoencoder | None = None
        self.picture = Picture()
        self._bar = ipywidgets.IntProgress(
            max=1, tooltip="Steps that are done", layout={"width": "160px"}
        )
        self._text = ipywidgets.HTML()
        self._text.add_class("spikelfp-message")
        tooltip = "End training at its next validation and keep the weights of the best one so far"
        self.button = button("Stop early", tooltip, self.state.stop)
        self.widget = ipywidgets.VBox(
            [self.picture.widget, ipywidgets.HBox([self.button, self._bar, self._text])]
        )
        self.widget.add_class("spikelfp-monitor")
        self.state.observe(
            self._show, ["step", "steps", "left_s", "best_step", "stop_requested", "ending"]
        )

    @contextmanager
    def watch(self, model: Autoencoder, *, step: int, steps: int) -> Iterator[None]:
        """What the loop does its training within: knows its length, and how it ended."""
        if not in_notebook():
            yield
            return
        from IPython.display import display  # there already, since this is a notebook

        _hear_while_busy(self.button)
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

    def __call__(self, history: pd.DataFrame) -> None:
        """Show the history so far; end training where the button asked for it."""
        if self._model is None:  # not in a notebook
            return
        self.state.update(history)
        self._validations += 1
        if self._validations % self.every == 0:
            self._add_r2()
            self.state.show(history)
        if time.monotonic() - self._drawn >= REDRAW_S:
            self._draw()
        if self.state.stop_requested:
            from spikelfp_lab.training import StopTraining  # torch is here: it is training

            raise StopTraining

    def _add_r2(self) -> None:
        """The one-frame read-out on validation time, from the weights of this moment. Neither draws random numbers."""
        if self.session is None:
            return
        from spikelfp_lab.models import encode

        assert self._model is not None
        device = next(self._model.parameters()).device
        latents = encode(self._model, self.session, device=device, progress=False)
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
        self._bar.bar_style = {"finished": "success", "stopped": "success", "": "info"}.get(
            state.ending, "danger"
        )
        self._text.value = f'<span role="status">{state.text}</span>'
        self.button.disabled = bool(state.ending) or state.stop_requested


def monitor(
    session: xr.Dataset | xr.DataTree | None = None, *, every: int = 1, title: str = ""
) -> Monitor:
    """Watch a training in the notebook while it runs, and end it early if it has learned enough.

    For ``callbacks=[sl.monitor()]`` of :func:`~spikelfp_lab.pretrain`, :func:`~spikelfp_lab.finetune` and :func:`~spikelfp_lab.distill`. Shows
    the curves of every metric, the step, the time left and the best step. Outside a notebook it does nothing, so that a script may keep it. It
    changes no weight: a training with it ends, bit for bit, where one without it does.

    **Stop early** ends training at its next validation with the best weights so far. The click is heard while the cell runs in JupyterLab from 4.4
    on with ipykernel from 7 on, which deal with widgets in a thread of their own (Settings, Kernels, "Kernel Comms over subshells"). Elsewhere it is heard
    only when the cell is done: interrupt the kernel instead, and with ``folder=`` the same call goes on from the last validation.

    Parameters
    ----------
    session : Dataset or DataTree leaf, optional
        A session with behavior that the model is trained on. At each validation its latents are decoded, as ``decode(encode(model, session), session)`` does, and the
        R² of the one-frame read-out on validation time, mean over axes, is shown too. Weights are never chosen by it.
    every : int
        Decode at every so many validations: a long session takes seconds.
    title : str
        Over the curves.

    Returns
    -------
    Monitor
        For one training at a time.

    Raises
    ------
    ConfigError
        ``every`` is less than 1.
    SchemaError
        ``session`` is a cohort. Training itself raises what ``encode`` and ``decode`` raise, before its first step, when the session has no behavior or is
        not one of the model's.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> watched = monitor(cohort["I/s01"], title="Teacher")
    >>> teacher = sl.pretrain(cohort, "spikes", train=quick, progress=False, callbacks=[watched])
    """
    if every < 1:
        raise ConfigError(f"every is {every}: decode at every validation (1), every other (2), ...")
    return Monitor(None if session is None else as_dataset(session), every=every, title=title)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this: it alone can show a widget."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _hear_while_busy(widget: ipywidgets.Widget) -> None:
    """Let a widget's messages be dealt with where the front end sends them, in a subshell, while a cell runs.

    ipykernel from 7.4 on sends them on to where the widget last spoke from, which is the cell that is running; other versions never ask for this.
    """
    comm: Any = widget.comm
    comm._reply_subshell_for = lambda data, default: default
