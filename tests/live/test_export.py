"""An exported decoder is the decoder."""

import json

import numpy as np
import pytest

from spikelfp_lab.live import Decoder, export, first_state
from tests.live.test_decoder import NAME, one  # noqa: F401

onnxruntime = pytest.importorskip("onnxruntime", reason="export needs the extra live")


def run(path, frames, state):
    """Latents and behavior that a file gives for frames."""
    session, outputs = onnxruntime.InferenceSession(path), []
    for frame in frames:
        latent, behavior, *rest = session.run(None, {"frame": frame} | state)
        state = dict(zip(state, rest, strict=True))
        outputs.append((latent, behavior))
    return map(np.array, zip(*outputs, strict=True))


def test_onnx_gives_the_same_and_int8_nearly(one, tmp_path):  # noqa: F811
    model, session, _, readout = one
    decoder, frames = Decoder(model, session=NAME, readout=readout), session["lfp"].values[:400]
    decoder.calibrate(session["lfp"].values)
    wanted = decoder.push(frames)
    whole = export(decoder, tmp_path / "decoder.onnx")
    latents, behavior = run(whole, frames.astype(float), first_state(decoder))
    assert np.abs(latents - wanted["latents"]).max() < 1e-5
    assert np.nanmax(np.abs(behavior - wanted["behavior"])) < 1e-4
    props = onnxruntime.InferenceSession(whole).get_modelmeta().custom_metadata_map
    about = json.loads(props["spikelfp_lab"])
    assert about["channels"] == session["channel"].values.tolist()
    small = export(decoder, tmp_path / "small.onnx", int8=True)
    latents, _ = run(small, frames.astype(float), first_state(decoder))
    assert 0 < np.abs(latents - wanted["latents"]).max() < 0.3 * wanted["latents"].std()
    assert {each.name for each in tmp_path.iterdir()} == {"decoder.onnx", "small.onnx"}
