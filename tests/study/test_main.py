"""The driver of ``make figures``: the main figure first, the last notebook alone, errors end it."""

import time
from pathlib import Path

import pytest

from spikelfp_lab.study import __main__ as driver
from tests.study.conftest import make_study

BOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))


def test_the_main_notebook_runs_first_and_the_paper_figures_last(monkeypatch):
    ran, minutes = [], []
    monkeypatch.setattr(driver, "execute", lambda path: ran.append(path.stem[:2]))
    driver.run_all(BOOKS, minutes.append)
    assert sorted(ran) == sorted(driver.MINUTES) and len(BOOKS) == len(driver.MINUTES)
    assert ran[0] == "05" and ran[-1] == "11"
    assert sum(minutes) == sum(driver.MINUTES.values())


def test_a_notebook_that_fails_ends_it(monkeypatch):
    ran = []

    def execute(path):
        ran.append(path)
        if path.stem.startswith("05"):
            raise RuntimeError(f"{path.name} failed")
        time.sleep(0.2)

    monkeypatch.setattr(driver, "execute", execute)
    with pytest.raises(RuntimeError, match="05_comparison"):
        driver.run_all(BOOKS, lambda _: None)
    assert len(ran) <= 3  # what was running ends


def test_the_probe_gives_seconds_for_a_second_of_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "PROBE_S", 0.2)
    assert 1e-5 < driver.probe(make_study(tmp_path)) < 1.0
