"""The loop: repeatable bit for bit, resumable after a kill, keeps the best weights, stops early,
refuses what is broken.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors import safe_open

from spikelfp_lab import DataError, ModelConfig, TrainConfig, load, pretrain
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training import StopTraining, loop
from spikelfp_lab.training.batches import draw, prepare
from spikelfp_lab.training.loop import fit, learning_rate, make_optimizer
from tests.factories import make_session

pretraining = sys.modules["spikelfp_lab.training.pretraining"]
MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
TRAIN = TrainConfig(steps=30, batch=4, window_s=0.4, val_every=5, drop_inputs=0.3)


def train(folder=None, **options):
    session = make_session(bins=1500)
    return pretrain(
        session,
        "spikes",
        model=MODEL,
        train=TRAIN,
        device="cpu",
        progress=False,
        folder=folder,
        **options,
    )


def assert_same(a: Autoencoder, b: Autoencoder) -> None:
    for key, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[key]), key


def test_same_seed_same_weights_bit_for_bit():
    first, second = train(), train()
    assert_same(first, second)
    assert first.history.equals(second.history)


def test_the_loss_falls():
    history = train().history.query("split == 'train' and metric == 'loss'")["value"]
    assert history.iloc[-1] < history.iloc[0]


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(history):
        if history["step"].max() >= 15:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(tmp_path / "run", callbacks=[interrupt])
    assert_same(train(tmp_path / "run"), train())


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    """SIGKILL while another process trains; nothing half-written is left, and the second run ends
    where an undisturbed one does.
    """
    code = (
        "from pathlib import Path; from tests.training.test_loop import train; import sys\n"
        "train(Path(sys.argv[1]) / 'run').save(Path(sys.argv[1]) / 'model')"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    process = subprocess.Popen(command, cwd=root, env=environment)
    state = tmp_path / "run" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model").exists()
    subprocess.run(command, cwd=root, env=environment, check=True)
    assert_same(load(tmp_path / "model"), train())


class Scripted:
    """An objective whose validation scores are given."""

    def __init__(self, scores, broken_at=None):
        self.scores, self.broken_at = iter(scores), broken_at

    def loss(self, model, step):
        weight = model.transformer.norm.weight
        loss = (weight**2).sum()
        return {"loss": loss * float("nan") if step == self.broken_at else loss}

    def validate(self, model):
        return {"score": next(self.scores)}


def scripted(scores, *, steps, patience=None, broken_at=None):
    torch.manual_seed(0)
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    config = TrainConfig(steps=steps, val_every=1, patience=patience, lr=0.1)
    seen = []

    def watch(history):
        seen.append(model.transformer.norm.weight.detach().clone())

    objective = Scripted(scores, broken_at)
    fit(model, objective, train=config, label="test", progress=False, callbacks=[watch])
    return model, seen


def test_best_weights_are_kept_and_training_stops_early():
    model, seen = scripted([3.0, 1.0, 2.0, 2.0, 2.0, 0.0], steps=6, patience=3)
    assert len(seen) == 5  # stopped after three validations without a better score
    assert model.info["best_step"] == 2
    torch.testing.assert_close(model.transformer.norm.weight.detach(), seen[1])


def test_a_loss_that_is_not_finite_is_one_clear_error():
    with pytest.raises(DataError, match="loss is no longer finite at step 3"):
        scripted([1.0] * 5, steps=5, broken_at=2)


class Kept:
    """Keeps the model, its weights at each validation, and whether a gradient that is not finite
    was ever applied.
    """

    def __init__(self):
        self.weights, self.steps, self.applied = [], [], []

    @contextmanager
    def watch(self, model, *, step, steps):
        self.model = model
        yield

    def __call__(self, history):
        self.weights.append({k: v.clone() for k, v in self.model.state_dict().items()})
        self.steps.append(int(history["step"].max()))

    def optimizer(self, model, train):
        made = make_optimizer(model, train)
        made.register_step_pre_hook(
            lambda *_: self.applied.append(
                all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
            )
        )
        return made


EXTREME = TrainConfig(steps=30, batch=4, window_s=0.4, val_every=5)


def train_on_extremes(monkeypatch, folder, kept, *, train=EXTREME):
    """Two sessions, of which the second is shorter and overflows a float's square."""

    def prepare_extreme(session, name, **options):
        windows = prepare(session, name, **options)
        if name == "I/s02":
            windows.values = windows.values * 1e30
            windows.val = np.array([0])  # where it is not extreme: a step is to meet it first
            windows.values[: windows.length] = 0.0
        return windows

    monkeypatch.setattr(pretraining, "prepare", prepare_extreme)
    monkeypatch.setattr(loop, "make_optimizer", kept.optimizer)
    cohort = {"I/s01": make_session(bins=2500), "I/s02": make_session(session="s02", bins=500)}
    return pretrain(
        cohort,
        "lfp",
        model=MODEL,
        train=train,
        device="cpu",
        progress=False,
        folder=folder,
        callbacks=[kept],
    )


