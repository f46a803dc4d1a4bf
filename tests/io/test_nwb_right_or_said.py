"""What people's files really hold: the right numbers come out, or a clear word."""

import shutil

import numpy as np
import pytest
import zarr
from pynwb import NWBHDF5IO

import spikelfp_lab as sl
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from tests.factories import make_session
from tests.io import nwb_files as nwb

NOISE = np.random.default_rng(0).normal(scale=1e-4, size=(10_000, 3))  # V


def opened(nwbfile, folder, **options):
    return open_nwb(nwb.write(nwbfile, folder / "a.nwb"), progress=False, **options)


def with_lfp(*args, **more):
    nwbfile = nwb.with_units() if more.pop("units", False) else nwb.start_file()
    nwb.add_lfp(nwbfile, *args, **more)
    return nwbfile


def findings(session):
    return sl.check_quality(session).set_index("check")["meaning"].to_dict()


@pytest.mark.parametrize("rate_hz", [1250.0, 2500.0, 5000.0])
def test_declared_lfp_keeps_what_its_channels_share_at_any_rate(tmp_path, rate_hz):
    theta = 100e-6 * np.sin(2 * np.pi * 8 * np.arange(8 * rate_hz) / rate_hz)
    noise = np.random.default_rng(0).normal(scale=5e-6, size=(theta.size, 3))
    session = opened(with_lfp(theta[:, None] + noise, rate_hz=rate_hz), tmp_path)
    assert float(session["lfp"].std("time").mean()) == pytest.approx(70.7, abs=3)
    assert "reference none" in session.attrs["history"]


@pytest.mark.parametrize("start_s", [9000.0, 60_000.0])
@pytest.mark.parametrize("rate_hz", [90.0, 250.0, 1250.0])
def test_stamps_of_32_bits_late_in_a_session(tmp_path, start_s, rate_hz):
    times = start_s + np.arange(round(20 * rate_hz)) / rate_hz
    data = np.tile(100e-6 * np.sin(2 * np.pi * 5 * times)[:, None], (1, 3))
    stamps = times.astype(np.float32).astype(float)
    session = opened(with_lfp(data, timestamps=stamps), tmp_path).isel(time=slice(100, -100))
    expected = 100 * np.sin(2 * np.pi * 5 * session["time"].values)
    off_s = np.abs(session["lfp"].values[:, 0] - expected) / (100 * 2 * np.pi * 5)
    assert off_s.max() < max(1e-3, 0.5 / rate_hz) + 0.5 * np.spacing(np.float32(start_s))
    assert session.sizes["time"] > 1790


def test_time_that_is_invalid_or_was_not_recorded_is_cut_and_said(tmp_path):
    nwbfile = with_lfp(units=True)
    nwbfile.add_invalid_time_interval(start_time=2.0, stop_time=4.0, tags=["moved"], timeseries=[])
    session = opened(nwbfile, tmp_path)
    assert not ((session["time"] > 1.996) & (session["time"] < 4.004)).any()
    assert "2.0" in findings(session)["invalid"]
    table = describe_nwb(tmp_path / "a.nwb").set_index("object")
    assert "left out" in table.loc["intervals/invalid_times", "why"]

    times = np.arange(10_000) / 1000 + np.repeat([0.0, 5.0], 5000)
    trains = [each + 5.0 * (each > 5) for each in nwb.spike_trains()]
    for more in ([], [np.arange(0.5, 14.5, 0.1)]):  # the last one of a system that went on
        nwbfile = nwb.with_units([*trains, *more])
        nwb.add_lfp(nwbfile, nwb.tones() * 1e-6, timestamps=times)
        session = opened(nwbfile, tmp_path)
        inside = session.sel(time=slice(5.02, 9.98))
        assert inside.sizes["time"] == (496 if more else 0)
        assert np.isnan(inside["lfp"]).all() and "gap" in findings(session)["gap"]


