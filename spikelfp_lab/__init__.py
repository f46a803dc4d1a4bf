"""Cross-modal knowledge distillation from spikes to local field potentials.

Six verbs: ``open_session`` -> ``pretrain`` -> ``distill`` -> ``encode`` -> ``decode`` -> plot.
Names are loaded when first used, so that importing the package costs next to nothing.
"""

import sys as _sys

import lazy_loader as _lazy

__version__ = "0.2.0"

_load, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=[
        "analysis",
        "cohorts",
        "io",
        "models",
        "plots",
        "sessions",
        "signal",
        "study",
        "training",
        "widgets",
    ],
    submod_attrs={
        "configs": ["DistillConfig", "MaskConfig", "ModelConfig", "TrainConfig"],
        "errors": [
            "CheckpointError",
            "ConfigError",
            "DataError",
            "SchemaError",
            "SpikeLFPError",
            "SpikeLFPWarning",
        ],
        "cohorts.open": ["open_cohort"],
        "io.open": ["open_session"],
        "io.store": ["save_session"],
        "io.arrays": ["session_from_arrays"],
        "io.nwb_read": ["describe_nwb"],
        "io.nwb_write": ["write_nwb"],
        "sessions": [
            "check_quality",
            "drop_bad_channels",
            "split_session",
            "validate_session",
        ],
        "training": ["distill", "finetune", "pretrain"],
        "models": ["encode", "load", "load_official"],
        "analysis": ["ReadOut", "decode", "fit_readout"],
        "signal": ["band_power"],
        "widgets.compare": ["compare"],
        "widgets.explorer": ["explore"],
        "widgets.monitor": ["monitor"],
    },
)

# For one version: what people may still write, and what to write instead.
_MOVED = {
    "datasets": "sl.datasets is now sl.cohorts (named data sets) and sl.io (files and arrays)",
    "evidence": "the functions of sl.evidence are in sl.study now, under the same names",
}


def __getattr__(name: str):
    if name in _MOVED:
        raise AttributeError(f"{_MOVED[name]}; CHANGELOG.md lists every name that moved")
    return _load(name)


if "IPython" in _sys.modules:  # sessions, cohorts, models and scores show themselves in notebooks
    from spikelfp_lab._display import register as _register

    _register()
