"""study: what the notebooks share. Setup: cohort, preset, folders. Study: all models, and scores.

``python -m spikelfp_lab.study`` trains all that the notebooks of a study need, in parallel, into
the folders that their verbs name; with ``CORE=1`` what notebooks 01 to 06 need.
"""

# ruff: noqa: F401 (these names are the public face of the folder)

from spikelfp_lab.study.lasting import DAYS, frozen, lasting
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.questions import (
    ablation_scores,
    alignment,
    channel_loss,
    cost,
    fraction_of_bound,
    generalization,
    label_efficiency,
    layers,
    linear_bound,
    published_generalization,
    recovery,
    silence,
    true_latents,
)
from spikelfp_lab.study.scoring import latents_of, references, scores_of
from spikelfp_lab.study.setup import Setup
from spikelfp_lab.study.specs import ModelSpec, ablations, model_specs
from spikelfp_lab.study.study import Study