def test_observed_intervals_that_overlap_are_empty_or_of_one_unit(tmp_path):
    trains = nwb.spike_trains(3)
    intervals = [[[0.0, 4.0], [3.0, 5.0]], np.empty((0, 2)), [[0.0, 5.0]]]
    session = opened(nwb.with_units(trains, obs_intervals=intervals), tmp_path)
    assert session.sizes["time"] == 500 and "observed" not in session.coords
    inside = [int((each < 5).sum()) for each in trains]
    assert session["spikes"].values.sum(axis=0).tolist() == inside
    said = findings(session)
    assert "1 units have no obs_intervals" in said["observed"]
    assert f"{sum(map(len, trains)) - sum(inside)} spikes" in said["spikes outside"]
    # never together: each has its own time
    intervals = [[[0.0, 3.0]], [[5.0, 9.0]]]
    session = opened(nwb.with_units([[0.1, 1.0], [4.0, 6.0]], obs_intervals=intervals), tmp_path)
    assert session["observed"].values.sum(axis=0).tolist() == [300, 400]
    assert session["observed"].values.any(axis=1).all() and session["spikes"].sum() == 3


def test_times_and_potentials_in_another_unit_are_said(tmp_path):
    nwbfile = nwb.with_units([np.r_[0.5, 9.5, each * 1000] for each in nwb.spike_trains()])
    nwb.add_lfp(nwbfile, NOISE)
    nwbfile.add_trial(start_time=1000.0, stop_time=4000.0)
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    with pytest.warns(SpikeLFPWarning, match="(?s)lie outside .*seconds") as caught:
        session = sl.open_session(path, progress=False)
    assert len(caught) == 1 and "trial" not in session.coords
    assert {"spikes outside", "trials"} <= set(findings(session))
    again = nwb.with_units([np.concatenate([each, each]) for each in nwb.spike_trains()])
    assert "begin again" in findings(opened(again, tmp_path))["spike times"]
    volts = opened(with_lfp(nwb.tones()), tmp_path)  # 100 V
    assert "conversion" in findings(volts)["unit of the LFP"]


