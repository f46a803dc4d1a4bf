"""Each malformed file gives one clear error, whether it is opened or only described."""

import os
import shutil

import h5py
import numpy as np
import pytest

from spikelfp_lab.errors import DataError, SpikeLFPError
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from spikelfp_lab.io.store import read_session, save_session
from tests.factories import make_session
from tests.io.nwb_files import add_lfp, add_units, start_file, whole_file, write

LFP = "processing/ecephys/LFP/lfp"
POSITION = "processing/behavior/Position/position"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return whole_file(tmp_path_factory.mktemp("good") / "good.nwb")


@pytest.fixture
def changed(good, tmp_path):
    """A copy of a good file, after a function has had its way with it."""

    def change(how):
        path = shutil.copy(good, tmp_path / "changed.nwb")
        with h5py.File(path, "a") as file:
            how(file)
        return path

    return change


def replace(path, values):
    def how(file):
        attrs = dict(file[path].attrs) if path in file else {}
        if path in file:
            del file[path]
        file[path] = values
        for key, value in attrs.items():
            file[path].attrs[key] = value

    return how


def timestamps(values, series=LFP):
    def how(file):
        del file[f"{series}/starting_time"]
        file[f"{series}/timestamps"] = values
        file[f"{series}/timestamps"].attrs.update(interval=1, unit="seconds")

    return how


def attribute(path, name, value):
    def how(file):
        file[path].attrs[name] = value

    return how


def delete(*paths):
    def how(file):
        for path in paths:
            del file[path]

    return how


def without(times, index, value):
    times = np.array(times, float)
    times[index] = value
    return times


TIMES = np.arange(10_000) / 1000

CASES = {
    "NaN in the timestamps": (timestamps(without(TIMES, 70, np.nan)), "sample 70 of .* is nan"),
    "time runs backward": (timestamps(without(TIMES, 500, 0.1)), "runs backward at sample 500 of"),
    "time stands still": (
        timestamps(np.full(500, 6 / 50), POSITION),
        "stands still in processing/behavior",
    ),
    "fewer timestamps than samples": (
        timestamps(TIMES[:-3]),
        "10000 samples and 9997 timestamps.*lfp=False",
    ),
    "no channels": (replace(f"{LFP}/data", np.zeros((100, 0))), "no channels.*lfp=False"),
    "no samples": (replace(f"{LFP}/data", np.zeros((0, 3))), "it has 0 samples"),
    "three dimensions": (replace(f"{LFP}/data", np.zeros((100, 3, 2))), r"shape \(100, 3, 2\)"),
    "fewer electrodes than channels": (
        replace(f"{LFP}/data", np.ones((10_000, 4))),
        "4 channels and 3 electrodes",
    ),
    "fewer factors than channels": (
        replace(f"{LFP}/channel_conversion", np.ones(2)),
        "3 channels and 2 channel_conversion",
    ),
    "a rate of zero": (attribute(f"{LFP}/starting_time", "rate", 0.0), "its rate is 0.0 Hz"),
    "a rate that is NaN": (attribute(f"{LFP}/starting_time", "rate", np.nan), "its rate is nan"),
    "unit ids twice": (
        replace("units/id", np.array([3, 1, 3, 2])),
        "'unit' has '3' more than once",
    ),
    "spike times that are NaN": (
        lambda file: file["units/spike_times"].__setitem__(2, np.nan),
        "units at rows 0 are NaN or infinite",
    ),
    "the index of the spikes is too long": (
        lambda file: file["units/spike_times_index"].__setitem__(3, 60_000),
        "index of its spike times.*units=False",
    ),
    "no overlap": (attribute("units", "nothing", 0), "do not overlap.*lfp: 49"),
}


@pytest.mark.parametrize("name", CASES)
def test_malformed_contents(changed, name):
    how, message = CASES[name]

    def all_of_it(file):
        how(file)
        if name == "no overlap":
            file[f"{LFP}/starting_time"][()] = 50.0

    path = changed(all_of_it)
    with pytest.raises(SpikeLFPError, match=f"(?s){message}"):
        open_nwb(path, progress=False)
    table = describe_nwb(path).set_index("object")  # which says what is wrong, and raises nothing
    assert len(table) == 4


