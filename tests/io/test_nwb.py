"""NWB files: what is in them is found by type, in its true units, on one clock."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynwb import TimeSeries
from pynwb.ecephys import LFP, FilteredEphys

import spikelfp_lab as sl
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from spikelfp_lab.sessions import validate_session
from tests.io import nwb_files as nwb

QUICK = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def opened(path, **options):
    return open_nwb(path, progress=False, **options)


def inner(session, margin_s=1.5):
    """Bins away from the ends, where filters have settled."""
    time = session["time"].values
    return (time > time[0] + margin_s) & (time < time[-1] - margin_s)


def largest_error(session, expected, margin_s=1.5):
    return np.abs(session["lfp"].values - expected)[inner(session, margin_s)].max()


def table_of(path, **options):
    return describe_nwb(path, **options).set_index("object")


def test_a_whole_file_becomes_one_valid_session(tmp_path):
    session = opened(nwb.whole_file(tmp_path / "a.nwb"))
    validate_session(session)
    assert dict(session.sizes) == {"time": 998, "unit": 4, "channel": 3, "behavior_dim": 2}
    assert session.attrs["subject"] == "rat1" and session.attrs["session"] == "day_1"
    assert session["behavior_dim"].values.tolist() == ["x", "y"]
    assert session["behavior"].attrs == {"kind": "position", "units": "cm"}
    assert session["lfp"].attrs == {"kind": "LFP", "units": "uV"}
    assert session["location"].values.tolist() == ["CA1"] * 3
    assert largest_error(session, nwb.tones_at(session["time"].values)) < 3.0
    edges = np.append(session["time"].values - 0.005, session["time"].values[-1] + 0.005)
    for counts, times in zip(session["spikes"].values.T, nwb.spike_trains(), strict=True):
        np.testing.assert_array_equal(counts, np.histogram(times, edges)[0])
    table = describe_nwb(tmp_path / "a.nwb")
    row = table.set_index("object").loc["processing/ecephys/LFP/lfp"]
    assert (row["type"], row["shape"], row["rate_hz"]) == ("ElectricalSeries", "10000 x 3", 1000.0)
    assert table["used"].all() and "..." not in repr(table) and "intervals/trials" in repr(table)


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
    factor = np.ones(2) if channel_conversion is None else np.array(channel_conversion)
    more = {"timestamps": times} if as_timestamps else {"starting_time": start_s}
    more |= {"conversion": conversion, "offset": offset, "channel_conversion": channel_conversion}
    nwbfile = nwb.start_file()
    data = (nwb.tones_at(times, 2) * 1e-6 - offset) / conversion / factor
    nwb.add_lfp(nwbfile, data, rate_hz=rate_hz, **more)
    session = opened(nwb.write(nwbfile, tmp_path / "a.nwb"), reference="none")
    assert start_s - 1e-6 <= session["time"].values[0] < start_s + 0.03
    # straight lines between samples of 60 Hz cut the peaks of a 10 Hz sine
    most = 16 if rate_hz == 60 else 4
    assert largest_error(session, nwb.tones_at(session["time"].values, 2), 2.0) < most


def test_raw_voltage_is_filtered_and_referenced(tmp_path):
    times = np.arange(80_000) / 10_000
    shared = np.sin(2 * np.pi * 20 * times) + np.sin(2 * np.pi * 60 * times)
    counts = np.round(10 * nwb.tones_at(times, 2) + 1000 * shared[:, None]).astype(np.int16)
    nwbfile = nwb.start_file()
    nwb.add_lfp(nwbfile, counts, inside=None, name="raw", rate_hz=10_000.0, conversion=1e-6)
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    raw, plain = opened(path), opened(path, reference="none")
    own = 10 * nwb.tones_at(raw["time"].values, 2)
    shared = 1000 * np.sin(2 * np.pi * 20 * raw["time"].values)[:, None]
    assert largest_error(raw, own - own.mean(axis=1, keepdims=True)) < 20
    assert largest_error(plain, own + shared) < 20
    assert "reference car" in raw.attrs["history"]
    assert table_of(path).loc["acquisition/raw", "why"].startswith("raw voltage")


def test_units_alone_and_lfp_alone_make_sessions(tmp_path):
    path = nwb.whole_file(tmp_path / "a.nwb")
    spikes = opened(path, lfp=False, behavior=False)
    assert set(spikes.data_vars) == {"spikes"} and "location" not in spikes.coords
    part = opened(path, units=False, behavior=False, start_s=2.0, stop_s=5.0, bin_size_s=0.02)
    assert set(part.data_vars) == {"lfp"}
    assert part["time"].values[[0, -1]] == pytest.approx([2.01, 4.99])
    assert largest_error(part, nwb.tones_at(part["time"].values), 1.0) < 4.0
    alone = opened(nwb.write(nwb.with_units(), tmp_path / "b.nwb"))
    # without obs_intervals, from the first spike of any unit to the last
    assert alone["time"].values[0] == pytest.approx(0.006)
    assert 9.98 < alone["time"].values[-1] + 0.005 <= 9.999


def test_columns_of_units_and_electrodes_are_coordinates(tmp_path):
    columns = {"quality": ["good", "mua", "", "b"], "depth": [1.0, 2.0, np.nan, 4.0]}
    # the electrodes have a location too
    nwbfile = nwb.with_units(location=list("abcd"), ids=[7, 3, 12, 5], **columns)
    table = nwb.add_lfp(nwbfile).electrodes.table
    table.add_column(name="x", description="x", data=[1.0, 2.0, 3.0])
    table.add_column(name="channel_name", description="name", data=["A1", "A2", "A3"])
    session = opened(nwb.write(nwbfile, tmp_path / "a.nwb"))
    assert session["unit"].values.tolist() == ["7", "3", "12", "5"]
    assert session["quality"].dims == ("unit",) and session["quality"][1] == "mua"
    assert session["unit_location"].values.tolist() == list("abcd")
    np.testing.assert_array_equal(session["depth"], columns["depth"])
    assert session["channel"].values.tolist() == ["A1", "A2", "A3"]
    assert session["x"].dims == ("channel",) and session["x"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("column", "marks"),
    [
        ("is_bad", [False, True, False]),
        ("bad_channel", ["no", "True", ""]),
        ("is_good", ["yes", "bad", "yes"]),
        ("bad", [np.nan, 1.0, 0.0]),
    ],
)
def test_electrodes_marked_bad_are_dropped_and_named(tmp_path, column, marks):
    nwbfile = nwb.start_file()
    table = nwb.add_lfp(nwbfile, channel_conversion=[1.0, 5.0, 2.0]).electrodes.table
    table.add_column(name=column, description="mark", data=marks)
    table.add_column(name="channel_name", description="of two probes", data=["a", "b", "a"])
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    with pytest.warns(SpikeLFPWarning, match="dropped channel ch01: marked bad"):
        session = sl.open_session(path, progress=False)
    assert session["channel"].values.tolist() == ["ch00", "ch02"]
    expected = nwb.tones_at(session["time"].values)[:, [0, 2]] * [1, 2]
    assert largest_error(session, expected) < 5


def test_trials_are_marked_or_left_alone(tmp_path):
    nwbfile = nwb.with_units()
    rows = [(5.0, 9.0), (1.0, 4.0), (1.0, np.nan), (2.0, 3.0)]  # unsorted, endless, overlapping
    for start, stop in rows:
        nwbfile.add_trial(start_time=start, stop_time=stop)
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    session = opened(path)
    time, expected = session["time"].values, np.full(session.sizes["time"], -1)
    for row in (0, 1, 3):
        expected[(time >= rows[row][0]) & (time < rows[row][1])] = row
    np.testing.assert_array_equal(session["trial"], expected)
    assert "1 of 4 trials" in session.attrs["findings"]
    assert "trial" not in opened(path, trials=False).coords
    with pytest.raises(ConfigError, match="there is no behavior"):
        opened(path, derive="speed")


def test_where_several_qualify_the_error_lists_them_and_the_argument(tmp_path):
    nwbfile = nwb.start_file()
    nwb.add_lfp(nwbfile, nwb.tones() * 1e-6, inside=None, name="probe_a")
    nwb.add_lfp(nwbfile, nwb.tones() * 2e-6, inside=None, name="probe_b")
    nwb.add_position(nwbfile, name="head")
    nwb.add_position(nwbfile, name="tail")
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    for choice, error in ((None, DataError), ("nothing", ConfigError)):
        with pytest.raises(error, match=r"(?s)holds 2 objects.*lfp='acquisition/probe_a'.*1000 Hz"):
            opened(path, lfp=choice)
    with pytest.raises(DataError, match="behavior='processing/behavior/Position/tail'"):
        opened(path, lfp="probe_a")
    session = opened(path, lfp="probe_b", behavior="Position/tail")
    assert largest_error(session, 2 * nwb.tones_at(session["time"].values)) < 6
    table = table_of(path)
    assert not table["used"].any()
    assert table.loc["acquisition/probe_a", "why"] == "one of several: choose with lfp="
    chosen = table_of(path, lfp="probe_b", behavior=False)
    assert chosen.index[chosen["used"]].tolist() == ["acquisition/probe_b"]
    assert chosen.loc["processing/behavior/Position/head", "why"] == "left out: behavior=False"


def test_lfp_comes_before_filtered_ephys_and_that_before_the_rest(tmp_path):
    for containers, used in (((FilteredEphys,), "FilteredEphys"), ((FilteredEphys, LFP), "LFP")):
        nwbfile = nwb.start_file()
        nwb.add_lfp(nwbfile, inside=None, name="raw", rate_hz=3000.0)
        for container in containers:
            nwb.add_lfp(nwbfile, inside=container, name="lfp")
        table = table_of(nwb.write(nwbfile, tmp_path / f"{used}.nwb"))
        assert table.index[table["used"]].tolist() == [f"processing/ecephys/{used}/lfp"]
        assert "LFP" in table.loc["acquisition/raw", "why"]


def test_series_of_behavior_are_scaled_and_a_plain_one_is_used_if_asked_for(tmp_path):
    nwbfile, ramp = nwb.start_file(), np.outer(np.arange(1000), [1.0, 2.0])
    nwb.add_lfp(nwbfile)
    plain = TimeSeries(name="wheel", data=ramp, unit="m/s", rate=100.0, conversion=0.5, offset=3.0)
    nwbfile.add_acquisition(plain)
    path = nwb.write(nwbfile, tmp_path / "a.nwb")
    assert "behavior" not in opened(path)
    assert "behavior='wheel'" in table_of(path).loc["acquisition/wheel", "why"]
    session = opened(path, behavior="wheel", subject="I")
    assert session["behavior_dim"].values.tolist() == ["wheel_0", "wheel_1"]
    assert session["behavior"].attrs["units"] == "m/s" and session.attrs["subject"] == "I"
    expected = 0.5 * np.outer(100 * session["time"].values, [1.0, 2.0]) + 3.0
    np.testing.assert_allclose(session["behavior"].values, expected, rtol=1e-4)


def test_data_in_another_file_and_other_versions_of_nwb_are_read_in_silence(tmp_path):
    def how(file):
        series, specs = file["processing/ecephys/LFP/lfp"], file["specifications/core"]
        with h5py.File(tmp_path / "data.h5", "w") as other:
            file.copy(series["data"], other, "data")
        del series["data"]
        series["data"] = h5py.ExternalLink("data.h5", "/data")
        file.attrs["nwb_version"] = "2.6.0"  # as a file of another release of the schema has it
        file.move(f"specifications/core/{next(iter(specs))}", "specifications/core/2.6.0")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = opened(nwb.change(nwb.whole_file(tmp_path / "a.nwb"), how))
    assert largest_error(session, nwb.tones_at(session["time"].values)) < 3.0


def test_running_speed_decodes_from_a_real_recording(shared):
    path = shared / "data" / "csr6_open_field.nwb"
    if not path.exists():
        pytest.skip(f"no {path}")
    assert describe_nwb(path)["used"].all()
    session = opened(path, derive="speed", smooth_s=0.3)
    assert session.sizes["unit"] == 35 and session.sizes["channel"] == 32
    assert session["behavior"].attrs["units"] == "m/s"
    session = session.drop_dims("unit").isel(channel=slice(None, None, 2))  # all 32 give .40
    power = sl.band_power(session["lfp"], smooth_s=0.5)
    every = slice(10, None, 20)  # features of 0.5 s do not need to be read out 100 times a second
    coarse = session.isel(time=every).assign_attrs(bin_size_s=0.2)
    split = sl.split_session(coarse, window_s=4.0)
    power = power.isel(time=every)
    scores = sl.decode(power, coarse, lag_s=0.2, split=split, readouts=("lagged",))
    assert 0.36 < scores.set_index("split").loc["test", "r2"] < 0.43
