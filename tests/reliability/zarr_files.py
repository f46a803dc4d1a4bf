"""Zarr stores and folders of them: metadata, chunks and names changed, links and bombs put in."""

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np

from tests.reliability.any_files import (
    OUTSIDE,
    Mutation,
    Rng,
    away,
    links,
    payload,
    pick,
    weird_number,
    weird_text,
)
from tests.reliability.hdf5_files import HDF5
from tests.reliability.json_files import changed, nested


def _metadata(path: Path) -> dict[str, Any]:
    return json.loads((path / ".zmetadata").read_text())


def _write(path: Path, metadata: dict[str, Any], rng: Rng, text: str | None = None) -> None:
    """The metadata of all, those of the session, and often those of each array by itself."""
    (path / ".zmetadata").write_text(json.dumps(metadata) if text is None else text)
    entries = metadata.get("metadata")
    if not isinstance(entries, dict):
        return
    (path / ".zattrs").write_text(json.dumps(entries.get(".zattrs")))  # which is what Zarr reads
    if rng.random() < 0.5:
        for key, value in entries.items():
            if key.rpartition("/")[0] in os.listdir(path) and isinstance(value, dict):
                (path / key).write_text(json.dumps(value))


def _array(metadata: dict[str, Any], rng: Rng) -> tuple[str, dict[str, Any]]:
    names = [key for key in metadata["metadata"] if key.endswith("/.zarray")]
    key = pick(rng, names)
    return key.rpartition("/")[0], metadata["metadata"][key]


def _removed(path: Path, rng: Rng, canary: Path) -> str:
    gone = pick(rng, sorted(path.rglob("*")))
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    if rng.random() < 0.5 and (path / ".zmetadata").exists():
        metadata = _metadata(path)
        for key in [k for k in metadata["metadata"] if k.startswith(f"{gone.name}/")]:
            del metadata["metadata"][key]
        _write(path, metadata, rng)
    return f"without {gone.relative_to(path)}"


def _shape(path: Path, rng: Rng, canary: Path) -> str:
    metadata = _metadata(path)
    name, array = _array(metadata, rng)
    field = pick(rng, ["shape", "chunks", "both", "dims"])
    shape = list(array["shape"]) or [1]
    new = pick(
        rng,
        [[], [0], shape[::-1], [*shape, 1], shape[1:], [n + 1 for n in shape], [-1], [1.5], [None], ["3"], [True], [n - 1 for n in shape]],
    )  # fmt: skip
    if field == "dims":
        attrs = metadata["metadata"][f"{name}/.zattrs"]
        attrs["_ARRAY_DIMENSIONS"] = pick(
            rng, [[], ["time"], ["time"] * 2, "time", [1], ["a", "b", "c"], None]
        )
    for key in ("shape", "chunks") if field == "both" else (field,):
        if key in array:
            array[key] = new
    _write(path, metadata, rng)
    return f"{name}: {field} {new}"


def _dtype(path: Path, rng: Rng, canary: Path) -> str:
    metadata = _metadata(path)
    name, array = _array(metadata, rng)
    field = pick(rng, ["dtype", "dtype", "dtype", "compressor", "filters", "order", "fill_value", "dimension_separator", "zarr_format"])  # fmt: skip
    new: Any = {
        "dtype": ["<f8", ">f4", "<i2", "|b1", "<U7", "|S4", "|V8", "<M8[s]", "<M8", "<c16", "|O", "f4", [["a", "<f4"], ["b", "<i4"]], "", "x", 3, "<f4,<f4", "<U0", "<U999999999"],
        "compressor": [None, {"id": "zlib", "level": 1}, {"id": "blosc"}, {"id": "gzip"}, {"id": "bz2"}, {"id": "lz4"}, {"id": "pickle"}, {"id": "nope"}, {}, 3, {"id": "zstd", "level": "x"}],
        "filters": [None, [], [{"id": "shuffle", "elementsize": 0}], [{"id": "shuffle", "elementsize": 2**31}], [{"id": "vlen-utf8"}], [{"id": "json2"}], [{"id": "delta", "dtype": "<f4"}], [{"id": "astype", "encode_dtype": "|O", "decode_dtype": "<f4"}], [3]],
        "order": ["F", "K", None, 1],
        "fill_value": [None, 0, "NaN", "Infinity", 1e300, "../../canary", [1], {}],
        "dimension_separator": ["/", "", "../", None, "\0"],
        "zarr_format": [1, 3, "2", None],
    }[field]  # fmt: skip
    array[field] = pick(rng, new)
    _write(path, metadata, rng)
    return f"{name}: {field} {array[field]}"


