"""The session schema: one ``xr.Dataset`` on one uniform clock, and what makes it valid.

============  ====================  ==========  ==============================================
variable      dims                  dtype       what
============  ====================  ==========  ==============================================
spikes        time, unit            uint8/16    counts in the bin
lfp           time, channel         float32     potential, or the features named in attrs kind
behavior      time, behavior_dim    float32     NaN where missing
============  ====================  ==========  ==============================================

Coordinates: ``time`` (s, bin center), ``unit``, ``channel``, ``behavior_dim``, optionally
``trial`` (time), ``observed`` (time, unit; False where a unit was not observed) and
``latent_truth`` (time, latent_truth_dim). A session without spikes or
without LFP simply lacks the variable.
"""

import json
import re
import warnings
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._guard import NO_STORABLE_NAME, is_storable_name
from spikelfp_lab.errors import DataError, SchemaError, SpikeLFPWarning

SCHEMA_VERSION = 1

GAP_BINS = 1.5
"""A step of ``time`` longer than this many bins is a gap."""

_STEP_TOLERANCE = 0.01  # of a bin: room for rounding, not for a clock of another rate
_RESERVED_ATTRS = ("coordinates", "dtype", "_ARRAY_DIMENSIONS")
_TEXT_ATTRS = ("source", "history", "spikelfp_lab_version")
_VARIABLES = {
    "spikes": ("unit", ("uint8", "uint16")),
    "lfp": ("channel", ("float32",)),
    "behavior": ("behavior_dim", ("float32",)),
}
_OPTIONAL = {
    "trial": (("time",), "iu", "whole numbers"),
    "observed": (("time", "unit"), "b", "bool"),
    "latent_truth": (("time", "latent_truth_dim"), "biufU", "numbers"),
}
# Names become folder names and DataTree nodes: no separators, no leading dot, so no "..".
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


def package_version() -> str:
    """Version of the package, for ``attrs``; ``"0+unknown"`` when it is not installed."""
    try:
        return metadata.version("spikelfp-lab")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def as_dataset(session: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """The dataset of a session, a Dataset or a cohort's leaf: neither copied nor validated.

    A SchemaError for a whole cohort or any other type.

    >>> as_dataset(xr.Dataset(attrs={"session": "s01"})).attrs["session"]
    's01'
    """
    if isinstance(session, xr.Dataset):
        return session
    if isinstance(session, xr.DataTree):
        if session.children:
            leaves = [leaf.path.strip("/") for leaf in session.leaves]
            raise SchemaError(
                f"A single session is needed, but this is a cohort of {len(leaves)}. "
                f"Pick a leaf, as in cohort[{leaves[0]!r}]."
            )
        return session.to_dataset()
    raise SchemaError(
        f"A session is an xarray Dataset or a leaf of a cohort, not a {type(session).__name__}. "
        "Make one with spikelfp_lab.open_session or spikelfp_lab.sessions.build_session."
    )


def session_name(session: xr.Dataset | xr.DataTree) -> str:
    """``"subject/session"``, the name in cohorts and in a model's session vocabulary.

    A SchemaError when these attributes are missing, or are no safe names.

    >>> session_name(xr.Dataset(attrs={"subject": "I", "session": "s01"}))
    'I/s01'
    """
    attrs = as_dataset(session).attrs
    breaches = _name_breaches(attrs, "subject") + _name_breaches(attrs, "session")
    if breaches:
        raise SchemaError("The session has no usable name: " + " ".join(breaches))
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
    """Where each unit was observed, (T, U) bool, or None when all were all the time.

    >>> session = xr.Dataset(coords={"observed": (("time", "unit"), [[True, False]])})
    >>> observed_mask(session), observed_mask(session.isel(unit=[0]))
    (array([[ True, False]]), None)
    """
    dataset = as_dataset(session)
    if "observed" not in dataset.coords:
        return None
    mask = dataset["observed"].values
    return None if mask.all() else mask


def validate_session(session: xr.Dataset | xr.DataTree) -> None:
    """Check a session against the schema: one SchemaError names every breach and its cure.

    >>> try:
    ...     validate_session(xr.Dataset(attrs={"subject": "../up"}))
    ... except SchemaError as error:
    ...     print("attrs['subject']" in str(error), "'time' is missing" in str(error))
    True True
    """
    dataset = as_dataset(session)
    breaches = [
        *_attribute_breaches(dataset),
        *_time_breaches(dataset),
        *_variable_breaches(dataset),
        *_optional_coordinate_breaches(dataset),
    ]
    if breaches:
        listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(breaches, 1))
        raise SchemaError(
            f"Session {_who(dataset)} breaches the session schema ({len(breaches)}):\n{listed}"
        )


