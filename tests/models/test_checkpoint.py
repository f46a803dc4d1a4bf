import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
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


def changed_config(folder, how):
    config = json.loads((folder / "config.json").read_text())
    how(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "how",
    [
        lambda config: config["model"].update(layers=2**31),  # to make these would take forever
        lambda config: config["model"].update(predictor_layers=10**9),
        lambda config: config["sessions"].update({f"I/{n}": 5 for n in range(10_000)}),
        lambda config: config["model"].update(width=2**20),  # and these more memory than there is
        lambda config: config["sessions"].update({"I/s01": 2**40}),
        lambda config: config.update(n_behavior=2**40),
        lambda config: config.update(history=[1, 2]),
    ],
)
def test_what_a_config_declares_is_checked_before_it_is_made(model, tmp_path, how):
    folder = model.save(tmp_path / "m")
    changed_config(folder, how)
    with pytest.raises(
        CheckpointError, match=r"is damaged, or was not written.*Copy the folder again"
    ):
        load(folder)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "9" * 10**5, "[]", "null", "\xff"])
def test_a_config_that_is_nested_without_end_or_no_config(model, tmp_path, text):
    folder = model.save(tmp_path / "m")
    (folder / "config.json").write_text(text, encoding="latin1")
    with pytest.raises(CheckpointError, match=f"{folder} is damaged.*Copy"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights["narrow"].fill_(float("nan")), "NaN or infinite"),
        (lambda weights: weights.update(narrow=weights["narrow"].int()), "torch.int32"),
        (lambda weights: weights.update(narrow=weights["narrow"][:1]), "is declared"),
        (lambda weights: weights.pop("narrow"), r'Missing key.*"predictor.narrow.bias"'),
        (lambda weights: weights.update(more=torch.zeros(2)), r'Unexpected key.*"more"'),
    ],
)
def test_weights_are_those_that_the_config_declares(model, tmp_path, change, message):
    folder = model.save(tmp_path / "m")
    name = "predictor.narrow.bias"
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["narrow"] = weights.pop(name)
    change(weights)
    if "narrow" in weights:
        weights[name] = weights.pop("narrow")
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_what_a_killed_process_left_is_not_looked_for_through_a_link(model, tmp_path):
    folder = model.save(tmp_path / "m")
    (tmp_path / "other").mkdir()
    (tmp_path / ".m.0badc0de.tmp").symlink_to(tmp_path / "other")
    assert load(folder).digest() == model.digest()
    assert not list((tmp_path / "other").iterdir())
