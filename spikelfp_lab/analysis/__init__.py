"""From latents to numbers: read-outs of behavior, references, alignment of latents, statistics."""

from spikelfp_lab.analysis.alignment import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.analysis.decode import decode, fit_read_out, predict, r2_by_axis, score
from spikelfp_lab.analysis.decoders import gru, kalman, psid, wiener
from spikelfp_lab.analysis.stats import (
    bootstrap_interval,
    compare,
    control_false_discoveries,
    paired_test,
)
from spikelfp_lab.analysis.summary import summarize

__all__ = [
    "bootstrap_interval",
    "cca",
    "compare",
    "control_false_discoveries",
    "decode",
    "fit_read_out",
    "gru",
    "kalman",
    "linear_cka",
    "paired_test",
    "predict",
    "procrustes",
    "psid",
    "r2_by_axis",
    "retrieval",
    "score",
    "summarize",
    "wiener",
]
