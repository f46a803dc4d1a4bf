"""Configs, and whatever else is JSON: leaves, keys and nesting changed."""

import json
from pathlib import Path
from typing import Any

from tests.reliability.any_files import (
    MARKER,
    Mutation,
    Rng,
    away,
    expression,
    pick,
    weird_number,
    weird_text,
)

Place = tuple[Any, Any]  # a dict or list, and the key of what is in it


def places(value: Any) -> list[Place]:
    """Every place in a JSON value, the outermost first."""
    found: list[Place] = []
    todo = [value]
    while todo:
        each = todo.pop()
        keys = (
            each.keys()
            if isinstance(each, dict)
            else range(len(each))
            if isinstance(each, list)
            else ()
        )
        for key in keys:
            found.append((each, key))
            todo.append(each[key])
    return found


def nested(rng: Rng) -> str:
    """JSON, deeply nested, as text: it is too deep for json.dumps."""
    depth = int(10 ** rng.uniform(2, 5.5))
    how = pick(rng, ["[]", "{}", "open"])
    if how == "[]":
        return "[" * depth + "]" * depth
    return '{"a":' * depth + ("1" + "}" * depth if how == "{}" else "")


def changed(value: Any, kind: str, rng: Rng, canary: Path) -> str:
    """Change a JSON value in place: its text, since some of it is no longer JSON of Python."""
    where, key = pick(rng, places(value))
    if kind == "removed":
        del where[key]
    elif kind == "shape":
        where[key] = pick(rng, [[where[key]], {}, [], [[1, 2], [3]], {"0": where[key]}, [None] * 3])
    elif kind == "dtype":
        wrong: list[Any] = [None, True, False, 1, 1.5, "1", str(where[key]), [1], {"a": 1}, ""]
        where[key] = pick(rng, wrong)
    elif kind == "values":
        number = rng.random() < 0.6
        where[key] = weird_number(rng) if number else weird_text(rng, canary)
        if where[key] != where[key] or abs(where[key] if number else 0) == float("inf"):
            return json.dumps(value)  # NaN and Infinity, which JSON does not have
    elif kind == "huge size":
        where[key] = pick(rng, [2**31 - 1, 2**31, 2**40, 10**30, 2**62, 10**9])
    elif kind == "traversal":
        if isinstance(where, dict) and rng.random() < 0.5:
            where[away(rng, canary)] = where.pop(key)
        else:
            where[key] = away(rng, canary)
    elif kind == "code":
        where[key] = pick(
            rng,
            [
                expression(canary),
                {"__reduce__": expression(canary)},
                {"py/reduce": [{"py/function": "os.mkdir"}, [str(canary.parent / MARKER)]]},
            ],
        )
    elif kind == "deep nesting":
        where[key] = "<deep>"
        return json.dumps(value).replace('"<deep>"', nested(rng))
    return json.dumps(value)


def _json(kind: str) -> Mutation:
    def mutate(path: Path, rng: Rng, canary: Path) -> str:
        value = json.loads(path.read_text())
        path.write_text(changed(value, kind, rng, canary))
        return f"{path.name}: {kind}"

    return mutate


def _numbers_without_end(path: Path, rng: Rng, canary: Path) -> str:
    if rng.random() < 0.8:
        return _json("huge size")(path, rng, canary)
    text = path.read_text()
    path.write_text(text.replace("32", "9" * int(10 ** rng.uniform(3, 6)), 1))
    return f"{path.name}: a number of very many digits"


JSON: dict[str, Mutation] = {
    kind: _json(kind)
    for kind in ("removed", "shape", "dtype", "values", "traversal", "deep nesting", "code")
} | {"huge size": _numbers_without_end}
