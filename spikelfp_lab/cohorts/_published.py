"""What the loaders of published data sets share: what they refuse, and sessions that are kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from spikelfp_lab._guard import reading
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io._matlab import refuse_if as refuse_if
from spikelfp_lab.io.prepare import LOADER_VERSION, cache_folder, cached_session, prepare_sessions
from spikelfp_lab.sessions import cohort_from_sessions

CURE = "Move it away and get it again."


def check_option(what: str, given: object, there: Sequence, *, of: str) -> None:
    """Refuse what is not among those that there are.

    >>> check_option("protocol", "papers", (None, "paper"), of="makin")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No protocol 'papers' in makin. There are: None, paper.
    """
    if given not in there:
        listed = ", ".join(map(str, there[:12])) + (", ..." if len(there) > 12 else "")
        raise ConfigError(f"No {what} {given!r} in {of}. There are: {listed}.")


def check_names(what: str, names: Sequence[str], there: Sequence[str], *, of: str) -> None:
    """Refuse no names, repeated and unknown ones."""
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise ConfigError(f"{what}s must be a sequence of different names, got {names!r}.")
    for name in names:
        check_option(what, name, there, of=of)


def kept_at(data_set: str, *parts: str) -> Path:
    """Where a prepared session is kept; the parts tell apart whatever is made differently."""
    return cache_folder(data_set) / "prepared" / f"{'-'.join(parts)}-v{LOADER_VERSION}.zarr"


def kept_cohort(data_set: str, jobs: Sequence[tuple], **how: Any) -> xr.DataTree:
    """The cohort of jobs, each the arguments of :func:`kept_session`."""
    sessions = prepare_sessions(kept_session, jobs, label=f"Opening {data_set}", **how)
    return cohort_from_sessions(sessions)


def kept_session(kept: Path, build: Callable, path: Path, *options: Any) -> xr.Dataset:
    """The session built of a file, kept as Zarr once made; runs in parallel processes."""

    def make() -> xr.Dataset:
        with reading(path, "is not as published", CURE):
            return build(path, *options)

    return cached_session(kept, make)
