"""Sessions of small files in the layout of Flint et al.; what departs from it is refused."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io

from spikelfp_lab.cohorts import flint
from spikelfp_lab.cohorts._flint_layout import read_trials
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import split_session, usable_runs, validate_session, window_starts
from tests.io.matlab_files import cursor_velocity, struct_array, write_flint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the files; what is prepared goes beside it."""
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path / "cache"))
    files = tmp_path / "files"
    files.mkdir()
    return files


def _open(folder, name="e1_1", **options):
    return flint.session(name, folder=folder, **options)


def test_a_session_has_spikes_lfp_and_velocity_on_one_clock(folder):
    trials = write_flint(folder / "Flint_2012_e1.mat")[0]["trials"]
    session = _open(folder)
    validate_session(session)
    time = np.concatenate([trial["Time"].ravel() for trial in trials])
    np.testing.assert_allclose(session["time"], time, atol=1e-9)
    np.testing.assert_allclose(session["behavior"], cursor_velocity(time) / 100, atol=1e-4)
    assert session["behavior"].behavior_dim.values.tolist() == ["vx", "vy"]
    edges = np.append(time, time[-1] + 0.01) - 0.005
    for row in range(5):
        spikes = np.concatenate([t["Neuron"]["Spike"][row, 0].ravel() for t in trials])
        expected = np.histogram(spikes, edges)[0]
        np.testing.assert_array_equal(session["spikes"].values[:, row], expected)
    assert session["trial"].values[::400].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isnan(session["target_x"].values[:100]).all()
    np.testing.assert_allclose(session["target_y"].values[200:400], -0.05)
    assert session["good"].values.all()


def test_rows_without_lfp_are_no_channels_and_trials_are_filtered_as_one_stretch(folder):
    write_flint(folder / "Flint_2012_e1.mat", without_lfp=(1, 3))
    session = _open(folder)
    assert session["channel"].values.tolist() == ["ch000", "ch002", "ch004"]
    # the common average of the amplitudes 1, 3, 5 is 3
    wave = np.sin(2 * np.pi * 10 * session["time"].values)
    expected = wave[:, None] * np.array([-2.0, 0.0, 2.0])
    # the joints at 4, 8, ... s are as good as the rest: filters do not ring at a trial's edge
    np.testing.assert_allclose(session["lfp"].values[50:-50], expected[50:-50], atol=0.08)


def test_a_trial_without_lfp_is_nan_and_leaves_its_neighbors_alone(folder):
    path = folder / "Flint_2012_e1.mat"
    write_flint(path, trials_without_lfp=(2,))
    session = _open(folder)
    lfp = session["lfp"].values
    assert np.flatnonzero(np.isnan(lfp).any(axis=1)).tolist() == list(range(800, 1201))
    # 3 s away from the hole, it has left no trace
    write_flint(path)
    whole = flint._build("e1_1", path, None, True, 0.01)["lfp"].values
    np.testing.assert_allclose(lfp[:500], whole[:500], atol=0.01)
    assert "no LFP in trial 3" in session.attrs["history"]
    assert len(usable_runs(session, variables=["spikes", "behavior"])) == 6


