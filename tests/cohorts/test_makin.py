"""Sessions of small files in the layout of Makin and O'Doherty; what departs from it is refused."""

import re

import h5py
import numpy as np
import pytest
import requests

from spikelfp_lab.cohorts import makin
from spikelfp_lab.cohorts.download import RemoteFile
from spikelfp_lab.errors import SpikeLFPError, SpikeLFPWarning
from spikelfp_lab.sessions import validate_session
from tests.io.matlab_files import cursor_velocity, write_makin_mat, write_makin_nwb

NAME = "indy_20160622_01"
SPIKES_ONLY = "indy_20160407_02"
BROADBAND = "acquisition/timeseries/broadband"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache folder of the data set; nothing can be downloaded."""

    def none(*_args, **_options):
        raise requests.ConnectionError("no network")

    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    monkeypatch.setattr(requests.Session, "send", none)
    (tmp_path / "makin").mkdir()
    return tmp_path / "makin"


@pytest.fixture
def both(folder):
    """Both files of a session in the cache folder; amplitudes of the LFP."""
    write_makin_mat(folder / f"{NAME}.mat", rates_hz=(20.0, 5.0, 0.3), duration_s=36)
    return write_makin_nwb(folder / f"{NAME}.nwb", duration_s=50)


def _open(name=SPIKES_ONLY, **options):
    return makin.session(name, **{"progress": False, **options})


def test_sorted_units_cursor_and_target_on_the_clock_of_the_task(folder):
    truth = write_makin_mat(
        folder / f"{SPIKES_ONLY}.mat", channels=3, duration_s=40, first_change_s=12.0
    )
    session = _open()
    validate_session(session)
    assert "lfp" not in session and session.attrs["subject"] == "indy"
    # channel 2 has an empty cell in the last column, which is no unit
    names = ["M1 001a", "M1 001b", "M1 002a", "M1 003a", "M1 003b"]
    assert session["unit"].values.tolist() == names
    time = session["time"].values
    assert time[0] - 0.005 == pytest.approx(truth["changes"][0], abs=0.004)
    assert 0 <= truth["changes"][-1] + 0.004 - time[-1] - 0.005 < 0.01
    edges = np.append(time - 0.005, time[-1] + 0.005)
    for unit, (channel, column) in enumerate([(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]):
        expected = np.histogram(truth["spikes"][channel][column], edges)[0]
        np.testing.assert_array_equal(session["spikes"].values[:, unit], expected)
    np.testing.assert_allclose(session["behavior"], cursor_velocity(time), atol=0.02 * 150)
    crossings = _open(units="threshold")
    assert crossings["unit"].values.tolist() == ["M1 001", "M1 002", "M1 003"]
    for row, counts in zip(truth["spikes"], crossings["spikes"].values.T, strict=True):
        np.testing.assert_array_equal(counts, np.histogram(np.concatenate(row), edges)[0])
    steps = np.flatnonzero(np.diff(session["target_x"].values)) + 1
    # the first change opens the session, the last ends it
    np.testing.assert_allclose(time[steps], truth["changes"][1:-1], atol=0.011)


def test_lfp_of_the_broadband_recording(folder, both):
    session = _open(NAME)
    validate_session(session)
    assert session["channel"].values.tolist() == ["M1 001", "M1 002", "M1 003", "M1 004"]
    assert session["lfp"].attrs["units"] == "uV"
    # offset and mains are gone, the mean over channels too, and time is the file's own
    wave = np.sin(2 * np.pi * 10 * session["time"].values)[:, None]
    expected = wave * (both - both.mean())
    np.testing.assert_allclose(session["lfp"].values[100:-100], expected[100:-100], atol=1.0)


def test_the_protocol_of_the_paper(folder, both):
    session = _open(NAME, protocol="paper")
    assert session["unit"].values.tolist() == [f"M1 00{number}a" for number in range(1, 5)]
    assert "2 units under 1 Hz left out" in session.attrs["history"]
    validate_session(session)
    for name in ("lfp", "behavior"):
        np.testing.assert_allclose(session[name].mean("time"), 0, atol=1e-3)
        np.testing.assert_allclose(session[name].std("time"), 1, atol=1e-3)
    time = session["time"].values
    wave = np.sqrt(2) * np.sin(2 * np.pi * 10 * time)[:, None] * np.array([-1, -1, 1, 1])
    # filters ring where the session begins and ends
    np.testing.assert_allclose(session["lfp"].values[100:-100], wave[100:-100], atol=0.2)


@pytest.mark.parametrize("protocol", [None, "paper"])
def test_lfp_is_nan_in_a_gap_and_beyond_the_broadband_recording(folder, protocol):
    write_makin_mat(folder / f"{NAME}.mat", duration_s=14)
    write_makin_nwb(folder / f"{NAME}.nwb", start_s=1289.0, duration_s=9.0, channels=2)
    with h5py.File(folder / f"{NAME}.nwb", "r+") as file:
        file[f"{BROADBAND}/timestamps"][100_000:] += 0.5
    with pytest.warns(SpikeLFPWarning, match=r"1 gap\(s\), 0\.500 s in all"):
        session = _open(NAME, protocol=protocol)
    late = session["time"].values - (1289 + 100_000 / 24414.3378)
    there = np.isfinite(session["lfp"].values).all(axis=1)
    end = 9.5 - 100_000 / 24414.3378
    assert not there[(late > 0.02) & (late < 0.48)].any() and not there[late > end + 0.02].any()
    assert there[(late < -0.05)].all() and there[(late > 0.55) & (late < end - 0.02)].all()


def test_a_cohort_with_and_without_broadband_in_two_processes_is_kept(folder, both):
    write_makin_mat(folder / f"{SPIKES_ONLY}.mat", duration_s=8, channels=2)
    tree = makin.cohort(sessions=[SPIKES_ONLY, NAME], n_jobs=2, progress=False)
    assert [leaf.path for leaf in tree.leaves] == ["/indy/20160407_02", "/indy/20160622_01"]
    assert "lfp" not in tree["indy/20160407_02"] and "lfp" in tree["indy/20160622_01"]
    # what is kept needs the original files no more
    (folder / f"{SPIKES_ONLY}.mat").unlink()
    again = makin.cohort(sessions=[SPIKES_ONLY, NAME], progress=False)
    assert again["indy/20160407_02"].to_dataset().identical(tree["indy/20160407_02"].to_dataset())
    where = re.escape(str(folder))
    with pytest.raises(SpikeLFPError, match=rf"no network.*zenodo\.3854034 into .*{where}"):
        _open(bin_size_s=0.02)


def test_the_record_of_a_recording_is_found_by_its_files(folder, monkeypatch):
    asked, fetched = [], []
    held = dict.fromkeys(makin.BROADBAND_RECORDS, "other.nwb")
    held[makin.BROADBAND_RECORDS[2]] = f"{NAME}.nwb"  # not where it is expected
    held[makin.RECORD] = f"{NAME}.mat"

    def files(record, _folder):
        asked.append(record)
        return [RemoteFile(str(record), folder / held[record], "md5:0", 5)]

    monkeypatch.setattr(makin, "record_files", files)
    monkeypatch.setattr(makin, "fetch", lambda files, **_: fetched.extend(files))
    with pytest.raises(SpikeLFPError, match=f"No file at .*{NAME}.mat"):
        _open(NAME)
    assert [file.url for file in fetched] == [str(makin.RECORD), str(makin.BROADBAND_RECORDS[2])]
    assert asked[1] == makin.BROADBAND_RECORDS[0]  # the likely one


# --- files that are not as published


def _put(name, values):
    """A change of an open file: other values in place of a dataset."""

    def change(file):
        new, attrs = values(file[name][()]), dict(file[name].attrs)
        del file[name]
        file[name] = new
        file[name].attrs.update(attrs)

    return change


def _with(index, value):
    def change(values):
        values.flat[index] = value
        return values

    return change


MALFORMED = [
    (".mat", lambda file: file.pop("t"), "object 't' doesn't exist"),
    (".mat", _put("t", _with(100, np.nan)), "must increase"),
    (".mat", _put("t", _with(-1, 1e9)), "to 1e+09 s"),  # a session without end
    (".mat", _put("cursor_pos", lambda p: p[:1]), "'cursor_pos' has shape (1500, 1)"),
    (".mat", _put("target_pos", np.zeros_like), "changes 0 times"),
    (".mat", _put("chan_names", lambda c: c[:, [0, 0, 2, 3]]), "more than once"),
    (".mat", _put("spikes", _with(5, h5py.Reference())), "object reference"),
    (".nwb", lambda file: file.pop(BROADBAND), "object 'broadband' doesn't exist"),
    (".nwb", _put(f"{BROADBAND}/timestamps", lambda t: t + 9999), "overlap"),
    (".nwb", lambda file: file[f"{BROADBAND}/data"].attrs.clear(), "conversion"),
]


@pytest.mark.parametrize("suffix, change, match", MALFORMED)
def test_a_file_that_departs_from_the_layout_is_one_clear_error(folder, suffix, change, match):
    write_makin_mat(folder / f"{NAME}.mat", duration_s=6)
    write_makin_nwb(folder / f"{NAME}.nwb", start_s=1289.0, duration_s=4.0, channels=2)
    with h5py.File(folder / f"{NAME}{suffix}", "r+") as file:
        change(file)
    with pytest.raises(SpikeLFPError, match=re.escape(match)) as caught:
        _open(NAME)
    assert NAME in str(caught.value) and len([f for f in folder.iterdir() if f.is_file()]) == 2
