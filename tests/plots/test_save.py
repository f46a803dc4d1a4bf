"""Saved figures: three files, the same bytes each time, never half of one."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import save_figure, style


@pytest.fixture
def figure():
    with style():
        figure, axes = plt.subplots(figsize=(2, 1))
        axes.set_xlabel("Time (s)")
        plt.close(figure)
    return figure


DATA = pd.DataFrame({"model": ["Distilled", "MS-LFP"], "r2": [0.123456789, -0.5]})


def test_png_at_300_dpi_svg_with_text_and_tidy_csv(figure, tmp_path):
    paths = save_figure(figure, tmp_path / "figures", "bars", data=DATA)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "bars.csv",
        "bars.png",
        "bars.svg",
    ]
    assert plt.imread(paths["png"]).shape[:2] == (300, 600)
    assert "Time (s)</text>" in paths["svg"].read_text()
    assert paths["csv"].read_text() == "model,r2\nDistilled,0.123457\nMS-LFP,-0.5\n"


def test_same_figure_same_bytes(figure, tmp_path):
    first = save_figure(figure, tmp_path / "a", "bars", data=DATA)
    second = save_figure(figure, tmp_path / "b", "bars", data=DATA)
    for ending in ("png", "svg", "csv"):
        assert first[ending].read_bytes() == second[ending].read_bytes()


def test_failure_leaves_the_old_files_alone(figure, tmp_path, monkeypatch):
    old = save_figure(figure, tmp_path, "bars", data=DATA)
    before = {ending: path.read_bytes() for ending, path in old.items()}

    def fail(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(DataError, match=r"bars\.png could not be written .*disk full"):
        save_figure(figure, tmp_path, "bars", data=DATA)
    assert {ending: path.read_bytes() for ending, path in old.items()} == before
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["", "../bars", "a/b"])
def test_name_must_be_a_file_name(figure, tmp_path, name):
    with pytest.raises(DataError, match="plain file name"):
        save_figure(figure, tmp_path, name, data=DATA)
