"""Cohorts: open one by name or folder; a file a data set, each with ``cohort`` and ``session``."""

from spikelfp_lab.cohorts.open import open_cohort

__all__ = ["open_cohort"]
