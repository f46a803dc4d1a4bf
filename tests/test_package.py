"""The package as a whole: quick to import, its names there, nothing runs what it reads."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import spikelfp_lab as sl

PACKAGE = Path(sl.__file__).parent
CIRCLES = PACKAGE.parent / ".ci" / "circles.py"


@pytest.mark.parametrize(
    "modules, without",
    [
        ("spikelfp_lab", {"torch", "xarray", "numpy", "pandas", "matplotlib"}),
        ("spikelfp_lab.plots, spikelfp_lab.analysis", {"torch"}),
    ],
)
def test_importing_pulls_in_nothing_heavy(modules, without):
    code = f"import sys, {modules}; print(sorted({without} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in sl.__all__:
        assert getattr(sl, name) is not None


def test_imports_go_one_way():
    command = [sys.executable, CIRCLES, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What runs what it reads, or hides what runs.
NEVER_IMPORTED = {
    *("pickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "imp", "code"),
    *("urllib.request", "http.client", "ftplib", "telnetlib", "httpx", "aiohttp", "yaml"),
}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "input", "builtins.eval", "builtins.exec"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("torch.save", "torch.hub.load", "joblib.load", "joblib.dump", "joblib.Memory"),
    *("pandas.read_pickle", "pandas.eval", "numpy.fromregex", "tempfile.mktemp"),
    *("shutil.unpack_archive", "pooch.Unzip", "pooch.Untar", "pooch.Decompress"),
}
NEVER_CALLED_ON_ANYTHING = {"extract", "extractall", "to_pickle", "read_pickle"}
# These can do both, and must say that they do not.
ONLY_WITH = {"torch.load": "weights_only=True", "numpy.load": "allow_pickle=False"}
NEVER_WITH = ("shell=True", "verify=False", "trust_remote_code=True", "allow_pickle=True")


def offenses(code: str) -> list[str]:
    """Calls and imports that could run what a file holds."""
    full: dict[str, str] = {}  # name here -> name where it comes from
    found, nodes = [], list(ast.walk(ast.parse(code)))
    for node in nodes:
        if isinstance(node, ast.Import):
            full |= {each.asname: each.name for each in node.names if each.asname}
            modules = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            full |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            modules = [str(node.module), *(f"{node.module}.{each.name}" for each in node.names)]
        else:
            continue
        found += [name for name in modules if {name, name.split(".")[0]} & NEVER_IMPORTED]
    for node in nodes:
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            name, arguments = (
                f"{full.get(first, first)}{dot}{rest}",
                {*map(ast.unparse, node.keywords)},
            )
            method = name.split(".")[-1] if dot and not name.endswith(".str.extract") else ""
            never = name in NEVER_CALLED or method in NEVER_CALLED_ON_ANYTHING
            if never or ONLY_WITH.get(name) not in {*arguments, None}:
                found.append(name)
            found += [f"{name} with {each}" for each in NEVER_WITH if each in arguments]
            # a name that comes from a file or a user is never what is imported
            if name.endswith("import_module") and ast.unparse(node.args[0]) not in (
                "'PSID'", "f'spikelfp_lab.cohorts.{name_or_folder}'"  # one of the tuple DATASETS
            ):  # fmt: skip
                found.append(name)
    return found


def test_nothing_runs_what_it_reads():
    """No pickle, no eval, no archive unpacked."""
    for file in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").rglob("*.py")]:
        assert not offenses(file.read_text()), file
    for file in (PACKAGE.parent / "notebooks").glob("*.ipynb"):
        cells = json.loads(file.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = [line for cell in code for line in cell.splitlines()]
        plain = (line for line in lines if not line.lstrip().startswith(("%", "!")))
        assert not offenses("\n".join(plain)), file


@pytest.mark.parametrize(
    "code",
    [
        "import os.path, _pickle as json",
        "from pickle import loads",
        "from urllib import request",
        "import builtins as b; b.exec('1')",
        "from os import system as run; run('ls')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import torch as t; t.load('a.pt')",
        "from torch import load; load('a.pt', weights_only=False)",
        "import numpy as np; np.load('a.npy', allow_pickle=True)",
        "frame.to_pickle('a')",
        "zipfile.ZipFile('a').extractall()",
        "import pooch; pooch.retrieve('a', processor=pooch.Unzip())",
        "importlib.import_module(name)",
    ],
)
def test_every_offense_would_be_found(code):
    assert offenses(code)
    assert not offenses(
        "import torch, numpy as np\nfrom tarfile import is_tarfile\nmodel.eval()\nre.compile('a')\n"
        "torch.load('a', weights_only=True)\nnp.load('a', allow_pickle=False)\nmodel.load('a')"
    )
