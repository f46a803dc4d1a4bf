"""What is opened and closed again and again leaves nothing behind: no file handle, no figure."""

import gc
import os
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

import spikelfp_lab as sl
from spikelfp_lab._files import locked
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.io.store import save_cohort
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
    gc.collect()
    links = [handle for handle in HANDLES.iterdir() if handle.is_symlink()]  # not of the listing
    return sorted(os.readlink(handle) for handle in links)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort of Zarr and NWB files."""
    folder = tmp_path_factory.mktemp("cohort")
    save_cohort({f"s{i}": make_session(session=f"s{i}") for i in range(3)}, folder)
    whole_file(folder / "other.nwb")
    return folder


@on_linux
@pytest.mark.parametrize("jobs", [1, 2])
def test_ten_cycles_of_opening_leak_no_file_handle(jobs, folder):
    model = make_model("lfp", {"I/s01": make_session()})

    def cycle():
        open_cohort(folder, progress=False, n_jobs=jobs)
        sl.load(model.save(folder / "student", overwrite=True))
        with locked(folder / "made"):
            _ = Study(cohort_name=str(folder), runs=folder / "runs", progress=False).sessions

    cycle()  # the first one starts what a process keeps: threads, worker processes
    before = handles()
    for _ in range(10):
        cycle()
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


def use_widgets() -> None:
    session = make_session(bins=1400)
    explorer, sessions = sl.explore(session, span_s=4), {"I/s01": session}
    models = {"Teacher": make_model("spikes", sessions), "MS-LFP": make_model("lfp", sessions)}
    comparison = sl.compare(models, sessions)
    comparison.compute()
    comparison.job.wait()
    for widget in (explorer, comparison):
        for tab in range(len(widget.tabs.children)):
            widget.tabs.selected_index = tab
        widget.close()
    watched, quick = sl.monitor(session), sl.TrainConfig(steps=4, batch=2, window_s=0.4)
    sl.pretrain(session, "spikes", preset="smoke", train=quick, callbacks=[watched], progress=False)
    assert bytes(watched.picture.widget.value[:4]) == b"\x89PNG"
    watched.widget.close()


def test_explorer_comparison_and_monitor_free_their_figures(monkeypatch):
    monkeypatch.setattr("spikelfp_lab.widgets.monitor.in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda *_: None)
    use_widgets()
    before = figures()
    for _ in range(3):
        use_widgets()
    assert figures() == before and plt.get_fignums() == []
