"""The authors' checkpoints: read without running code, and the same functions as theirs, their
weights in, their outputs out.
"""

import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from spikelfp_lab import CheckpointError, ConfigError, ModelConfig
from spikelfp_lab.models import Autoencoder, load_official

TOLERANCE = 1e-5
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
    np.testing.assert_allclose(tokens, arrays[f"{session}.tokens"], atol=TOLERANCE, rtol=0)
    # Their pooling divides by P + 1, ours is the mean over the P patches.
    patches = tokens.shape[1] // values.shape[1]
    scaled = latents * patches / (patches + 1)
    np.testing.assert_allclose(scaled, arrays[f"{session}.latents"], atol=TOLERANCE, rtol=0)
    positions = model.positions(values.shape[1], patches, values.device)
    np.testing.assert_array_equal(positions, arrays[f"{session}.positions"][0])


def published(modality: str) -> tuple[Autoencoder, dict[str, torch.Tensor]]:
    """A small model of ours, and its weights under the names of the published code."""
    config = ModelConfig(
        width=32,
        layers=2,
        heads=4,
        mlp_ratio=2,
        predictor_layers=0,
        **(
            {"spike_patch": 8, "max_count": 4}
            if modality == "spikes"
            else {"spike_patch": 32, "channel_patch": 8, "kernel": 3}
        ),
    )
    model = Autoencoder(config, modality=modality, sessions={"a": 16, "b.1": 20}, bin_size_s=0.01)
    state = model.state_dict()
    weights = {"backbone.norm.weight": state["transformer.norm.weight"]}
    for index, name in enumerate(model.sessions):
        weights[f"tokenizer.patch_embeddings.{name}.weight"] = state[f"tokenizer.space.{index}"]
    if modality == "lfp":
        for part in ("weight", "bias"):
            weights[f"tokenizer.embedder.conv.{part}"] = state[f"tokenizer.conv.{part}"]
    else:
        weights["tokenizer.embedder.weight"] = state["tokenizer.table"]
    for layer in range(config.layers):
        ours, theirs = f"transformer.blocks.{layer}", f"backbone.layers.{layer}"
        weights[f"{theirs}.attention.rotary_emb.inv_freq"] = torch.ones(config.width // 8)
        for norm in ("norm1", "norm2"):
            weights[f"{theirs}.{norm}.weight"] = state[f"{ours}.{norm}.weight"]
        for part in ("weight", "bias"):
            gate, up = state[f"{ours}.mlp.gate_up.{part}"].chunk(2)
            weights |= {
                f"{theirs}.attention.qkv_proj.{part}": state[f"{ours}.attention.qkv.{part}"],
                f"{theirs}.attention.o_proj.{part}": state[f"{ours}.attention.out.{part}"],
                f"{theirs}.mlp.gate_proj.{part}": gate,
                f"{theirs}.mlp.up_proj.{part}": up,
                f"{theirs}.mlp.down_proj.{part}": state[f"{ours}.mlp.down.{part}"],
            }
    return model.eval(), weights


@pytest.mark.parametrize("modality", ["lfp", "spikes"])
@pytest.mark.parametrize("form", ["npz", "safetensors", "state_dict", "nested"])
def test_every_form_of_file_is_read(tmp_path, modality, form):
    model, weights = published(modality)
    path = tmp_path / f"model.{form if form in ('npz', 'safetensors') else 'pt'}"
    if form == "npz":
        np.savez(path, **{key: value.numpy() for key, value in weights.items()})
    elif form == "safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in weights.items()}, path)
    elif form == "state_dict":
        torch.save(weights, path)
    else:
        prefixed = {f"module.student.{key}": value for key, value in weights.items()}
        prefixed["decoder.weight"] = torch.zeros(2)
        torch.save({"epoch": 3, "state_dict": prefixed}, path)
    again = load_official(path, sizes={"b.1": 20})
    assert again.config == model.config and again.sessions == model.sessions
    values = torch.randint(0, 4, (1, 12, 20)).float()
    with torch.inference_mode():
        torch.testing.assert_close(again.latents(values, "b.1"), model.latents(values, "b.1"))
    assert again.info["left_out"] == (["decoder.weight"] if form == "nested" else [])


class _Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_malicious_checkpoint_runs_nothing(tmp_path):
    target = tmp_path / "owned"
    for name, write in {
        "torch.pt": lambda path: torch.save({"state_dict": _Malicious(target)}, path),
        "plain.pt": lambda path: path.write_bytes(pickle.dumps(_Malicious(target))),
    }.items():
        write(tmp_path / name)
        with pytest.raises(CheckpointError):
            load_official(tmp_path / name)
    np.savez(tmp_path / "objects.npz", x=np.array([_Malicious(target)], dtype=object))
    with pytest.raises(CheckpointError):
        load_official(tmp_path / "objects.npz")
    assert not target.exists()


def test_what_is_wrong_with_a_file_is_said(tmp_path):
    _, weights = published("lfp")
    for name, content, message in (
        ("other.pt", {"weight": torch.zeros(2)}, "published code"),
        ("two.pt", weights | {f"teacher.{k}": v for k, v in weights.items()}, "2 models"),
        ("part.pt", {k: v for k, v in weights.items() if "qkv" not in k}, "layout"),
    ):
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=message):
            load_official(tmp_path / name)
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(CheckpointError, match="damaged"):
        load_official(tmp_path / "broken.safetensors")
    torch.save(weights, tmp_path / "good.pt")
    with pytest.raises(ConfigError, match="hold 17 to 24"):
        load_official(tmp_path / "good.pt", sizes={"b.1": 16})
    with pytest.raises(ConfigError, match="knows"):
        load_official(tmp_path / "good.pt", sizes={"c": 16})


