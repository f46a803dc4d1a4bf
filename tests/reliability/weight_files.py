"""Weights in safetensors, npz and torch.save: tensors, headers and members changed."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from tests.reliability.any_files import (
    MARKER,
    Mutation,
    Payload,
    Rng,
    away,
    code,
    pick,
    weird_number,
)
from tests.reliability.json_files import changed, nested

Weights = dict[str, torch.Tensor]


def _read(path: Path) -> Weights:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}
    return dict(torch.load(path, weights_only=True)["state_dict"])


def _write(path: Path, weights: Weights) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.clone().contiguous() for k, v in weights.items()}, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{k: v.numpy() for k, v in weights.items()})
    else:
        torch.save({"epoch": 3, "state_dict": weights}, path)


def _tensors(kind: str) -> Mutation:
    """Another tensor for one of them, and the file written anew."""

    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        weights = _read(path)
        name = pick(rng, sorted(weights))
        tensor = weights[name]
        if kind == "removed":
            del weights[name]
        elif kind == "shape":
            shapes = [
                tensor[None],
                tensor[:0],
                tensor.T.contiguous(),
                tensor.reshape(-1),
                tensor[:1],
            ]
            weights[name] = pick(rng, [*shapes, torch.cat([tensor, tensor]), torch.zeros(())])
        elif kind == "dtype":
            types = [
                torch.float64,
                torch.float16,
                torch.int32,
                torch.bool,
                torch.uint8,
                torch.int64,
            ]
            types += [torch.complex64] if path.suffix != ".safetensors" else [torch.bfloat16]
            weights[name] = tensor.to(pick(rng, types))
        elif kind == "values":
            flat = tensor.clone().double().reshape(-1)
            flat[rng.integers(0, flat.numel(), 3)] = float(weird_number(rng))
            weights[name] = flat.reshape(tensor.shape).to(tensor.dtype)
        elif kind == "traversal":
            # names in safetensors and npz are free; those of sessions are in the parameter's
            moved = name.replace("patch_embeddings.", f"patch_embeddings.{away(rng, canary)}.")
            moved = moved if moved != name else away(rng, canary)
            weights[moved.replace("\0", "0")] = weights.pop(name)
        else:  # very many layers, sessions or names
            weights[pick(rng, [
                f"backbone.layers.{10**9}.norm1.weight", f"transformer.blocks.{10**9}.norm1.weight",
                ".".join(["tokenizer"] * 10**5), "backbone.layers.x.norm1.weight", "backbone.layers..",
                f"backbone.layers.{'9' * 5000}.norm1.weight",
            ])] = tensor  # fmt: skip
        _write(path, weights)
        return f"{name}: {kind}"

    return mutate


def _header(kind: str) -> Mutation:
    """The header of a safetensors file, its data left as they are."""

    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        content = path.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        text = changed(header, kind, rng, canary)
        if kind == "deep nesting" and rng.random() < 0.3:
            text = nested(rng)
        raw = text.encode()
        length = len(raw)
        if kind == "huge size" and rng.random() < 0.3:
            length = int(pick(rng, [2**63, 2**31, 2**40, 10**8, 2**64 - 1]))
        path.write_bytes(struct.pack("<Q", length) + raw + content[8 + size :])
        return f"header: {kind}"

    return mutate


def _either(one: Mutation, other: Mutation) -> Mutation:
    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        return (one if rng.random() < 0.5 else other)(path, rng, canary)

    return mutate


_KINDS = ("removed", "shape", "dtype", "values", "traversal", "deep nesting")

SAFETENSORS: dict[str, Mutation] = {
    kind: _either(_tensors(kind), _header(kind)) for kind in _KINDS
} | {"huge size": _header("huge size"), "code": _either(code, _header("code"))}


def _members(path: Path, change: Any) -> None:
    """The zip archive again, its members as ``change`` of a dict has them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    method = zipfile.ZIP_DEFLATED if path.suffix == ".npz" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _npy(text: str, data: bytes = b"") -> bytes:
    raw = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(raw)) + raw + data


