"""Training: one loop, small objectives."""

from spikelfp_lab.training.distill import distill
from spikelfp_lab.training.loop import StopTraining
from spikelfp_lab.training.pretrain import finetune, pretrain

__all__ = ["StopTraining", "distill", "finetune", "pretrain"]
