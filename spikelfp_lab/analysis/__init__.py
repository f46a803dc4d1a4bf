"""From latents to numbers: linear read-outs of behavior, alignment of latents, statistics."""

from spikelfp_lab.analysis.alignment import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.analysis.decode import decode, predict, r2_by_axis
from spikelfp_lab.analysis.stats import bootstrap_interval, compare, paired_test

__all__ = [
    "bootstrap_interval",
    "cca",
    "compare",
    "decode",
    "linear_cka",
    "paired_test",
    "predict",
    "procrustes",
    "r2_by_axis",
    "retrieval",
]
