"""HDF5: objects, shapes, types, values and links changed, whatever the file is."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.reliability.any_files import (
    OUTSIDE,
    Mutation,
    Rng,
    away,
    expression,
    payload,
    pick,
    weird_number,
    weird_text,
)
from tests.reliability.json_files import nested

TEXT = h5py.string_dtype()


def _objects(file: h5py.File, kind: Any = object) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, kind) else None)
    return sorted(found, key=lambda item: item.name)


def _some_dataset(file: h5py.File, rng: Rng) -> h5py.Dataset:
    """Any, but more often one that a session is made of than one of the cached specifications."""
    found = [d for d in _objects(file, h5py.Dataset) if not d.name.startswith("/specifications")]
    return pick(rng, found)


def _replace(dataset: h5py.Dataset, **new: Any) -> h5py.Dataset:
    """Another dataset in its place, with its attributes."""
    parent, name = dataset.parent, dataset.name.rpartition("/")[2]
    attrs = dict(dataset.attrs)
    del parent[name]
    made = parent.create_dataset(name, **new)
    for key, value in attrs.items():
        made.attrs[key] = value
    return made


def _removed(file: h5py.File, rng: Rng, canary: Path) -> str:
    gone = []
    for _ in range(int(rng.integers(1, 3))):
        item = pick(rng, _objects(file))
        gone.append(item.name)
        if rng.random() < 0.3 and len(item.attrs):
            key = pick(rng, sorted(item.attrs))
            gone[-1] += f"@{key}"
            del item.attrs[key]
        else:
            del file[item.name]
    return f"without {gone}"


def _shape(file: h5py.File, rng: Rng, canary: Path) -> str:
    dataset = _some_dataset(file, rng)
    name, values = dataset.name, dataset[()]
    if not isinstance(values, np.ndarray):
        new: Any = pick(
            rng, [np.array([values] * 3), h5py.Empty(dataset.dtype), np.array([[values]])]
        )
    else:
        choices: list[Any] = [values[:0], values[None], values[..., None], values.T, values[:-1]]
        choices += [h5py.Empty(dataset.dtype), np.concatenate([values, values]), values[::-1]]
        choices += [values.reshape(-1), values.reshape(1, -1), np.zeros((0, 0), values.dtype)]
        new = pick(rng, choices)
    made = _replace(dataset, data=new, dtype=None if isinstance(new, h5py.Empty) else dataset.dtype)
    return f"{name}: shape {getattr(values, 'shape', ())} -> {made.shape}"


def _dtype(file: h5py.File, rng: Rng, canary: Path) -> str:
    dataset = _some_dataset(file, rng)
    name, shape = dataset.name, dataset.shape or ()
    types = ["i1", "u8", "f2", "f8", ">f4", "c16", "?", "S3", "V7", TEXT, h5py.ref_dtype]
    types += [
        h5py.vlen_dtype(np.int32),
        np.dtype([("a", "f8"), ("b", "i4")]),
        np.dtype(("f4", (3,))),
    ]
    types += [h5py.enum_dtype({"A": 0, "B": 1}), h5py.regionref_dtype, "datetime"]
    dtype = pick(rng, types)
    if isinstance(dtype, str) and dtype == "datetime":
        dtype = h5py.opaque_dtype(np.dtype("M8[s]"))
    made = _replace(dataset, shape=shape, dtype=dtype)
    if made.size and made.size < 1e6 and np.dtype(made.dtype).kind in "iuf" and rng.random() < 0.5:
        made[()] = np.arange(made.size).reshape(shape)
    return f"{name}: dtype {dtype}"


def _values(file: h5py.File, rng: Rng, canary: Path) -> str:
    if rng.random() < 0.4:
        items = [item for item in _objects(file) if len(item.attrs)]
        holder = pick(rng, items or [file])
        key = pick(rng, sorted(holder.attrs) or ["new"])
        wrong: list[Any] = [
            weird_number(rng),
            weird_text(rng, canary).replace("\0", "0"),
            [],
            [1, 2],
        ]
        wrong += [h5py.Empty("f8"), np.bytes_(b"\xff\xfe"), np.zeros((2, 2)), True]
        value = pick(rng, wrong)
        holder.attrs[key] = value
        return f"{holder.name}@{key} = {str(value)[:40]!r}"
    dataset = _some_dataset(file, rng)
    name = dataset.name
    if dataset.dtype.kind in "iuf" and dataset.size:
        with np.errstate(all="ignore"):
            value = np.array(weird_number(rng)).astype(dataset.dtype, casting="unsafe")
        values = np.array(dataset[()])
        flat = values.reshape(-1)
        how = rng.random()
        if how < 0.4:
            flat[rng.integers(0, flat.size, 3)] = value
        elif how < 0.6:
            flat[-1] = value
        elif how < 0.8:
            rng.shuffle(flat)
        else:
            flat[...] = value
        _replace(dataset, data=flat.reshape(values.shape))
        return f"{name}: {value} among its values"
    if h5py.check_string_dtype(dataset.dtype) and dataset.shape is not None:
        text = weird_text(rng, canary).replace("\0", "0")
        broken = text.encode() if rng.random() < 0.5 else b"\xff\xfe\x80"
        _replace(dataset, shape=dataset.shape, dtype=h5py.string_dtype(), fillvalue=None)
        file[name][...] = broken
        return f"{name}: text {broken[:40]!r}"
    if h5py.check_ref_dtype(dataset.dtype) and dataset.size:
        target = pick(rng, [file.ref, pick(rng, _objects(file)).ref, h5py.Reference()])
        where = tuple(int(rng.integers(0, n)) for n in dataset.shape)
        dataset[where] = target
        return f"{name}: another reference"
    return f"{name}: left as it is"


def _huge(file: h5py.File, rng: Rng, canary: Path) -> str:
    dataset = _some_dataset(file, rng)
    name, shape = dataset.name, dataset.shape or (1,)
    rows = int(2 ** rng.integers(24, 50))
    wide = (rows, *shape[1:]) if rng.random() < 0.6 else (*shape[:-1], rows)
    dtype = dataset.dtype if dataset.dtype.kind in "iufO" else np.float64
    how = pick(rng, ["contiguous", "chunked", "gzip", "huge chunk", "filled", "resized"])
    if how == "contiguous":
        made = _replace(dataset, shape=wide, dtype=dtype)  # late allocation: nothing is written
    elif how == "huge chunk":
        chunk = tuple(min(n, 2**20 if i == 0 else 64) for i, n in enumerate(wide))
        made = _replace(dataset, shape=wide, dtype=dtype, chunks=chunk, compression="gzip")
    elif how == "resized" and dataset.dtype.kind in "iuf" and dataset.ndim:
        values = dataset[()]
        made = _replace(dataset, data=values, chunks=True, maxshape=(None,) * values.ndim)
        made.resize(rows, axis=0)
    else:
        chunk = tuple(min(n, 1000) for n in wide)
        filters = {"compression": "gzip"} if how == "gzip" else {}
        made = _replace(dataset, shape=wide, dtype=dtype, chunks=chunk, **filters)
        if how == "filled" and made.dtype.kind in "iuf":
            made[tuple(slice(0, 1) for _ in wide)] = 1
    return f"{name}: {how}, {made.shape}"


def _deep(file: h5py.File, rng: Rng, canary: Path) -> str:
    how = pick(rng, ["groups", "groups", "cycle", "type", "soft", "json"])
    groups = [file, *_objects(file, h5py.Group)]
    inside = pick(rng, groups)
    depth = int(10 ** rng.uniform(2, 4))
    if how == "json":
        texts = [
            d
            for d in _objects(file, h5py.Dataset)
            if h5py.check_string_dtype(d.dtype) and d.shape == ()
        ]
        if texts:
            dataset = pick(rng, texts)
            name = dataset.name
            _replace(dataset, data=nested(rng))
            return f"{name}: nested JSON"
    if how == "cycle":
        inside["again"] = pick(rng, groups)
        return f"{inside.name}/again is a group above or beside it"
    if how == "soft":
        inside["one"], inside["two"] = h5py.SoftLink("two"), h5py.SoftLink("one")
        return f"{inside.name}/one and two lead to each other"
    if how == "type":
        dtype: Any = np.dtype("f8")
        for _ in range(int(rng.integers(5, 60))):
            dtype = np.dtype([("a", dtype)])
        dataset = _some_dataset(file, rng)
        name = dataset.name
        _replace(dataset, shape=(2,), dtype=dtype)
        return f"{name}: a nested type"
    # each group is made in the one before: a path of all of them takes time in its length squared
    group = inside.id
    for _ in range(depth):
        group = h5py.h5g.create(group, b"g")
    return f"{inside.name}: {depth} groups deep"


def _traversal(file: h5py.File, rng: Rng, canary: Path) -> str:
    name = away(rng, canary).replace("\0", "0")
    how = pick(rng, ["text", "text", "rename", "attribute", "soft", "names"])
    if how == "rename":
        item = pick(rng, _objects(file))
        new = pick(rng, ["..", "...", "..\\..\\canary", "~", ".hidden", "a:b", "nul", " "])
        old = item.name
        file.move(old, f"{old.rpartition('/')[0]}/{new}")
        return f"{old} renamed {new!r}"
    if how == "attribute":
        holder = pick(rng, [i for i in _objects(file) if len(i.attrs)] or [file])
        key = pick(rng, sorted(holder.attrs) or ["new"])
        holder.attrs[key] = name
        return f"{holder.name}@{key} = {name!r}"
    if how == "soft":
        item = pick(rng, _objects(file))
        old = item.name
        del file[old]
        file[old] = h5py.SoftLink(name)
        return f"{old} is a soft link to {name!r}"
    texts = [d for d in _objects(file, h5py.Dataset) if h5py.check_string_dtype(d.dtype)]
    if how == "names" and "units" in file:  # a column of the units table becomes a coordinate
        ids = file["units/id"]
        column = file["units"].create_dataset(
            name.replace("/", "_") or "x", data=np.arange(ids.shape[0])
        )
        column.attrs.update(
            namespace="hdmf-common", neurodata_type="VectorData", description="x", object_id=name
        )
        names = [*file["units"].attrs["colnames"], column.name.rpartition("/")[2]]
        file["units"].attrs["colnames"] = np.array(names, dtype=TEXT)
        return f"a column {names[-1]!r} of units"
    wanted = [
        d for d in texts if any(k in d.name for k in ("_id", "identifier", "name", "location"))
    ]
    if not texts:
        return "no text in it"
    dataset = pick(rng, wanted or texts)
    where = dataset.name
    _replace(dataset, shape=dataset.shape, dtype=TEXT)
    if file[where].shape is not None:
        file[where][...] = name
    return f"{where} = {name!r}"


def _external(file: h5py.File, rng: Rng, canary: Path) -> str:
    dataset = _some_dataset(file, rng)
    how = pick(rng, ["link", "link", "group", "storage", "virtual", "near", "missing", "chain"])
    where = dataset.name
    shape, dtype = dataset.shape or (1,), dataset.dtype
    attrs = dict(dataset.attrs)
    parent, name = dataset.parent, where.rpartition("/")[2]
    folder = Path(file.filename).parent
    target = pick(rng, [str(canary / "canary.h5"), str(canary / "canary.txt"), "/etc/hostname"])
    if rng.random() < 0.5:
        target = str(
            Path(
                "..",
                *[".."] * len(folder.relative_to(canary.parent).parts[1:]),
                "canary",
                "canary.h5",
            )
        )
    if how == "group":
        parent_name = parent.name if parent.name != "/" else where
        del file[parent_name]
        file[parent_name] = h5py.ExternalLink(target, "/")
        return f"{OUTSIDE}{parent_name} -> {target}"
    del parent[name]
    if how == "storage":
        dtype = dtype if dtype.kind in "iuf" else np.dtype("f8")
        outside = [(target, 0, h5py.h5f.UNLIMITED)]
        parent.create_dataset(name, shape, dtype, external=outside).attrs.update(attrs)
    elif how == "virtual":
        dtype = dtype if dtype.kind in "iuf" else np.dtype("f8")
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(target, "data", shape)
        parent.create_virtual_dataset(name, layout).attrs.update(attrs)
    elif how == "near":
        with h5py.File(folder / "near.h5", "w") as near:
            near["data"] = np.ones(shape)
        parent[name] = h5py.ExternalLink("near.h5", "data")
        return f"{where} -> near.h5"  # in the same folder, which may be followed
    elif how == "missing":
        parent[name] = h5py.ExternalLink("gone.h5", "data")
    elif how == "chain":
        with h5py.File(folder / "near.h5", "w") as near:
            near["data"] = h5py.ExternalLink(target, "data")
        parent[name] = h5py.ExternalLink("near.h5", "data")
    else:
        parent[name] = h5py.ExternalLink(target, "data")
    return f"{OUTSIDE}{where} by {how} -> {target}"


def _code(file: h5py.File, rng: Rng, canary: Path) -> str:
    texts = [d for d in _objects(file, h5py.Dataset) if h5py.check_string_dtype(d.dtype)]
    how = pick(rng, ["text", "attribute", "bytes", "specification"])
    specs = [d for d in texts if d.name.startswith("/specifications")]
    if how == "specification" and specs:
        dataset = pick(rng, specs)
        where, value = dataset.name, json.loads(dataset.asstr()[()])
        text = json.dumps(value).replace('"text"', json.dumps(expression(canary)), 3)
        _replace(dataset, data=text)
        return f"{where}: an expression for a type"
    if how == "attribute" or not texts:
        holder = pick(rng, [i for i in _objects(file) if len(i.attrs)] or [file])
        key = pick(rng, sorted(holder.attrs) or ["new"])
        holder.attrs[key] = expression(canary)
        return f"{holder.name}@{key}: an expression"
    dataset = pick(rng, texts)
    where, shape = dataset.name, dataset.shape
    if how == "bytes":
        _replace(dataset, data=np.void(payload(canary)))
        return f"{where}: a pickle"
    _replace(dataset, shape=shape, dtype=TEXT)
    if shape is not None:
        file[where][...] = expression(canary)
    return f"{where}: an expression"


def _in_file(how: Any) -> Mutation:
    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        with h5py.File(path, "r+", locking=False) as file:
            return f"{path.name}: {how(file, rng, canary)}"

    return mutate


HDF5: dict[str, Mutation] = {
    "removed": _in_file(_removed),
    "shape": _in_file(_shape),
    "dtype": _in_file(_dtype),
    "values": _in_file(_values),
    "huge size": _in_file(_huge),
    "deep nesting": _in_file(_deep),
    "traversal": _in_file(_traversal),
    "external links": _in_file(_external),
    "code": _in_file(_code),
}
