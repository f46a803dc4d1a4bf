"""NWB files: what is in them is found by type, in its true units, on one clock."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynwb import TimeSeries
from pynwb.behavior import BehavioralTimeSeries
from pynwb.ecephys import LFP, FilteredEphys
from pynwb.file import Subject
from pynwb.testing.mock.ecephys import mock_SpikeEventSeries

import spikelfp_lab as sl
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io.nwb_read import _safe, describe_nwb, open_nwb
from spikelfp_lab.sessions import validate_session
from tests.factories import make_session
from tests.io.nwb_files import (
    add_lfp,
    add_position,
    add_units,
    spike_trains,
    start_file,
    tones,
    whole_file,
    write,
)

QUICK = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def opened(path, **options):
    return open_nwb(path, progress=False, **options)


def expected_tones(time, channels=3):
    return 100 * np.sin(2 * np.pi * 5 * np.outer(time, np.arange(1, channels + 1)))


def inner(session, margin_s=1.5):
    """Bins away from the ends, where filters have settled."""
    time = session["time"].values
    return (time > time[0] + margin_s) & (time < time[-1] - margin_s)


def test_a_whole_file_becomes_one_valid_session(tmp_path):
    session = opened(whole_file(tmp_path / "a.nwb"))
    validate_session(session)
    assert dict(session.sizes) == {"time": 998, "unit": 4, "channel": 3, "behavior_dim": 2}
    assert session.attrs["subject"] == "rat1" and session.attrs["session"] == "day_1"
    assert session["behavior_dim"].values.tolist() == ["x", "y"]
    assert session["behavior"].attrs == {"kind": "position", "units": "cm"}
    assert session["lfp"].attrs == {"kind": "LFP", "units": "uV"}
    assert session["location"].values.tolist() == ["CA1"] * 3
    keep = inner(session)
    error = session["lfp"].values - expected_tones(session["time"].values)
    assert np.abs(error[keep]).max() < 3.0


def test_spikes_are_counted_in_the_bins_of_the_clock(tmp_path):
    session = opened(whole_file(tmp_path / "a.nwb"))
    edges = np.append(session["time"].values - 0.005, session["time"].values[-1] + 0.005)
    for unit, times in enumerate(spike_trains()):
        np.testing.assert_array_equal(
            session["spikes"].values[:, unit], np.histogram(times, edges)[0]
        )


@QUICK
@given(
    rate_hz=st.sampled_from([60.0, 100.0, 250.0, 625.0, 1000.0, 2500.0]),
    start_s=st.integers(-50_000, 5_000_000).map(lambda ms: ms / 1000),
    conversion=st.floats(1e-9, 1e-3),
    channel_conversion=st.none() | st.lists(st.floats(0.1, 10), min_size=2, max_size=2),
    offset=st.floats(-0.01, 0.01),
    as_timestamps=st.booleans(),
)
def test_lfp_comes_in_microvolts_at_its_true_times(
    tmp_path, rate_hz, start_s, conversion, channel_conversion, offset, as_timestamps
):
    times = start_s + np.arange(round(8 * rate_hz)) / rate_hz
    microvolts = 100 * np.sin(2 * np.pi * np.outer(times, [5, 10]))
    factor = np.ones(2) if channel_conversion is None else np.array(channel_conversion)
    more = {"timestamps": times} if as_timestamps else {"starting_time": start_s}
    nwbfile = start_file()
    add_lfp(
        nwbfile,
        (microvolts * 1e-6 - offset) / conversion / factor,
        rate_hz=rate_hz,
        conversion=conversion,
        offset=offset,
        channel_conversion=channel_conversion,
        **more,
    )
    session = opened(write(nwbfile, tmp_path / "a.nwb"), reference="none")
    time, keep = session["time"].values, inner(session, 2.0)
    assert start_s - 1e-6 <= time[0] < start_s + 0.03
    expected = 100 * np.sin(2 * np.pi * np.outer(time, [5, 10]))
    # straight lines between samples of 60 Hz cut the peaks of a 10 Hz sine
    assert np.abs(session["lfp"].values - expected)[keep].max() < (16 if rate_hz == 60 else 4)


def test_lfp_at_the_rate_of_the_clock_is_not_touched(tmp_path):
    values = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    nwbfile = start_file()
    add_lfp(nwbfile, values, rate_hz=100.0, starting_time=3.217, conversion=1e-6)
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    np.testing.assert_allclose(session["lfp"].values, values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(session["time"].values, 3.217 + np.arange(500) / 100)


def test_raw_voltage_is_filtered_and_referenced_and_lfp_is_not_referenced(tmp_path):
    rate_hz = 10_000.0
    times = np.arange(round(8 * rate_hz)) / rate_hz
    own = np.sin(2 * np.pi * np.outer(times, [5, 10]))
    shared = np.sin(2 * np.pi * 20 * times) + np.sin(2 * np.pi * 60 * times)
    counts = np.round(1000 * (own + shared[:, None])).astype(np.int16)
    nwbfile = start_file()
    add_lfp(nwbfile, counts, inside=None, name="raw", rate_hz=rate_hz, conversion=1e-6)
    path = write(nwbfile, tmp_path / "a.nwb")
    raw, plain = opened(path), opened(path, reference="none")
    bipolar = opened(path, reference="bipolar")
    keep = inner(raw)
    time = raw["time"].values
    own = 1000 * np.sin(2 * np.pi * np.outer(time, [5, 10]))
    difference = own - own.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(raw["lfp"].values[keep], difference[keep], atol=20)
    shared = 1000 * np.sin(2 * np.pi * 20 * time)[:, None]
    np.testing.assert_allclose(plain["lfp"].values[keep], (own + shared)[keep], atol=20)
    assert bipolar["channel"].values.tolist() == ["ch00-ch01"]
    assert bipolar["location"].values.tolist() == ["CA1"]
    assert "reference car" in raw.attrs["history"]
    why = describe_nwb(path).set_index("object").loc["acquisition/raw", "why"]
    assert why.startswith("raw voltage")


def test_units_alone_and_lfp_alone_make_sessions(tmp_path):
    path = whole_file(tmp_path / "a.nwb")
    spikes = opened(path, lfp=False, behavior=False)
    assert set(spikes.data_vars) == {"spikes"} and "location" not in spikes.coords
    lfp = opened(path, units=False, behavior=False)
    assert set(lfp.data_vars) == {"lfp"}
    nwbfile = start_file()
    add_units(nwbfile)
    alone = opened(write(nwbfile, tmp_path / "b.nwb"))
    # without obs_intervals, from the first spike of any unit to the last
    assert alone["time"].values[0] == pytest.approx(0.006)
    assert 9.98 < alone["time"].values[-1] + 0.005 <= 9.999
    asked = opened(tmp_path / "b.nwb", start_s=-1.0, stop_s=12.0)
    assert asked["time"].values[[0, -1]] == pytest.approx([-0.995, 11.995])


def test_start_and_stop_cut_the_session(tmp_path):
    session = opened(whole_file(tmp_path / "a.nwb"), start_s=2.0, stop_s=5.0, bin_size_s=0.02)
    assert session["time"].values[[0, -1]] == pytest.approx([2.01, 4.99])
    error = session["lfp"].values - expected_tones(session["time"].values)
    assert np.abs(error[inner(session, 1.0)]).max() < 4.0


def test_where_a_unit_was_not_observed_is_said_bin_by_bin(tmp_path):
    nwbfile = start_file()
    intervals = [[[0.0, 10.0]], [[0.0, 4.0], [6.0, 9.0]], [[1.0, 8.0]]]
    add_units(nwbfile, spike_trains(3), obs_intervals=intervals)
    add_lfp(nwbfile)
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    time, observed = session["time"].values, session["observed"].values
    expected = [time > 0, (time < 4) | ((time > 6) & (time < 9)), (time > 1) & (time < 8)]
    np.testing.assert_array_equal(observed, np.stack(expected, axis=1))
    assert not session["spikes"].values[~observed].any() and "obs_intervals" in str(session.attrs)
    assert opened(tmp_path / "a.nwb", units=False).sizes["time"] > 990


def test_columns_of_units_and_electrodes_are_coordinates(tmp_path):
    nwbfile = start_file()
    add_units(
        nwbfile,
        quality=["good", "mua", "good", "noise"],
        depth=[1.0, 2.0, np.nan, 4.0],
        location=["a", "b", "c", "d"],  # the electrodes have this name too
        ids=[7, 3, 12, 5],
    )
    series = add_lfp(nwbfile)
    table = series.electrodes.table
    table.add_column(name="x", description="x", data=[1.0, 2.0, 3.0])
    table.add_column(name="channel_name", description="name", data=["A1", "A2", "A3"])
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert session["unit"].values.tolist() == ["7", "3", "12", "5"]
    assert session["quality"].values.tolist() == ["good", "mua", "good", "noise"]
    assert session["quality"].dims == ("unit",)
    assert session["unit_location"].values.tolist() == list("abcd")
    np.testing.assert_array_equal(session["depth"], [1.0, 2.0, np.nan, 4.0])
    assert session["channel"].values.tolist() == ["A1", "A2", "A3"]
    assert session["x"].dims == ("channel",) and session["x"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "marks"),
    [
        ("is_bad", [False, True, False]),
        ("good", [1, 0, 1]),
        ("bad_channel", ["no", "True", ""]),
        ("is_good", ["yes", "bad", "yes"]),
        ("bad", [np.nan, 1.0, 0.0]),
    ],
)
def test_electrodes_marked_bad_are_dropped_and_named(tmp_path, column, marks):
    nwbfile = start_file()
    series = add_lfp(nwbfile, channel_conversion=[1.0, 5.0, 2.0])
    series.electrodes.table.add_column(name=column, description="mark", data=marks)
    path = write(nwbfile, tmp_path / "a.nwb")
    with pytest.warns(SpikeLFPWarning, match="dropped channel ch01: marked bad"):
        session = sl.open_session(path, progress=False)
    assert session["channel"].values.tolist() == ["ch00", "ch02"]
    expected = expected_tones(session["time"].values)[:, [0, 2]] * [1, 2]
    assert np.abs(session["lfp"].values - expected)[inner(session)].max() < 5


def test_trials_are_marked_or_left_alone(tmp_path):
    path = whole_file(tmp_path / "a.nwb")
    marked = opened(path)
    time, trial = marked["time"].values, marked["trial"].values
    expected = np.where((time >= 1) & (time < 4), 0, np.where((time >= 5) & (time < 9), 1, -1))
    np.testing.assert_array_equal(trial, expected)
    assert "trial" not in opened(path, trials=False).coords
    with pytest.raises(ConfigError, match="there is no behavior"):
        opened(path, behavior=False, derive="speed")


def test_trials_without_a_stop_are_left_out_with_a_warning(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile)
    nwbfile.add_trial(start_time=1.0, stop_time=np.nan)
    nwbfile.add_trial(start_time=2.0, stop_time=3.0)
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert "1 of 2 trials" in session.attrs["findings"]
    assert set(session["trial"].values) == {-1, 1}


def test_where_several_qualify_the_error_lists_them_and_the_argument(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile, tones() * 1e-6, inside=None, name="probe_a")
    add_lfp(nwbfile, tones() * 2e-6, inside=None, name="probe_b")
    add_position(nwbfile, name="head")
    add_position(nwbfile, name="tail")
    path = write(nwbfile, tmp_path / "a.nwb")
    with pytest.raises(DataError, match="holds 2 objects") as caught:
        opened(path)
    assert "lfp='acquisition/probe_a'" in str(caught.value) and "1000 Hz" in str(caught.value)
    with pytest.raises(DataError, match="behavior='processing/behavior/Position/tail'"):
        opened(path, lfp="probe_a")
    session = opened(path, lfp="probe_b", behavior="Position/tail")
    assert 190 < np.abs(session["lfp"].values[inner(session)]).max() < 210
    table = describe_nwb(path).set_index("object")
    assert not table["used"].any()
    assert table.loc["acquisition/probe_a", "why"] == "one of several: choose with lfp="
    chosen = describe_nwb(path, lfp="probe_b", behavior=False).set_index("object")
    assert chosen.index[chosen["used"]].tolist() == ["acquisition/probe_b"]
    assert chosen.loc["processing/behavior/Position/head", "why"] == "left out: behavior=False"


@pytest.mark.parametrize("name", ["nothing", "ElectricalSeries", ""])
def test_a_name_that_is_none_lists_what_there_is(tmp_path, name):
    with pytest.raises(ConfigError, match="lfp='processing/ecephys/LFP/lfp'"):
        opened(whole_file(tmp_path / "a.nwb"), lfp=name)


def test_lfp_comes_before_filtered_ephys_and_that_before_the_rest(tmp_path):
    for containers, used in (((FilteredEphys,), "FilteredEphys"), ((FilteredEphys, LFP), "LFP")):
        nwbfile = start_file()
        raw = add_lfp(nwbfile, inside=None, name="raw", rate_hz=3000.0)
        waveforms = mock_SpikeEventSeries(
            name="waveforms",
            data=np.ones((10, 3)),
            electrodes=nwbfile.create_electrode_table_region(region=[0, 1, 2], description="all"),
        )
        nwbfile.add_acquisition(waveforms)
        for container in containers:
            add_lfp(nwbfile, inside=container, name="lfp")
        table = describe_nwb(write(nwbfile, tmp_path / f"{used}.nwb")).set_index("object")
        assert table.index[table["used"]].tolist() == [f"processing/ecephys/{used}/lfp"]
        assert "LFP" in table.loc[f"acquisition/{raw.name}", "why"]
        assert "waveforms" in table.loc["acquisition/waveforms", "why"]


def test_the_table_says_all_and_prints_in_full(tmp_path):
    table = describe_nwb(whole_file(tmp_path / "a.nwb"))
    assert list(table.columns) == [
        "object", "type", "shape", "rate_hz", "unit", "role", "used", "why",
    ]  # fmt: skip
    row = table.set_index("object").loc["processing/ecephys/LFP/lfp"]
    assert (row["type"], row["shape"], row["rate_hz"]) == ("ElectricalSeries", "10000 x 3", 1000.0)
    assert table["used"].all() and table["used"].dtype == bool
    assert "..." not in repr(table) and "intervals/trials" in repr(table)


def test_a_plain_series_is_behavior_only_when_it_is_asked_for(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile)
    speed = np.random.default_rng(0).normal(size=(1000, 1))
    nwbfile.add_acquisition(TimeSeries(name="wheel", data=speed, unit="cm/s", rate=100.0))
    path = write(nwbfile, tmp_path / "a.nwb")
    assert "behavior" not in opened(path)
    assert "behavior='wheel'" in describe_nwb(path).set_index("object").loc["acquisition/wheel"].why
    session = opened(path, behavior="wheel")
    assert session["behavior_dim"].values.tolist() == ["wheel"]
    assert session["behavior"].attrs["units"] == "cm/s"


def test_behavioral_time_series_are_scaled(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile)
    module = nwbfile.create_processing_module(name="behavior", description="b")
    module.add(BehavioralTimeSeries(name="hand"))
    ramp = np.outer(np.arange(1000), [1.0, 2.0])
    module["hand"].add_timeseries(
        TimeSeries(name="velocity", data=ramp, unit="m/s", rate=100.0, conversion=0.5, offset=3.0)
    )
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert session["behavior_dim"].values.tolist() == ["velocity_0", "velocity_1"]
    time = session["time"].values
    expected = 0.5 * np.outer(100 * time, [1.0, 2.0]) + 3.0
    np.testing.assert_allclose(session["behavior"].values, expected, rtol=1e-4)


def test_velocity_and_speed_are_derived_and_missing_positions_stay_missing(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile)
    position = np.outer(np.arange(500) / 50, [3.0, -4.0])
    position[200:300] = np.nan
    add_position(nwbfile, position)
    path = write(nwbfile, tmp_path / "a.nwb")
    session = opened(path, derive="velocity")
    assert session["behavior_dim"].values.tolist() == ["vx", "vy"]
    assert session["behavior"].attrs == {"kind": "velocity", "units": "cm/s"}
    time, values = session["time"].values, session["behavior"].values
    good = (np.abs(time - 5) > 1.5) & inner(session)
    np.testing.assert_allclose(values[good], np.tile([3, -4], (good.sum(), 1)), rtol=1e-3)
    assert np.isnan(values[np.abs(time - 5) < 0.9]).all()
    speed = opened(path, derive="speed")
    np.testing.assert_allclose(speed["behavior"].values[good, 0], 5, rtol=1e-3)


def test_fast_behavior_is_averaged_over_a_bin(tmp_path):
    nwbfile = start_file()
    add_lfp(nwbfile)
    noise = np.random.default_rng(0).normal(size=(10_000, 2))
    add_position(nwbfile, noise, rate_hz=1000.0)
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert session["behavior"].values.std() < 0.45  # a tenth of the variance, where 1 was


def test_a_gap_in_the_timestamps_is_missing_lfp(tmp_path):
    times = np.concatenate([np.arange(4000), np.arange(6000, 10_000)]) / 1000
    nwbfile = start_file()
    add_lfp(nwbfile, expected_tones(times) * 1e-6, timestamps=times)
    session = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert "2 s in 1 gaps of the acquisition" in session.attrs["findings"]
    time, lfp = session["time"].values, session["lfp"].values
    assert not ((time > 4.02) & (time < 5.98)).any()
    good = inner(session) & (np.abs(time - 5) > 2)
    assert np.abs(lfp - expected_tones(time))[good].max() < 4


def test_spikes_before_the_start_are_named_and_not_counted(tmp_path):
    trains = [np.array([-3.0, -1.0, 2.0, 8.0]), np.array([0.5, 3.0])]
    nwbfile = start_file()
    add_units(nwbfile, trains)
    alone = opened(write(nwbfile, tmp_path / "a.nwb"))
    assert "2 of 6 spikes (33.3 %), of units at rows 0" in alone.attrs["findings"]
    assert alone["time"].values[0] == pytest.approx(0.005)
    assert alone["spikes"].values.sum() == 3  # the last one ends the session
    # where the LFP begins before 0 s too, so does the session
    nwbfile = start_file()
    add_units(nwbfile, trains)
    add_lfp(nwbfile, starting_time=-4.0)
    both = opened(write(nwbfile, tmp_path / "b.nwb"))
    assert both["time"].values[0] < -2.9 and both["spikes"].values[:, 0].sum() >= 3


@given(subject=st.text(max_size=40), name=st.text(max_size=200))
def test_any_name_becomes_a_safe_one(subject, name):
    session = make_session(bins=10).assign_attrs(
        subject=_safe(subject, "subject"), session=_safe(name, "session")
    )
    validate_session(session)
    assert "/" not in session.attrs["subject"] + session.attrs["session"]


def test_names_come_from_the_file_and_cannot_leave_the_folder(tmp_path):
    nwbfile = start_file(subject=Subject(subject_id="../rat 1", sex="U"), session_id="/etc/passwd")
    add_units(nwbfile)
    path = write(nwbfile, tmp_path / "a.nwb")
    session = opened(path)
    assert session.attrs["subject"] == "_rat_1" and session.attrs["session"] == "_etc_passwd"
    named = opened(path, subject="I", session="s01")
    assert (named.attrs["subject"], named.attrs["session"]) == ("I", "s01")


def test_data_linked_from_a_file_in_the_same_folder_are_read(tmp_path):
    path = whole_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file, h5py.File(tmp_path / "data.h5", "w") as other:
        series = file["processing/ecephys/LFP/lfp"]
        file.copy(series["data"], other, "data")
        del series["data"]
        series["data"] = h5py.ExternalLink("data.h5", "/data")
    session = opened(path)
    error = session["lfp"].values - expected_tones(session["time"].values)
    assert np.abs(error[inner(session)]).max() < 3.0


def test_reading_says_nothing_about_files_of_other_versions(tmp_path):
    path = whole_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:  # as a file of another release of the schema has it
        file.attrs["nwb_version"] = "2.6.0"
        specs = file["specifications/core"]
        version = next(iter(specs))
        file.move(f"specifications/core/{version}", "specifications/core/2.6.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(path)


def test_running_speed_decodes_from_a_real_recording(shared):
    path = shared / "data" / "csr6_open_field.nwb"
    if not path.exists():
        pytest.skip(f"no {path}")
    table = describe_nwb(path)
    assert table["used"].all() and set(table["role"]) == {"spikes", "lfp", "behavior"}
    both = opened(path)
    assert both.sizes["unit"] == 35 and both.sizes["channel"] == 32
    session = opened(path, units=False, derive="speed", smooth_s=0.3)
    assert session.attrs["subject"] == "CSR6"
    assert session["behavior"].attrs["units"] == "m/s"
    session = session.isel(channel=slice(None, None, 2))  # all 32 take a while, and give .40
    power = sl.band_power(session["lfp"], smooth_s=0.5)
    every = slice(10, None, 20)  # features of 0.5 s do not need to be read out 100 times a second
    coarse = session.isel(time=every).assign_attrs(bin_size_s=0.2)
    scores = sl.decode(
        power.isel(time=every),
        coarse,
        lag_s=0.2,
        split=sl.split_session(coarse, window_s=4.0),
        readouts=("lagged",),
    )
    r2 = scores.set_index("split").loc["test", "r2"]
    assert 0.36 < r2 < 0.43
