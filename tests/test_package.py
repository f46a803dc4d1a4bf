"""The package as a whole: quick to import, its names there, its imports going one way."""

import ast
import subprocess
import sys
from pathlib import Path

import spikelfp_lab as sl

PACKAGE = Path(sl.__file__).parent
ROOMS = ["sessions", "datasets", "signal", "models", "training", "analysis", "plots"]
# A room may import from these and from itself; `plots` needs no torch, nor does `analysis` until its GRU is asked for.
MAY_IMPORT = {
    "sessions": {"errors", "datasets"},  # open_cohort calls the data set that is named
    "datasets": {"errors", "sessions", "signal"},
    "signal": {"errors", "sessions"},
    "models": {"errors", "configs", "sessions"},
    "training": {"errors", "configs", "presets", "sessions", "models"},
    "analysis": {"errors", "sessions", "configs", "models", "training"},
    "plots": {"errors", "sessions", "analysis"},
}


def test_importing_the_package_pulls_in_nothing_heavy():
    code = (
        "import sys, spikelfp_lab; heavy = {'torch', 'xarray', 'numpy', 'pandas', 'matplotlib'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_analysis_and_plots_do_without_torch():
    code = "import sys, spikelfp_lab.plots, spikelfp_lab.analysis; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_every_public_name_is_there():
    for name in sl.__all__:
        assert getattr(sl, name) is not None


def test_imports_go_one_way():
    for room in ROOMS:
        for file in (PACKAGE / room).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    parts = node.module.split(".")
                    if parts[0] == "spikelfp_lab" and len(parts) > 1:
                        assert parts[1] in MAY_IMPORT[room] | {room}, f"{file}: {node.module}"


def test_nothing_loads_pickles():
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        imported = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert not imported & {"pickle", "dill", "cloudpickle", "shelve"}, file
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            assert name not in {"eval", "exec", "torch.save", "joblib.load"}, file
            # These two can load pickles, and must say that they do not.
            safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}.get(name)
            assert safe is None or safe in ast.unparse(call), f"{file}: {name} without {safe}"
