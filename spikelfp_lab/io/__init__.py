"""Recordings on disk, in arrays or behind an address -> sessions, and back."""

from spikelfp_lab.io.arrays import session_from_arrays
from spikelfp_lab.io.nwb_read import describe_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from spikelfp_lab.io.open import open_session
from spikelfp_lab.io.prepare import cache_folder, cached_session, prepare_sessions
from spikelfp_lab.io.store import save_cohort, save_session

__all__ = [
    "cache_folder",
    "cached_session",
    "describe_nwb",
    "open_session",
    "prepare_sessions",
    "save_cohort",
    "save_session",
    "session_from_arrays",
    "write_nwb",
]
