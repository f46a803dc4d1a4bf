"""From latents to numbers: read-outs of behavior, references, alignment of latents, statistics."""

from spikelfp_lab.analysis.alignment import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.analysis.decoders import gru, kalman, psid, wiener
from spikelfp_lab.analysis.readout import ReadOut, decode, fit_readout, r2_by_axis, score_predicted
from spikelfp_lab.analysis.stats import (
    bootstrap_interval,
    control_false_discoveries,
    paired_test,
    paired_tests,
    summarize,
)

__all__ = [
    "ReadOut",
    "bootstrap_interval",
    "cca",
    "control_false_discoveries",
    "decode",
    "fit_readout",
    "gru",
    "kalman",
    "linear_cka",
    "paired_test",
    "paired_tests",
    "procrustes",
    "psid",
    "r2_by_axis",
    "retrieval",
    "score_predicted",
    "summarize",
    "wiener",
]
