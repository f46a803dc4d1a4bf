"""Widgets for notebooks: look into sessions, compare models, watch a training.

Each has a *state*, plain traitlets without a browser, and a thin *view* of ipywidgets over it.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "base": ["Picture"],
        "cards": ["cohort_html", "model_html", "scores_html", "session_html"],
        "compare": ["Comparison"],
        "compare_state": ["CompareState"],
        "explorer": ["Explorer", "ExplorerState"],
        "monitor": ["Monitor", "MonitorState"],
    },
)
