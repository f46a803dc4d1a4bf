"""Figures: tidy data in, a Matplotlib figure out, all in one packaged style.

Each function returns a figure that pyplot no longer holds: as the last line of a notebook cell it
is shown once, and nothing piles up in memory.
"""

from spikelfp_lab.plots.ablations import plot_ablations
from spikelfp_lab.plots.bars import plot_alignment, plot_bound, plot_scores
from spikelfp_lab.plots.curves import plot_cost, plot_curves, plot_history, plot_pairs
from spikelfp_lab.plots.decoded import plot_decoded
from spikelfp_lab.plots.latents import plot_latents
from spikelfp_lab.plots.palette import CONTROLS, MODEL_COLORS, MODEL_ORDER
from spikelfp_lab.plots.save import figures_folder, save_figure, save_table, show
from spikelfp_lab.plots.session import plot_session
from spikelfp_lab.plots.spectra import plot_spectra, spectra
from spikelfp_lab.plots.style import letter_panels, style
from spikelfp_lab.plots.tables import plot_layers, plot_recovery

__all__ = [
    "CONTROLS",
    "MODEL_COLORS",
    "MODEL_ORDER",
    "figures_folder",
    "letter_panels",
    "plot_ablations",
    "plot_alignment",
    "plot_bound",
    "plot_cost",
    "plot_curves",
    "plot_decoded",
    "plot_history",
    "plot_latents",
    "plot_layers",
    "plot_pairs",
    "plot_recovery",
    "plot_scores",
    "plot_session",
    "plot_spectra",
    "save_figure",
    "save_table",
    "show",
    "spectra",
    "style",
]
