"""Models: tokenizers, transformer, masked autoencoder, checkpoints, and ``encode``."""

from spikelfp_lab.models.autoencoder import Autoencoder, load
from spikelfp_lab.models.encode import encode
from spikelfp_lab.models.official import load_official

__all__ = ["Autoencoder", "encode", "load", "load_official"]
