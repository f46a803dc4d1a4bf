"""From latents to numbers: read-outs of behavior, references, alignment of latents, statistics."""

# ruff: noqa: F401 (these names are the public face of the folder)

from spikelfp_lab.analysis.alignment import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.analysis.anchors import Anchor, anchor
from spikelfp_lab.analysis.decoders import gru, kalman, wiener
from spikelfp_lab.analysis.readout import ReadOut, decode, fit_readout, r2_by_axis, score_predicted
from spikelfp_lab.analysis.stats import (
    bootstrap_interval,
    control_false_discoveries,
    paired_test,
    paired_tests,
    summarize,
)
