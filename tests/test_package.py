"""The package as a whole: quick to import, its names there, its imports going one way."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import spikelfp_lab as sl

PACKAGE = Path(sl.__file__).parent
CIRCLES = PACKAGE.parent / ".ci" / "circles.py"


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
    done = subprocess.run(
        [sys.executable, CIRCLES, PACKAGE], capture_output=True, text=True, check=False
    )
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
    *("pandas.read_pickle", "pandas.eval", "yaml.load", "yaml.unsafe_load", "numpy.fromregex"),
    *("shutil.unpack_archive", "pooch.Unzip", "pooch.Untar", "pooch.Decompress", "tempfile.mktemp"),
}
NEVER_CALLED_ON_ANYTHING = {"extract", "extractall", "to_pickle", "read_pickle"}
# These can do both, and must say that they do not.
ONLY_WITH = {"torch.load": "weights_only=True", "numpy.load": "allow_pickle=False"}
NEVER_WITH = ("shell=True", "verify=False", "trust_remote_code=True", "allow_pickle=True")


def offenses(code: str) -> list[str]:
    """Calls and imports that could run what a file holds."""
    tree = ast.parse(code)
    full: dict[str, str] = {}  # name here -> name where it comes from
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(each.name, each.asname or each.name.split(".")[0]) for each in node.names]
            full |= {here: name if here != name.split(".")[0] else here for name, here in names}
            modules = [name for name, _ in names]
        elif isinstance(node, ast.ImportFrom):
            full |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            modules = [str(node.module), *(f"{node.module}.{each.name}" for each in node.names)]
        else:
            continue
        found += [name for name in modules if {name, name.split(".")[0]} & NEVER_IMPORTED]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            name, said = f"{full.get(first, first)}{dot}{rest}", map(ast.unparse, node.keywords)
            arguments = set(said)
            never = name in NEVER_CALLED or (
                dot and name.split(".")[-1] in NEVER_CALLED_ON_ANYTHING
            )
            never = never and not name.endswith(".str.extract")  # of pandas
            if never or (name in ONLY_WITH and ONLY_WITH[name] not in arguments):
                found.append(name)
            found += [f"{name} with {each}" for each in NEVER_WITH if each in arguments]
    return found


def test_nothing_runs_what_it_reads():
    """No pickle, no eval, no archive unpacked."""
    ours = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").rglob("*.py")]
    for file in ours:
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
        "import pickle",
        "import os.path, _pickle as json",
        "from pickle import loads",
        "from urllib import request",
        "eval('1')",
        "import builtins as b; b.exec('1')",
        "from os import system as run; run('ls')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import yaml; yaml.load('a')",
        "import torch as t; t.load('a.pt')",
        "from torch import load; load('a.pt', weights_only=False)",
        "import numpy; numpy.load('a.npy')",
        "import numpy as np; np.load('a.npy', allow_pickle=True)",
        "from joblib import load; load('a')",
        "import pandas as pd; pd.read_pickle('a')",
        "frame.to_pickle('a')",
        "zipfile.ZipFile('a').extractall()",
        "import pooch; pooch.retrieve('a', processor=pooch.Unzip())",
        "session.get('https://example.org', verify=False)",
    ],
)
def test_every_offense_would_be_found(code):
    assert offenses(code)


def test_what_only_looks_like_an_offense_is_none():
    assert not offenses(
        "import torch, numpy as np\nfrom tarfile import is_tarfile\nmodel.eval()\nre.compile('a')\n"
        "torch.load('a', weights_only=True)\nnp.load('a', allow_pickle=False)\nmodel.load('a')"
    )


def test_packages_are_imported_by_names_of_our_own_only():
    """A name that comes from a file or a user is never what is imported."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                given = ast.unparse(node.args[0])
                known = given in ("'PSID'", "f'spikelfp_lab.cohorts.{name_or_folder}'")
                assert known, f"{file}: {given}"  # the second is one of the tuple DATASETS
