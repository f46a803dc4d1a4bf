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
    if not (named := _named(sessions)):
        raise DataError("A cohort needs at least one session, but none was given.")
    return xr.DataTree.from_dict(named)


def _named(sessions: Iterable[xr.Dataset | xr.DataTree]) -> dict[str, xr.Dataset]:
    """Sessions by their names, of which none may be there twice."""
    named: dict[str, xr.Dataset] = {}
    for dataset in map(as_dataset, sessions):
        if (name := session_name(dataset)) in named:
            cure = "Give each its own attrs 'subject' and 'session'."
            raise DataError(f"Two sessions are named {name}. {cure}")
        named[name] = dataset
    return named


def iterate_sessions(
    sessions: xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree],
) -> dict[str, xr.Dataset]:
    """The sessions of whatever the verbs accept, by name and validated.

    Takes a session, a cohort or a branch of one, or a mapping of name -> session. Names are
    ``subject/session``, or the mapping's own. A SchemaError for another type or a session that is
    not valid; a DataError when there are none, or two share a name.
    """
    # a Dataset is itself a Mapping, so it comes first
    if isinstance(sessions, xr.Dataset | xr.DataTree):
        named = _named(getattr(sessions, "leaves", [sessions]))
    elif isinstance(sessions, Mapping):
        named = {str(name): as_dataset(session) for name, session in sessions.items()}
    else:
        what = f"A {type(sessions).__name__} is no session, cohort, or dict of name -> session"
        raise SchemaError(f"{what}. For a list, use cohort_from_sessions first.")
    if not named:
        raise DataError("No sessions were given: the dict or cohort is empty.")
    for dataset in named.values():
        validate_session(dataset)
    return named
