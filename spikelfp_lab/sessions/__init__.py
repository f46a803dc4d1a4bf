"""Sessions: the schema, the store, native rates to one clock, windows and splits."""

# ruff: noqa: F401 (these names are the public face of the folder)

from spikelfp_lab.sessions.align import build_session, session_clock
from spikelfp_lab.sessions.quality import (
    add_finding,
    check_quality,
    clipped_share,
    refractory_coords,
    warn_quality,
)
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
