"""evidence: the questions a sceptical reader asks of a study, each a tidy table computed from its trained models.

Every table of scores has a row for each session, seed, model, read-out, split and axis, as ``Study.scores`` has, and the columns that are named in
its function.
"""

from spikelfp_lab.evidence.ablations import ablations
from spikelfp_lab.evidence.alignment import alignment, layers
from spikelfp_lab.evidence.generalization import generalization, published_generalization
from spikelfp_lab.evidence.practical import channel_loss, cost, label_efficiency, silence
from spikelfp_lab.evidence.truth import fraction_of_bound, linear_bound, recovery, true_latents

__all__ = [
    "ablations",
    "alignment",
    "channel_loss",
    "cost",
    "fraction_of_bound",
    "generalization",
    "label_efficiency",
    "layers",
    "linear_bound",
    "published_generalization",
    "recovery",
    "silence",
    "true_latents",
]
