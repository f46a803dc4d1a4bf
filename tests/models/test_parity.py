"""Tokenizers, backbone and pooling are the same functions as the authors' code: their weights in, their outputs out."""

import numpy as np
import pytest
import torch

from spikelfp_lab import ModelConfig
from spikelfp_lab.models import Autoencoder

TOLERANCE = 1e-5


def official(arrays, modality: str) -> Autoencoder:
    """Our model with the weights of a parity file."""
    config = ModelConfig(width=64, layers=3, heads=8, spike_patch=16, channel_patch=32)
    sizes = {name: arrays[f"{name}.input"].shape[2] for name in "AB"}
    model = Autoencoder(config, modality=modality, sessions=sizes, bin_size_s=0.01)

    def weights(key: str) -> torch.Tensor:
        return torch.from_numpy(arrays[key])

    state = {
        f"tokenizer.space.{i}": weights(f"tokenizer.patch_embeddings.{name}.weight")
        for i, name in enumerate("AB")
    }
    if modality == "lfp":
        state["tokenizer.conv.weight"] = weights("tokenizer.embedder.conv.weight")
        state["tokenizer.conv.bias"] = weights("tokenizer.embedder.conv.bias")
    else:
        state["tokenizer.table"] = weights("tokenizer.embedder.weight")
    for layer in range(config.layers):
        theirs, ours = f"backbone.layers.{layer}", f"transformer.blocks.{layer}"
        for norm in ("norm1", "norm2"):
            state[f"{ours}.{norm}.weight"] = weights(f"{theirs}.{norm}.weight")
        for part in ("weight", "bias"):
            attention, mlp = f"{theirs}.attention", f"{theirs}.mlp"
            state[f"{ours}.attention.qkv.{part}"] = weights(f"{attention}.qkv_proj.{part}")
            state[f"{ours}.attention.out.{part}"] = weights(f"{attention}.o_proj.{part}")
            state[f"{ours}.mlp.gate_up.{part}"] = torch.cat(
                (weights(f"{mlp}.gate_proj.{part}"), weights(f"{mlp}.up_proj.{part}"))
            )
            state[f"{ours}.mlp.down.{part}"] = weights(f"{mlp}.down_proj.{part}")
    state["transformer.norm.weight"] = weights("backbone.norm.weight")
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith(("predictor.", "read_out.", "mean_", "std_")) for key in missing)
    return model.eval()


@pytest.mark.parametrize("modality", ["lfp", "spikes"])
@pytest.mark.parametrize("session", ["A", "B"])
def test_same_function_as_the_authors(shared, modality, session):
    with np.load(shared / "paper" / "parity" / f"official_{modality}.npz") as file:
        arrays = dict(file)
    model = official(arrays, modality)
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
