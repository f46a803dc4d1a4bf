"""The loop: repeatable bit for bit, resumable, keeps the best weights, stops early, refuses what is
broken.
"""

import json
from contextlib import contextmanager
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from safetensors import safe_open

from spikelfp_lab import DataError, ModelConfig, TrainConfig, pretrain
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training import StopTraining, loop
from spikelfp_lab.training.batches import prepare
from spikelfp_lab.training.loop import fit, learning_rate, make_optimizer
from spikelfp_lab.training.shards import Processes, Shards
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
TRAIN = TrainConfig(steps=30, batch=4, window_s=0.4, val_every=5, drop_inputs=0.3)
quick = partial(pretrain, model=MODEL, train=TRAIN, device="cpu", progress=False)


def train(folder=None, **options):
    return quick(make_session(bins=1500), "spikes", folder=folder, **options)


def at(step, error):
    """A callback that raises once so many steps are done."""

    def callback(history):
        if history["step"].max() >= step:
            raise error

    return callback


@pytest.mark.parametrize("error", [StopTraining, KeyboardInterrupt])
def test_an_interrupted_or_stopped_run_goes_on_to_the_same_weights(tmp_path, error):
    try:
        assert train(tmp_path / "run", callbacks=[at(15, error)]).history["step"].max() == 15
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
    again, undisturbed = train(tmp_path / "run"), train()
    assert again.digest() == undisturbed.digest() and again.history.equals(undisturbed.history)
    losses = again.history.query("split == 'train' and metric == 'loss'")["value"]
    assert losses.iloc[-1] < losses.iloc[0]


def scripted_objective(scores, loss=lambda step, weight: (weight**2).sum()):
    """An objective whose validation scores are given, and its loss by a step and a weight."""
    scores, steps = iter(scores), count()

    def terms(model, name, inputs, wanted):
        if model.training:
            return {"loss": loss(next(steps), model.transformer.norm.weight)}
        return {"loss": torch.tensor(next(scores))}

    return terms


def scripted(objective, *, callbacks=(), **config):
    """The trained model, and a weight of it at each validation."""
    torch.manual_seed(0)
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    train, seen = TrainConfig(val_every=1, lr=0.1, window_s=0.4, **config), []
    ready = partial(prepare, modality="lfp", train=train, device=torch.device("cpu"))
    options = {"modality": "lfp", "train": train, "processes": Processes(torch.device("cpu"))}
    cohort = Shards({"I/s01": make_session()}, ready, **options)

    def watch(history):
        seen.append(model.transformer.norm.weight.detach().clone())

    callbacks = [watch, *callbacks]
    fit(model, objective, cohort=cohort, label="test", progress=False, callbacks=callbacks)
    return model, seen


@pytest.mark.parametrize("stop", [{"patience": 3}, {"callbacks": [at(5, StopTraining)]}])
def test_best_weights_are_kept_when_training_stops_early(stop):
    model, seen = scripted(scripted_objective([3.0, 1.0, 2.0, 2.0, 2.0, 0.0]), steps=6, **stop)
    assert len(seen) == 5 and model.history["step"].max() == 5
    assert model.info["best_step"] == 2
    torch.testing.assert_close(model.transformer.norm.weight.detach(), seen[1])


def broken(step, weight):
    return weight.sum() * float("nan") if step == 2 else weight.sum()


def steep(step, weight):  # 0, with an endless slope
    return (weight - weight.detach()).abs().sqrt().sum() if step == 2 else weight.sum()


@pytest.mark.parametrize(("loss", "what"), [(broken, "loss"), (steep, "gradient")])
def test_a_loss_or_gradient_that_is_not_finite_is_one_clear_error(monkeypatch, loss, what):
    applied = []  # gradients that are finite

    def optimizer(model, train):
        made, weight = make_optimizer(model, train), model.transformer.norm.weight
        made.register_step_pre_hook(lambda *_: applied.append(bool(weight.grad.isfinite().all())))
        return made

    monkeypatch.setattr(loop, "make_optimizer", optimizer)
    with pytest.raises(DataError, match=f"{what} is no longer finite at step 3 in session I/s01"):
        scripted(scripted_objective([1.0] * 5, loss), steps=5)
    assert applied == [True, True]
    with pytest.raises(DataError, match="validation score is nan at step 1"):
        scripted(scripted_objective([float("nan")]), steps=5)


@pytest.mark.parametrize("at_once", [True, False], ids=["CPU", "as on a GPU"])
def test_data_that_are_extreme_in_one_session_stop_training_with_its_last_good_weights(
    tmp_path, monkeypatch, at_once
):
    """Two sessions, of which the second is shorter and overflows a float's square."""

    def prepare_extreme(session, name, **options):
        windows = prepare(session, name, **options)
        if name == "I/s02":
            windows.values = windows.values * 1e30
            windows.val = np.array([0])  # where it is not extreme: a step is to meet it first
            windows.values[: windows.length] = 0.0
        return windows

    monkeypatch.setattr(loop, "prepare", prepare_extreme)
    monkeypatch.setattr(loop, "looks_each_step", lambda device: at_once)
    cohort = {"I/s01": make_session(bins=2500), "I/s02": make_session(session="s02", bins=500)}
    with pytest.raises(DataError, match=r"at step 27 in session I/s02\."):  # which first draws it
        quick(cohort, "lfp", folder=tmp_path)
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 25
        assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118


def test_learning_rate_rises_then_falls():
    config = TrainConfig(steps=100, warmup=0.1, lr=1.0, final_lr=0.1)
    rates = np.array([learning_rate(step, config) for step in range(100)])
    assert rates.argmax() in (9, 10) and rates.max() == 1.0
    assert (np.diff(rates[:9]) > 0).all() and (np.diff(rates[11:]) < 0).all()
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_training_takes_place_within_the_context_that_a_callback_gives(tmp_path):
    events = []

    class Watcher:
        @contextmanager
        def watch(self, model, *, step, steps):
            events.append((type(model).__name__, step, steps))
            yield
            events.append("over")

        def __call__(self, history):
            events.append(int(history["step"].max()))

    train(tmp_path / "run", callbacks=[Watcher(), at(10, StopTraining)])
    train(tmp_path / "run", callbacks=[Watcher(), at(25, StopTraining)])
    first = [("Autoencoder", 0, 30), 5, 10, "over"]
    assert events == [*first, ("Autoencoder", 10, 30), 15, 20, 25, "over"]