def truncated(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (truncated, "truncated"),
        (lambda data: b"", "not an HDF5 file"),
        (lambda data: b"ground control to major tom" * 100, "not an HDF5 file"),
        (lambda data: data[:600] + b"\0" * 400 + data[1000:], "cannot be"),
    ],
)
def test_damaged_files(good, tmp_path, content, message):
    path = tmp_path / "damaged.nwb"
    path.write_bytes(content(good.read_bytes()))
    for read in (lambda: open_nwb(path, progress=False), lambda: describe_nwb(path)):
        with pytest.raises(DataError, match=message):
            read()


def test_damage_in_the_data_is_named_when_these_are_read(tmp_path):
    path = whole_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        data = file[f"{LFP}/data"][:]
        del file[f"{LFP}/data"]
        made = file.create_dataset(f"{LFP}/data", data=data, chunks=(1000, 3), fletcher32=True)
        made.attrs.update(conversion=1.0, offset=0.0, resolution=-1.0, unit="volts")
        at = made.id.get_chunk_info(3).byte_offset
    with open(path, "rb+") as file:
        file.seek(at)
        file.write(b"\xff" * 64)
    with pytest.raises(DataError, match="cannot be read"):
        open_nwb(path, progress=False)


def test_files_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "plain.nwb", "w") as file:
        file["spikes"] = [1.0]
    with pytest.raises(DataError, match=r"HDF5 but not NWB.*it holds spikes.*session_from_arrays"):
        open_nwb(tmp_path / "plain.nwb")
    with h5py.File(tmp_path / "old.nwb", "w") as file:
        file["nwb_version"] = "NWB-1.0.6"
    with pytest.raises(DataError, match="NWB 1, which pynwb cannot read"):
        open_nwb(tmp_path / "old.nwb")
    with h5py.File(tmp_path / "empty.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.9.0"
    with pytest.raises(DataError, match="cannot be read as NWB"):
        open_nwb(tmp_path / "empty.nwb")
    with pytest.raises(DataError, match="is a folder"):
        open_nwb(tmp_path)
    with pytest.raises(DataError, match="No file at"):
        describe_nwb(tmp_path / "missing.nwb")


def test_nothing_to_make_a_session_of(tmp_path):
    nwbfile = start_file()
    nwbfile.add_trial(start_time=0.0, stop_time=1.0)
    path = write(nwbfile, tmp_path / "a.nwb")
    with pytest.raises(DataError, match=r"neither units.*It holds: intervals/trials"):
        open_nwb(path)
    assert describe_nwb(path)["role"].tolist() == ["trials"]


def test_an_empty_units_table(tmp_path):
    nwbfile = start_file()
    add_units(nwbfile)
    add_lfp(nwbfile)
    path = write(nwbfile, tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        delete("units/spike_times", "units/spike_times_index")(file)
        replace("units/id", np.zeros(0, int))(file)
        file["units"].attrs["colnames"] = np.zeros(0, h5py.string_dtype())
    with pytest.raises(DataError, match=r"the table has no units.*units=False"):
        open_nwb(path)
    assert set(open_nwb(path, units=False, progress=False).data_vars) == {"lfp"}


def test_units_without_spikes(tmp_path):
    nwbfile = start_file()
    add_units(nwbfile, [np.zeros(0)] * 3)
    add_lfp(nwbfile)
    with pytest.raises(DataError, match="None of the 3 units has a spike"):
        open_nwb(write(nwbfile, tmp_path / "a.nwb"))


def test_every_electrode_marked_bad(tmp_path):
    nwbfile = start_file()
    series = add_lfp(nwbfile)
    series.electrodes.table.add_column(name="bad", description="bad", data=[True] * 3)
    path = write(nwbfile, tmp_path / "a.nwb")
    with pytest.raises(DataError, match=r"every electrode .*ch00, ch01, ch02.*lfp=False"):
        open_nwb(path)


@pytest.mark.parametrize("kind", ["storage", "virtual"])
def test_data_in_a_file_that_was_not_copied_too_are_missed(tmp_path, kind):
    """HDF5 itself would give zeros."""
    path = whole_file(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        series = file[LFP]
        attrs = dict(series["data"].attrs)
        del series["data"]
        if kind == "storage":
            where = [("other.bin", 0, h5py.h5f.UNLIMITED)]
            series.create_dataset("data", (10_000, 3), float, external=where).attrs.update(attrs)
        else:
            layout = h5py.VirtualLayout((10_000, 3), float)
            layout[:] = h5py.VirtualSource("other.h5", "data", (10_000, 3))
            series.create_virtual_dataset("data", layout).attrs.update(attrs)
    for read in (open_nwb, describe_nwb):
        with pytest.raises(DataError, match=r"needs the file other\.\w+, which is not there"):
            read(path)


def test_every_error_is_of_this_package_and_leaves_no_file_open(good, tmp_path):
    path = shutil.copy(good, tmp_path / "a.nwb")
    with pytest.raises(SpikeLFPError):
        open_nwb(path, lfp="none")
    with h5py.File(path, "a") as file:  # HDF5 refuses this while a reader has it
        file.attrs["written"] = 1


SPIKES = "units/spike_times"


@pytest.mark.parametrize(
    "how",
    [
        attribute(f"{LFP}/starting_time", "rate", 1e-9),
        timestamps(without(np.arange(10_000) / 1000, -1, 1e12)),
        lambda file: file.__delitem__("processing") or file[SPIKES].__setitem__(-1, 1e9),
    ],
)
def test_one_wrong_time_does_not_make_a_session_endless(changed, how):
    path = changed(how)
    with h5py.File(path, "a") as file:  # what else would end the session
        for name in ("processing/behavior", *(["units"] if "processing" in file else [])):
            if name in file:
                del file[name]
    with pytest.raises(DataError, match=r"changed\.nwb.*(than \d+ spikes and samples|is no LFP)"):
        open_nwb(path, progress=False)


def test_more_than_memory_is_refused_before_it_is_taken(good, monkeypatch):
    monkeypatch.setattr("spikelfp_lab.io.assemble.available_memory", lambda: 1e4)
    with pytest.raises(DataError, match=r"GB of memory, more than is free"):
        open_nwb(good, progress=False)


def test_names_of_columns_become_names_of_folders(changed, tmp_path):
    def how(file):
        names = ["..\\x", ".. x", "lfp", "time"]
        for name in names:
            column = file["units"].create_dataset(name, data=np.arange(4))
            column.attrs.update(
                namespace="hdmf-common",
                neurodata_type="VectorData",
                description="x",
                object_id=name,
            )
        old = file["units"].attrs["colnames"]
        file["units"].attrs["colnames"] = np.array([*old, *names], dtype=h5py.string_dtype())

    session = open_nwb(changed(how), progress=False)
    assert {"_x", "_x_", "unit_lfp", "unit_time"} <= set(session.coords)
    assert read_session(save_session(session, tmp_path / "s.zarr")).identical(session)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["changed.nwb", "s.zarr"]


def test_what_pynwb_makes_of_a_malformed_file_is_one_short_error(changed):
    for how in (
        attribute("general/extracellular_ephys/electrodes", "object_id", [1, 2]),
        replace("session_description", np.zeros((1, 1))),
        delete("identifier"),
    ):
        path = changed(how)
        for read in (open_nwb, describe_nwb):
            with pytest.raises(DataError, match=r"changed\.nwb cannot be read as NWB") as caught:
                read(path)
            assert len(str(caught.value)) < 1000


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nwb")
    with pytest.raises(DataError, match=r"a\.nwb is a pipe or a device"):
        open_nwb(tmp_path / "a.nwb")


def test_errors_of_the_session_name_the_file(changed):
    path = changed(delete("processing"))
    with pytest.raises(DataError, match=r"changed\.nwb.*start_s|changed\.nwb.*overlap"):
        open_nwb(path, start_s=50.0, progress=False)
    with pytest.raises(SpikeLFPError, match=r"^changed\.nwb: "):
        open_nwb(path, bin_size_s=-1.0, progress=False)


def test_a_dtype_that_write_nwb_does_not_write(tmp_path):
    path = write_nwb(make_session(bins=50), tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        file["processing/spikelfp_lab/variables/dtype"][1] = "<U99999999"
    with pytest.raises(DataError, match=r"a\.nwb is damaged .*has the dtype"):
        open_nwb(path)
