"""Live decoding: a causal model takes one frame at a time, from an array or from a stream."""

from spikelfp_lab.live.decoder import Decoder
from spikelfp_lab.live.export import export, first_state
from spikelfp_lab.live.lsl import replay, run

__all__ = ["Decoder", "export", "first_state", "replay", "run"]
