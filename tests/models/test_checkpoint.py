import json

import pandas as pd
import pytest
import safetensors.torch
import torch

from spikelfp_lab import CheckpointError, ModelConfig, load
from spikelfp_lab.models import Autoencoder

CONFIG = ModelConfig(width=32, layers=1, spike_patch=16, predictor_width=32, affine_space=True)
SIZES = {"I/s01": 5, "../s 2": 40}


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder(CONFIG, modality="lfp", sessions=SIZES, bin_size_s=0.02, n_behavior=2)
    for statistic in model.statistics("I/s01"):
        statistic.copy_(torch.arange(5.0))
    model.history = pd.DataFrame(
        {"step": [1], "split": ["val"], "metric": ["loss"], "value": [0.5]}
    )
    model.info = {"made_by": "test", "seed": 3}
    return model


def test_a_saved_model_is_the_same_model(model, tmp_path):
    again = load(model.save(tmp_path / "student"))
    assert again.digest() == model.digest() and not again.training
    assert (again.config, again.modality, again.sessions) == (CONFIG, "lfp", SIZES)
    assert again.bin_size_s == 0.02 and again.info == model.info
    pd.testing.assert_frame_equal(again.history, model.history)
    names = sorted(path.name for path in (tmp_path / "student").iterdir())
    assert names == ["config.json", "model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["student"]  # no temporary left


def test_nothing_is_overwritten_silently_and_what_is_no_model_never(model, tmp_path):
    model.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="overwrite=True"):
        model.save(tmp_path / "m")
    model.info["seed"] = 4
    assert load(model.save(tmp_path / "m", overwrite=True)).info["seed"] == 4
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not a saved model"):
        model.save(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(format_version=99),
        lambda config: config["model"].update(depth=3),
        lambda config: config["model"].update(layers=2**31),  # to make these would take forever
        lambda config: config["sessions"].update({f"I/{n}": 5 for n in range(10_000)}),
        lambda config: config["model"].update(width=2**20),  # and this more memory than there is
        lambda config: config["sessions"].update({"I/s01": 2**40}),
        lambda config: config.update(history=[1, 2]),
    ],
)
def test_what_a_config_declares_is_checked_before_it_is_made(model, tmp_path, change):
    folder = model.save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=str(folder)):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("text", [None, "{", "[" * 10**5, "9" * 10**5, "[]", "\xff"])
def test_a_file_that_is_damaged_or_gone_is_one_clear_error(model, tmp_path, name, text):
    folder = model.save(tmp_path / "m")
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text, encoding="latin1")
    with pytest.raises(CheckpointError, match=f"{folder} is damaged, or was not written.*Copy"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights, name: weights[name].fill_(float("nan")), "NaN or infinite"),
        (lambda weights, name: weights.update({name: weights[name][:1]}), "declared"),
        (lambda weights, name: weights.pop(name), "'predictor.narrow.bias'"),
        (lambda weights, name: weights.update(more=torch.zeros(2)), "'more'"),
    ],
)
def test_weights_are_those_that_the_config_declares(model, tmp_path, change, message):
    file = model.save(tmp_path / "m") / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    change(weights, "predictor.narrow.bias")
    safetensors.torch.save_file(weights, file)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "m")
