"""Import circles of a package, function-level imports counted (TYPE_CHECKING blocks left out).
python circles.py PACKAGE_FOLDER
"""

import ast
import sys
from pathlib import Path

root = Path(sys.argv[1]).resolve()
top = root.name
names = {}
for f in root.rglob("*.py"):
    parts = f.relative_to(root.parent).with_suffix("").parts
    names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = f


def imports(f, module):
    tree = ast.parse(f.read_text())
    checked = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            checked |= {id(n) for b in node.body for n in ast.walk(b)}
    for node in ast.walk(tree):
        if id(node) in checked:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".") if f.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join(
                    up[: len(up) - node.level + 1] + ([node.module] if node.module else [])
                )
            for a in node.names:
                yield f"{base}.{a.name}" if f"{base}.{a.name}" in names else base


# the package's own lazy face is left out; every other __init__ counts as a module
graph = {
    m: set() if m == top else {i for i in imports(f, m) if i in names and i not in (m, top)}
    for m, f in names.items()
}
index, low, stack, on, found, count = {}, {}, [], set(), [], [0]
sys.setrecursionlimit(10000)


def visit(v):
    index[v] = low[v] = count[0]
    count[0] += 1
    stack.append(v)
    on.add(v)
    for w in graph[v]:
        if w not in index:
            visit(w)
            low[v] = min(low[v], low[w])
        elif w in on:
            low[v] = min(low[v], index[w])
    if low[v] == index[v]:
        part = []
        while True:
            w = stack.pop()
            on.discard(w)
            part.append(w)
            if w == v:
                break
        # a package and its own modules may name each other: hands on, not a circle
        if len({x for x in part if not any(y.startswith(x + ".") for y in part)}) > 1:
            found.append(sorted(part))


for m in graph:
    if m not in index:
        visit(m)


def folder(m):
    return m.split(".")[1] if "." in m else m


pairs = {(folder(a), folder(b)) for a in graph for b in graph[a] if folder(a) != folder(b)}
both = sorted({tuple(sorted(p)) for p in pairs if p[::-1] in pairs})
for part in found:
    print("circle:", ", ".join(part))
for a, b in both:
    print(f"folders that import each other: {a} <-> {b}")
sys.exit(bool(found or both))
