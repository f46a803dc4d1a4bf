"""Sessions: the schema, the store, native rates to one clock, windows and splits."""

from spikelfp_lab.sessions._measures import clipped_share, refractory_coords
from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.quality import add_finding, add_mains, check_quality, warn_quality
from spikelfp_lab.sessions.schema import (
    GAP_BINS,
    SCHEMA_VERSION,
    add_history,
    as_dataset,
    drop_bad_channels,
    observed_mask,
    same_clock,
    session_name,
    validate_session,
)
from spikelfp_lab.sessions.tree import cohort_from_sessions, iterate_sessions
from spikelfp_lab.sessions.windows import (
    GUARD,
    TEST,
    TRAIN,
    VAL,
    bins_in,
    channel_statistics,
    split_session,
    usable_runs,
    warn_trained,
    window_starts,
)

__all__ = [
    "GAP_BINS",
    "GUARD",
    "SCHEMA_VERSION",
    "TEST",
    "TRAIN",
    "VAL",
    "add_finding",
    "add_history",
    "add_mains",
    "as_dataset",
    "bins_in",
    "build_session",
    "channel_statistics",
    "check_quality",
    "clipped_share",
    "cohort_from_sessions",
    "drop_bad_channels",
    "iterate_sessions",
    "observed_mask",
    "refractory_coords",
    "same_clock",
    "session_clock",
    "session_name",
    "split_session",
    "usable_runs",
    "validate_session",
    "warn_quality",
    "warn_trained",
    "window_starts",
]
