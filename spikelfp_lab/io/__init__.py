"""Recordings on disk, in arrays or behind an address -> sessions, and back."""

# ruff: noqa: F401 (these names are the public face of the folder)

from spikelfp_lab.io.arrays import session_from_arrays
from spikelfp_lab.io.nwb_read import describe_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.prepare import cache_folder, cached_session, prepare_sessions
from spikelfp_lab.io.store import save_cohort, save_session
