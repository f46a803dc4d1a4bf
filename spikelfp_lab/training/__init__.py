"""Training: one loop, small objectives."""

from spikelfp_lab.training.distill import distill
from spikelfp_lab.training.pretrain import finetune, pretrain

__all__ = ["distill", "finetune", "pretrain"]
