"""What people's files really hold: the right numbers come out, or a clear word."""

import shutil
import warnings

import h5py
import numpy as np
import pytest
import zarr
from pynwb import NWBHDF5IO

import spikelfp_lab as sl
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io.assemble import merged
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from tests.factories import make_session
from tests.io.nwb_files import (
    add_lfp,
    add_position,
    add_units,
    compass,
    spike_trains,
    start_file,
    tones,
    whole_file,
    write,
)

NOISE = np.random.default_rng(0).normal(scale=1e-4, size=(10_000, 3))  # V


def opened(nwbfile, folder, **options):
    return open_nwb(write(nwbfile, folder / "a.nwb"), progress=False, **options)


def findings(session):
    return sl.check_quality(session).set_index("check")["meaning"].to_dict()


def with_units(times=None, **columns):
    nwbfile = start_file()
    add_units(nwbfile, times, **columns)
    return nwbfile


def test_declared_lfp_keeps_what_its_channels_share_at_any_rate(tmp_path):
    for rate_hz in (1250.0, 2500.0, 5000.0):
        nwbfile = start_file()
        theta = 100e-6 * np.sin(2 * np.pi * 8 * np.arange(8 * rate_hz) / rate_hz)
        noise = np.random.default_rng(0).normal(scale=5e-6, size=(theta.size, 3))
        add_lfp(nwbfile, theta[:, None] + noise, rate_hz=rate_hz)
        session = opened(nwbfile, tmp_path)
        assert float(session["lfp"].std("time").mean()) == pytest.approx(70.7, abs=3)
        assert "reference none" in session.attrs["history"]


@pytest.mark.parametrize("start_s", [9000.0, 60_000.0])
@pytest.mark.parametrize("rate_hz", [90.0, 250.0, 1250.0])
def test_stamps_of_32_bits_late_in_a_session(tmp_path, start_s, rate_hz):
    times = start_s + np.arange(round(20 * rate_hz)) / rate_hz
    nwbfile = start_file()
    data = 100e-6 * np.sin(2 * np.pi * 5 * times)[:, None]
    add_lfp(nwbfile, np.tile(data, (1, 3)), timestamps=times.astype(np.float32).astype(float))
    session = opened(nwbfile, tmp_path)
    expected = 100 * np.sin(2 * np.pi * 5 * session["time"].values)
    off_s = np.abs(session["lfp"].values[100:-100, 0] - expected[100:-100]) / (100 * 2 * np.pi * 5)
    assert off_s.max() < max(1e-3, 0.5 / rate_hz) + 0.5 * np.spacing(np.float32(start_s))
    assert session.sizes["time"] > 1990


def test_time_that_is_invalid_or_was_not_recorded_is_cut_and_said(tmp_path):
    nwbfile = with_units()
    add_lfp(nwbfile)
    nwbfile.add_invalid_time_interval(start_time=2.0, stop_time=4.0, tags=["moved"], timeseries=[])
    session = opened(nwbfile, tmp_path)
    assert not ((session["time"] > 1.996) & (session["time"] < 4.004)).any()
    assert "2.0" in findings(session)["invalid"]
    why = describe_nwb(tmp_path / "a.nwb").set_index("object").loc["intervals/invalid_times", "why"]
    assert "left out" in why

    times = np.arange(10_000) / 1000 + np.repeat([0.0, 5.0], 5000)
    trains = [each + 5.0 * (each > 5) for each in spike_trains()]
    nwbfile = with_units(trains)
    add_lfp(nwbfile, tones() * 1e-6, timestamps=times)
    session = opened(nwbfile, tmp_path)
    assert not ((session["time"] > 5.01) & (session["time"] < 9.99)).any()
    assert "gaps of the acquisition" in findings(session)["gap"]
    # spikes of another system, which went on: zeros are evidence there, LFP is missing
    nwbfile = with_units([*trains, np.arange(0.5, 14.5, 0.1)])
    add_lfp(nwbfile, tones() * 1e-6, timestamps=times)
    session = opened(nwbfile, tmp_path)
    inside = (session["time"] > 5.02) & (session["time"] < 9.98)
    assert inside.sum() > 400 and session["lfp"].values[inside].size
    assert np.isnan(session["lfp"].values[inside.values]).all()


