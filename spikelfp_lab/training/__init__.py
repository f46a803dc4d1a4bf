"""Training: one loop, small objectives."""

from spikelfp_lab.training.distillation import distill
from spikelfp_lab.training.loop import StopTraining
from spikelfp_lab.training.pretraining import finetune, pretrain

__all__ = ["StopTraining", "distill", "finetune", "pretrain"]
