"""What is opened and closed again and again leaves nothing behind: no file handles, no figures, no
widgets.
"""

import gc
import os
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import pytest
from ipywidgets.widgets import widget as registry
from matplotlib.figure import Figure

import spikelfp_lab as sl
from spikelfp_lab._files import locked
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.study import Study
from tests.factories import make_session
from tests.io.nwb_files import whole_file
from tests.io.test_remote import serving
from tests.widgets.test_compare import make_model

# Noise from a test factory may be of a quality that is warned of.
pytestmark = pytest.mark.filterwarnings("ignore::spikelfp_lab.errors.SpikeLFPWarning")
HANDLES = Path("/proc/self/fd")
on_linux = pytest.mark.skipif(not HANDLES.is_dir(), reason="counts the handles in /proc")


def handles() -> list[str]:
    """What this process has open."""
    gc.collect()
    links = [handle for handle in HANDLES.iterdir() if handle.is_symlink()]  # not of the listing
    return sorted(os.readlink(handle) for handle in links)


def cohort_of_three():
    return cohort_from_sessions(
        make_session(bins=600, session=f"s0{i}", seed=i) for i in range(1, 4)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort of Zarr and NWB files."""
    folder = tmp_path_factory.mktemp("cohort")
    save_cohort(cohort_of_three(), folder)
    sl.write_nwb(make_session(bins=600, session="s04"), folder / "s04.nwb")
    whole_file(folder / "other.nwb")
    return folder


def use_study(folder: Path):
    study = Study(cohort_name=str(folder), runs=folder / "runs", progress=False)
    with locked(folder / "made"):
        return study.sessions


def use_model(folder: Path):
    model = make_model("lfp", {"I/s01": make_session()})
    return sl.load(model.save(folder / "student", overwrite=True))


@on_linux
@pytest.mark.parametrize(
    "cycle",
    [
        lambda folder: open_cohort(folder, progress=False),
        lambda folder: open_cohort(folder, progress=False, n_jobs=2),
        use_study,
        use_model,
    ],
)
def test_ten_cycles_of_opening_leak_no_file_handle(cycle, folder):
    cycle(folder)  # the first one starts what a process keeps: threads, worker processes
    before = handles()
    for _ in range(10):
        cycle(folder)
    assert handles() == before


@on_linux
def test_ten_readings_of_an_address_leak_no_file_handle(folder):
    with serving((folder / "other.nwb").read_bytes()) as server:
        before = None
        for _ in range(10):
            sl.open_session(server.url, cache=False, progress=False)
            before = before or len(handles())
        # the server of the test runs in this process, and may be closing its end of the last one
        assert len(handles()) <= before + 1


def figures() -> int:
    for _ in range(2):  # measured: after first use one figure goes in the second pass only
        gc.collect()
    return sum(issubclass(type(each), Figure) for each in gc.get_objects())


def use_explorer() -> None:
    explorer = sl.explore(cohort_of_three(), span_s=4)
    for start in (1.0, 2.0):
        explorer.state.start_s = start
    for tab in range(3):
        explorer.tabs.selected_index = tab
    explorer.close()


def use_comparison() -> None:
    sessions = {"I/s01": make_session(bins=1400)}
    models = {"Teacher": make_model("spikes", sessions), "MS-LFP": make_model("lfp", sessions)}
    widget = sl.compare(models, sessions)
    widget.compute()
    widget.job.wait()
    assert not widget.job.error
    for tab in range(len(widget.pictures)):
        widget.tabs.selected_index = tab
    widget.close()


def use_monitor() -> None:
    model = sl.ModelConfig(width=16, layers=1, heads=1, spike_patch=16, predictor_width=16)
    quick = sl.TrainConfig(steps=4, batch=2, window_s=0.4, val_every=1)
    session = make_session(bins=1400)
    watched = sl.monitor(session)
    sl.pretrain(session, "spikes", model=model, train=quick, progress=False, callbacks=[watched])
    assert bytes(watched.picture.widget.value[:4]) == b"\x89PNG"
    watched.widget.close()


@pytest.mark.parametrize("use", [use_explorer, use_comparison, use_monitor])
def test_widgets_free_their_figures(use, monkeypatch):
    monkeypatch.setattr("spikelfp_lab.widgets.monitor.in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda *_: None)
    use()
    before = figures()
    for _ in range(3):
        use()
    assert figures() == before and plt.get_fignums() == []


def test_an_open_explorer_keeps_one_figure_however_often_it_is_drawn():
    explorer = sl.explore(cohort_of_three(), span_s=4)
    before, widgets = figures(), len(registry._instances)
    for start in range(10):
        explorer.state.start_s = start % 7 / 2
    assert figures() == before and len(registry._instances) == widgets
    explorer.close()
    assert figures() == before - 1