def test_observed_intervals_that_overlap_are_empty_or_of_one_unit(tmp_path):
    trains = spike_trains(3)
    nwbfile = with_units(
        trains, obs_intervals=[[[0.0, 4.0], [3.0, 5.0]], np.empty((0, 2)), [[0.0, 5.0]]]
    )
    session = opened(nwbfile, tmp_path)
    assert session.sizes["time"] == 500 and "observed" not in session.coords
    inside = [int((each < 5).sum()) for each in trains]
    assert session["spikes"].values.sum(axis=0).tolist() == inside
    said = " ".join(sl.check_quality(session)["meaning"])
    assert "1 units have no obs_intervals" in said
    assert f"{sum(map(len, trains)) - sum(inside)} of {sum(map(len, trains))} spikes" in said
    # never together: each has its own time
    nwbfile = with_units([[0.1, 1.0], [6.0, 7.0]], obs_intervals=[[[0.0, 3.0]], [[5.0, 9.0]]])
    session = opened(nwbfile, tmp_path)
    assert session["observed"].values.sum(axis=0).tolist() == [300, 400]
    assert session["observed"].values.any(axis=1).all()
    assert merged(np.array([[5.0, 4.0], [1.0, 2.0], [2.0, 3.0]])).tolist() == [[1.0, 3.0]]


def test_times_and_potentials_in_another_unit_are_said(tmp_path):
    nwbfile = with_units([np.r_[0.5, 9.5, each * 1000] for each in spike_trains()])
    add_lfp(nwbfile, NOISE)
    nwbfile.add_trial(start_time=1000.0, stop_time=4000.0)
    path = write(nwbfile, tmp_path / "a.nwb")
    with pytest.warns(SpikeLFPWarning, match="(?s)lie outside .*seconds") as caught:
        session = sl.open_session(path, progress=False)
    assert len(caught) == 1 and "trial" not in session.coords
    assert {"spikes outside", "trials"} <= set(findings(session))

    nwbfile = with_units([np.concatenate([each, each]) for each in spike_trains()])
    assert "begin again" in findings(opened(nwbfile, tmp_path))["spike times"]

    nwbfile = start_file()
    add_lfp(nwbfile, tones())  # 100 V
    assert "conversion" in findings(opened(nwbfile, tmp_path))["unit of the LFP"]

    for stamps in (np.arange(10_000.0), 1e6 * np.arange(10_000)):
        nwbfile = with_units()
        add_lfp(nwbfile, tones() * 1e-6, timestamps=stamps)
        with pytest.raises(DataError, match="Are its times in seconds") as error:
            opened(nwbfile, tmp_path)
        assert "max_gap" not in str(error.value)


