"""The folder of a training: found, gone on with, refused, damaged, waited for."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from spikelfp_lab import CheckpointError, ModelConfig, SpikeLFPWarning, TrainConfig, load, pretrain
from spikelfp_lab._files import locked
from spikelfp_lab.training import StopTraining
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
QUICK = TrainConfig(steps=10, batch=2, window_s=0.4, val_every=5)
SESSION = make_session(bins=1500)
train = partial(pretrain, modality="spikes", model=MODEL, train=QUICK, progress=False)


def test_a_finished_training_is_found_and_another_refused(tmp_path, monkeypatch):
    first = train(SESSION, folder=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "run.json"} <= names
    assert "state.safetensors" not in names and load(tmp_path).digest() == first.digest()
    other = replace(QUICK, steps=6)
    with pytest.raises(CheckpointError, match=r"steps is 10 there, and 6 is asked.*overwrite=True"):
        train(SESSION, train=other, folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"data.I/s01 is"):
        train(make_session(bins=1500, seed=1), folder=tmp_path)
    monkeypatch.setattr("spikelfp_lab.training.loop.fit", None)  # nothing is trained again
    assert train(SESSION, folder=tmp_path).digest() == first.digest()
    known = json.loads((tmp_path / "run.json").read_text())  # of before a config had a field
    del known["model"]["causal"], known["train"]["tables_only"]
    (tmp_path / "run.json").write_text(json.dumps(known))
    assert train(SESSION, folder=tmp_path).digest() == first.digest()
    monkeypatch.setattr("spikelfp_lab.training.runs.TRAINING_VERSION", 99)
    with pytest.raises(CheckpointError, match="TRAINING_VERSION"):
        train(SESSION, folder=tmp_path)


def test_a_damaged_state_is_refused_with_the_reason(tmp_path):
    def stop(history):
        raise StopTraining

    train(SESSION, callbacks=[stop], folder=tmp_path)
    for name, part in (("state.safetensors", b"model."), ("run.json", b"{")):
        file = tmp_path / name
        whole = file.read_bytes()
        for damaged in (b"half a file", whole[:-20], whole.replace(part, b"nodel.", 1)):
            file.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"is damaged \(.+verwrite=True"):
                train(SESSION, folder=tmp_path)
        file.write_bytes(whole)
    (tmp_path / "state.safetensors").write_bytes(b"half a file")
    again = train(SESSION, overwrite=True, folder=tmp_path)
    assert again.digest() == train(SESSION).digest()


def test_a_second_process_waits_for_the_first_and_takes_its_result(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path):
            waiting = pool.submit(train, SESSION, folder=tmp_path)
            with pytest.raises(TimeoutError), pytest.warns(SpikeLFPWarning, match="is being made"):
                waiting.result(timeout=1.0)
        assert waiting.result(timeout=60).digest() == load(tmp_path).digest()
