"""The session schema: one ``xr.Dataset`` on one uniform clock, and what makes it valid.

============  ====================  ==========  ==============================================
spikes        time, unit            uint8/16    counts in the bin
lfp           time, channel         float32     potential, or the features named in attrs kind
behavior      time, behavior_dim    float32     NaN where missing
============  ====================  ==========  ==============================================

Coordinates: ``time`` (s, bin center), ``unit``, ``channel``, ``behavior_dim``, optionally
``trial`` (time), ``observed`` (time, unit; False where a unit was not observed) and
``latent_truth`` (time, latent_truth_dim). A session may lack any but one of spikes and LFP.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
import xarray as xr

from spikelfp_lab.errors import DataError, SchemaError, SpikeLFPWarning

SCHEMA_VERSION = 1

GAP_BINS = 1.5
"""A step of ``time`` longer than this many bins is a gap."""

_STEP_TOLERANCE = 0.01  # of a bin: room for rounding, not for a clock of another rate
_VARIABLES = {  # dims, and what the dtype begins with
    "spikes": (("time", "unit"), ("uint8", "uint16")),
    "lfp": (("time", "channel"), ("float32",)),
    "behavior": (("time", "behavior_dim"), ("float32",)),
    "trial": (("time",), ("int", "uint")),
    "observed": (("time", "unit"), ("bool",)),
    "latent_truth": (("time", "latent_truth_dim"), ("float", "int", "uint")),
}
# Names become folder names and DataTree nodes: no separators, no leading dot, so no "..".
_SAFE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}"
_STORABLE_NAME = r"[^./\\\0][^/\\\0]{0,127}"


def as_dataset(session: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """The dataset of a session, or of a cohort's leaf; a SchemaError for anything else."""
    if isinstance(session, xr.Dataset):
        return session
    if isinstance(session, xr.DataTree) and not session.children:
        return session.to_dataset()
    leaves = [leaf.path.strip("/") for leaf in getattr(session, "leaves", ())]
    what = f"an xarray Dataset as open_session gives it, not a {type(session).__name__}"
    cure = f"Of a cohort pick a leaf, as in cohort{leaves[:1] or ['I/s01']}."
    raise SchemaError(f"A single session is needed, {what}. {cure}")


def session_name(session: xr.Dataset | xr.DataTree) -> str:
    """``"subject/session"``, the name in cohorts and models; a SchemaError without safe names.

    >>> session_name(xr.Dataset(attrs={"subject": "I", "session": "s01"}))
    'I/s01'
    """
    attrs = as_dataset(session).attrs
    for key in ("subject", "session"):
        if not re.fullmatch(_SAFE_NAME, str(attrs.get(key, ""))):
            cure = "set it to letters, digits, '_', '-' and '.', not beginning with '.' or '-'."
            raise SchemaError(f"attrs[{key!r}] is {attrs.get(key)!r}, no usable name: {cure}")
    return f"{attrs['subject']}/{attrs['session']}"


def same_clock(first: xr.DataArray, second: xr.DataArray, *, bin_size_s: float) -> bool:
    """Whether two times (T,) name the same bins: equally many, each within a tenth of a bin.

    >>> time = xr.DataArray(3600.0 + 0.01 * np.arange(5), dims="time")
    >>> [same_clock(time, time + off, bin_size_s=0.01) for off in (1e-6, 0.03)]
    [True, False]
    """
    a, b = first.to_numpy(), second.to_numpy()
    return a.shape == b.shape and bool(np.all(np.abs(a - b) < 0.1 * bin_size_s))


def add_history(session: xr.Dataset, line: str) -> xr.Dataset:
    """A shallow copy with one more line in ``attrs["history"]`` (a step each, oldest first).

    >>> add_history(xr.Dataset(attrs={"history": "simulated"}), "cropped").attrs["history"]
    'simulated\\ncropped'
    """
    history = session.attrs.get("history", "")
    return session.assign_attrs(history=f"{history}\n{line}" if history else line)


def observed_mask(session: xr.Dataset | xr.DataTree) -> np.ndarray | None:
    """Where each unit was observed, (T, U) bool, or None when all were all the time."""
    mask = as_dataset(session).coords.get("observed")
    return None if mask is None or mask.values.all() else mask.values


