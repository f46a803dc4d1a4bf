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
        *("analysis", "cohorts", "io", "models", "plots"),
        *("live", "loggers", "sessions", "signal", "sklearn", "study", "training", "widgets"),
    ],
    submod_attrs={
        "analysis": ["Anchor", "ReadOut", "anchor", "decode", "fit_readout"],
        "cohorts.open": ["open_cohort"],
        "configs": ["DistillConfig", "MaskConfig", "ModelConfig", "TrainConfig"],
        "errors": [
            *("CheckpointError", "ConfigError", "DataError", "SchemaError"),
            *("SpikeLFPError", "SpikeLFPWarning"),
        ],
        "io.arrays": ["session_from_arrays"],
        "io.nwb_read": ["describe_nwb"],
        "io.nwb_write": ["write_nwb"],
        "io.open": ["open_session"],
        "io.store": ["save_session"],
        "models": ["encode", "load", "load_official"],
        "reporting": ["report"],
        "sessions": ["check_quality", "drop_bad_channels", "split_session", "validate_session"],
        "signal": ["band_power"],
        "training": ["distill", "finetune", "pretrain"],
        "widgets.compare": ["compare"],
        "widgets.explorer": ["explore"],
        "widgets.monitor": ["monitor"],
    },
)

_MOVED = {"datasets": "cohorts and sl.io", "evidence": "study"}  # said for one version


def __getattr__(name: str):
    if name in _MOVED:
        raise AttributeError(f"sl.{name} is now sl.{_MOVED[name]}; CHANGELOG.md lists every name")
    return _load(name)


if "IPython" in _sys.modules:  # sessions, cohorts, models and scores show themselves in notebooks
    from spikelfp_lab import _display

    _display.register()