def drop_bad_channels(session: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """Drop what carries no signal: constant and all-NaN channels, units without a spike.

    Gives the session without them; a SpikeLFPWarning and ``attrs["history"]`` name each. The very
    same dataset when there is nothing to drop; a DataError when no channel or unit would be left.

    >>> lfp = np.stack([np.zeros(4), np.arange(4.0)], axis=1).astype("float32")
    >>> session = xr.Dataset({"lfp": (("time", "channel"), lfp)}, {"channel": ["a", "b"]})
    >>> with warnings.catch_warnings(record=True):
    ...     warnings.simplefilter("always")
    ...     drop_bad_channels(session)["channel"].values.tolist()
    ['b']
    """
    dataset = as_dataset(session)
    notes = []
    for name, dim, why in (
        ("lfp", "channel", "constant or NaN throughout"),
        ("spikes", "unit", "without a single spike"),
    ):
        if name not in dataset:
            continue
        values = dataset[name].values
        if name == "spikes":
            good = values.any(axis=0)
        else:
            # fmin and fmax skip NaN; an all-NaN channel compares as False
            good = np.fmin.reduce(values, axis=0) < np.fmax.reduce(values, axis=0)
        if good.all():
            continue
        labels = ", ".join(str(label) for label in dataset[dim].values[~good])
        if not good.any():
            raise DataError(
                f"Every {dim} of {name} is {why} ({labels}), so nothing would be left. "
                f"Check the recording, or leave {name} out of the session."
            )
        dataset = dataset.isel({dim: np.flatnonzero(good)})
        notes.append(f"dropped {dim} {labels}: {why}")
    for note in notes:
        dataset = add_history(dataset, note)
    if notes:
        text = f"Session {_who(dataset)}: {'; '.join(notes)}."
        warnings.warn(text, SpikeLFPWarning, stacklevel=2)
    return dataset


def _who(dataset: xr.Dataset) -> str:
    return f"{dataset.attrs.get('subject', '?')}/{dataset.attrs.get('session', '?')}"


def _name_breaches(attrs: dict[str, Any], key: str) -> list[str]:
    value = attrs.get(key)
    if isinstance(value, str) and _SAFE_NAME.fullmatch(value):
        return []
    return [
        f"attrs[{key!r}] is {value!r}; set it to a name of letters, digits, '_', '-' and '.', "
        "not beginning with '.' or '-'."
    ]


def _attribute_breaches(dataset: xr.Dataset) -> list[str]:
    attrs = dataset.attrs
    breaches = _name_breaches(attrs, "subject") + _name_breaches(attrs, "session")
    if "findings" in attrs and not _is_findings(attrs["findings"]):
        breaches.append(
            "attrs['findings'] is no JSON list of findings as from add_finding; delete it."
        )
    for key in _TEXT_ATTRS:
        if not isinstance(attrs.get(key), str):
            breaches.append(f"attrs[{key!r}] is {attrs.get(key)!r}; set it to text.")
    if not _positive_number(attrs.get("bin_size_s")):
        breaches.append(
            f"attrs['bin_size_s'] is {attrs.get('bin_size_s')!r}; "
            "set it to the bin size in seconds, a number above 0."
        )
    if (version := attrs.get("schema_version")) != SCHEMA_VERSION:
        newer = isinstance(version, (int, np.integer)) and version > SCHEMA_VERSION
        cure = "install a newer spikelfp_lab" if newer else f"set it to {SCHEMA_VERSION}"
        breaches.append(f"attrs['schema_version'] is {version!r}; {cure}.")
    holders = {f"{name}.attrs": dataset[name].attrs for name in dataset.variables}
    for where, holder in {"attrs": attrs, **holders}.items():
        for key, value in holder.items():
            if key in _RESERVED_ATTRS:
                breaches.append(f"{where}[{key!r}] is a name that Zarr stores need; rename it.")
            try:
                json.dumps(value, default=_plain)
            except (TypeError, ValueError):
                breaches.append(
                    f"{where}[{key!r}] is a {type(value).__name__}, which cannot be stored; "
                    "use text, numbers, or lists and dicts of them."
                )
    return breaches


def _is_findings(value: Any) -> bool:
    try:
        listed = json.loads(value)
        keys = {"what", "where", "value", "limit", "message"}
        return isinstance(listed, list) and all(set(each) == keys for each in listed)
    except (TypeError, ValueError):
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _positive_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return False
    return bool(np.isfinite(value) and value > 0)


def _time_breaches(dataset: xr.Dataset) -> list[str]:
    if "time" not in dataset.coords or dataset["time"].dims != ("time",):
        return ["coordinate 'time' is missing; add the bin centers in seconds along dim 'time'."]
    time = dataset["time"].values
    if time.dtype != np.float64:
        return [f"time has dtype {time.dtype}; make it float64 seconds."]
    if time.size < 2:
        return [f"time has {time.size} bins; a session needs at least 2."]
    if not np.isfinite(time).all():
        return [f"time has {np.sum(~np.isfinite(time))} values that are not finite; drop them."]
    steps = np.diff(time)
    if (steps <= 0).any():
        where = int(np.flatnonzero(steps <= 0)[0])
        return [f"time does not increase at bin {where + 1}; sort it and drop what is double."]
    if not _positive_number(bin_size := dataset.attrs.get("bin_size_s")):
        return []
    steps = steps / bin_size
    off = (np.abs(steps - 1) > _STEP_TOLERANCE) & (steps <= GAP_BINS)
    if off.any():
        where = int(np.flatnonzero(off)[0])
        return [
            f"time is no uniform clock of {bin_size:g} s: {int(off.sum())} steps differ from it "
            f"(first {steps[where] * bin_size:.6g} s after bin {where}) and are no gap "
            f"(longer than {GAP_BINS} bins); put the data on one clock with build_session."
        ]
    return []


def _variable_breaches(dataset: xr.Dataset) -> list[str]:
    none = "neither 'spikes' nor 'lfp' is there; add at least one of them."
    breaches = [] if "spikes" in dataset or "lfp" in dataset else [none]
    for name, (dim, dtypes) in _VARIABLES.items():
        if name not in dataset:
            continue
        variable = dataset[name]
        if variable.dims != ("time", dim):
            breaches.append(
                f"{name} has dims {variable.dims}; make them ('time', {dim!r}), "
                "for instance with transpose or rename."
            )
            continue
        if str(variable.dtype) not in dtypes:
            breaches.append(
                f"{name} has dtype {variable.dtype}; convert it with astype({dtypes[0]!r})."
            )
        elif name != "spikes":
            bad = int(np.isinf(variable.values).sum())
            if bad:
                breaches.append(f"{name} has {bad} infinite values; make them NaN.")
        breaches += _label_breaches(dataset, dim, text_only=name == "behavior")
    for name, variable in dataset.variables.items():
        if not is_storable_name(name):
            breaches.append(f"{str(name)[:100]!r} {NO_STORABLE_NAME}")
        # the store keeps numbers and text; an object array could only be pickled
        if variable.dtype.kind not in "biufU" and not _is_text(variable.values):
            breaches.append(f"{name} has dtype {variable.dtype}; make it numbers or text.")
    kind = dataset["lfp"].attrs.get("kind", "LFP") if "lfp" in dataset else "LFP"
    if not isinstance(kind, str) or not kind:
        breaches.append(f"lfp.attrs['kind'] is {kind!r}; set it to text that says what it is.")
    return breaches


def _label_breaches(dataset: xr.Dataset, dim: str, *, text_only: bool) -> list[str]:
    if dataset.sizes[dim] == 0:
        return [f"dim {dim!r} is empty; leave the variable out instead."]
    if dim not in dataset.coords:
        return [f"coordinate {dim!r} is missing; name each {dim} with assign_coords."]
    labels = dataset[dim].values
    if not _is_text(labels) and (text_only or labels.dtype.kind not in "iu"):
        wanted = "text" if text_only else "text or whole numbers"
        return [f"coordinate {dim!r} has labels of dtype {labels.dtype}; make them {wanted}."]
    unique, counts = np.unique([str(label) for label in labels.tolist()], return_counts=True)
    if unique.size < labels.size:
        return [f"coordinate {dim!r} has '{unique[counts > 1][0]}' more than once; rename it."]
    return []


def _is_text(values: np.ndarray) -> bool:
    return all(isinstance(value, str) for value in np.ravel(values).tolist())


def _optional_coordinate_breaches(dataset: xr.Dataset) -> list[str]:
    breaches = []
    for name, (dims, kinds, what) in _OPTIONAL.items():
        if name not in dataset.variables:
            continue
        each = dataset[name]
        if name not in dataset.coords or each.dims != dims or each.dtype.kind not in kinds:
            breaches.append(
                f"{name} is {each.dtype} over {each.dims}; make it a coordinate of {what} over "
                f"{dims}."
            )
    return breaches