def _values(path: Path, rng: Rng, canary: Path) -> str:
    """Values of an array, with a right checksum; or an attribute."""
    metadata = _metadata(path)
    if rng.random() < 0.4:
        text = changed(metadata, "values", rng, canary)
        _write(path, json.loads(text), rng)
        return "a value of the metadata"
    name, array = _array(metadata, rng)
    chunk = pick(rng, sorted(p for p in (path / name).iterdir() if not p.name.startswith(".")))
    values, codecs = _decoded(chunk, array)
    if values.dtype.kind in "iuf" and values.size:
        with np.errstate(all="ignore"):
            value = np.array(weird_number(rng)).astype(values.dtype, casting="unsafe")
        values[rng.integers(0, values.size, 4)] = value
    else:
        value = weird_text(rng, canary)[:3]
        values[:] = value
    _encode(chunk, values, codecs)
    return f"{name}: {value!r} among its values"


def _decoded(chunk: Path, array: dict[str, Any]) -> tuple[np.ndarray, list[Any]]:
    codecs = [numcodecs.get_codec(c) for c in [*(array["filters"] or []), array["compressor"]]]
    content: Any = chunk.read_bytes()
    for codec in codecs[::-1]:
        content = codec.decode(content)
    return np.frombuffer(content, np.dtype(array["dtype"])).copy(), codecs


def _encode(chunk: Path, values: np.ndarray, codecs: list[Any]) -> None:
    content: Any = values
    for codec in codecs:
        content = codec.encode(content)
    chunk.write_bytes(bytes(content))


def _huge(path: Path, rng: Rng, canary: Path) -> str:
    metadata = _metadata(path)
    name, array = _array(metadata, rng)
    how = pick(rng, ["shape", "chunks", "both", "bomb", "bomb declared", "zlib bomb", "attribute"])
    big = int(2 ** rng.integers(26, 62))
    chunk = pick(rng, sorted(p for p in (path / name).iterdir() if not p.name.startswith(".")))
    if how == "bomb":  # 3 GB of zeros in a chunk that should be small
        zeros = numcodecs.Zstd(level=1).encode(np.zeros(3 << 20, np.uint8))
        chunk.write_bytes(bytes(zeros) * 1000)
    elif how == "bomb declared":
        array["shape"][:1] = array["chunks"][:1] = [2**28]
        chunk.write_bytes(numcodecs.Zstd(level=1).encode(np.zeros(2**28, np.uint8)))
    elif how == "zlib bomb":
        array["compressor"] = {"id": "zlib", "level": 1}
        chunk.write_bytes(numcodecs.Zlib(level=9).encode(np.zeros(1 << 28, np.uint8)))
    elif how == "attribute":
        _write(path, metadata, rng, changed(metadata, "huge size", rng, canary))
        return "a huge number in the metadata"
    else:
        for key in ("shape", "chunks") if how == "both" else (how,):
            array[key] = [*array[key][:-1], big] if rng.random() < 0.5 else [big, *array[key][1:]]
    _write(path, metadata, rng)
    return f"{name}: {how} {array['shape']}"


def _deep(path: Path, rng: Rng, canary: Path) -> str:
    if rng.random() < 0.4:
        inside = pick(rng, [path, *sorted(p for p in path.iterdir() if p.is_dir())])
        for _ in range(depth := int(10 ** rng.uniform(1, 2.9))):
            inside = inside / "d"
            try:
                inside.mkdir()
            except OSError:  # as deep as a path can be
                break
        return f"{depth} folders deep"
    metadata = _metadata(path)
    _write(path, metadata, rng, changed(metadata, "deep nesting", rng, canary))
    if rng.random() < 0.5:
        (path / ".zattrs").write_text('{"a":' + nested(rng) + "}")
    return "deeply nested metadata"


def _traversal(path: Path, rng: Rng, canary: Path) -> str:
    metadata = _metadata(path)
    name = away(rng, canary)
    how = pick(rng, ["array", "array", "attribute", "dims", "label", "any"])
    if how == "array":
        old, _ = _array(metadata, rng)
        entries = metadata["metadata"]
        for key in (".zarray", ".zattrs"):
            entries[f"{name}/{key}"] = entries.pop(f"{old}/{key}")
    elif how == "attribute":
        metadata["metadata"][".zattrs"][pick(rng, ["subject", "session", "source"])] = name
    elif how == "dims":
        key = pick(rng, [k for k in metadata["metadata"] if k.endswith("/.zattrs")])
        metadata["metadata"][key]["_ARRAY_DIMENSIONS"][0] = name
    elif how == "label":
        array = metadata["metadata"]["channel/.zarray"]
        values, codecs = _decoded(path / "channel" / "0", array)
        values[:1] = name
        _encode(path / "channel" / "0", values, codecs)
    else:
        _write(path, metadata, rng, changed(metadata, "traversal", rng, canary))
    if how != "any":
        _write(path, metadata, rng)
    return f"{how}: {name!r}"


