"""The state of a run on disk, and what is said of steps that went wrong."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from spikelfp_lab import (
    CheckpointError,
    ModelConfig,
    SpikeLFPWarning,
    TrainConfig,
    load,
    pretrain,
)
from spikelfp_lab._files import locked
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training import StopTraining
from spikelfp_lab.training.loop import make_optimizer
from spikelfp_lab.training.state import Recent, State
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
LONG = TrainConfig(steps=10, batch=2, window_s=0.4, val_every=5)
QUICK = TrainConfig(steps=5, batch=2, window_s=0.4, val_every=5)


def test_a_state_of_other_configs_is_refused(tmp_path):
    session = make_session(bins=1500)
    pretrain(session, "spikes", model=MODEL, train=QUICK, progress=False, folder=tmp_path)
    other = TrainConfig(steps=6, batch=2, window_s=0.4, val_every=5)
    with pytest.raises(
        CheckpointError, match=r"train.steps is 5 there, and 6 is asked for.*overwrite=True"
    ):
        pretrain(session, "spikes", model=MODEL, train=other, progress=False, folder=tmp_path)
    another = make_session(bins=1500, seed=1)
    with pytest.raises(CheckpointError, match=r"data.I/s01 is"):
        pretrain(another, "spikes", model=MODEL, train=QUICK, progress=False, folder=tmp_path)


def test_a_damaged_state_is_refused_with_the_reason(tmp_path):
    options = {"model": MODEL, "train": QUICK, "progress": False, "folder": tmp_path}

    def stop(history):
        raise StopTraining

    pretrain(make_session(), "spikes", callbacks=[stop], **{**options, "train": LONG})
    state = tmp_path / "state.safetensors"
    whole = state.read_bytes()
    for damaged in (b"half a file", whole[:-20], whole.replace(b"model.", b"nodel.", 1)):
        state.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged \(.+overwrite=True"):
            pretrain(make_session(), "spikes", **{**options, "train": LONG})
    pretrain(make_session(), "spikes", overwrite=True, **options)


def test_a_finished_training_is_found_and_another_version_refused(tmp_path, monkeypatch):
    session, options = make_session(bins=1500), {"model": MODEL, "train": QUICK, "progress": False}
    first = pretrain(session, "spikes", folder=tmp_path, **options)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "run.json"} <= names
    assert "state.safetensors" not in names and load(tmp_path).digest() == first.digest()
    monkeypatch.setattr("spikelfp_lab.training.pretraining.fit", None)  # nothing is trained again
    assert pretrain(session, "spikes", folder=tmp_path, **options).digest() == first.digest()
    monkeypatch.setattr("spikelfp_lab.training.runs.TRAINING_VERSION", 99)
    with pytest.raises(CheckpointError, match="TRAINING_VERSION is 1 there, and 99"):
        pretrain(session, "spikes", folder=tmp_path, **options)


def test_a_second_process_waits_for_the_first_and_takes_its_result(tmp_path):
    session, options = make_session(bins=1500), {"model": MODEL, "train": QUICK, "progress": False}
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path):
            waiting = pool.submit(pretrain, session, "spikes", folder=tmp_path, **options)
            with pytest.raises(TimeoutError), pytest.warns(SpikeLFPWarning, match="is being made"):
                waiting.result(timeout=1.0)
        assert waiting.result(timeout=60).digest() == load(tmp_path).digest()


def recent(losses, norms):
    kept = Recent()
    for loss, norm in zip(losses, norms, strict=True):
        kept.add(1.0, {"loss": torch.tensor(loss)})
        kept.end_step(kept.loss(), torch.tensor(norm))
    return kept


def test_the_first_step_that_was_not_finite_is_named_among_many():
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    state = State(model, make_optimizer(model, QUICK), "")
    state.step = 14  # after the four steps below
    nan = float("nan")
    fine = recent([1.0] * 4, [1.0] * 4)
    assert fine.finite() and fine.finite(1)
    lost = recent([1.0, 1.0, nan, nan], [1.0, 1.0, nan, nan])
    assert not lost.finite() and not lost.finite(1)
    assert "loss is no longer finite at step 13" in str(lost.error("it", state, None))
    steep = recent([1.0, 1.0, nan, nan], [1.0, nan, nan, nan])
    assert "gradient is no longer finite at step 12" in str(steep.error("it", state, None))
