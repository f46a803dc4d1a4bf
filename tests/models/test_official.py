"""The authors' checkpoints: read without running code, and the same functions as theirs."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from spikelfp_lab import CheckpointError, ConfigError, ModelConfig
from spikelfp_lab.models import Autoencoder, load_official

SIZES = {"lfp": {"A": 96, "B": 95}, "spikes": {"A": 40, "B": 37}}


@pytest.mark.parametrize("modality", ["lfp", "spikes"])
@pytest.mark.parametrize("session", ["A", "B"])
def test_same_function_as_the_authors(shared, modality, session):
    path = shared / "paper" / "parity" / f"official_{modality}.npz"
    model = load_official(path, sizes=SIZES[modality])
    assert model.modality == modality and model.sessions == SIZES[modality]
    with np.load(path) as file:
        arrays = dict(file)
    values = torch.from_numpy(arrays[f"{session}.input"])
    with torch.inference_mode():
        tokens = model.tokenizer(values, session)
        latents = model.latents(values, session)
    np.testing.assert_allclose(tokens, arrays[f"{session}.tokens"], atol=1e-5, rtol=0)
    # Their pooling divides by P + 1, ours is the mean over the P patches.
    patches = tokens.shape[1] // values.shape[1]
    scaled = latents * patches / (patches + 1)
    np.testing.assert_allclose(scaled, arrays[f"{session}.latents"], atol=1e-5, rtol=0)


def published(modality: str) -> tuple[Autoencoder, dict[str, torch.Tensor]]:
    """A small model of ours, and its weights under the names of the published code."""
    own = {"spike_patch": 8, "max_count": 4}
    if modality == "lfp":
        own = {"spike_patch": 32, "channel_patch": 8, "kernel": 3}
    config = ModelConfig(width=32, layers=2, heads=4, mlp_ratio=2, predictor_layers=0, **own)
    model = Autoencoder(config, modality=modality, sessions={"a": 16, "b.1": 20}, bin_size_s=0.01)
    names, weights = list(model.sessions), {}
    for key, value in model.state_dict().items():
        first, _, last = key.partition(".space.")
        if last:
            weights[f"{first}.patch_embeddings.{names[int(last)]}.weight"] = value
        elif "gate_up" in key:
            for part, half in zip(("gate_proj", "up_proj"), value.chunk(2), strict=True):
                theirs = key.replace("transformer.blocks", "backbone.layers")
                weights[theirs.replace("gate_up", part)] = half
        elif key.startswith(("tokenizer.", "transformer.")):
            for ours, theirs in {
                "tokenizer.conv": "tokenizer.embedder.conv",
                "tokenizer.table": "tokenizer.embedder.weight",
                "transformer.blocks": "backbone.layers",
                "transformer.norm": "backbone.norm",
                "attention.qkv": "attention.qkv_proj",
                "attention.out": "attention.o_proj",
                "mlp.down": "mlp.down_proj",
            }.items():
                key = key.replace(ours, theirs)
            weights[key] = value
    for layer in range(config.layers):
        weights[f"backbone.layers.{layer}.attention.rotary_emb.inv_freq"] = torch.ones(4)
    return model.eval(), weights


def write_published(path: Path, modality: str) -> Autoencoder:
    """That model, and a file of it in the form that the path's ending says."""
    model, weights = published(modality)
    weights = {key: value.contiguous() for key, value in weights.items()}
    if path.suffix == ".npz":
        np.savez_compressed(path, **{key: value.numpy() for key, value in weights.items()})
    elif path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        prefixed = {f"module.student.{key}": value for key, value in weights.items()}
        torch.save({"epoch": 3, "state_dict": prefixed | {"decoder.weight": torch.zeros(2)}}, path)
    return model


@pytest.mark.parametrize("modality", ["lfp", "spikes"])
@pytest.mark.parametrize("form", ["npz", "safetensors", "pt"])
def test_every_form_of_file_is_read(tmp_path, modality, form):
    path = tmp_path / f"model.{form}"
    model = write_published(path, modality)
    again = load_official(path, sizes={"b.1": 20})
    assert again.config == model.config and again.sessions == model.sessions
    values = torch.randint(0, 4, (1, 12, 20)).float()
    with torch.inference_mode():
        torch.testing.assert_close(again.latents(values, "b.1"), model.latents(values, "b.1"))
    assert again.info["left_out"] == ["decoder.weight"] * (form == "pt")


class _Malicious:
    def __reduce__(self):
        return (open, ("owned", "w"))


def test_a_malicious_checkpoint_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = _Malicious()
    torch.save({"state_dict": bad}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(bad))
    np.savez(tmp_path / "objects.npz", x=np.array([bad], dtype=object))
    for path in list(tmp_path.iterdir()):
        with pytest.raises(CheckpointError):
            load_official(path)
    assert not (tmp_path / "owned").exists()


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    torch.save(published("lfp")[1], tmp_path / "good.pt")
    for sizes in ({"b.1": 16}, {"c": 16}):
        with pytest.raises(ConfigError, match=r"'b.1': '17 to 24'"):
            load_official(tmp_path / "good.pt", sizes=sizes)


ROTARY, NORM = "backbone.layers.0.attention.rotary_emb.inv_freq", "backbone.norm.weight"
ROWS = "tokenizer.patch_embeddings.a.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # numbers that a stride of 0 makes of one: the model made of them would take all memory
        ({NORM: torch.zeros(1).expand(2**40)}, "layout"),
        ({f"backbone.layers.{10**9}.norm1.weight": torch.zeros(32)}, "not declared"),
        ({ROWS: torch.zeros(0, 32)}, r"sessions have \[0, 24\] units"),
        ({ROTARY: torch.zeros(1).expand(2**40)}, "ModelConfig"),
        ({NORM: torch.zeros(32, dtype=torch.int64)}, "torch.int64"),
        ({NORM: torch.full((32,), float("inf"))}, "NaN or infinite"),
        ({NORM: None}, f"no parameter named ...{NORM}"),
        ({f"teacher.{NORM}": torch.zeros(32)}, "2 models"),
    ],
)
def test_what_shapes_declare_is_checked_before_a_model_is_made(tmp_path, changes, message):
    weights = published("lfp")[1] | changes
    torch.save({k: v for k, v in weights.items() if v is not None}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_official(tmp_path / "a.pt")
    assert "a.pt" in str(caught.value) and "Get the file again" in str(caught.value)
