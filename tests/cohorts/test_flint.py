"""Sessions of small files in the layout of Flint et al.; what departs from it is refused."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikelfp_lab.cohorts import flint
from spikelfp_lab.errors import SpikeLFPError
from spikelfp_lab.sessions import split_session, usable_runs, validate_session, window_starts
from tests.io.matlab_files import cursor_velocity, write_flint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the files; what is prepared goes below it."""
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path / "cache"))
    return tmp_path


def _write(folder, **options):
    write_flint(folder / "Flint_2012_e1.mat", **options)
    return folder / "Flint_2012_e1.mat"


def test_a_session_has_spikes_lfp_and_velocity_on_one_clock(folder):
    trials = write_flint(folder / "Flint_2012_e1.mat", without_lfp=(1, 3))[0]
    session = flint.session("e1_1", folder=folder)
    validate_session(session)
    time = np.concatenate([trial["Time"].ravel() for trial in trials])
    np.testing.assert_allclose(session["time"], time, atol=1e-9)
    np.testing.assert_allclose(session["behavior"], cursor_velocity(time) / 100, atol=1e-4)
    edges = np.append(time, time[-1] + 0.01) - 0.005
    for row in range(5):
        spikes = np.concatenate([t["Neuron"]["Spike"][row, 0].ravel() for t in trials])
        expected = np.histogram(spikes, edges)[0]
        np.testing.assert_array_equal(session["spikes"].values[:, row], expected)
    assert session["trial"].values[::400].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isnan(session["target_x"].values[:100]).all() and session["good"].values.all()
    np.testing.assert_allclose(session["target_y"].values[200:400], -0.05)
    assert session["channel"].values.tolist() == ["ch000", "ch002", "ch004"]
    # the common average of the amplitudes 1, 3, 5 is 3; the joints at 4, 8, ... s are as good as
    # the rest: filters do not ring at a trial's edge
    expected = np.sin(2 * np.pi * 10 * time)[:, None] * np.array([-2.0, 0.0, 2.0])
    np.testing.assert_allclose(session["lfp"].values[50:-50], expected[50:-50], atol=0.08)
    coarse = flint.session("e1_1", folder=folder, bin_size_s=0.05)
    summed = session["spikes"].values.reshape(-1, 5, 5).sum(axis=1)
    np.testing.assert_array_equal(coarse["spikes"].values, summed)
    mean = session["behavior"].values.reshape(-1, 5, 2).mean(axis=1)
    np.testing.assert_allclose(coarse["behavior"], mean, atol=1e-6)


def test_a_trial_without_lfp_is_nan_and_leaves_its_neighbors_alone(folder):
    _write(folder, trials_without_lfp=(2,))
    session = flint.session("e1_1", folder=folder)
    lfp = session["lfp"].values
    assert np.flatnonzero(np.isnan(lfp).any(axis=1)).tolist() == list(range(800, 1201))
    assert "no LFP in trial 3" in session.attrs["history"]
    assert len(usable_runs(session, variables=["spikes", "behavior"])) == 6
    # another file of the same name is not taken for the first; 3 s away, the hole left no trace
    _write(folder)
    again = flint.session("e1_1", folder=folder)
    np.testing.assert_allclose(lfp[:500], again["lfp"].values[:500], atol=0.01)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pause=st.floats(0.0, 0.04) | st.just(2.5), bins=st.sampled_from([1, 2, 5]))