def drop_bad_channels(session: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """Drop what carries no signal: constant and all-NaN channels, units without a spike.

    A SpikeLFPWarning and ``attrs["history"]`` name each; the very same dataset when there is
    nothing to drop; a DataError when no channel or unit would be left.

    >>> lfp = np.arange(8.0).reshape(4, 2)
    >>> session = xr.Dataset({"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b"]})
    >>> drop_bad_channels(session) is session
    True
    """
    dataset = as_dataset(session)
    notes = []
    for name, dim, why in (
        ("lfp", "channel", "constant or NaN throughout"),
        ("spikes", "unit", "without a single spike"),
    ):
        values = dataset[name].values if name in dataset else np.ones((1, 0))
        good = varies(values) if name == "lfp" else values.any(axis=0)
        if good.all():
            continue
        labels = ", ".join(map(str, dataset[dim].values[~good]))
        if not good.any():
            what = f"Every {dim} of {name} is {why} ({labels}), so nothing would be left"
            raise DataError(f"{what}. Check the recording, or leave {name} out of the session.")
        notes.append(f"dropped {dim} {labels}: {why}")
        dataset = add_history(dataset.isel({dim: np.flatnonzero(good)}), notes[-1])
    if notes:
        text = f"Session {label(dataset)}: {'; '.join(notes)}."
        warnings.warn(text, SpikeLFPWarning, stacklevel=2)
    return dataset


def varies(values: np.ndarray) -> np.ndarray:
    """(C,) bool: which columns (T, C) are neither constant nor NaN throughout."""
    return np.fmin.reduce(values, axis=0) < np.fmax.reduce(values, axis=0)


def label(dataset: xr.Dataset) -> str:
    """``subject/session`` for messages, with ``?`` for what is missing."""
    return f"{dataset.attrs.get('subject', '?')}/{dataset.attrs.get('session', '?')}"


def validate_session(session: xr.Dataset | xr.DataTree) -> None:
    """Check a session against the schema: one SchemaError names every breach and its cure.

    >>> try:
    ...     validate_session(xr.Dataset(attrs={"subject": "../up"}))
    ... except SchemaError as error:
    ...     print("attrs['subject']" in str(error), "'time' is missing" in str(error))
    True True
    """
    dataset = as_dataset(session)
    if breaches := [*_breaches(dataset)]:
        listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(breaches, 1))
        what = f"Session {label(dataset)} breaches the session schema ({len(breaches)})"
        raise SchemaError(f"{what}:\n{listed}")


def _breaches(dataset: xr.Dataset) -> Iterator[str]:
    """Of attributes, of time, and of variables."""
    attrs, time = dataset.attrs, dataset.coords.get("time")
    try:
        session_name(dataset)
    except SchemaError as error:
        yield str(error)
    size = attrs.get("bin_size_s")
    known = isinstance(size, (int, float, np.number)) and 0 < size < np.inf
    for key, fits, cure in (
        ("history", isinstance(attrs.get("history"), str), "text, a step a line"),
        ("bin_size_s", known, "a number of seconds above 0"),
        ("schema_version", attrs.get("schema_version") == SCHEMA_VERSION,
         f"{SCHEMA_VERSION}, or install a newer spikelfp_lab if it is of one"),
    ):  # fmt: skip
        if not fits:
            yield f"attrs[{key!r}] is {attrs.get(key)!r}; set it to {cure}."
    if time is None or time.dims != ("time",) or time.dtype != np.float64 or time.size < 2:
        yield "'time' is missing, or not at least 2 bin centers in float64 seconds; add them."
    elif not (((steps := np.diff(time)) > 0) & (steps < np.inf)).all():
        yield "time does not increase at each bin; sort it, and drop what is double or NaN."
    elif known:
        bins = steps / size
        off = np.flatnonzero((np.abs(bins - 1) > _STEP_TOLERANCE) & (bins <= GAP_BINS))
        if off.size:
            yield (
                f"time is no uniform clock of {size:g} s: {off.size} steps differ from it (first "
                f"{bins[off[0]]:.6g} bins after bin {off[0]}) and are no gap (longer than "
                f"{GAP_BINS} bins); put the data on one clock with build_session."
            )
    if "spikes" not in dataset and "lfp" not in dataset:
        yield "neither 'spikes' nor 'lfp' is there; add at least one of them."
    yield from _variable_breaches(dataset)


def _variable_breaches(dataset: xr.Dataset) -> Iterator[str]:
    """Of variables, of labels, and of whatever else is in the session."""
    for name, (dims, dtypes) in _VARIABLES.items():
        if name not in dataset:
            continue
        each = dataset[name]
        if each.dims != dims or not str(each.dtype).startswith(dtypes):
            what = f"{each.dtype} over {each.dims}; make it {' or '.join(dtypes)} over {dims}"
            yield f"{name} is {what}, with astype and transpose or rename."
        elif name in ("lfp", "behavior") and np.isinf(each.values).any():
            yield f"{name} has infinite values; make them NaN."
    for dim in dataset.sizes.keys() & {"unit", "channel", "behavior_dim"}:
        labels = dataset[dim].values.tolist() if dim in dataset.coords else []
        kinds = {str} if dim == "behavior_dim" else {str, int}
        names = [str(one) for one in labels if type(one) in kinds]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if not labels or len(names) < len(labels):
            types = " or ".join(kind.__name__ for kind in kinds)
            yield f"{dim!r} has no labels of type {types}: {labels[:5]}; name each."
        elif twice:
            yield f"{dim!r} has labels more than once: {twice[:5]}; name each its own."
    for name, each in dataset.variables.items():
        if not re.fullmatch(_STORABLE_NAME, str(name)):
            cure = "rename it to one of at most 128 characters without '/', '\\' and a leading '.'."
            what = "is a name of a variable that no folder of a store can have"
            yield f"{str(name)[:100]!r} {what}; {cure}"
        # the store keeps numbers and text; an object array could only be pickled
        if each.dtype.kind not in "biufU" and {type(one) for one in each.values.flat} - {str}:
            yield f"{name} has dtype {each.dtype}; make it numbers or text."