ROTARY = "backbone.layers.0.attention.rotary_emb.inv_freq"
NORM = "backbone.norm.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # numbers that a stride of 0 makes of one: the model made of them would take all memory
        ({NORM: torch.zeros(1).expand(2**40)}, "layout"),
        ({"tokenizer.patch_embeddings.a.weight": torch.zeros(1, 1).expand(2**33, 32)}, "layout"),
        ({f"backbone.layers.{10**9}.norm1.weight": torch.zeros(32)}, "layers are numbered"),
        ({f"backbone.layers.{'9' * 5000}.norm1.weight": torch.zeros(32)}, "layers are numbered"),
        ({"backbone.layers.x.norm1.weight": torch.zeros(32)}, "layers are numbered"),
        ({NORM: torch.tensor(1.0)}, "layout"),
        ({ROTARY: torch.zeros(0)}, "layout"),
        (
            {"tokenizer.patch_embeddings.a.weight": torch.zeros(0, 32)},
            r"sessions have \[0, 3\] patches",
        ),
        ({ROTARY: torch.zeros(1).expand(2**40)}, "ModelConfig"),
        ({NORM: torch.zeros(32, dtype=torch.int64)}, "torch.int64"),
        ({NORM: torch.full((32,), float("inf"))}, "NaN or infinite"),
    ],
)
def test_what_shapes_declare_is_checked_before_a_model_is_made(tmp_path, changes, message):
    _, weights = published("lfp")
    torch.save(weights | changes, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_official(tmp_path / "a.pt")
    assert "a.pt" in str(caught.value) and "Get the file again" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_dicts_in_dicts_without_end(tmp_path):
    torch.save({"a": 1}, tmp_path / "a.pt")
    deep = b"\x80\x02}" + b"X\x01\x00\x00\x00a}" * 50_000 + b"s" * 50_000 + b"."
    with zipfile.ZipFile(tmp_path / "a.pt") as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as new:
        for name, content in members.items():
            new.writestr(name, deep if name.endswith("data.pkl") else content)
    with pytest.raises(CheckpointError, match="not of the published code"):
        load_official(tmp_path / "a.pt")
