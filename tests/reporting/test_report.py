"""A report: the right verdict from errors, and a page from a folder of recordings."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

import spikelfp_lab as sl
from spikelfp_lab.__main__ import main
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.reporting.report import BLOCKS, _verdict
from tests.factories import make_session

R2 = {"SS-LFP": 0.3, "Raw LFP ridge": 0.2, "Spikes ridge": 0.8, "Teacher": 0.9}


def verdict_of(distilled, spread, *, shuffled=0.0, spikes=None):
    """The verdict where Distilled has an R², and blocks differ by so much."""
    means = R2 | {"Distilled": distilled, "Shuffled teacher": shuffled}
    means |= dict.fromkeys(("Spikes ridge", "Teacher"), spikes) if spikes is not None else {}
    scores = [("lagged", model, "vx", r2) for model, r2 in means.items()]
    scores = pd.DataFrame(scores, columns=["readout", "model", "axis", "r2"])
    noise = np.random.default_rng(0).normal(size=BLOCKS) * spread
    noise -= noise.mean()
    errors = [
        (session, model, block, 1 - r2 - (noise[block] if model == "Distilled" else 0))
        for session in ("a", "b")
        for model, r2 in means.items()
        for block in range(BLOCKS)
    ]
    errors = pd.DataFrame(errors, columns=["session", "model", "block", "error"])
    return _verdict(scores, errors, {})


def test_a_clear_difference_is_a_gain():
    verdict, sentence, gains = verdict_of(0.5, 0.1)
    assert verdict == "gain" and len(gains) == 2 * BLOCKS
    assert "0.50" in sentence and "SS-LFP, with 0.30: a difference of 0.20" in sentence


def test_a_difference_below_zero_or_narrow_is_none():
    assert verdict_of(0.1, 0.1)[0] == "no gain"
    assert verdict_of(0.31, 0.05)[0] == "no gain"


def test_a_wide_interval_is_undecided_and_says_what_would_decide():
    verdict, sentence, _ = verdict_of(0.35, 0.5)
    assert verdict == "undecided" and re.search(r"About \d+ times as much test time", sentence)


def test_a_shuffled_teacher_that_does_as_well_is_no_gain():
    verdict, sentence, _ = verdict_of(0.5, 0.1, shuffled=0.5)
    assert verdict == "no gain" and "A shuffled teacher does as well" in sentence


def test_units_that_tell_nothing_are_named():
    assert "The units tell nothing of vx (R² 0.01)" in verdict_of(0.31, 0.01, spikes=0.01)[1]


def test_a_folder_becomes_a_page(tmp_path, monkeypatch, capsys):
    days = tmp_path / "days"
    for day in ("s01", "s02", "s03"):
        own = {"units": 12, "bins": 2500, "session": day, "seed": int(day[1:])}
        sl.save_session(make_session(**own), days / f"{day}.zarr")
    sl.save_session(make_session(session="s04", units=0), days / "s04.zarr")
    shutil.copytree(days / "s01.zarr", days / "again.zarr")
    (days / "broken.nwb").write_bytes(b"no HDF5")
    command = ["spikelfp", "report", str(days), "--preset", "smoke", "--held-out", "I/s02", "I/s03"]
    monkeypatch.setattr("sys.argv", [*command, "--output", str(tmp_path / "out")])
    main()
    out, page = capsys.readouterr().out, (tmp_path / "out/report.html").read_text()
    assert out.split(":")[0] in ("gain", "no gain", "undecided") and "report.html" in out
    for part in ("broken.nwb", "is there already", "no spikes", "I/s02", "data:image/png;base64"):
        assert part in page
    assert "Frozen decoders" in page or "What could not be done" in page
    assert "http" not in re.sub(r"base64,[^']*", "", page)  # nothing is fetched


def test_folders_without_what_is_needed_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no verdict can be had"):
        sl.report(tmp_path, preset="paper")
    with pytest.raises(DataError, match=r"No \.zarr or \.nwb session"):
        sl.report(tmp_path, output=tmp_path / "out")
    sl.save_session(make_session(units=0), tmp_path / "a.zarr")
    with pytest.raises(DataError, match=r"LFP and behavior\. I/s01: it has no spikes"):
        sl.report(tmp_path, output=tmp_path / "out", progress=False)
    sl.save_session(make_session(session="s02"), tmp_path / "b.zarr")
    with pytest.raises(ConfigError, match=r"\['I/s09'\] cannot be held out"):
        sl.report(tmp_path, held_out=["I/s09"], output=tmp_path / "out", progress=False)
