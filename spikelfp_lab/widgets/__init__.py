"""Widgets for notebooks: look into sessions, compare models, watch a training.

``sl.explore``, ``sl.compare`` and ``sl.monitor``. Each has a *state*, plain traitlets that tests drive without a browser, and a thin *view* of
ipywidgets over it.
"""

import lazy_loader as _lazy

# Each is loaded when it is used: reprs, which every notebook needs, must not wait for the others.
__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "compare": ["Comparison"],
        "compare_state": ["CompareState"],
        "explorer": ["Explorer"],
        "explorer_state": ["ExplorerState"],
        "monitor": ["Monitor"],
        "monitor_state": ["MonitorState"],
        "reprs": ["cohort_html", "model_html", "scores_html", "session_html"],
    },
)
