"""A live decoder as one ONNX file: a frame and the state in, latent, behavior and the state out."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikelfp_lab._files import whole
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.live.decoder import Decoder
from spikelfp_lab.live.step import Step

CURE = 'pip install "spikelfp_lab[live]"'


class Exported(nn.Module):
    """A step as a function of tensors alone, which is what can be exported."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.step = Step(decoder.model, decoder.session, decoder.readout, xp=torch)
        own = decoder._step
        self.step.mean, self.step.std = torch.as_tensor(own.mean), torch.as_tensor(own.std)
        self.names = [*self.step.begin()]

    def forward(self, frame: Tensor, state: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        known = dict(zip(self.names, state, strict=True))
        latent, behavior = self.step(frame, known)
        return latent, behavior, [known[name] for name in self.names]


def export(decoder: Decoder, path: str | Path, *, int8: bool = False) -> Path:
    """Write a decoder to an ONNX file, with its z-scoring, band power and read-out.

    Inputs are ``frame`` (channel,) float64, uV, in the order of the model's channels, and the state
    by its names; outputs ``latent`` (latent,), ``behavior`` (axis,) and the next state, named
    ``next_...``. The file's metadata ``spikelfp_lab`` is JSON: labels of the channels, axes, bin
    size, session, digest of the model. :func:`first_state` gives the state to begin with. Needs the
    extra ``live``.

    Parameters
    ----------
    decoder : Decoder
    path : str or Path
    int8 : bool
        Weights of the blocks as 8-bit integers: a smaller file, at a small loss.

    Returns
    -------
    Path
    """
    try:
        import onnx
        from onnxruntime.quantization import quantize_dynamic
    except ImportError as error:
        raise ConfigError(f"export needs onnx, onnxscript and onnxruntime: {CURE}") from error
    module, path = Exported(decoder).eval(), Path(path)
    state = [torch.as_tensor(x) for x in module.step.begin().values()]
    frame = torch.zeros(len(decoder.labels), dtype=torch.float64)
    names = ["latent", "behavior", *(f"next_{name}" for name in module.names)]
    options: dict[str, Any] = {"dynamo": True, "verbose": False, "output_names": names}
    with torch.no_grad(), _quiet():
        made: Any = torch.onnx.export(
            module, (frame, state), input_names=["frame", *module.names], **options
        )
    proto = made.model_proto
    for node in proto.graph.node:  # where in the code it comes from takes half of the file
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    about = {
        "channels": decoder.labels,
        "behavior": decoder.readout.behavior_dim if decoder.readout else [],
        "bin_size_s": decoder.bin_size_s,
        "session": decoder.session,
        "digest": decoder.model.digest(),
    }
    onnx.helper.set_model_props(proto, {"spikelfp_lab": json.dumps(about)})
    with whole(path) as partial:
        partial.write_bytes(proto.SerializeToString())
        if int8:
            with _quiet():
                quantize_dynamic(partial, partial)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the libraries say of parts that are not used here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_state(decoder: Decoder) -> dict[str, np.ndarray]:
    """The state that an exported decoder begins with: name -> array."""
    return {name: np.asarray(x) for name, x in decoder._step.begin().items()}
