import json

import numpy as np
import pandas as pd
import pytest
import torch

from spikelfp_lab import CheckpointError, ModelConfig, load
from spikelfp_lab.models import Autoencoder

CONFIG = ModelConfig(width=32, layers=1, spike_patch=16, predictor_width=32, affine_space=True)


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder(
        CONFIG,
        modality="lfp",
        sessions={"I/s01": 5, "../s 2": 40},
        bin_size_s=0.02,
        n_behavior=2,
    )
    model.set_statistics("I/s01", torch.arange(5.0), torch.full((5,), 2.0))
    model.history = pd.DataFrame(
        {"step": [1], "split": ["val"], "metric": ["loss"], "value": [0.5]}
    )
    model.info = {"made_by": "test", "seed": 3}
    return model


def test_a_saved_model_is_the_same_model(model, tmp_path):
    again = load(model.save(tmp_path / "student"))
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], tensor, rtol=0, atol=0)
    assert (again.config, again.modality, again.sessions) == (
        model.config,
        "lfp",
        {"I/s01": 5, "../s 2": 40},
    )
    assert again.bin_size_s == 0.02 and again.info == model.info
    pd.testing.assert_frame_equal(again.history, model.history)
    assert not again.training
    assert sorted(p.name for p in (tmp_path / "student").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["student"]  # no temporary left


def test_nothing_is_overwritten_silently(model, tmp_path):
    model.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="overwrite=True"):
        model.save(tmp_path / "m")
    model.info["seed"] = 4
    assert load(model.save(tmp_path / "m", overwrite=True)).info["seed"] == 4


def test_a_folder_that_is_no_model_is_never_overwritten(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not a saved model"):
        model.save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def damage_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def damage_config(folder):
    (folder / "config.json").write_text("{")


def another_width(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["width"] = 64
    (folder / "config.json").write_text(json.dumps(config))


def another_format(folder):
    config = json.loads((folder / "config.json").read_text())
    config["format_version"] = 99
    (folder / "config.json").write_text(json.dumps(config))


def unknown_field(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["depth"] = 3
    (folder / "config.json").write_text(json.dumps(config))


def gone(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "harm", [damage_weights, damage_config, another_width, another_format, unknown_field, gone]
)
def test_a_damaged_checkpoint_is_one_clear_error(model, tmp_path, harm):
    folder = model.save(tmp_path / "m")
    harm(folder)
    with pytest.raises(CheckpointError, match=str(folder)):
        load(folder)


def test_configs_survive_json():
    rng = np.random.default_rng(0)
    for _ in range(5):
        config = ModelConfig(layers=int(rng.integers(1, 9)), dropout=float(rng.random() * 0.5))
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
