"""The live training curve: one output that is redrawn, and nothing at all outside a notebook."""

from types import SimpleNamespace

import IPython.display
import pandas as pd
import pytest
from matplotlib.figure import Figure

import spikelfp_lab as sl
from spikelfp_lab.plots import live, live_history
from tests.factories import make_session


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Figure]]:
    """What a kernel's display is asked to show: ("new" or "update", figure)."""
    asked: list[tuple[str, Figure]] = []

    def display(figure: Figure, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        asked.append(("new", figure))
        return SimpleNamespace(update=lambda newer: asked.append(("update", newer)))

    run_in(SimpleNamespace(kernel=object()), monkeypatch)
    monkeypatch.setattr(IPython.display, "display", display)
    return asked


def run_in(shell: SimpleNamespace | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let live.py alone believe that this IPython shell runs it."""
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setattr(live, "sys", SimpleNamespace(modules={"IPython": ipython}))


def history(steps: int) -> pd.DataFrame:
    values = [1.0 / step for step in range(1, steps + 1)]
    return pd.DataFrame(
        {"step": range(1, steps + 1), "split": "val", "metric": "loss", "value": values}
    )


def test_one_output_is_redrawn_in_its_place(outputs):
    callback = live_history(title="Teacher")
    for steps in (1, 2, 3):
        callback(history(steps))

    assert [kind for kind, _ in outputs] == ["new", "update", "update"]
    figure = outputs[-1][1]
    assert figure.get_suptitle() == "Teacher"
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3]


def test_each_callback_has_an_output_of_its_own(outputs):
    live_history()(history(1))
    live_history()(history(1))
    assert [kind for kind, _ in outputs] == ["new", "new"]


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["script", "terminal IPython"])
def test_nothing_happens_outside_a_notebook(outputs, monkeypatch, shell):
    run_in(shell, monkeypatch)
    live_history()(history(2))
    assert outputs == []


def test_training_calls_it_at_every_validation(outputs):
    quick = sl.TrainConfig(steps=4, batch=2, window_s=0.5, val_every=2)
    sl.pretrain(make_session(), "lfp", train=quick, progress=False, callbacks=[live_history()])
    assert [kind for kind, _ in outputs] == ["new", "update"]