def _links(path: Path, rng: Rng, canary: Path) -> str:
    how = pick(rng, ["itself", "entry", "entry", "entry", "pipe", "inside", "extra"])
    if how == "itself":
        return links(path, rng, canary)
    entry = pick(rng, sorted(path.rglob("*")))
    spare = canary.parent / "case" / "elsewhere"
    if how == "extra":
        (path / pick(rng, ["extra", "lfp/extra", "lfp/9.9", ".hidden"])).symlink_to(canary)
        return f"{OUTSIDE}one more entry is a link to the canaries"
    if how == "inside":  # which leads nowhere else
        entry.rename(path / "moved")
        entry.symlink_to(os.path.relpath(path / "moved", entry.parent))
        return f"{entry.relative_to(path)}: a link within the store"
    entry.rename(spare)
    if how == "pipe":
        os.mkfifo(entry)
        return f"{OUTSIDE}{entry.relative_to(path)}: a pipe"
    target = pick(
        rng, [spare, canary / "canary.txt", Path("/dev/zero"), Path("/etc/hostname"), canary]
    )
    entry.symlink_to(target)
    return f"{OUTSIDE}{entry.relative_to(path)} -> {target}"


def _code(path: Path, rng: Rng, canary: Path) -> str:
    metadata = _metadata(path)
    name, array = _array(metadata, rng)
    how = pick(rng, ["filter", "filter", "compressor", "fill value", "text"])
    if how == "text":
        _write(path, metadata, rng, changed(metadata, "code", rng, canary))
        return "an expression in the metadata"
    dtype = pick(rng, ["|O", array["dtype"]])  # a filter unpickles whatever its array is of
    array.update(dtype=dtype, filters=None, compressor=None, fill_value=None)
    if how == "filter":
        first = pick(rng, [[], [{"id": "vlen-utf8"}], [{"id": "shuffle", "elementsize": 4}]])
        array["filters"] = [*first, {"id": "pickle", "protocol": 5}]
    elif how == "compressor":
        array["compressor"] = {"id": "pickle", "protocol": 5}
    else:
        array["filters"] = [{"id": "pickle", "protocol": 5}]
        array["fill_value"] = base64.b64encode(payload(canary)).decode()
    for chunk in (path / name).iterdir():
        if not chunk.name.startswith("."):
            chunk.write_bytes(payload(canary))
    _write(path, metadata, rng)
    return f"{name}: a pickle by {how}"


ZARR: dict[str, Mutation] = {
    "removed": _removed,
    "shape": _shape,
    "dtype": _dtype,
    "values": _values,
    "huge size": _huge,
    "deep nesting": _deep,
    "traversal": _traversal,
    "symlinks": _links,
    "code": _code,
}


def _member(kind: str) -> Mutation:
    """A cohort with a session changed."""

    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        among = sorted(path.glob("*/*.zarr")) if kind in ZARR else []
        among += sorted(path.glob("*.nwb")) if kind in HDF5 else []
        member = pick(rng, among)
        return (ZARR if member.is_dir() else HDF5)[kind](member, rng, canary)

    return mutate


def _cohort_names(path: Path, rng: Rng, canary: Path) -> str:
    if rng.random() < 0.5:
        return _member("traversal")(path, rng, canary)
    member = pick(rng, [*sorted(path.glob("*/*.zarr")), *sorted(path.glob("*.nwb"))])
    new = pick(rng, ["..zarr", " .zarr", "a\nb.zarr", ".x.nwb", "-.nwb", "é.zarr", "%2e%2e.zarr"])
    try:
        member.rename(member.with_name(new))
    except OSError:
        return "left as it is"
    return f"{member.name} renamed {new!r}"


def _cohort_links(path: Path, rng: Rng, canary: Path) -> str:
    how = pick(rng, ["member", "loop", "twice", "subject", "left", "left"])
    if how == "member":
        return links(pick(rng, [*sorted(path.glob("*/*.zarr")), *path.glob("*.nwb")]), rng, canary)
    if how == "loop":
        (path / "loop").symlink_to(pick(rng, [".", "..", str(canary), "/"]))
    elif how == "twice":
        (path / "again.zarr").symlink_to("I/s01.zarr")
    elif how == "left":  # as a process that was killed while it wrote would have left it
        left = path / "I" / ".s01.zarr.0badc0de.tmp"
        if rng.random() < 0.5:
            left.symlink_to(canary)
            return f"{left.name} -> {canary}"
        left.mkdir()
        name = pick(rng, ["lock", "gone"])
        (left / name).symlink_to(pick(rng, [canary, canary / "canary.txt"]))
        return f"{left.name}/{name} is a link"
    else:
        return links(path / "I", rng, canary)
    return f"{how}"


COHORT: dict[str, Mutation] = {
    kind: _member(kind)
    for kind in ("removed", "shape", "dtype", "values", "huge size", "deep nesting", "external links", "code")
} | {"traversal": _cohort_names, "symlinks": _cohort_links}  # fmt: skip
