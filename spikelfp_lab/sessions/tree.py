"""Cohorts: DataTrees whose leaves ``subject/session`` are sessions."""

from collections.abc import Iterable, Mapping

import xarray as xr

from spikelfp_lab.errors import DataError, SchemaError
from spikelfp_lab.sessions.schema import as_dataset, session_name, validate_session


def cohort_from_sessions(sessions: Iterable[xr.Dataset | xr.DataTree]) -> xr.DataTree:
    """Make a cohort: leaves ``subject/session`` in the given order, parents that hold nothing.

    A DataError when there are no sessions, or two share a name.

    >>> sessions = [xr.Dataset(attrs={"subject": "I", "session": s}) for s in ("s01", "s02")]
    >>> [leaf.path for leaf in cohort_from_sessions(sessions).leaves]
    ['/I/s01', '/I/s02']
    """
    named: dict[str, xr.Dataset] = {}
    for session in sessions:
        dataset = as_dataset(session)
        name = session_name(dataset)
        if name in named:
            raise DataError(
                f"Two sessions are named {name}. Give each its own attrs 'subject' and 'session'."
            )
        named[name] = dataset
    if not named:
        raise DataError("A cohort needs at least one session, but none was given.")
    return xr.DataTree.from_dict(named)


def iterate_sessions(
    sessions: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree],
) -> dict[str, xr.Dataset]:
    """Give the sessions of whatever the verbs accept, by name and validated.

    Takes a session, a cohort or a branch of one, or a mapping of name -> session. Names are
    ``subject/session``, or the mapping's own. A SchemaError for another type or a session that is
    not valid; a DataError when there are none, or two share a name.

    >>> import numpy as np
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 1.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...     subject="I", session="s01", source="example")
    >>> list(iterate_sessions(session)), list(iterate_sessions({"mine": session}))
    (['I/s01'], ['mine'])
    """
    # a Dataset is itself a Mapping, so it comes first
    if isinstance(sessions, xr.Dataset):
        named = {session_name(sessions): sessions}
    elif isinstance(sessions, xr.DataTree):
        named = {}
        for leaf in sessions.leaves:
            dataset = leaf.to_dataset()
            name = session_name(dataset)
            if name in named:
                raise DataError(f"Two sessions of the cohort are named {name} in their attrs.")
            named[name] = dataset
    elif isinstance(sessions, Mapping):
        named = {str(name): as_dataset(session) for name, session in sessions.items()}
    else:
        raise SchemaError(
            f"Sessions come as a session, a cohort or a dict of name -> session, not as a "
            f"{type(sessions).__name__}. For a list, use cohort_from_sessions first."
        )
    if not named:
        raise DataError("No sessions were given: the dict or cohort is empty.")
    for dataset in named.values():
        validate_session(dataset)
    return named
