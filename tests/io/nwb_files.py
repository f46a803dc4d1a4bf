"""Small NWB files for the tests, made with pynwb's own mocks."""

from pathlib import Path

import h5py
import numpy as np
from pynwb import NWBHDF5IO, NWBFile
from pynwb.behavior import CompassDirection, Position
from pynwb.ecephys import LFP
from pynwb.file import Subject
from pynwb.testing.mock.behavior import mock_SpatialSeries
from pynwb.testing.mock.ecephys import mock_ElectricalSeries, mock_ElectrodesTable
from pynwb.testing.mock.file import mock_NWBFile

SECONDS = 10.0


def start_file(*, session_id="day_1", subject="rat1") -> NWBFile:
    """An empty file of a subject and session."""
    about = Subject(subject_id=subject, sex="U", species="Rattus norvegicus")
    return mock_NWBFile(subject=about, session_id=session_id)


def tones(seconds=SECONDS, rate_hz=1000.0, channels=3) -> np.ndarray:
    """(n, channels): channel c is a sine of 5 (c + 1) Hz, in uV, of amplitude 100."""
    return tones_at(np.arange(round(seconds * rate_hz)) / rate_hz, channels)


def tones_at(times, channels=3) -> np.ndarray:
    return 100 * np.sin(2 * np.pi * 5 * np.outer(times, np.arange(1, channels + 1)))


def add_lfp(nwbfile, data=None, *, inside=LFP, name="lfp", rate_hz=1000.0, **more):
    """An ElectricalSeries inside a container of a processing module, or (None) in acquisition."""
    data = tones(rate_hz=rate_hz) * 1e-6 if data is None else data
    width = np.shape(data)[1]
    if nwbfile.electrodes is None:
        mock_ElectrodesTable(n_rows=width, nwbfile=nwbfile)
    region = nwbfile.create_electrode_table_region(region=list(range(width)), description="all")
    more = {"rate": None if "timestamps" in more else rate_hz, "electrodes": region, **more}
    series = mock_ElectricalSeries(name=name, data=data, **more)
    if inside is None:
        nwbfile.add_acquisition(series)
    else:
        module = _module(nwbfile, "ecephys")
        module.add(inside(name=inside.__name__))
        module[inside.__name__].add_electrical_series(series)
    return series


def add_position(nwbfile, data=None, *, name="position", rate_hz=50.0, kind=Position, **more):
    """A SpatialSeries inside Position (or CompassDirection)."""
    if data is None:
        data = np.random.default_rng(3).normal(size=(round(SECONDS * rate_hz), 2)).cumsum(axis=0)
    rate = None if "timestamps" in more else rate_hz
    series = mock_SpatialSeries(name=name, data=data, rate=rate, **{"unit": "cm", **more})
    module = _module(nwbfile, "behavior")
    if kind.__name__ not in module.data_interfaces:
        module.add(kind(name=kind.__name__))
    module[kind.__name__].add_spatial_series(series)


def compass(nwbfile, data, **more):
    add_position(nwbfile, data, name="head", kind=CompassDirection, **more)


def add_units(nwbfile, times=None, *, ids=None, **columns):
    """Units with the given spike times; ``columns`` are lists of a value each."""
    for name in columns.keys() - {"obs_intervals"}:
        nwbfile.add_unit_column(name=name, description=name)
    for index, each in enumerate(spike_trains() if times is None else times):
        row = {name: values[index] for name, values in columns.items()}
        nwbfile.add_unit(spike_times=np.asarray(each, float), id=ids and ids[index], **row)


def with_units(times=None, **columns) -> NWBFile:
    nwbfile = start_file()
    add_units(nwbfile, times, **columns)
    return nwbfile


def spike_trains(units=4, seconds=SECONDS, seed=0) -> list[np.ndarray]:
    """Random trains that begin at 0.001 s and end just before the last moment."""
    rng = np.random.default_rng(seed)
    trains = [np.sort(rng.uniform(0.01, seconds - 0.01, 80)) for _ in range(units)]
    trains[0] = np.concatenate([[0.001], trains[0], [seconds - 0.001]])
    return trains


def write(nwbfile, path: Path) -> Path:
    with NWBHDF5IO(path=path, mode="w") as io:
        io.write(nwbfile)
    return path


def change(path: Path, how) -> Path:
    """The file, after a function has had its way with it as an h5py.File."""
    with h5py.File(path, "a") as file:
        how(file)
    return path


def whole_file(path: Path, **lfp) -> Path:
    """A file with units, LFP, position and trials."""
    nwbfile = with_units()
    add_lfp(nwbfile, **lfp)
    add_position(nwbfile)
    nwbfile.add_trial(start_time=1.0, stop_time=4.0)
    nwbfile.add_trial(start_time=5.0, stop_time=9.0)
    return write(nwbfile, path)


def _module(nwbfile, name):
    if name not in nwbfile.processing:
        nwbfile.create_processing_module(name=name, description=name)
    return nwbfile.processing[name]
