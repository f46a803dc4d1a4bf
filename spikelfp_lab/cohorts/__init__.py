"""Cohorts: open one by name or folder; a file a data set, each with ``cohort`` and ``session``."""

import lazy_loader as _lazy

_SETS = ["cao2021", "flint", "generative", "makin", "simulated", "v1_gamma"]

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, submodules=_SETS, submod_attrs={"open": ["open_cohort"]}
)