def test_pauses_keep_the_clock_uniform_and_every_stream_in_place(folder, pause, bins):
    def wave(_session, _trial, fields):
        fast = fields["Time"][0, 0] + np.arange(20 * fields["Time"].size) / 2000
        for row in (0, 2):
            values = (1 - row) * np.sin(2 * np.pi * 3 * fast)
            fields["Neuron"]["LFP"][row, 0] = values[:, None]

    path = _write(folder, trials=2, neurons=3, gaps_after={0: pause}, change=wave)
    session = flint._build(path, "e1_1", False, 0.01 * bins)
    validate_session(session)
    time = session["time"].values
    assert np.diff(time).max() < 0.02 * bins + pause
    for start, stop in usable_runs(session.drop_vars("trial"), variables=["lfp"]):
        inner = slice(start + 100 // bins, stop - 100 // bins)
        carrier = np.exp(2j * np.pi * 3 * time[inner])
        found = np.vdot(carrier, session["lfp"].values[inner, 0])
        expected = np.vdot(carrier, np.sin(2 * np.pi * 3 * time[inner]))
        assert abs(found / expected) == pytest.approx(1, abs=0.03)
        assert abs(np.angle(found / expected)) / (2 * np.pi * 3) < 0.001  # s: two raw samples
    assert np.abs(session["behavior"].values - cursor_velocity(time) / 100).max() < 0.05


def test_sessions_are_named_by_file_and_number_and_kept(folder, monkeypatch):
    write_flint(folder / "Flint_2012_e2.mat", sessions=2, trials=2)
    write_flint(folder / "Flint_2012_e5.mat", sessions=2, trials=3)
    names = ["e2_1", "e2_2", "e5_2"]
    tree = flint.cohort(folder=folder, sessions=names, progress=False)
    assert [leaf.path for leaf in tree.leaves] == ["/C/e2_1", "/C/e2_2", "/C/e5_2"]
    assert tree["C/e2_2"]["time"].values[0] == pytest.approx(6.0)
    assert tree["C/e5_2"].sizes["time"] == 1200
    monkeypatch.setattr(flint, "_build", pytest.fail)
    assert flint.cohort(folder=folder, sessions=names, progress=False).identical(tree)


def test_the_protocol_of_the_paper(folder):
    def shake(_session, trial, fields):
        if trial == 5:  # one of 12 windows of 10 s
            fields["HandVel"][:, :2] *= 30
        # a unit of less than 1 Hz
        fields["Neuron"]["Spike"][4, 0] = fields["Neuron"]["Spike"][4, 0][:5]

    _write(folder, trials=12, steps=1000, change=shake)
    session = flint.session("e1_1", folder=folder, protocol="paper")
    validate_session(session)
    time = session["time"].values
    assert time.size == 11_000 and not ((time >= 55.0) & (time < 64.99)).any()
    assert "trial" not in session.coords and "1 of 12 windows" in session.attrs["history"]
    assert session["unit"].values.tolist() == ["u000", "u001", "u002", "u003"]
    # z-scored before the windows were left out, as in the authors' code
    np.testing.assert_allclose(session["lfp"].values[:, [0, 1, 3]].std(axis=0), 1.0, atol=0.02)
    # what is left is still whole windows of 10 s, which the split shuffles and training halves
    split = split_session(session, scheme="paper", window_s=5.0)
    starts = [
        window_starts(session, split, part, length=500, variables=["lfp", "behavior"])
        for part in ("train", "val", "test")
    ]
    assert [part.size for part in starts] == [18, 2, 2]
    assert all((part % 500 == 0).all() for part in starts)


def test_missing_files_are_listed_with_where_to_get_and_where_to_put_them(folder):
    _write(folder, trials=1)
    with pytest.raises(SpikeLFPError, match=r"e2\.mat, .*e3\.mat, .*e4\.mat, .*e5\.mat") as caught:
        flint.cohort(folder=folder, progress=False)
    text = str(caught.value)
    assert "e1.mat" not in text and flint.ADDRESS in text and str(folder) in text


# --- files that are not as published


def _set(name, value):
    """Another value of a field, or of the first neuron's, in the second trial."""

    def change(_session, trial, fields):
        if trial == 1 and name in fields:
            fields[name] = value(fields[name])
        elif trial == 1:
            fields["Neuron"][name][0, 0] = value(fields["Neuron"][name][0, 0])

    return change


MALFORMED = {
    "NaN in Time": (_set("Time", lambda t: np.where(t == t[5], np.nan, t)), "Trial 2 of e1_1"),
    "Time jumps back to the first trial": (_set("Time", lambda t: t - 4), "backwards in e1_1"),
    "Time at 50 Hz": (_set("Time", lambda t: t[0] + 2 * (t - t[0])), "samples 0.01 s apart"),
    "HandVel too short": (_set("HandVel", lambda v: v[:-3]), "((47, 3), (50, 3))"),
    "another number of neurons": (_set("Neuron", lambda n: n[:-1]), "zip()"),
    "no Neuron": (lambda _session, _trial, fields: fields.pop("Neuron"), "Trial 1 of e1_1"),
    "LFP at 1 kHz": (_set("LFP", lambda v: v[::2]), "LFP has [500] samples"),
    "NaN spike": (_set("Spike", lambda v: np.array([[np.nan]])), "Unit 0"),
}


@pytest.mark.parametrize("change, match", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_file_that_departs_from_the_layout_is_one_clear_error(folder, change, match):
    path = _write(folder, trials=3, steps=50, change=change)
    with pytest.raises(SpikeLFPError, match=re.escape(match)) as caught:
        flint.session("e1_1", folder=folder)
    assert path.name in str(caught.value)
    assert not list(folder.rglob("*.zarr"))