@pytest.mark.parametrize("add", [nwb.compass, nwb.add_position])
@pytest.mark.parametrize(
    ("unit", "turn", "said"),
    [
        ("radians", 360.0, "as degrees do"),
        ("degrees", 2 * np.pi, "as radians do"),
        ("meters", 2 * np.pi, None),
        ("degrees", 360.0, None),
        ("rad", 2 * np.pi, None),
        ("cm", 360.0, None),  # a track of 360 cm, whose end is its start
    ],
)
def test_directions_are_refused_circular_or_said_by_their_values(tmp_path, unit, turn, said, add):
    nwbfile = with_lfp()
    add(nwbfile, turn * ((0.7 * np.arange(500) / 50) % 1), unit=unit)
    if said:
        with pytest.raises(DataError, match=said):
            opened(nwbfile, tmp_path)
        return
    session = opened(nwbfile, tmp_path)
    unknown, plain = unit in ("meters", "cm"), add is nwb.add_position
    assert ("direction" in findings(session)) == (unknown and not (plain and unit == "cm"))
    assert session["behavior"].attrs["units"] == (unit if unknown and plain else "1")
    if not (unknown and plain):
        angle = 2 * np.pi * 0.7 * session["time"].values
        expected = np.column_stack([np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(session["behavior"].values, expected, atol=2e-3)
        with pytest.raises(ConfigError, match="of positions, not directions"):
            open_nwb(tmp_path / "a.nwb", derive="speed", progress=False)


@pytest.mark.parametrize("rate_hz", [30.0, 120.0])
def test_velocity_is_true_up_to_where_tracking_was_lost(tmp_path, rate_hz):
    times = np.arange(0, 10, 1 / rate_hz)
    missing, x = (times % 2) > 1.4, np.outer(times, [20, -15]) + 300.0
    (holes, zeros), there = (np.where(missing[:, None], x_, x) for x_ in (np.nan, 0.0)), ~missing
    for data, stamps in ((holes, times), (x[there], times[there]), (zeros, times)):
        nwbfile = nwb.with_units()
        nwb.add_position(nwbfile, data, timestamps=stamps)
        session = opened(nwbfile, tmp_path, derive="velocity")
        assert ("tracking" in findings(session)) == (data is zeros)
        assert session["behavior"].attrs == {"kind": "velocity", "units": "cm/s"}
        known = np.isfinite(session["behavior"].values).all(axis=1)
        assert 0.65 < known.mean() < 0.75
        velocity = session["behavior"].values[known]
        assert np.abs(velocity - [20, -15]).max() < 0.1
        speed = open_nwb(tmp_path / "a.nwb", derive="speed", progress=False)["behavior"]
        np.testing.assert_allclose(speed.values[known, 0], 25, atol=0.1)


def test_zeros_that_positions_move_to_or_from_are_positions(tmp_path):
    times = np.arange(0, 20, 0.02)
    cursor = np.outer(np.clip(times % 4 - 1, 0, 2), [8.0, -3.0])  # put back to the center at once
    touched = np.random.default_rng(0).integers(0, 2, (len(times), 2)).astype(float)
    walk = np.outer(np.abs(times - 10), [5.0, 5.0])
    for data in (cursor, touched, walk, 0 * walk, walk[:, :1] * (times[:, None] % 2 > 1)):
        nwbfile = nwb.with_units()
        nwb.add_position(nwbfile, data, timestamps=times)
        session = opened(nwbfile, tmp_path)
        assert "tracking" not in findings(session)
        assert np.isfinite(session["behavior"].values).all()


def test_a_camera_that_says_one_time_twice_and_events_at_any_time(tmp_path):
    times = np.arange(0, 10, 1 / 30)
    twice, events = times.copy(), np.sort(np.random.default_rng(0).uniform(0, 10, 1500))
    twice[100], events[700] = twice[99], events[701]
    for stamps, true in ((twice, times), (events, events)):
        nwbfile = nwb.with_units()
        nwb.add_position(nwbfile, 50 + 40 * np.sin(0.5 * true), timestamps=stamps)
        session = opened(nwbfile, tmp_path)
        expected = 50 + 40 * np.sin(0.5 * session["time"].values)
        assert np.nanmax(np.abs(session["behavior"].values[:, 0] - expected)) < 0.1


def test_errors_name_the_extension_and_the_format(tmp_path):
    def extension(file):
        about = {"namespace": "ndx-pose", "neurodata_type": "PoseEstimation"}
        file["processing/behavior/Position"].attrs.update(about)

    path = nwb.change(nwb.whole_file(tmp_path / "a.nwb"), extension)
    with pytest.raises(DataError, match=r"'ndx-pose'.*pip install ndx-pose"):
        open_nwb(path, progress=False)
    for name in ("d.nwb.zarr", "e.nwb"):
        group = zarr.open_group(str(tmp_path / name), mode="w", zarr_format=2)
        group.attrs["nwb_version"] = "2.7.0"
        with pytest.raises(DataError, match="NWB in Zarr"):
            sl.open_session(tmp_path / name)
    with pytest.raises(DataError, match=r"\.nwb(\.zarr)? is NWB in Zarr"):
        sl.open_cohort(tmp_path, progress=False)


def test_other_endings_are_opened(tmp_path):
    path = nwb.whole_file(tmp_path / "a.nwb", data=NOISE)
    expected = sl.open_session(path, progress=False)
    for name in ("B.NWB", "c.h5"):
        again = sl.open_session(shutil.copy(path, tmp_path / name), progress=False)
        assert again["lfp"].equals(expected["lfp"])
    path.unlink()
    assert len(sl.open_cohort(tmp_path, progress=False).leaves) == 1


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
    lfp = nwb.tones(rate_hz=100.0)
    session = sl.session_from_arrays(lfp=lfp, lfp_rate_hz=100.0, lfp_units=units, progress=False)
    np.testing.assert_allclose(session["lfp"].values, lfp[: session.sizes["time"]], atol=1e-4)
