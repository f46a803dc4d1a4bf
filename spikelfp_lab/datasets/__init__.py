"""Sources of sessions: one file a source, each with ``cohort(...)`` and ``session(...)``."""