def test_time_outside_of_trials_is_a_gap(folder):
    write_flint(folder / "Flint_2012_e1.mat", gaps_after={1: 2.5})
    session = _open(folder, trials=False)
    assert "trial" not in session.coords
    runs = usable_runs(session, variables=["lfp", "behavior"])
    assert runs.tolist() == [[0, 800], [800, 2400]]
    assert np.diff(session["time"].values).max() == pytest.approx(2.51)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    pause=st.floats(0.0, 0.04),
    bins=st.sampled_from([1, 2, 5]),
    frequency_hz=st.just(3.0),
)
def test_pauses_of_any_length_keep_the_clock_uniform_and_every_stream_in_place(
    folder, pause, bins, frequency_hz
):
    def wave(_session, _trial, fields):
        fast = fields["Time"][0, 0] + np.arange(20 * fields["Time"].size) / 2000
        for row in (0, 2):
            sign = 1 - row
            values = sign * np.sin(2 * np.pi * frequency_hz * fast)
            fields["Neuron"]["LFP"][row, 0] = values[:, None]

    path = folder / "Flint_2012_e1.mat"
    write_flint(path, trials=2, neurons=3, gaps_after={0: pause}, change=wave)
    session = flint._build("e1_1", path, None, True, 0.01 * bins)
    validate_session(session)
    time = session["time"].values
    for start, stop in usable_runs(session, variables=["lfp"]):
        inner = slice(start + 100 // bins, stop - 100 // bins)
        found = session["lfp"].values[inner, 0]
        expected = np.sin(2 * np.pi * frequency_hz * time[inner])
        lag = np.angle(np.vdot(_phasor(time[inner], frequency_hz), found))
        assert np.vdot(found, expected) / np.linalg.norm(expected) ** 2 == pytest.approx(
            1, abs=0.03
        )
        lag -= np.angle(np.vdot(_phasor(time[inner], frequency_hz), expected))
        assert abs(lag) / (2 * np.pi * frequency_hz) < 0.001  # s: two samples of the raw LFP
    moved = np.abs(session["behavior"].values - cursor_velocity(time) / 100)
    assert moved.max() < 0.05


def _phasor(time, frequency_hz):
    return np.exp(2j * np.pi * frequency_hz * time)


def test_larger_bins_are_means_of_the_hand_and_sums_of_the_spikes(folder):
    write_flint(folder / "Flint_2012_e1.mat")
    fine, coarse = _open(folder), _open(folder, bin_size_s=0.05)
    validate_session(coarse)
    assert coarse.sizes["time"] == fine.sizes["time"] // 5
    summed = fine["spikes"].values.reshape(-1, 5, 5).sum(axis=1)
    np.testing.assert_array_equal(coarse["spikes"].values, summed)
    mean = fine["behavior"].values.reshape(-1, 5, 2).mean(axis=1)
    np.testing.assert_allclose(coarse["behavior"], mean, atol=1e-6)


def test_sessions_are_named_by_file_and_number(folder):
    write_flint(folder / "Flint_2012_e2.mat", sessions=2, trials=2)
    write_flint(folder / "Flint_2012_e5.mat", sessions=2, trials=3)
    tree = flint.cohort(folder=folder, sessions=["e2_1", "e2_2", "e5_2"], progress=False)
    assert [leaf.path for leaf in tree.leaves] == ["/C/e2_1", "/C/e2_2", "/C/e5_2"]
    assert tree["C/e2_2"]["time"].values[0] == pytest.approx(6.0)
    assert tree["C/e5_2"].sizes["time"] == 1200


def test_the_lists_of_sessions():
    assert len(set(flint.SESSIONS)) == 12 and set(flint.HELD_OUT) < set(flint.SESSIONS)
    per_file = [
        sum(name.startswith(f"e{number}_") for name in flint.SESSIONS) for number in range(1, 6)
    ]
    assert per_file == [1, 2, 4, 3, 2]


def test_a_prepared_session_is_read_from_the_cache(folder, monkeypatch):
    write_flint(folder / "Flint_2012_e1.mat", trials=2)
    first = _open(folder)
    monkeypatch.setattr(flint, "_build", pytest.fail)
    assert _open(folder).identical(first)


def test_another_file_of_the_same_name_is_not_taken_for_the_first(folder):
    path = folder / "Flint_2012_e1.mat"
    write_flint(path, trials=2)
    assert _open(folder).sizes["time"] == 800
    write_flint(path, trials=3)
    assert _open(folder).sizes["time"] == 1200


def test_the_protocol_of_the_paper(folder):
    def shake(_session, trial, fields):
        if trial == 5:  # one of 12 windows of 10 s
            fields["HandVel"][:, :2] *= 30
        # a unit of less than 1 Hz
        fields["Neuron"]["Spike"][4, 0] = fields["Neuron"]["Spike"][4, 0][:5]

    write_flint(folder / "Flint_2012_e1.mat", trials=12, steps=1000, change=shake)
    session = _open(folder, protocol="paper")
    validate_session(session)
    assert session.sizes["time"] == 11_000 and "trial" not in session.coords
    left_out = (session["time"].values >= 55.0) & (session["time"].values < 64.99)
    assert not left_out.any()
    assert session["unit"].values.tolist() == ["u000", "u001", "u002", "u003"]
    assert "1 of 12 windows" in session.attrs["history"]
    # z-scored before the windows were left out, as in the authors' code
    lfp = session["lfp"].values
    np.testing.assert_allclose(lfp[:, [0, 1, 3]].std(axis=0), 1.0, atol=0.02)
    # what is left is still whole windows of 10 s, which the split shuffles and training halves
    split = split_session(session, scheme="paper", window_s=5.0)
    starts = [
        window_starts(session, split, part, length=500, variables=["lfp", "behavior"])
        for part in ("train", "val", "test")
    ]
    assert [part.size for part in starts] == [18, 2, 2]
    assert all((part % 500 == 0).all() for part in starts)


def test_the_filter_of_the_paper_is_softer_than_ours(folder):
    def fast(_session, _trial, fields):
        time = fields["Time"][0, 0] + np.arange(20 * fields["Time"].size) / 2000
        for row in (0, 2, 3, 4):
            values = (row - 2.25) * np.sin(2 * np.pi * 45 * time)
            fields["Neuron"]["LFP"][row, 0] = values[:, None]

    path = folder / "Flint_2012_e1.mat"
    write_flint(path, change=fast)
    read = read_trials(path, "e1_1")
    clock = flint._build("e1_1", path, None, True, 0.01)["time"].values
    ours, theirs = (
        flint._lfp(read, clock, bin_size_s=0.01, paper=paper)[0][200:-200].std(axis=0)[0]
        for paper in (False, True)
    )
    # Butterworth of order 2 at 50 Hz, run twice, at 45 Hz: 1 / (1 + (45 / 50)^4)
    assert theirs == pytest.approx(2.25 / np.sqrt(2) / (1 + 0.9**4), rel=0.03)
    assert ours == pytest.approx(2.25 / np.sqrt(2), rel=0.06)


def test_bad_channels_are_dropped_by_name(folder):
    def silence(_session, _trial, fields):
        fields["Neuron"]["Spike"][3, 0] = np.empty((0, 0))

    write_flint(folder / "Flint_2012_e1.mat", change=silence)
    with pytest.warns(SpikeLFPWarning, match="u003"):
        assert _open(folder).sizes["unit"] == 4


def test_missing_files_are_listed_with_where_to_get_and_where_to_put_them(folder):
    write_flint(folder / "Flint_2012_e1.mat", trials=1)
    with pytest.raises(DataError) as caught:
        flint.cohort(folder=folder, progress=False)
    text = str(caught.value)
    for number in (2, 3, 4, 5):
        assert f"Flint_2012_e{number}.mat" in text
    assert "e1.mat" not in text and flint.ADDRESS in text and str(folder) in text
    assert "account" in text


@pytest.mark.parametrize(
    "options",
    [
        {"sessions": "e1_1"},
        {"sessions": []},
        {"sessions": ["e1_1", "e1_1"]},
        {"sessions": ["e1_2"]},
        {"protocol": "papers"},
        {"bin_size_s": 0.015},
        {"bin_size_s": 0},
        {"bin_size_s": float("nan")},
    ],
)
def test_bad_options_are_one_clear_error(folder, options):
    with pytest.raises(ConfigError):
        flint.cohort(folder=folder, progress=False, **options)


def _set(name, value):
    def change(_session, trial, fields):
        if trial == 1:
            fields[name] = value(fields[name]) if callable(value) else value

    return change


def _neuron(name, value):
    def change(_session, trial, fields):
        if trial == 1:
            fields["Neuron"][name][0, 0] = value(fields["Neuron"][name][0, 0])

    return change


def _nan_at_5(values):
    values[5] = np.nan
    return values


MALFORMED = {
    "NaN in Time": (_set("Time", _nan_at_5), "trial 2"),
    "Time runs backwards": (_set("Time", lambda t: t[::-1].copy()), "trial 2"),
    "Time jumps back to the first trial": (_set("Time", lambda t: t - 4), "backwards"),
    "Time at 50 Hz": (_set("Time", lambda t: t[0] + 2 * (t - t[0])), "0.02 s"),
    "Time is text": (_set("Time", "noon"), "numbers are needed"),
    "Time is a cell": (_set("Time", np.array([["noon"]], object)), "numbers are needed"),
    "HandVel too short": (_set("HandVel", lambda v: v[:-3]), "HandVel has the shape"),
    "HandVel has one axis": (_set("HandVel", lambda v: v[:, :1]), "HandVel has the shape"),
    "TargetPos transposed": (_set("TargetPos", lambda v: v.T), "TargetPos has the shape"),
    "Neuron is no struct": (_set("Neuron", np.ones((3, 1))), "structs are needed"),
    "no neurons": (_set("Neuron", np.empty((0, 0))), "structs are needed"),
    "another number of neurons": (_set("Neuron", lambda n: n[:-1]), "the neurons go from"),
    "LFP at 1 kHz": (_neuron("LFP", lambda v: v[::2]), "samples for"),
    "LFP is text": (_neuron("LFP", lambda v: "loud"), "numbers are needed"),
    "NaN spike": (_neuron("Spike", lambda v: np.array([[np.nan]])), "neuron 1, trial 2"),
}


@pytest.mark.parametrize("change, match", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_file_that_departs_from_the_layout_is_one_clear_error(folder, change, match):
    write_flint(folder / "Flint_2012_e1.mat", trials=3, steps=50, change=change)
    with pytest.raises(DataError, match=re.escape(match)):
        _open(folder)
    assert not (folder.parent / "cache").exists() or not list(
        (folder.parent / "cache").rglob("*.z*")
    )


@pytest.mark.parametrize("field", ["Time", "HandVel", "TargetPos", "Neuron", "Condition"])
def test_a_missing_field_is_named_with_those_that_are_there(folder, field):
    def drop(_session, _trial, fields):
        del fields[field]

    write_flint(folder / "Flint_2012_e1.mat", trials=2, steps=50, change=drop)
    with pytest.raises(DataError, match=f"trial 1.* no '{field}'; it has "):
        _open(folder)


def test_a_file_with_fewer_sessions_than_expected(folder):
    write_flint(folder / "Flint_2012_e3.mat", sessions=1, trials=1)
    with pytest.raises(DataError, match="has 1 sessions and e3_2 is its number 2"):
        _open(folder, "e3_2")


def test_no_lfp_at_all_is_named(folder):
    write_flint(folder / "Flint_2012_e1.mat", trials=2, without_lfp=tuple(range(5)))
    with pytest.raises(DataError, match="No neuron of the session has LFP"):
        _open(folder)


def test_files_of_another_kind_are_named(folder):
    path = folder / "Flint_2012_e1.mat"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(DataError, match="and MATLAB 5 is expected"):
        _open(folder)
    io.savemat(path, {"Something": np.ones(3)})
    with pytest.raises(DataError, match="lacks Subject"):
        _open(folder)
    io.savemat(path, {"Subject": np.ones(3)})
    with pytest.raises(DataError, match="structs are needed"):
        _open(folder)
    io.savemat(path, {"Subject": struct_array([{"Task": 1.0}])})
    with pytest.raises(DataError, match="no 'Trial'"):
        _open(folder)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_one_clear_error(folder, share):
    path = folder / "Flint_2012_e1.mat"
    write_flint(path, trials=2)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=path.name):
        _open(folder)


def test_numbers_in_place_of_structs_are_refused_without_a_look_at_each(folder):
    path = folder / "Flint_2012_e1.mat"
    io.savemat(path, {"Subject": np.zeros((1, 1 << 22))}, do_compression=True)
    with pytest.raises(
        DataError, match=r"Subject of .*Flint_2012_e1\.mat is not as published: it is float64"
    ):
        _open(folder)


def test_what_is_wrong_with_the_whole_session_names_the_file(folder):
    def flat(_session, _trial, fields):
        for row in range(5):
            fields["Neuron"]["LFP"][row, 0] = np.zeros((8000, 1))

    write_flint(folder / "Flint_2012_e1.mat", change=flat, without_lfp=())
    with pytest.raises(DataError, match=r"^Flint_2012_e1\.mat: .*constant or NaN"):
        _open(folder)


def test_a_field_that_stands_for_the_names_of_all(folder):
    def odd(_session, _trial, fields):
        fields["_fieldnames"] = 3.0

    write_flint(folder / "Flint_2012_e1.mat", change=odd)
    with pytest.raises(DataError, match=r"Flint_2012_e1\.mat") as caught:
        _open(folder)
    assert "get it again" in str(caught.value) or "Is it a file" in str(caught.value)