@pytest.mark.parametrize(
    ("unit", "turn", "said"),
    [
        ("radians", 360.0, "as degrees do"),
        ("degrees", 2 * np.pi, "as radians do"),
        ("n/a", 360.0, None),
        ("degrees", 360.0, None),
        ("rad", 2 * np.pi, None),
    ],
)
@pytest.mark.parametrize("add", [compass, add_position])
def test_directions_are_refused_or_circular_by_their_values(tmp_path, unit, turn, said, add):
    if unit == "n/a" and add is add_position:
        return
    nwbfile = start_file()
    add_lfp(nwbfile)
    turns = 0.7 * np.arange(500) / 50
    add(nwbfile, turn * (turns % 1), unit=unit)
    if said:
        with pytest.raises(DataError, match=said):
            opened(nwbfile, tmp_path)
        return
    session = opened(nwbfile, tmp_path)
    angle = 2 * np.pi * 0.7 * session["time"].values
    expected = np.column_stack([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(session["behavior"].values, expected, atol=2e-3)
    assert session["behavior"].attrs["units"] == "1"
    assert ("direction" in findings(session)) == (unit == "n/a")
    with pytest.raises(ConfigError, match="needs positions"):
        open_nwb(tmp_path / "a.nwb", derive="speed", progress=False)


@pytest.mark.parametrize("rate_hz", [30.0, 100.0, 120.0])
@pytest.mark.parametrize("lost", ["NaN", "gap"])
def test_velocity_is_true_up_to_where_tracking_was_lost(tmp_path, rate_hz, lost):
    times = np.arange(0, 10, 1 / rate_hz)
    missing = (times % 2) > 1.4
    nwbfile = with_units()
    x = 20 * times + 300.0
    if lost == "gap":
        add_position(nwbfile, x[~missing], timestamps=times[~missing])
    else:
        add_position(nwbfile, np.where(missing, np.nan, x), rate_hz=rate_hz)
    values = opened(nwbfile, tmp_path, derive="velocity")["behavior"].values
    known = np.isfinite(values)
    assert known.mean() > 0.65 and np.abs(values[known] - 20).max() < 0.1


def test_a_camera_that_says_one_time_twice_and_events_at_any_time(tmp_path):
    times = np.arange(0, 10, 1 / 30)
    twice = times.copy()
    twice[100] = twice[99]
    events = np.sort(np.random.default_rng(0).uniform(0, 10, 1500))
    events[700] = events[701]
    for stamps, true in ((twice, times), (events, events)):
        nwbfile = with_units()
        add_position(nwbfile, 50 + 40 * np.sin(0.5 * true), timestamps=stamps)
        session = opened(nwbfile, tmp_path)
        expected = 50 + 40 * np.sin(0.5 * session["time"].values)
        assert np.nanmax(np.abs(session["behavior"].values[:, 0] - expected)) < 0.1


def change(path, how):
    with h5py.File(path, "a") as file:
        how(file)
    return path


def test_errors_name_the_series_the_extension_and_the_format(tmp_path):
    def two_dimensional(file):
        series = file["processing/ecephys/LFP/lfp"]
        del series["starting_time"]
        series["timestamps"] = np.zeros((2, 10_000))
        series["timestamps"].attrs.update(interval=1, unit="seconds")

    def extension(file):
        attrs = file["processing/behavior/Position"].attrs
        attrs["namespace"], attrs["neurodata_type"] = "ndx-pose", "PoseEstimation"

    for how, said in (
        (two_dimensional, "LFP/lfp.*shape for timestamps"),
        (lambda file: file.__delitem__("units/spike_times_index"), "spike_times_index|units"),
        (extension, r"'ndx-pose'.*pip install ndx-pose"),
    ):
        path = change(whole_file(tmp_path / "a.nwb"), how)
        with pytest.raises(DataError, match=said):
            open_nwb(path, progress=False)
    for name in ("d.nwb.zarr", "e.nwb"):
        group = zarr.open_group(str(tmp_path / name), mode="w", zarr_format=2)
        group.attrs["nwb_version"] = "2.7.0"
        with pytest.raises(DataError, match="NWB in Zarr"):
            sl.open_session(tmp_path / name)
    with pytest.raises(DataError, match=r"\.nwb(\.zarr)? is NWB in Zarr"):
        sl.open_cohort(tmp_path, progress=False)


def test_other_endings_are_opened_and_pynwb_is_heard_once(tmp_path):
    path = whole_file(tmp_path / "a.nwb", data=NOISE)
    expected = sl.open_session(path, progress=False)
    for name in ("B.NWB", "c.h5"):
        again = sl.open_session(shutil.copy(path, tmp_path / name), progress=False)
        assert again["lfp"].equals(expected["lfp"])
    (tmp_path / "a.nwb").unlink()
    assert len(sl.open_cohort(tmp_path, progress=False).leaves) == 1

    def odd(file):  # of which pynwb warns when it reads the file
        file["processing/ecephys/LFP/lfp/starting_time"].attrs["unit"] = "minutes"

    path = change(whole_file(tmp_path / "d.nwb", data=NOISE), odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sl.open_session(path, progress=False)
        except SpikeLFPWarning as warning:
            assert "pynwb" in str(warning)


def test_a_writer_that_was_killed_leaves_nothing_for_long(tmp_path, monkeypatch):
    left = tmp_path / ".a.nwb.0123abcd.tmp"
    left.mkdir()
    (left / "partial.nwb").write_bytes(b"half")
    write_nwb(make_session(bins=50), tmp_path / "a.nwb")
    assert [each.name for each in tmp_path.iterdir()] == ["a.nwb"]

    def killed(self, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(NWBHDF5IO, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_nwb(make_session(bins=50), tmp_path / "b.nwb")
    assert [each.name for each in tmp_path.iterdir()] == ["a.nwb"]


@pytest.mark.parametrize("units", ["uV", "\N{MICRO SIGN}V", "\N{GREEK SMALL LETTER MU}V"])
def test_microvolts_however_they_are_written(units):
    lfp = tones(rate_hz=100.0)
    session = sl.session_from_arrays(lfp=lfp, lfp_rate_hz=100.0, lfp_units=units, progress=False)
    np.testing.assert_allclose(session["lfp"].values, lfp[: session.sizes["time"]], atol=1e-4)
