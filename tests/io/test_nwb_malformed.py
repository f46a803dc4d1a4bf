"""Each malformed file gives one clear error, whether it is opened or only described."""

import shutil

import h5py
import numpy as np
import pytest

from spikelfp_lab.errors import DataError, SpikeLFPError
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from tests.io import nwb_files as nwb

LFP = "processing/ecephys/LFP/lfp"
TIMES = np.arange(10_000) / 1000


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return nwb.whole_file(tmp_path_factory.mktemp("good") / "good.nwb")


@pytest.fixture
def changed(good, tmp_path):
    return lambda how: nwb.change(shutil.copy(good, tmp_path / "changed.nwb"), how)


def replace(path, values):
    def how(file):
        attrs = dict(file[path].attrs) if path in file else {}
        if path in file:
            del file[path]
        file[path] = values
        file[path].attrs.update(attrs)

    return how


def timestamps(index=0, value=0.0, series=LFP, times=TIMES):
    """One timestamp is another."""
    values = times.copy()
    values[index] = value

    def how(file):
        del file[f"{series}/starting_time"]
        file[f"{series}/timestamps"] = values
        file[f"{series}/timestamps"].attrs.update(interval=1, unit="seconds")

    return how


def attribute(path, name, value):
    return lambda file: file[path].attrs.__setitem__(name, value)


def entry(path, index, value):
    return lambda file: file[path].__setitem__(index, value)


def delete(*paths):
    return lambda file: [file.__delitem__(path) for path in paths]


def both(*hows):
    return lambda file: [how(file) for how in hows]


RATE = f"{LFP}/starting_time"
POSITION = "processing/behavior/Position/position"
INDEX = r"^units of .*changed\.nwb has no spike_times_index.*session_from_arrays"
ENDLESS = r"changed\.nwb.*GB of memory, more than is free or than \d+ spikes"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (timestamps(70, np.nan), "sample 70 of .* is nan"),
        (timestamps(500, 0.1), "runs backward at sample 500 of"),
        (timestamps(slice(None), 6.0, POSITION, TIMES[:500]), "stands still in processing/behavi"),
        (timestamps(times=np.stack([TIMES, TIMES])), "LFP/lfp.*shape for timestamps"),
        (timestamps(times=TIMES * 1e6), "Are its times in seconds"),
        (replace(f"{LFP}/data", np.zeros((100, 0))), r"shape \(100, 0\).*lfp=False"),
        (replace(f"{LFP}/data", np.ones((10_000, 4))), "4 channels and 3 electrodes"),
        (attribute(RATE, "rate", 0.0), "rate of lfp is 0.0 Hz"),
        (attribute(RATE, "rate", 1e-9), "is no LFP"),
        (entry(RATE, (), 50.0), "do not overlap.*lfp: 49"),
        (entry(f"{LFP}/electrodes", ..., [0, 1, 1]), r"more than once: \['ch01'\]"),
        (replace("units/id", [3, 1, 3, 2]), r"more than once: \['3'\]"),
        (entry("units/spike_times", 2, np.nan), "units at rows 0 are NaN or infinite"),
        (entry("units/spike_times_index", 3, 60_000), "index of the spike times.*units=False"),
        (delete("units/spike_times_index"), INDEX),
        # of as many spikes as units, as pynwb reads it
        (both(delete("units/spike_times_index"), replace("units/spike_times", TIMES[:4])), INDEX),
        (both(delete("processing"), entry("units/spike_times", -1, 1e9)), ENDLESS),
        (attribute("general/extracellular_ephys/electrodes", "object_id", [1, 2]), "read as NWB"),
    ],
)
def test_malformed_contents(changed, how, message):
    path = changed(how)
    with pytest.raises(SpikeLFPError, match=f"(?s){message}") as caught:
        open_nwb(path, progress=False)
    assert len(str(caught.value)) < 1000
    try:  # which says what is wrong, and raises nothing where pynwb can read the file
        assert len(describe_nwb(path))
    except DataError as error:
        assert str(error) == str(caught.value)


def test_damaged_files_and_files_of_another_kind(good, tmp_path):
    path, data = tmp_path / "a.nwb", good.read_bytes()
    for content, message in (
        (data[: len(data) // 2], "truncated"),
        (b"ground control to major tom" * 100, "not an HDF5 file"),
        (data[:600] + b"\0" * 400 + data[1000:], "cannot be"),
    ):
        path.write_bytes(content)
        for read in (open_nwb, describe_nwb):
            with pytest.raises(DataError, match=message):
                read(path)
    for how, message in (
        (entry("/", "spikes", [1.0]), r"HDF5 but not NWB.*it holds spikes.*session_from_arrays"),
        (entry("/", "nwb_version", "NWB-1.0.6"), "NWB 1, which pynwb cannot read"),
        (attribute("/", "nwb_version", "2.9.0"), "cannot be read as NWB"),
    ):
        path.unlink()
        with pytest.raises(DataError, match=message):
            open_nwb(nwb.change(path, how))
    for name, message in (("", "is a folder"), ("no.nwb", "No file")):
        with pytest.raises(DataError, match=message):
            describe_nwb(tmp_path / name)


@pytest.mark.parametrize("kind", ["storage", "virtual"])
def test_data_in_a_file_that_was_not_copied_too_are_missed(changed, kind):
    """HDF5 itself would give zeros."""

    def how(file):
        series, shape = file[LFP], (10_000, 3)
        del series["data"]
        if kind == "storage":
            external = [("other.bin", 0, h5py.h5f.UNLIMITED)]
            series.create_dataset("data", shape, float, external=external)
        else:
            layout = h5py.VirtualLayout(shape, float)
            layout[:] = h5py.VirtualSource("other.h5", "data", shape)
            series.create_virtual_dataset("data", layout)

    with pytest.raises(DataError, match=r"needs other\.h5, which is not|unable to open external"):
        open_nwb(changed(how))


def test_nothing_to_make_a_session_of_or_too_much(good, tmp_path, monkeypatch):
    nwbfile, bad = nwb.start_file(), nwb.start_file()
    nwbfile.add_trial(start_time=0.0, stop_time=1.0)
    table = nwb.add_lfp(bad).electrodes.table
    table.add_column(name="bad", description="bad", data=[True] * 3)
    for each, message in (
        (nwbfile, r"neither units.*It holds: intervals/trials"),
        (nwb.with_units([np.zeros(0)] * 3), "None of the 3 units has a spike"),
        (bad, r"every electrode .*ch00, ch01, ch02.*lfp=False"),
    ):
        with pytest.raises(DataError, match=message):
            open_nwb(nwb.write(each, tmp_path / "a.nwb"))
    monkeypatch.setattr("spikelfp_lab.io.assemble.available_memory", lambda: 1e4)
    with pytest.raises(DataError, match="GB of memory, more than is free"):
        open_nwb(good, progress=False)
