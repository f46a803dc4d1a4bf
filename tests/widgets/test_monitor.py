"""The training monitor: it changes no weight, and ends a training with the best ones."""

import os
from contextlib import nullcontext
from pathlib import Path

import IPython.display
import pandas as pd
import pytest
import torch

import spikelfp_lab as sl
from spikelfp_lab.widgets import monitor as module
from spikelfp_lab.widgets.monitor import R2, MonitorState, monitor
from tests.factories import make_session

MODEL = sl.ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
TRAIN = sl.TrainConfig(steps=20, batch=2, window_s=0.4, val_every=5, drop_inputs=0.3)
ROOT = Path(__file__).resolve().parents[2]


def train(*callbacks, **options):
    options = {"model": MODEL, "train": TRAIN, "device": "cpu", "progress": False} | options
    return sl.pretrain(make_session(bins=1500), "spikes", callbacks=callbacks, **options)


def assert_same(a, b) -> None:
    for key, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[key]), key


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What a notebook's display is asked to show."""
    asked: list = []
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", asked.append)
    return asked


def test_time_left_is_that_of_the_last_five_validations_and_the_first_best_is_kept():
    now = [0.0]
    state = MonitorState(clock=lambda: now[0])
    state.begin(step=0, steps=400)
    assert state.left_s is None and state.text == "step 0 of 400"
    rows = []
    for step in range(10, 101, 10):  # ten times as slow in its second half
        now[0] += 1 if step <= 50 else 10
        rows.append((step, "val", "score", 1.0 if step < 30 else 0.5))
        state.extra("r2", 0.25)
        state.update(pd.DataFrame(rows, columns=["step", "split", "metric", "value"]))
    assert state.left_s == pytest.approx(300.0) and state.best_step == 30
    assert state.text == "step 100 of 400, 0:05:00 left, best at step 30"
    assert (state.history["metric"] == "r2").sum() == 10
    state.stop()
    assert state.stop_requested and "stopping at the next validation" in state.text
    state.begin(step=0, steps=7)
    assert (state.history, state.best_step, state.stop_requested) == (None, None, False)


def test_it_changes_no_weight_and_shows_itself_once_and_only_in_a_notebook(shown, monkeypatch):
    watched, hidden = (monitor(make_session(bins=1500), title="Teacher") for _ in range(2))
    with_it, without = train(watched), train()
    assert_same(with_it, without)
    assert with_it.history.equals(without.history)
    assert bytes(watched.picture.widget.value[:4]) == b"\x89PNG" and watched.button.disabled
    kept = f"finished at step 20 of 20; weights of step {watched.state.best_step} kept"
    assert kept in watched._text.widget.value and watched._model is None
    monkeypatch.setattr(module, "in_notebook", lambda: False)
    train(hidden)
    assert shown == [watched.widget] and hidden.state.history is None


def test_the_button_ends_training_with_the_best_weights(shown):
    watched, kept = monitor(), {}

    class Click:
        def watch(self, model, *, step, steps):
            self.model = model
            return nullcontext()

        def __call__(self, history):
            step = int(history["step"].max())
            kept[step] = {k: v.clone() for k, v in self.model.state_dict().items()}
            if step == 10:
                watched.button.click()
                assert watched.button.disabled

    stopped = train(Click(), watched)
    assert stopped.history["step"].max() == 10 and watched.state.ending == "stopped"
    best = stopped.info["best_step"]
    assert f"weights of step {best} kept" in watched.state.text
    assert all(torch.equal(own, kept[best][key]) for key, own in stopped.state_dict().items())


def test_validation_r2_is_what_decode_gives(shown):
    session = make_session(bins=1500)
    watched = monitor(session, every=2)
    # A last step that is the best, so that the weights it was computed from are those returned.
    model = train(watched, train=sl.TrainConfig(steps=10, batch=2, window_s=0.4, val_every=5))
    rows = watched.state.history.query("metric == @R2")
    assert rows["step"].tolist() == [0, 10] and model.info["best_step"] == 10
    assert R2 not in set(model.history["metric"])
    scores = sl.decode(sl.encode(model, session, progress=False), session, readouts=["one_frame"])
    wanted = scores.query("split == 'val'")["r2"].mean()
    assert rows["value"].iloc[-1] == pytest.approx(wanted, abs=1e-6)


def test_a_session_that_does_not_fit_is_refused_before_the_first_step(shown):
    for kind, problem, options in (
        (sl.CheckpointError, "vocabulary", {"session": "s02"}),
        (sl.DataError, "behavior", {"behavior": ()}),
    ):
        with pytest.raises(kind, match=problem):
            train(monitor(make_session(bins=1500, **options)))
    assert shown == []


@pytest.mark.parametrize(
    ("error", "ending"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")]
)
def test_an_interrupted_training_says_so_and_goes_on(shown, tmp_path, error, ending):
    watched = monitor()

    def interrupt(history):
        if history["step"].max() == 10:
            raise error

    with pytest.raises(error):
        train(watched, interrupt, folder=tmp_path)
    assert watched.state.ending == ending and "goes on from there" in watched.state.text
    assert_same(train(watched, folder=tmp_path), train())
    assert shown == [watched.widget] and watched.state.ending == "finished"


CELL = """
import dataclasses, time, torch
torch.set_num_threads(1)
from tests.widgets.test_monitor import TRAIN, monitor, train
watched = monitor()
print("BUTTON", watched.button.comm.comm_id, flush=True)
def slow(history):
    time.sleep(0.05)
    print("AT", history["step"].max(), flush=True)
model = train(slow, watched, train=dataclasses.replace(TRAIN, steps=3000, patience=None))
print("DONE", model.history["step"].max(), watched.state.ending, flush=True)
"""


def test_a_click_is_heard_by_a_real_kernel_while_the_cell_runs():
    """As JupyterLab sends it, in a subshell."""
    run_kernel = pytest.importorskip("jupyter_client").run_kernel
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    said = []

    def hear(message):
        before = "AT 10\n" in "".join(said)
        said.append(message["content"].get("text", ""))
        if "AT 10\n" in "".join(said) and not before:
            button = "".join(said).split("BUTTON ")[1].split()[0]
            data = {"method": "custom", "content": {"event": "click"}}
            click = client.session.msg("comm_msg", {"comm_id": button, "data": data})
            click["header"]["subshell_id"] = subshell
            client.shell_channel.send(click)

    with run_kernel(kernel_name="python3", cwd=str(ROOT), env=environment) as client:
        client.control_channel.send(client.session.msg("create_subshell_request", {}))
        subshell = client.control_channel.get_msg(timeout=30)["content"]["subshell_id"]
        client.execute_interactive(CELL, timeout=180, output_hook=hear)
    step, ending = "".join(said).split("DONE ")[1].split()
    assert int(step) < 1500 and ending == "stopped"
