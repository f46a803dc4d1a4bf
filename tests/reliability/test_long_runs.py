"""What is opened and closed again and again leaves nothing behind: no file handles, no figures, no
widgets.
"""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import IPython.display
import matplotlib.pyplot as plt
import pytest
from ipywidgets.widgets import widget as registry
from matplotlib.figure import Figure

import spikelfp_lab as sl
from spikelfp_lab._files import locked
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.io.nwb_write import write_nwb
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.study import Study
from spikelfp_lab.widgets import monitor as monitor_module
from spikelfp_lab.widgets.compare import compare
from spikelfp_lab.widgets.explorer import explore
from spikelfp_lab.widgets.monitor import monitor
from tests.factories import make_session
from tests.io.nwb_files import whole_file
from tests.io.test_remote import serving
from tests.widgets.test_compare import make_model

# Noise from a test factory may be of a quality that is warned of.
pytestmark = pytest.mark.filterwarnings("ignore::spikelfp_lab.errors.SpikeLFPWarning")
CYCLES = 10
HANDLES = Path("/proc/self/fd")


def handles() -> list[str]:
    """What this process has open."""
    gc.collect()
    found = []
    for handle in HANDLES.iterdir():
        try:
            found.append(os.readlink(handle))
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(found)


def cohort_of_three():
    return cohort_from_sessions(
        make_session(bins=600, session=f"s0{i}", seed=i) for i in range(1, 4)
    )


def of_zarr(folder: Path) -> Callable[[], object]:
    save_cohort(cohort_of_three(), folder)
    return lambda: open_cohort(folder, progress=False)


def of_nwb(folder: Path) -> Callable[[], object]:
    folder.mkdir()
    for leaf in cohort_of_three().leaves:
        write_nwb(leaf.to_dataset(), folder / f"{leaf.name}.nwb")
    whole_file(folder / "other.nwb")
    return lambda: open_cohort(folder, progress=False)


def of_processes(folder: Path) -> Callable[[], object]:
    save_cohort(cohort_of_three(), folder)
    return lambda: open_cohort(folder, progress=False, n_jobs=2)


def of_study(folder: Path) -> Callable[[], object]:
    save_cohort(cohort_of_three(), folder / "cohort")

    def cycle():
        study = Study(cohort_name=str(folder / "cohort"), runs=folder / "runs", progress=False)
        with locked(folder / "made"):
            pass
        return study.sessions

    return cycle


def of_models(folder: Path) -> Callable[[], object]:
    model = make_model("lfp", {"I/s01": make_session()})
    return lambda: sl.load(model.save(folder / "student", overwrite=True))


@pytest.mark.skipif(not HANDLES.is_dir(), reason="counts the handles in /proc, which Linux has")
@pytest.mark.parametrize("prepare", [of_zarr, of_nwb, of_processes, of_study, of_models])
def test_ten_cycles_of_opening_leak_no_file_handle(prepare, tmp_path):
    cycle = prepare(tmp_path / "cohort")
    cycle()  # the first one starts what a process keeps: threads, worker processes
    before = handles()
    for _ in range(CYCLES):
        cycle()
    assert handles() == before


@pytest.mark.skipif(not HANDLES.is_dir(), reason="counts the handles in /proc, which Linux has")
def test_ten_readings_of_an_address_leak_no_file_handle(tmp_path):
    with serving(whole_file(tmp_path / "a.nwb").read_bytes()) as server:
        before = None
        for _ in range(CYCLES):
            sl.open_session(server.url, cache=False, progress=False)
            before = before or len(handles())
        # the server of the test runs in this process, and may be closing its end of the last one
        assert len(handles()) <= before + 1


def figures() -> int:
    for _ in range(2):  # measured: after first use one figure goes in the second pass only
        gc.collect()
    return sum(issubclass(type(each), Figure) for each in gc.get_objects())


def use_explorer() -> None:
    explorer = explore(cohort_of_three(), span_s=4)
    for start in (1.0, 2.0, 3.0):
        explorer.state.start_s = start
    for tab in range(3):
        explorer.tabs.selected_index = tab
    explorer.close()


def use_comparison() -> None:
    sessions = {"I/s01": make_session(bins=1400)}
    models = {"Teacher": make_model("spikes", sessions), "MS-LFP": make_model("lfp", sessions)}
    widget = compare(models, sessions)
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
    watched = monitor(session)
    sl.pretrain(session, "spikes", model=model, train=quick, progress=False, callbacks=[watched])
    assert bytes(watched.picture.widget.value[:4]) == b"\x89PNG"
    watched.widget.close()


@pytest.mark.parametrize("use", [use_explorer, use_comparison, use_monitor])
def test_widgets_free_their_figures(use, monkeypatch):
    monkeypatch.setattr(monitor_module, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda *_: None)
    use()
    before = figures()
    for _ in range(3):
        use()
    assert figures() == before and plt.get_fignums() == []


def test_an_open_explorer_keeps_one_figure_however_often_it_is_drawn():
    explorer = explore(cohort_of_three(), span_s=4)
    before, widgets = figures(), len(registry._instances)
    for start in range(20):
        explorer.state.start_s = start % 7 / 2
    assert figures() == before and len(registry._instances) == widgets
    explorer.close()
    assert figures() == before - 1
