"""Sessions: the schema, cohorts, native rates to one clock, windows and splits, quality."""

# ruff: noqa: F403 (each file says in its __all__ what the folder shows)

from spikelfp_lab.sessions.align import *
from spikelfp_lab.sessions.quality import *
from spikelfp_lab.sessions.schema import *
from spikelfp_lab.sessions.tree import *
from spikelfp_lab.sessions.windows import *
