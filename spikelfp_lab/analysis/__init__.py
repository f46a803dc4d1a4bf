"""From latents to numbers: linear read-outs of behavior, alignment of latents, statistics."""

from spikelfp_lab.analysis.decode import decode, predict, r2_by_axis

__all__ = ["decode", "predict", "r2_by_axis"]
