"""study: what the notebooks share. A preset and a cohort -> trained models, each trained once and found again by the hash of its configs.

``python -m spikelfp_lab.study`` trains all that the notebooks of a study ask for, with progress bars; environment variables choose the study:
``COHORT``, ``PRESET``, ``SEEDS`` (how many), ``GRID`` ("reduced": grids over the first held-out session and seed; "full": over all),
``SPIKELFP_RUNS`` (where models are kept) and ``FIGURES``.
"""

from spikelfp_lab.study.ablations import ablations
from spikelfp_lab.study.alignment import alignment, layers
from spikelfp_lab.study.catalog import COMPARISON, MODELS
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.generalization import generalization, published_generalization
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.practical import channel_loss, cost, label_efficiency, silence
from spikelfp_lab.study.recipe import Recipe
from spikelfp_lab.study.scoring import latents_of, read_out, references, scores_of
from spikelfp_lab.study.truth import fraction_of_bound, linear_bound, recovery, true_latents

__all__ = [
    "true_latents",
    "silence",
    "recovery",
    "published_generalization",
    "linear_bound",
    "layers",
    "label_efficiency",
    "generalization",
    "fraction_of_bound",
    "cost",
    "channel_loss",
    "alignment",
    "ablations",
    "COMPARISON",
    "MODELS",
    "Recipe",
    "Study",
    "in_parallel",
    "latents_of",
    "read_out",
    "references",
    "scores_of",
]