def _npz_huge(path: Path, rng: Rng, canary: Path) -> str:
    shape = [int(2 ** rng.integers(20, 62)) for _ in range(int(rng.integers(1, 3)))]
    zeros = bytes(1 << 28) if rng.random() < 0.3 else b""
    header = {
        "descr": pick(rng, ["<f4", "<f8", "<i8"]),
        "fortran_order": False,
        "shape": tuple(shape),
    }
    if zeros:
        header["shape"] = (1 << 26,)

    def change(members: dict[str, bytes]) -> None:
        members[pick(rng, sorted(members))] = _npy(str(header), zeros)

    _members(path, change)
    return f"an array of {header['shape']}, {len(zeros)} bytes of zeros"


def _npz_code(path: Path, rng: Rng, canary: Path) -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(canary.parent / MARKER)], dtype=object), allow_pickle=True)
    how = pick(rng, ["object", "header", "pickle"])
    content = {
        "object": buffer.getvalue(),
        "header": _npy("{'descr': open('" + str(canary.parent / MARKER) + "','w'), 'shape': ()}"),
        "pickle": buffer.getvalue()[128:],
    }[how]

    def change(members: dict[str, bytes]) -> None:
        members[pick(rng, sorted(members))] = content

    _members(path, change)
    return f"an array that is {how}"


def _npz_deep(path: Path, rng: Rng, canary: Path) -> str:
    depth = int(10 ** rng.uniform(2, 5))
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * depth + ")" * depth + "}"

    def change(members: dict[str, bytes]) -> None:
        members[pick(rng, sorted(members))] = _npy(text)

    _members(path, change)
    return f"a header nested {depth} deep"


def _npz_traversal(path: Path, rng: Rng, canary: Path) -> str:
    def change(members: dict[str, bytes]) -> None:
        name = pick(rng, sorted(members))
        members[away(rng, canary).replace("\0", "0") + ".npy"] = members.pop(name)

    _members(path, change)
    return "a member named as a path"


NPZ: dict[str, Mutation] = {
    kind: _tensors(kind) for kind in ("removed", "shape", "dtype", "values")
} | {
    "huge size": _npz_huge,
    "deep nesting": _either(_npz_deep, _tensors("deep nesting")),
    "traversal": _either(_npz_traversal, _tensors("traversal")),
    "code": _either(code, _npz_code),
}


def _pt_huge(path: Path, rng: Rng, canary: Path) -> str:
    weights = _read(path)
    name = pick(rng, sorted(weights))
    size = int(2 ** rng.integers(26, 50))
    weights[name] = torch.zeros(1).expand(size, *weights[name].shape[1:])
    torch.save({"state_dict": weights}, path)
    if rng.random() < 0.3:  # the numbers of the pickle, not those of the tensor

        def change(members: dict[str, bytes]) -> None:
            for key in [k for k in members if k.endswith("data.pkl")]:  # 32, then 2**31 - 1
                members[key] = members[key].replace(b"K\x20", b"J\xff\xff\xff\x7f", 2)

        _members(path, change)
    return f"{name}: {size} numbers by a stride of 0"


def _pt_code(path: Path, rng: Rng, canary: Path) -> str:
    content: Any = Payload(canary.parent / MARKER)
    torch.save(
        {"state_dict": content, "more": _read(path)} if rng.random() < 0.5 else content, path
    )
    return "an object among the tensors"


def _pt_deep(path: Path, rng: Rng, canary: Path) -> str:
    depth = int(10 ** rng.uniform(2, 5))

    def change(members: dict[str, bytes]) -> None:
        for key in [k for k in members if k.endswith("data.pkl")]:
            # an empty dict in a dict in a dict ...: protocol 2, then a key and a dict, then SETITEM
            members[key] = b"\x80\x02}" + b"X\x01\x00\x00\x00a}" * depth + b"s" * depth + b"."

    _members(path, change)
    return f"dicts {depth} deep"


PT: dict[str, Mutation] = {
    kind: _tensors(kind) for kind in ("removed", "shape", "dtype", "values", "traversal")
} | {
    "huge size": _pt_huge,
    "deep nesting": _either(_pt_deep, _tensors("deep nesting")),
    "code": _either(code, _pt_code),
}
