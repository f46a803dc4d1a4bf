"""Sessions of small files in the layout of Makin and O'Doherty; what departs from it is refused."""

import re
from collections import namedtuple

import h5py
import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io

from spikelfp_lab.cohorts import download, makin
from spikelfp_lab.cohorts.download import RemoteFile
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import split_session, validate_session, window_starts
from tests.io.matlab_files import (
    cursor_velocity,
    write_makin_mat,
    write_makin_nwb,
)

NAME = "indy_20160622_01"
SPIKES_ONLY = "indy_20160407_02"
BROADBAND = "acquisition/timeseries/broadband"


_Usage = namedtuple("_Usage", "free")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache folder of the data set; nothing can be downloaded."""

    def none(*_args, **_options):
        raise requests.ConnectionError("no network")

    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    monkeypatch.setattr(requests.Session, "send", none)
    (tmp_path / "makin").mkdir()
    return tmp_path / "makin"


@pytest.fixture(scope="module")
def broadband(tmp_path_factory):
    """A broadband recording that takes long to write, and what is in it."""
    path = tmp_path_factory.mktemp("broadband") / f"{NAME}.nwb"
    return path, write_makin_nwb(path, duration_s=50)


@pytest.fixture
def both(folder, broadband):
    """Both files of a session in the cache folder, and what is in them."""
    (folder / f"{NAME}.nwb").symlink_to(broadband[0])
    return write_makin_mat(folder / f"{NAME}.mat", duration_s=36), broadband[1]


def _spikes_only(name=SPIKES_ONLY, **options):
    return makin.session(name, broadband=False, progress=False, **options)


def test_spikes_of_sorted_units_on_the_clock_of_the_task(folder):
    truth = write_makin_mat(folder / f"{SPIKES_ONLY}.mat", channels=3)
    session = _spikes_only()
    validate_session(session)
    assert "lfp" not in session and session.attrs["subject"] == "indy"
    # channel 2 has an empty cell in the last column, which is no unit
    assert session["unit"].values.tolist() == [
        "M1 001a",
        "M1 001b",
        "M1 002a",
        "M1 003a",
        "M1 003b",
    ]
    time = session["time"].values
    assert time[0] - 0.005 == pytest.approx(truth["changes"][0], abs=0.004)
    assert 0 <= truth["changes"][-1] + 0.004 - time[-1] - 0.005 < 0.01
    edges = np.append(time - 0.005, time[-1] + 0.005)
    for unit, (channel, column) in enumerate([(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]):
        expected = np.histogram(truth["spikes"][channel][column], edges)[0]
        np.testing.assert_array_equal(session["spikes"].values[:, unit], expected)


@pytest.mark.parametrize(
    "units, names",
    [
        ("all", ["M1 001u", "M1 001a", "M1 001b", "M1 002u", "M1 002a"]),
        ("threshold", ["M1 001", "M1 002"]),
    ],
)
def test_what_a_unit_is_can_be_chosen(folder, units, names):
    truth = write_makin_mat(folder / f"{SPIKES_ONLY}.mat", channels=2)
    session = _spikes_only(units=units)
    assert session["unit"].values.tolist() == names
    time = session["time"].values
    crossings = np.concatenate(truth["spikes"][0])
    inside = (crossings >= time[0] - 0.005) & (crossings < time[-1] + 0.005)
    of_first_channel = [name.startswith("M1 001") for name in names]
    assert session["spikes"].values[:, of_first_channel].sum() == inside.sum()


def test_behavior_is_the_velocity_of_the_cursor(folder):
    write_makin_mat(folder / f"{SPIKES_ONLY}.mat")
    session = _spikes_only()
    assert session["behavior"].behavior_dim.values.tolist() == ["vx", "vy"]
    assert session["behavior"].attrs["units"] == "mm/s"
    expected = cursor_velocity(session["time"].values)
    np.testing.assert_allclose(session["behavior"], expected, atol=0.02 * 150)


@pytest.mark.parametrize("columns", [3, 6])
def test_the_finger_has_its_axes_sorted_and_signed(folder, columns):
    write_makin_mat(folder / f"{SPIKES_ONLY}.mat", finger_columns=columns)
    session = _spikes_only(behavior="finger")
    assert session["behavior"].behavior_dim.values.tolist() == ["vx", "vy", "vz"]
    time = session["time"].values
    expected = cursor_velocity(time)  # z, -x, -y in cm on the disk
    np.testing.assert_allclose(session["behavior"][:, :2], expected, atol=0.02 * 150)
    np.testing.assert_allclose(session["behavior"][:, 2], -10 * np.sin(time), atol=0.1)


def test_a_late_first_target_is_where_the_session_begins(folder):
    truth = write_makin_mat(folder / f"{SPIKES_ONLY}.mat", duration_s=40, first_change_s=25.0)
    session = _spikes_only()
    assert session["time"].values[0] == pytest.approx(1288 + 25.0, abs=0.01)
    steps = np.flatnonzero(np.diff(session["target_x"].values)) + 1
    assert steps.size == truth["changes"].size - 2  # the first opens the session, the last ends it
    shown = session["time"].values[steps]
    np.testing.assert_allclose(shown, truth["changes"][1:-1], atol=0.011)


def test_two_areas_of_96_channels(folder):
    write_makin_mat(
        folder / "loco_20170210_03.mat", channels=192, unit_columns=2, duration_s=8, rates_hz=(9, 9)
    )
    session = makin.session("loco_20170210_03", progress=False)
    assert session.attrs["subject"] == "loco"
    names = session["unit"].values
    assert names[0] == "M1 001a" and names[-1] == "S1 095a" and names.size == 96


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start_s=st.floats(0.0, 5000.0),
    bin_size_s=st.sampled_from([0.005, 0.01, 0.02, 0.05]),
    seed=st.integers(0, 99),
)
def test_no_spike_of_the_task_is_lost_at_any_start_and_bin(folder, start_s, bin_size_s, seed):
    truth = write_makin_mat(
        folder / f"{SPIKES_ONLY}.mat", start_s=start_s, duration_s=12, channels=2, seed=seed
    )
    (job,) = makin._jobs([SPIKES_ONLY], False, None, "all", "cursor", bin_size_s)
    session = makin._build(job, progress=False)
    validate_session(session)
    time, half = session["time"].values, bin_size_s / 2
    crossings = np.concatenate([times for row in truth["spikes"] for times in row])
    inside = (crossings >= time[0] - half) & (crossings < time[-1] + half)
    assert session["spikes"].values.sum(dtype=int) == inside.sum()


def test_lfp_of_the_broadband_recording(folder, both):
    session = makin.session(NAME, progress=False)
    validate_session(session)
    assert session["channel"].values.tolist() == ["M1 001", "M1 002", "M1 003", "M1 004"]
    assert session["lfp"].attrs["units"] == "uV"
    time = session["time"].values
    amplitudes = both[1]["amplitudes_uv"]
    # offset and mains are gone, the mean over channels too, and time is the file's own
    expected = np.sin(2 * np.pi * 10 * time)[:, None] * (amplitudes - amplitudes.mean())
    np.testing.assert_allclose(session["lfp"].values[100:-100], expected[100:-100], atol=1.0)


def test_the_protocol_of_the_paper(folder, both):
    session = makin.session(NAME, protocol="paper", progress=False)
    validate_session(session)
    for name in ("lfp", "behavior"):
        values = session[name].values
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-3)
    time = session["time"].values
    wave = np.sqrt(2) * np.sin(2 * np.pi * 10 * time)
    signs = np.array([-1, -1, 1, 1])
    # their high-pass drifts where a recording begins and ends
    np.testing.assert_allclose(
        session["lfp"].values[100:-100], wave[100:-100, None] * signs, atol=0.2
    )
    velocity = cursor_velocity(time)
    expected = (velocity - velocity.mean(axis=0)) / velocity.std(axis=0)
    # resampling by FFT rings where the session begins and ends
    np.testing.assert_allclose(session["behavior"][50:-50], expected[50:-50], atol=0.1)
    split = split_session(session, scheme="paper", window_s=5.0)
    starts = [
        window_starts(session, split, part, length=500, variables=["lfp", "behavior"]).size
        for part in ("train", "val", "test")
    ]
    assert starts == [2, 2, 2]  # windows of 10 s, each halved


def test_units_under_one_spike_a_second_are_left_out_by_the_paper_only(folder):
    write_makin_mat(folder / f"{SPIKES_ONLY}.mat", rates_hz=(20.0, 5.0, 0.3), duration_s=60)
    assert _spikes_only().sizes["unit"] > 4
    session = _spikes_only(protocol="paper")
    assert session["unit"].values.tolist() == [f"M1 00{number}a" for number in range(1, 5)]
    assert "2 units under 1 Hz left out" in session.attrs["history"]


def test_where_the_broadband_recording_does_not_reach_lfp_is_nan(folder):
    write_makin_mat(folder / f"{NAME}.mat")
    write_makin_nwb(folder / f"{NAME}.nwb", duration_s=28.0, channels=2)
    session = makin.session(NAME, progress=False)
    there = np.isfinite(session["lfp"].values).all(axis=1)
    time = session["time"].values
    assert there[time < 1278 + 28 - 0.01].all() and not there[time > 1278 + 28 + 0.01].any()


def test_a_cohort_of_sessions_with_and_without_broadband_in_two_processes(folder, both):
    write_makin_mat(folder / f"{SPIKES_ONLY}.mat", duration_s=8, channels=2)
    tree = makin.cohort(sessions=[SPIKES_ONLY, NAME], n_jobs=2, progress=False)
    assert [leaf.path for leaf in tree.leaves] == ["/indy/20160407_02", "/indy/20160622_01"]
    assert "lfp" not in tree["indy/20160407_02"] and "lfp" in tree["indy/20160622_01"]
    # what is kept needs the original files no more
    (folder / f"{SPIKES_ONLY}.mat").unlink()
    again = makin.cohort(sessions=[SPIKES_ONLY, NAME], progress=False)
    assert again["indy/20160407_02"].to_dataset().identical(tree["indy/20160407_02"].to_dataset())
    with pytest.raises(DataError, match="no network"):
        makin.cohort(sessions=[SPIKES_ONLY], bin_size_s=0.02, progress=False)


def test_the_lists_of_sessions():
    assert len(set(makin.SESSIONS)) == 47
    assert sum(name.startswith("loco") for name in makin.SESSIONS) == 10
    assert len(set(makin.BROADBAND_RECORDS)) == len(set(makin.BROADBAND_SESSIONS)) == 30
    assert set(makin.HELD_OUT) < set(makin.BROADBAND_SESSIONS) < set(makin.SESSIONS)
    assert list(makin.SESSIONS) == sorted(makin.SESSIONS)


def test_available_lists_sessions_whose_files_are_there(folder):
    assert makin.available() == ()
    for name in (NAME, SPIKES_ONLY):
        (folder / f"{name}.mat").touch()
    assert makin.available() == (SPIKES_ONLY,)
    assert makin.available(broadband=False) == (SPIKES_ONLY, NAME)


def test_the_record_of_a_recording_is_found_by_its_files(folder, monkeypatch):
    asked, fetched = [], []
    held = {
        record: f"indy_{number:08d}_00.nwb" for number, record in enumerate(makin.BROADBAND_RECORDS)
    }
    held[makin.BROADBAND_RECORDS[2]] = f"{NAME}.nwb"  # not where it is expected
    held[makin.RECORD] = f"{NAME}.mat"

    def files(record, _folder):
        asked.append(record)
        return [RemoteFile(str(record), folder / held[record], "md5:0", 5)]

    monkeypatch.setattr(makin, "record_files", files)
    monkeypatch.setattr(makin, "fetch", lambda files, **_: fetched.extend(files))
    with pytest.raises(DataError, match=f"No file at .*{NAME}.mat"):
        makin.session(NAME, progress=False)
    assert [(file.url, file.path.name) for file in fetched] == [
        (str(makin.RECORD), f"{NAME}.mat"),
        (str(makin.BROADBAND_RECORDS[2]), f"{NAME}.nwb"),
    ]
    likely = makin.BROADBAND_RECORDS[makin.BROADBAND_SESSIONS.index(NAME)]
    assert asked[1] == likely
    held[makin.BROADBAND_RECORDS[2]] = "other.nwb"
    with pytest.raises(DataError, match=rf"{NAME}\.nwb is in none of the Zenodo records 854733, "):
        makin.session(NAME, progress=False)


def test_without_network_and_file_the_record_and_the_folder_are_named(folder):
    with pytest.raises(DataError, match=r"zenodo\.3854034 into ") as caught:
        makin.session(NAME, progress=False)
    assert str(folder) in str(caught.value) and not list(folder.iterdir())


def test_the_space_for_all_recordings_is_checked_before_the_first_download(folder, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: _Usage(50 * 10**9))
    names = dict(zip(makin.BROADBAND_RECORDS, makin.BROADBAND_SESSIONS, strict=True))

    def files(record, _folder):
        held = (
            [f"{n}.mat" for n in makin.SESSIONS]
            if record == makin.RECORD
            else [f"{names[record]}.nwb"]
        )
        return [
            RemoteFile("", folder / name, "md5:0", 10**9 if record == makin.RECORD else 10**10)
            for name in held
        ]

    monkeypatch.setattr(makin, "record_files", files)
    monkeypatch.setattr(download, "_Resuming", pytest.fail)
    with pytest.raises(DataError, match=r"347\.0 GB to download \(77 files\).*50\.0 GB are free"):
        makin.cohort(progress=False)


@pytest.mark.parametrize(
    "options",
    [
        {"sessions": NAME},
        {"sessions": []},
        {"sessions": [NAME, NAME]},
        {"sessions": ["indy_20160622_02"]},
        {"sessions": ["indy/20160622_01"]},
        {"units": "best"},
        {"behavior": "eye"},
        {"protocol": "papers"},
        {"bin_size_s": 0},
        {"bin_size_s": float("nan")},
    ],
)
def test_bad_options_are_one_clear_error(folder, options):
    with pytest.raises(ConfigError):
        makin.cohort(**{"sessions": [NAME], **options}, progress=False)


def _put(name, values):
    def change(file):
        del file[name]
        if values is not None:
            file[name] = values

    return change


def _with(name, change_values):
    def change(file):
        values = change_values(np.array(file[name]))
        del file[name]
        file[name] = values

    return change


def _cell(name, number, values, attrs=()):
    def change(file):
        inner = file.name and f"#refs#/{name}_{number}"
        del file[inner]
        file[inner] = values
        file[inner].attrs.update(dict(attrs))
        # a reference leads to an address, so the cell must lead to the new one
        i, j = map(int, number.split("_"))
        references = file[name][()]
        references[j, i] = file[inner].ref
        file[name][...] = references

    return change


def _one_nan(values):
    values[..., 100] = np.nan
    return values


def _constant(values):
    values[...] = 3.0
    return values


def _twice(file):
    references = file["chan_names"][()]
    references[0, 1] = references[0, 0]
    file["chan_names"][...] = references


def _null(file):
    references = file["spikes"][()]
    references[1, 1] = h5py.Reference()
    file["spikes"][...] = references


MALFORMED = {
    "no t": (_put("t", None), "no array 't'; it has #refs#, chan_names"),
    "no spikes": (_put("spikes", None), "no array 'spikes'"),
    "no chan_names": (_put("chan_names", None), "no array 'chan_names'"),
    "t is text": (_put("t", "noon"), "'t'"),
    "t is a group": (lambda file: (file.__delitem__("t"), file.create_group("t")), "no array 't'"),
    "t is transposed": (_with("t", np.transpose), "(1, samples) are needed"),
    "NaN in t": (_with("t", _one_nan), "not finite and increasing"),
    "t runs backwards": (_with("t", lambda t: t[:, ::-1]), "not finite and increasing"),
    "t stands still": (_with("t", _constant), "not finite and increasing"),
    "t in milliseconds": (_with("t", lambda t: 1000 * t), "250 are expected"),
    "t at 100 Hz": (_with("t", lambda t: 2.5 * t), "has 100 samples a second"),
    "t has one sample": (_with("t", lambda t: t[:, :1]), "'t'"),
    "cursor_pos is shorter": (_with("cursor_pos", lambda p: p[:, :-5]), "samples and 't'"),
    "cursor_pos has three axes": (
        _put("cursor_pos", np.ones((3, 7500))),
        "(2, samples) are needed",
    ),
    "the target never changes": (_with("target_pos", _constant), "changes 0 times"),
    "spikes are numbers": (_put("spikes", np.ones((3, 4))), "a cell array"),
    "spikes have other channels": (_with("chan_names", lambda c: c[:, :-1]), "'chan_names' 3"),
    "no channels": (_put("chan_names", np.empty((1, 0), h5py.ref_dtype)), "'chan_names' 0"),
    "a channel twice": (_twice, "more than once"),
    "a cell that leads nowhere": (_null, "Invalid HDF5 object reference"),
    "a spike that is NaN": (
        _cell("spikes", "0_1", np.array([[1290.0, np.nan]])),
        "spikes of M1 001",
    ),
    "spikes as text": (_cell("spikes", "0_1", "loud"), "a vector of numbers is needed"),
    "spikes as a matrix": (
        _cell("spikes", "0_1", np.ones((4, 4))),
        "a vector of numbers is needed",
    ),
    "names as numbers": (_cell("chan_names", "1_0", np.ones((1, 3))), "chan_names 2"),
}


@pytest.mark.parametrize("change, match", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_mat_that_departs_from_the_layout_is_one_clear_error(folder, change, match):
    path = folder / f"{SPIKES_ONLY}.mat"
    write_makin_mat(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=re.escape(match)) as caught:
        _spikes_only()
    assert path.name in str(caught.value)
    assert [each.name for each in folder.iterdir()] == [path.name]


def _timestamps(change_values):
    return _with(f"{BROADBAND}/timestamps", change_values)


def _data(change_values):
    def change(file):
        old = file[f"{BROADBAND}/data"]
        values, attrs = change_values(old[()]), dict(old.attrs)
        del file[f"{BROADBAND}/data"]
        file[f"{BROADBAND}/data"] = values
        file[f"{BROADBAND}/data"].attrs.update(attrs)

    return change


def _no_conversion(file):
    del file[f"{BROADBAND}/data"].attrs["conversion"]


def _backwards(times):
    times[2000:] -= 1.0
    return times


MALFORMED_BROADBAND = {
    "no broadband": (lambda file: file.__delitem__(BROADBAND), f"no array '{BROADBAND}/data'"),
    "no timestamps": (_put(f"{BROADBAND}/timestamps", None), "no array"),
    "NaN in the timestamps": (_timestamps(_one_nan), "timestamp of sample 100"),
    "time runs backwards": (_timestamps(_backwards), "backward at sample 2000"),
    "fewer timestamps": (_timestamps(lambda t: t[:-9]), "timestamp"),
    "timestamps of another rate": (
        _timestamps(lambda t: 1280 + 2 * (t - t[0])),
        "samples a second",
    ),
    "timestamps of another day": (_timestamps(lambda t: t + 9999), "overlap"),
    "zero channels": (_data(lambda d: d[:, :0]), "electrode names"),
    "channels by samples": (_data(np.transpose), "electrode names"),
    "text for data": (_put(f"{BROADBAND}/data", "loud"), NAME),
    "no conversion": (_no_conversion, "conversion"),
    "numbers for names": (_put(f"{BROADBAND}/electrode_names", np.arange(2)), NAME),
    "a name twice": (_put(f"{BROADBAND}/electrode_names", ["a", "a"]), "more than once"),
}


@pytest.mark.parametrize(
    "change, match", MALFORMED_BROADBAND.values(), ids=MALFORMED_BROADBAND.keys()
)
def test_a_broadband_file_that_departs_from_the_layout_is_one_clear_error(folder, change, match):
    path = folder / f"{NAME}.nwb"
    write_makin_mat(folder / f"{NAME}.mat", duration_s=6)
    write_makin_nwb(path, start_s=1289.0, duration_s=4.0, channels=2)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=re.escape(match)):
        makin.session(NAME, progress=False)
    assert sorted(each.name for each in folder.iterdir()) == [f"{NAME}.mat", f"{NAME}.nwb"]


def test_a_recording_with_a_gap_is_nan_there_and_says_so(folder):
    path = folder / f"{NAME}.nwb"
    write_makin_mat(folder / f"{NAME}.mat", duration_s=12)
    write_makin_nwb(path, start_s=1289.0, duration_s=9.0, channels=2)
    with h5py.File(path, "r+") as file:
        file[f"{BROADBAND}/timestamps"][100_000:] += 0.5
    gap = 1289 + 100_000 / 24414.3378
    for protocol in (None, "paper"):
        with pytest.warns(SpikeLFPWarning, match=r"1 gap\(s\), 0\.500 s in all"):
            session = makin.session(NAME, progress=False, protocol=protocol)
        time, lfp = session["time"].values, session["lfp"].values
        inside = (time > gap + 0.02) & (time < gap + 0.48)
        assert np.isnan(lfp[inside]).all()
        near = (np.abs(time - gap - 0.25) < 1) & (np.abs(time - gap - 0.25) > 0.3)
        assert np.isfinite(lfp[near]).all()


@pytest.mark.parametrize("suffix", [".mat", ".nwb"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.97])
def test_a_truncated_file_is_one_clear_error(folder, suffix, share):
    write_makin_mat(folder / f"{NAME}.mat", duration_s=6)
    write_makin_nwb(folder / f"{NAME}.nwb", start_s=1289.0, duration_s=4.0, channels=2)
    path = folder / f"{NAME}{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=path.name):
        makin.session(NAME, progress=False)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_a_file_of_another_kind_is_one_clear_error(folder, content):
    path = folder / f"{SPIKES_ONLY}.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        _spikes_only()


def test_a_matlab_5_file_is_named_as_such(folder):
    path = folder / f"{SPIKES_ONLY}.mat"
    io.savemat(path, {"t": np.arange(3.0)})
    with pytest.raises(DataError, match=r"a MATLAB 5 file, and MATLAB 7\.3 is expected"):
        _spikes_only()


def _jump(values):
    values[0, -1] = 1e9
    return values


def _infinite(values):
    values[0, 5] = np.inf
    return values


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_with("t", _jump), "reaches over"),
        (_with("cursor_pos", _infinite), "holds numbers up to inf, which are no positions"),
        (_with("cursor_pos", lambda values: values * 1e30), "which are no positions"),
        (lambda file: file.create_dataset("more", (2**40,), "f8"), "more of"),
    ],
)
def test_numbers_and_sizes_that_no_recording_has(folder, change, match):
    path = folder / f"{SPIKES_ONLY}.mat"
    write_makin_mat(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=re.escape(match)) as caught:
        _spikes_only()
    assert path.name in str(caught.value)


def test_names_of_electrodes_that_are_no_text(folder):
    write_makin_mat(folder / f"{NAME}.mat", duration_s=6)
    write_makin_nwb(folder / f"{NAME}.nwb", start_s=1289.0, duration_s=4.0, channels=2)
    with h5py.File(folder / f"{NAME}.nwb", "r+") as file:
        del file[f"{BROADBAND}/electrode_names"]
        file[f"{BROADBAND}/electrode_names"] = np.array([b"\xff\xfe", b"b"], h5py.string_dtype())
    with pytest.raises(DataError, match=rf"{NAME}\.nwb is damaged .*UnicodeDecodeError"):
        makin.session(NAME, progress=False)
