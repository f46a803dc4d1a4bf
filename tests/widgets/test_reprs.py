"""Cards of sessions, cohorts, models and scores: what they say, that they escape and stay lazy, and that nothing else looks different."""

import html.parser
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import spikelfp_lab as sl
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.widgets import _session_summary, reprs
from tests.factories import make_session

VOID = {"br", "hr", "img", "input", "meta", "link", "rect", "use", "path", "col", "circle"}
EVIL = "<script>alert('x')</script>"


class Balance(html.parser.HTMLParser):
    """Every tag is closed by its own."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, tag


def checked(text: str) -> str:
    """The card alone, without what xarray or pandas say; its HTML is whole, and nothing in it runs."""
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.tags
    return text.split("<details")[0]


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = [
        (model, session, "one_frame", split, axis, r2)
        for model, base in (("Teacher", 0.5), ("Raw LFP ridge", -0.2))
        for session, more in (("I/s01", 0.0), ("I/s02", 0.2))
        for split, gone in (("train", 0.9), ("test", 0.0))
        for axis, r2 in (("vx", base + more + gone), ("vy", base + more + gone))
    ]
    return pd.DataFrame(rows, columns=["model", "session", "readout", "split", "axis", "r2"])


def test_a_session_says_what_one_asks_first():
    session = make_session(gaps=[200, 400], trial_bins=100, nan_behavior=range(60))
    card = checked(reprs.session_html(session))
    for text in (
        "I/s01", "tests", "✓ spikes", "✓ LFP", "✓ behavior", "12 s: 600 bins of 20 ms (50 Hz), 2 gaps",
        "6 units", "4 channels of LFP (µV)", "vx, vy (cm/s), 5 % missing", "speed, at most",
    ):  # fmt: skip
        assert text in card, text
    rates = session["spikes"].mean("time").to_numpy() / 0.02
    assert (
        f"{np.median(rates):.3g} Hz at the median ({rates.min():.2g} to {rates.max():.3g}" in card
    )
    assert card.count("<svg") == 3
    assert card.count("<polyline") >= 9  # each curve in three pieces, as the gaps cut it
    assert "xr-wrap" in reprs.session_html(session)  # xarray's own, a click away


def test_what_a_session_lacks_is_said_in_words():
    card = checked(reprs.session_html(make_session(units=0, behavior=())))
    assert "– no spikes" in card and "– no behavior" in card and "✓ LFP" in card
    assert card.count("<svg") == 1
    card = checked(reprs.session_html(make_session(channels=0, bins=3, behavior=("touch",))))
    assert "– no LFP" in card and "touch, at most" in card


def test_an_axis_that_is_missing_throughout_has_no_curve():
    session = make_session(nan_behavior=range(600), nan_lfp=range(600))
    card = checked(reprs.session_html(session))
    assert "50 % missing" in card and "speed, at most" not in card


def test_names_from_files_are_escaped(scores):
    session = make_session().assign_attrs(session=EVIL, subject=EVIL, source=EVIL)
    session["lfp"].attrs |= {"kind": EVIL, "units": EVIL}
    session = session.assign_coords(behavior_dim=[EVIL, "b"])
    assert "&lt;script&gt;" in checked(reprs.session_html(session))
    tree = xr.DataTree.from_dict({f"/I/{EVIL.replace('/', '')}": session})
    assert "&lt;script&gt;" in checked(reprs.cohort_html(tree))
    model = sl.models.Autoencoder(sl.ModelConfig(), modality="lfp", sessions={EVIL: 4}, bin_size_s=0.02)  # fmt: skip
    model.info = {"made_by": EVIL, "train": {"seed": EVIL}}
    text = reprs.model_html(model)
    checked(text)
    assert "&lt;script&gt;" in text
    assert "&lt;script&gt;" in checked(reprs.scores_html(scores.assign(model=EVIL, split=EVIL)))


def test_arrays_that_are_not_in_memory_are_not_read(tmp_path):
    path = sl.save_session(make_session(), tmp_path / "s01.zarr")
    with xr.open_zarr(path, chunks=None) as lazy:
        text = reprs.session_html(lazy)
        checked(text)
        assert "Not in memory" in text and "<polyline" not in text
        assert "6 units" in text and "4 channels" in text
        assert not lazy["lfp"].variable._in_memory


def test_long_arrays_are_sampled_and_it_is_said(monkeypatch):
    session = make_session(bins=1200)
    monkeypatch.setattr(_session_summary, "MOST_VALUES", 120 * 6 * 5)
    text = reprs.session_html(session)
    checked(text)
    assert "Curves from 50 % of the bins." in text


def test_a_cohort_is_a_table_of_sessions():
    tree = cohort_from_sessions([make_session(), make_session(session="s02", units=0)])
    text = reprs.cohort_html(tree)
    card = checked(text)
    for wanted in ("2 sessions, 24 s", "I/s01", "I/s02", "✓ 6 units", "– none", "✓ 4 channels", "✓ vx, vy"):  # fmt: skip
        assert wanted in card, wanted
    assert card.count("<tr>") == 3


def test_a_model_says_what_it_is_and_how_it_was_trained():
    train = sl.TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2, seed=7)
    model = sl.pretrain(make_session(), "spikes", preset="smoke", train=train, progress=False)
    text = reprs.model_html(model)
    checked(text)
    parameters = sum(p.numel() for p in model.parameters())
    for wanted in (
        "pretrain", "spikes, bins of 20 ms", f"{parameters / 1e6:.2f} M parameters",
        f"4 steps, weights of step {model.info['best_step']} kept", ">7<", "loss ", "I/s01", "1 session in its vocabulary", "val_every",
    ):  # fmt: skip
        assert wanted in text, wanted
    both = sl.models.Autoencoder(sl.ModelConfig(), modality="both", sessions={"I/s01": (5, 3)}, bin_size_s=0.01)  # fmt: skip
    text = reprs.model_html(both)
    assert "untrained" in text and "spikes and LFP" in text and "Channels" in text


def test_scores_show_the_mean_of_the_test_split(scores):
    card = checked(reprs.scores_html(scores))
    assert "test split over 2 sessions" in card
    assert "0.60" in card and "−0.10" in card and "Teacher, one frame" in card
    assert card.count("<svg") == 2
    plain = scores[scores["split"] == "train"].drop(columns=["model", "session"])
    plain.attrs = {"scheme": "blocks", "window_s": 2.0, "seed": 0, "split_from": "default"}
    assert "blocks, 2 s, seed 0, by default" in reprs.scores_html(plain)
    assert "train split" in checked(reprs.scores_html(plain))
    assert "no value" in checked(reprs.scores_html(plain.assign(r2=np.nan)))


@pytest.mark.parametrize(
    "data",
    [
        xr.Dataset({"lfp": (("time", "channel"), np.ones((3, 2)))}),
        make_session().drop_vars(["spikes", "lfp"]),
        make_session().assign_attrs(bin_size_s="ten"),
        make_session().drop_vars("time"),
        make_session().isel(time=slice(0, 0)),
        make_session().isel(channel=0),
    ],
    ids=["names", "neither", "bin size", "no clock", "empty", "dims"],
)
def test_what_is_no_session_is_not_taken_for_one(data):
    assert not reprs.is_session(data)
    assert not reprs.is_cohort(xr.DataTree.from_dict({"/a/b": data}))


def test_what_is_no_table_of_scores_is_not_taken_for_one(scores):
    assert reprs.is_scores(scores)
    assert not reprs.is_scores(scores.drop(columns="axis"))
    assert not reprs.is_scores(scores.iloc[:0])
    assert not reprs.is_scores(scores.assign(r2="high"))
    assert not reprs.is_scores(scores.pivot_table(index="session", columns="model", values="r2"))


IPYTHON = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import spikelfp_lab as sl
assert not {"torch", "xarray", "pandas", "numpy"} & set(sys.modules)
import numpy as np, pandas as pd, xarray as xr
from spikelfp_lab.sessions import cohort_from_sessions
from tests.factories import make_session
html = shell.display_formatter.formatters["text/html"]
card = 'class="spikelfp-card"'
session = make_session()
cohort = cohort_from_sessions([session])
scores = sl.decode(session["lfp"], session, split=sl.split_session(session, window_s=0.4))
model = sl.models.Autoencoder(sl.ModelConfig(), modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
for ours in (session, cohort, cohort["I/s01"], scores, model):
    assert card in html(ours), type(ours)
others = [xr.Dataset({"a": ("x", [1.0])}), xr.DataTree(name="a"), pd.DataFrame({"r2": [1.0]}), session["lfp"], cohort["I"]["s01"].to_dataset()[["behavior"]]]
uuid = __import__("re").compile("[0-9a-f]{8}-[0-9a-f-]{27}")
for other in others:  # but for what xarray draws anew at each call
    assert uuid.sub("", html(other)) == uuid.sub("", other._repr_html_()), type(other)
    assert card not in html(other)
with pd.option_context("display.notebook_repr_html", False):
    assert html(others[2]) is None and "<pre>" in html(scores)
print("shown")
"""


def test_ipython_shows_ours_and_leaves_all_else_as_it_is(tmp_path):
    environment = {"IPYTHONDIR": str(tmp_path), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", IPYTHON],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | environment,
    )
    assert result.returncode == 0 and result.stdout.strip() == "shown", result.stderr
