"""The package as a whole: quick to import, its names there, nothing runs what it reads."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.io import savemat

import spikelfp_lab as sl

PACKAGE = Path(sl.__file__).parent


def test_importing_pulls_in_nothing_heavy_and_every_public_name_is_there():
    for modules, without in (
        ("spikelfp_lab", {"torch", "xarray", "numpy", "pandas", "matplotlib"}),
        ("spikelfp_lab.plots, spikelfp_lab.analysis", {"torch"}),
    ):
        code = f"import sys, {modules}; assert not {without} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(sl, name) is not None for name in sl.__all__)


def test_every_public_name_is_on_the_page_of_the_api():
    words = set(re.findall(r"\w+", (PACKAGE.parent / "docs" / "api.rst").read_text()))
    rooms = [sl, sl.analysis, sl.cohorts, sl.io, sl.live, sl.models, sl.plots]
    rooms += [sl.sessions, sl.signal, sl.study, sl.training, sl.widgets]
    names = {n for room in rooms for n in dir(room) if not isinstance(getattr(room, n), ModuleType)}
    assert {name for name in names if not name.startswith("_")} - words == set()


def test_imports_go_one_way():
    circles = PACKAGE.parent / ".ci" / "circles.py"
    subprocess.run([sys.executable, circles, PACKAGE], check=True)


# What runs what a file holds, could do so, or hides what runs; one statement is one line.
OFFENSES = re.compile(
    r"""^\s*(import|from)\ .*\b(_?pickle|dill|cloudpickle|shelve|marshal|jsonpickle|yaml|code)\b
    |^\s*(import|from)\ .*(urllib\.request|http\.client|ftplib|telnetlib|httpx|aiohttp)\b
    |^\s*from\ urllib\ import.*request|^\s*import\ (os|torch|joblib|builtins)\ as
    |^\s*from\ (os|torch|numpy|joblib|builtins)\ import.*\b(load|save|dump|system|exec|eval)\b
    |(?<![\w.])(eval|exec|compile|__import__|input|system|popen)\(
    |\b(os\.(system|popen)|getoutput|getstatusoutput|mktemp|fromregex|pd\.eval|hub\.load)\(
    |(?<!safetensors\.)\b(torch\.save|joblib\.(load|dump|Memory)|to_pickle|read_pickle)\(
    |\b(extractall|(?<!str\.)extract|unpack_archive|Unzip|Untar|Decompress)\(
    |\btorch\.load\((?!.*weights_only=True)|\b(np|numpy)\.load\((?!.*allow_pickle=False)
    |\b(shell=True|verify=False|trust_remote_code=True|allow_pickle=True)
    |import_module\((?!f'spikelfp_lab\.cohorts\.{name_or_folder}')""",  # of DATASETS
    re.VERBOSE | re.MULTILINE,
)


def offense(code: str):
    """The first one outside docstrings and comments."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None
    return OFFENSES.search(ast.unparse(tree))


def test_nothing_runs_what_it_reads():
    for file in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").rglob("*.py")]:
        assert not offense(file.read_text()), file
    for file in (PACKAGE.parent / "notebooks").glob("*.ipynb"):
        cells = json.loads(file.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        plain = [line for line in "\n".join(code).splitlines() if line.lstrip()[:1] not in "%!"]
        assert not offense("\n".join(plain)), file


def test_every_offense_would_be_found():
    for code in (
        *("import a, pickle", "from os import path, system", "import builtins as b"),
        "import subprocess; subprocess.run('ls', shell=True)",
        *("torch.load(\n'a.pt')", "np.load('a.npy', mmap_mode='r')"),
        "zipfile.ZipFile('a').extractall()",
        "import pooch; pooch.retrieve('a', processor=pooch.Unzip())",
        "importlib.import_module(name)",
    ):
        assert offense(code), code
    assert not offense("model.eval(); re.compile('a'); torch.load('a', weights_only=True)")


def test_the_worked_example_of_contributing_runs(tmp_path):
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    example: dict = {}
    exec(text.partition("```python\n")[2].partition("```")[0], example)
    rng = np.random.default_rng(0)
    spikes = np.empty((1, 2), object)
    spikes[:] = [[np.sort(rng.uniform(0, 30, 200))[None] for _ in range(2)]]
    day = {"spikes": spikes, "lfp": rng.normal(size=(30_000, 3)) * 1e-4, "electrodes": [4, 9, 2]}
    savemat(tmp_path / "Rex_d1.mat", day | {"hand": rng.normal(size=(3000, 2)).cumsum(axis=0)})
    session = example["cohort"](tmp_path, progress=False)["Rex/d1"]
    assert session["channel"].values.tolist() == ["e4", "e9", "e2"]
    assert session["spikes"].shape[1] == 2 and 20 < session["lfp"].std() < 50  # uV, below 50 Hz
    savemat(tmp_path / "Rex_d2.mat", day | {"electrodes": [4, 9], "hand": [[0.0]]})
    with pytest.raises(sl.DataError, match=r"Rex_d2.mat: 2 electrodes"):
        example["cohort"](tmp_path, progress=False)
    with pytest.raises(sl.DataError, match="No file like"):
        example["cohort"](tmp_path / "nowhere")
