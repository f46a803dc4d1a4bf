"""Cards: what they say, that they escape and stay lazy, and that nothing else changes."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

import spikelfp_lab as sl
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.widgets import cards
from tests.factories import make_session

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def scores() -> pd.DataFrame:
    names = ["model", "session", "split"]
    levels = [["Teacher", "Raw LFP ridge"], ["I/s01", "I/s02"], ["train", "test"]]
    table = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
    r2 = [0.9, 0.5, 0.9, 0.7, 0.9, -0.2, 0.9, 0.0]
    return table.assign(readout="one_frame", axis="vx", r2=r2)


def test_sessions_and_cohorts_say_what_is_there_and_what_is_missing():
    session = make_session(gaps=[200, 400], trial_bins=100, nan_behavior=range(60))
    card = cards.session_html(session)
    lines = ("I/s01", "tests", "12 s: 600 bins of 20 ms, 2 gaps", "✓ 6 units", "Hz at the median")
    for text in (*lines, "✓ 4 channels, LFP, µV", "✓ vx, vy, cm/s, 5 % missing"):
        assert text in card, text
    tree = cohort_from_sessions([make_session(), make_session(session="s02", units=0)])
    card = cards.cohort_html(tree).split("<details")[0]
    for text in ("2 sessions, 24 s", "I/s01", "I/s02", "✓ 6 units", "– none", "✓ vx, vy"):
        assert text in card, text


def test_arrays_that_are_not_in_memory_are_not_read(tmp_path):
    with xr.open_zarr(sl.save_session(make_session(), tmp_path / "s01.zarr"), chunks=None) as lazy:
        assert cards.session_html(lazy).count("not in memory") == 3
        assert not lazy["lfp"].variable._in_memory


def test_a_model_says_what_it_is_and_how_it_was_trained():
    train = sl.TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2, seed=7)
    model = sl.pretrain(make_session(), "spikes", preset="smoke", train=train, progress=False)
    best = f"4 steps, weights of step {model.info['best_step']} kept"
    for text in ("pretrain", "20 ms", best, ">7<", "loss ", "I/s01"):
        assert text in cards.model_html(model), text


def test_scores_show_means_and_the_split_that_was_taken(scores):
    scores.attrs = {"scheme": "blocks", "window_s": 2.0, "seed": 0, "split_from": "default"}
    card = cards.scores_html(scores)
    assert "test split of 2 sessions" in card and "0.60" in card and "-0.10" in card
    assert "scheme blocks, window_s 2.0, seed 0; from default" in card


def test_names_from_files_are_escaped(scores):
    session = make_session().assign_attrs(session=EVIL, subject=EVIL, source=EVIL)
    session["lfp"].attrs |= {"kind": EVIL, "units": EVIL}
    tree = xr.DataTree.from_dict({f"/I/{EVIL.replace('/', '')}": session})
    sizes = {"modality": "lfp", "sessions": {EVIL: 4}, "bin_size_s": 0.02}
    model = sl.models.Autoencoder(sl.ModelConfig(), **sizes)
    model.info = {"made_by": EVIL, "train": {"seed": EVIL}}
    table = scores.assign(model=EVIL, split=EVIL)
    texts = [cards.session_html(session.assign_coords(behavior_dim=[EVIL, "b"]))]
    texts += [cards.cohort_html(tree), cards.model_html(model), cards.scores_html(table)]
    for text in texts:
        assert "<script" not in text and "&lt;script&gt;" in text


IPYTHON = """
import re, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import spikelfp_lab as sl
assert not {"torch", "xarray", "pandas", "numpy"} & set(sys.modules)
import pandas as pd, xarray as xr
from tests.factories import make_session
html = shell.display_formatter.formatters["text/html"]
session = make_session(bins=6000)
cohort = xr.DataTree.from_dict({"I/s01": session})
scores = sl.decode(session["lfp"], session)
sizes = {"modality": "lfp", "sessions": {"I/s01": 4}, "bin_size_s": 0.02}
model = sl.models.Autoencoder(sl.ModelConfig(), **sizes)
for ours in (session, cohort, cohort["I/s01"], scores, model):
    assert 'class="spikelfp-card"' in html(ours), type(ours)
others = [xr.Dataset({"a": ("x", [1.0])}), xr.DataTree(name="a"), pd.DataFrame({"r2": [1.0]})]
others += [session.drop_vars(["spikes", "lfp"]), session.assign_attrs(bin_size_s="ten")]
uuid = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")
for other in others:  # but for what xarray draws anew at each call
    assert uuid.sub("", html(other)) == uuid.sub("", other._repr_html_()), type(other)
print("shown")
"""


def test_ipython_shows_ours_and_leaves_all_else_as_it_is(tmp_path):
    environment = os.environ | {"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", IPYTHON]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert result.returncode == 0 and result.stdout.strip() == "shown", result.stderr
