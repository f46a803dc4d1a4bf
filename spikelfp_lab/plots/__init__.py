"""Figures: tidy data in, a Matplotlib figure out, all in one packaged style.

Each function returns a figure that pyplot no longer holds: as the last line of a notebook cell it
is shown once, and nothing piles up in memory.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "bars": ["plot_ablations", "plot_alignment", "plot_bound", "plot_scores"],
        "curves": ["plot_cost", "plot_curves", "plot_history", "plot_pairs"],
        "latents": ["plot_decoded", "plot_latents"],
        "save": ["figures_folder", "save_figure", "save_table", "show"],
        "session": ["plot_session"],
        "spectral": ["plot_spectra", "spectra"],
        "tables": ["plot_layers", "plot_recovery"],
        "theme": ["CONTROLS", "MODEL_COLORS", "MODEL_ORDER", "letter_panels", "style"],
    },
)
