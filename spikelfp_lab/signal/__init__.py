"""Filtering, band power and binning: plain functions over numpy and scipy.signal."""

from spikelfp_lab.signal.broadband import broadband_to_lfp
from spikelfp_lab.signal.lfp import lfp_to_rate
from spikelfp_lab.signal.power import DEFAULT_BANDS_HZ, band_power, causal_power, mains_left
from spikelfp_lab.signal.spikes import bin_spikes

__all__ = ["DEFAULT_BANDS_HZ", "band_power", "bin_spikes", "broadband_to_lfp", "causal_power",
           "lfp_to_rate", "mains_left"]  # fmt: skip
