"""Saved figures: three files, the same bytes each time, never half of one."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import figures_folder, save_figure, show, style
from spikelfp_lab.plots.theme import new_figure

DATA = pd.DataFrame({"model": ["Distilled", "MS-LFP"], "r2": [0.123456789, -0.5]})


@pytest.fixture
def figure():
    with style():
        made = new_figure(2, 1)
        made.subplots().set_xlabel("Time (s)")
    return made


def test_png_at_300_dpi_svg_with_text_and_tidy_csv_the_same_each_time(figure, tmp_path):
    paths = save_figure(figure, tmp_path / "figures", "bars", data=DATA)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "bars.csv", "bars.png", "bars.svg",
    ]  # fmt: skip
    assert plt.imread(paths["png"]).shape[:2] == (300, 600)
    assert "Time (s)</text>" in paths["svg"].read_text()
    assert paths["csv"].read_text() == "model,r2\nDistilled,0.123457\nMS-LFP,-0.5\n"
    again = save_figure(figure, tmp_path / "b", "bars", data=DATA)
    assert all(paths[ending].read_bytes() == again[ending].read_bytes() for ending in paths)


def test_failure_leaves_the_old_files_alone(figure, tmp_path, monkeypatch):
    old = save_figure(figure, tmp_path, "bars", data=DATA)
    before = {ending: path.read_bytes() for ending, path in old.items()}

    def fail(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(DataError, match=r"bars\.png could not be written: .*disk full"):
        save_figure(figure, tmp_path, "bars", data=DATA)
    assert {ending: path.read_bytes() for ending, path in old.items()} == before
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"COHORT": "some/where/mine", "PRESET": "smoke"}, "figures/mine/smoke"),
        ({"FULL": "1"}, "figures/full"),
        ({"FIGURES": "build/f", "PRESET": "smoke"}, "build/f"),
    ],
)
def test_figures_go_to_the_folder_of_the_run(monkeypatch, tmp_path, environment, folder):
    for name in ("COHORT", "PRESET", "FULL", "FIGURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "notebooks").mkdir()
    for at in (".", "notebooks"):
        monkeypatch.chdir(tmp_path / at)
        assert figures_folder().resolve() == tmp_path / folder


def test_what_is_shown_is_saved_and_returned(figure, tmp_path, monkeypatch):
    monkeypatch.setenv("FIGURES", str(tmp_path))
    assert show(figure, "bars") is figure and show(DATA, "means") is DATA
    assert {path.name for path in tmp_path.iterdir()} == {"bars.png", "bars.svg", "means.csv"}
