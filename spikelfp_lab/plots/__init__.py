"""Figures: tidy data in, a Matplotlib figure out, all in one packaged style.

Each function returns a figure that pyplot no longer holds: as the last line of a notebook cell it
is shown once, and nothing piles up in memory.
"""

from spikelfp_lab.plots.curves import plot_curves, plot_pairs
from spikelfp_lab.plots.decoded import plot_decoded
from spikelfp_lab.plots.history import plot_history
from spikelfp_lab.plots.latents import plot_latents
from spikelfp_lab.plots.live import live_history
from spikelfp_lab.plots.palette import MODEL_COLORS, MODEL_ORDER
from spikelfp_lab.plots.save import save_figure
from spikelfp_lab.plots.scores import plot_scores
from spikelfp_lab.plots.session import plot_session
from spikelfp_lab.plots.spectra import plot_spectra, spectra
from spikelfp_lab.plots.style import style

__all__ = [
    "MODEL_COLORS",
    "MODEL_ORDER",
    "live_history",
    "plot_curves",
    "plot_decoded",
    "plot_history",
    "plot_latents",
    "plot_pairs",
    "plot_scores",
    "plot_session",
    "plot_spectra",
    "save_figure",
    "spectra",
    "style",
]