def first_drawn(train):
    """The step, from 1, that first draws the second session."""
    cohort = [
        prepare(
            make_session(session=f"s{i}", bins=bins),
            f"I/s0{i}",
            modality="lfp",
            train=train,
            device=torch.device("cpu"),
        )
        for i, bins in ((1, 2500), (2, 500))
    ]
    return 1 + next(
        step
        for step in range(train.steps)
        if draw(cohort, batch=1, seed=train.seed, step=step)[0].name == "I/s02"
    )


@pytest.mark.parametrize("at_once", [True, False], ids=["CPU", "as on a GPU"])
def test_data_that_are_extreme_in_one_session_stop_training_with_its_last_good_weights(
    tmp_path, monkeypatch, at_once
):
    monkeypatch.setattr(loop, "looks_each_step", lambda device: at_once)
    step, kept = first_drawn(EXTREME), Kept()
    assert step > 5
    with pytest.raises(
        DataError, match=rf"loss is no longer finite at step {step} in session I/s02\. "
    ):
        train_on_extremes(monkeypatch, tmp_path, kept)
    validated = [s for s in range(1, step) if s % 5 == 0]
    assert kept.steps == validated
    if at_once:
        assert kept.applied == [True] * (step - 1)  # the broken gradient was never applied
    best = kept.weights[validated.index(kept.model.info["best_step"])]
    for key, tensor in kept.model.state_dict().items():
        assert torch.equal(tensor, best[key])
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == validated[-1]
        for key, tensor in kept.weights[-1].items():
            assert torch.equal(file.get_tensor(f"model.{key}"), tensor)


def test_a_gradient_that_is_not_finite_is_not_applied_either(monkeypatch):
    """With a loss that is."""
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    kept = Kept()
    monkeypatch.setattr(loop, "make_optimizer", kept.optimizer)

    class Steep:
        def loss(self, model, step):
            weight = model.transformer.norm.weight
            steep = (weight - weight.detach()).abs().sqrt() if step == 2 else weight**2
            return {"loss": steep.sum()}  # 0, with an endless slope

        def validate(self, model):
            return {"score": 1.0}

    with pytest.raises(DataError, match="gradient is no longer finite at step 3"):
        fit(model, Steep(), train=TrainConfig(steps=5), label="test", progress=False)
    assert kept.applied == [True, True]


def test_memory_does_not_grow_with_steps():
    tiny = ModelConfig(width=8, heads=1, layers=1, mlp_ratio=1, spike_patch=8, predictor_width=8)
    long = TrainConfig(steps=2000, batch=2, window_s=0.1, val_every=100)
    used = {}

    def measure(history):
        used[int(history["step"].max())] = psutil.Process().memory_info().rss / 1e6

    pretrain(
        make_session(bins=400),
        "spikes",
        model=tiny,
        train=long,
        device="cpu",
        progress=False,
        callbacks=[measure],
    )
    assert used[2000] - used[500] < 5


def test_learning_rate_rises_then_falls():
    config = TrainConfig(steps=100, warmup=0.1, lr=1.0, final_lr=0.1)
    rates = np.array([learning_rate(step, config) for step in range(100)])
    assert rates.argmax() in (9, 10) and rates.max() == 1.0
    assert (np.diff(rates[:9]) > 0).all() and (np.diff(rates[11:]) < 0).all()
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_a_callback_may_stop_training_which_keeps_the_best_weights():
    torch.manual_seed(0)
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    seen = []

    def watch(history):
        seen.append(model.transformer.norm.weight.detach().clone())
        if history["step"].max() == 3:
            raise StopTraining

    config = TrainConfig(steps=6, val_every=1, lr=0.1)
    objective = Scripted([3.0, 1.0, 2.0, 0.0])
    fit(model, objective, train=config, label="test", progress=False, callbacks=[watch])
    assert len(seen) == 3 and model.history["step"].max() == 3
    assert model.info["best_step"] == 2
    torch.testing.assert_close(model.transformer.norm.weight.detach(), seen[1])


def test_a_stopped_run_goes_on_when_it_is_called_again(tmp_path):
    def stop(history):
        if history["step"].max() >= 15:
            raise StopTraining

    stopped = train(tmp_path / "run", callbacks=[stop])
    assert stopped.history["step"].max() == 15
    assert_same(train(tmp_path / "run"), train())


def test_training_takes_place_within_the_context_that_a_callback_gives(tmp_path):
    class Watcher:
        def __init__(self):
            self.events = []

        @contextmanager
        def watch(self, model, *, step, steps):
            self.events.append((type(model).__name__, step, steps))
            try:
                yield
            except StopTraining:
                self.events.append("stop seen")  # it never gets here: the loop deals with it
            except BaseException as error:
                self.events.append(type(error).__name__)
                raise
            else:
                self.events.append("over")

        def __call__(self, history):
            self.events.append(int(history["step"].max()))
            if self.events[-1] == 10:
                raise KeyboardInterrupt
            if self.events[-1] == 25:
                raise StopTraining

    watcher = Watcher()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", callbacks=[watcher])
    assert watcher.events == [("Autoencoder", 0, 30), 5, 10, "KeyboardInterrupt"]
    watcher.events.clear()
    train(tmp_path / "run", callbacks=[watcher])
    assert watcher.events == [("Autoencoder", 10, 30), 15, 20, 25, "over"]
