"""Arrays of one's own become sessions through the same steps as files, or are refused clearly."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.errors import ConfigError, DataError, SchemaError, SpikeLFPWarning
from spikelfp_lab.io import assemble
from spikelfp_lab.io.arrays import session_from_arrays
from spikelfp_lab.io.nwb_read import open_nwb
from spikelfp_lab.sessions import check_quality
from tests.io.nwb_files import spike_trains, tones, whole_file


def made(**options):
    return session_from_arrays(**{"progress": False, **options})


def lfp(**options):
    return {"lfp": tones(), "lfp_rate_hz": 1000.0, **options}


def test_arrays_and_a_file_with_the_same_in_it_give_the_same(tmp_path):
    """HDF5 datasets, and as MATLAB has them: trains in a cell, each a column; columns of times."""
    file = open_nwb(whole_file(tmp_path / "a.nwb"), progress=False)
    cells = np.empty((1, 4), object)
    for unit, train in enumerate(spike_trains()):
        cells[0, unit] = train[:, None]
    with h5py.File(tmp_path / "a.nwb") as inside:
        arrays = made(
            lfp=inside["processing/ecephys/LFP/lfp/data"],
            lfp_times=np.arange(10_000)[:, None] / 1000,
            lfp_units="V",
            spike_times=cells,
            behavior=inside["processing/behavior/Position/position/data"],
            behavior_rate_hz=50.0,
            behavior_names=("x", "y"),
            behavior_units="cm",
            trials=[[1.0, 4.0], [5.0, 9.0]],
        )
    assert arrays["behavior"].attrs["units"] == "cm"
    for name in ("time", "spikes", "lfp", "behavior", "trial"):
        np.testing.assert_allclose(arrays[name].values, file[name].values, rtol=1e-5, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    units=st.sampled_from([("V", 1e6), ("mV", 1e3), ("uV", 1.0)]),
    start_s=st.floats(-20, 1000),
    bin_size_s=st.sampled_from([0.01, 0.02, 0.025]),
    rate_hz=st.sampled_from([400.0, 1017.25, 2000.0]),
)
def test_units_and_times_are_those_that_are_given(units, start_s, bin_size_s, rate_hz):
    unit, factor = units
    times = start_s + np.arange(round(8 * rate_hz)) / rate_hz
    session = made(
        lfp=np.sin(2 * np.pi * 5 * times) * 50 / factor,
        lfp_times=times,
        lfp_units=unit,
        bin_size_s=bin_size_s,
    )
    time = session["time"].values
    keep = (time > time[0] + 2) & (time < time[-1] - 2)
    expected = 50 * np.sin(2 * np.pi * 5 * time)
    assert np.abs(session["lfp"].values[:, 0] - expected)[keep].max() < 2
    assert session["lfp"].attrs["units"] == "uV"


class Watched:
    """An array that remembers the largest piece that was read of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.largest = 0

    def __getitem__(self, key):
        piece = self.values[key]
        self.largest = max(self.largest, piece.size)
        return piece

    def __len__(self):
        return len(self.values)


def test_long_recordings_are_read_piece_by_piece():
    times = np.arange(600_000) / 10_000
    watched = Watched(np.sin(2 * np.pi * 5 * times[:, None] * [1, 2]).astype(np.float32))
    session = made(lfp=watched, lfp_rate_hz=10_000.0, reference="none")
    assert session.sizes["time"] >= 5999
    assert 0 < watched.largest < watched.values.size / 10


def test_dead_channels_and_silent_units_are_dropped_with_a_warning():
    dead = tones()
    dead[:, 1] = 7.0
    slow = dead[::10]  # at the rate of the clock, where nothing filters
    with pytest.warns(SpikeLFPWarning, match="ch01"):
        session = made(lfp=slow, lfp_rate_hz=100.0)
    assert session["channel"].values.tolist() == ["ch00", "ch02"]
    with pytest.warns(SpikeLFPWarning, match="u001"):
        made(spike_times=[np.linspace(0, 5, 50), np.array([9.0]), np.zeros(1)], stop_s=5.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, DataError, "needs spikes or LFP"),
        ({"lfp": tones()}, ConfigError, "one of lfp_rate_hz and lfp_times"),
        (lfp(lfp_rate_hz=np.nan), DataError, "rate of lfp is nan Hz"),
        (lfp(lfp=tones().T), DataError, "lfp=lfp.T"),
        (lfp(lfp=np.array([["a"], ["b"]])), DataError, "give numbers"),
        (lfp(lfp_units="furlongs"), ConfigError, "'furlongs': use uV, mV or V"),
        (lfp(channel_names=["a"]), DataError, "3 columns"),
        (lfp(bin_size_s=0.0), ConfigError, "bin_size_s is 0"),
        (lfp(start_s=50.0), DataError, "do not overlap"),
        (lfp(subject="../up"), SchemaError, "subject"),
        ({"spike_times": np.arange(5.0)}, DataError, "unit 0 is float64"),
        ({"spike_times": [np.array([0.1, np.nan])]}, DataError, "NaN or infinite"),
        ({"spike_times": [np.arange(9.0)], "unit_names": ["a", "b"]}, DataError, "unit_names"),
        (
            {"lfp": tones(), "lfp_times": np.arange(10_000)[::-1] / 1000},
            DataError,
            "runs backward at sample 1 of lfp",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_error(options, error, message):
    with pytest.raises(error, match=message):
        made(**options)


def test_a_dead_channel_of_raw_voltage_is_dropped_and_not_averaged():
    """Through the common average it would be the negative of all others, and look alive."""
    raw = np.random.default_rng(0).normal(scale=50, size=(30_000, 4))
    raw[:, 2] = 0.0
    with pytest.warns(SpikeLFPWarning, match="ch02"):
        session = made(lfp=raw, lfp_rate_hz=3000.0, reference="car")
    alone = made(lfp=raw[:, [0, 1, 3]], lfp_rate_hz=3000.0, reference="car")
    assert session["channel"].values.tolist() == ["ch00", "ch01", "ch03"]
    np.testing.assert_allclose(session["lfp"], alone["lfp"], atol=1e-3)


def test_only_warnings_about_gaps_become_findings_of_gaps(monkeypatch):
    filtered = assemble.broadband_to_lfp

    def warning(*arguments, **options):
        warnings.warn("The amplifier was changed.", SpikeLFPWarning, stacklevel=2)
        return filtered(*arguments, **options)

    monkeypatch.setattr(assemble, "broadband_to_lfp", warning)
    times = np.arange(10_000) / 1000 + np.repeat([0.0, 0.1], 5000)  # shorter than max_gap_s
    with pytest.warns(SpikeLFPWarning, match="SpikeLFPWarning: The amplifier was changed"):
        session = made(lfp=tones(), lfp_times=times)
    table = check_quality(session).set_index("check")["meaning"]
    assert table["SpikeLFPWarning"] == "The amplifier was changed."
    assert "have 1 gap(s), 0.101 s" in table["gap"]


@pytest.mark.parametrize("rate_hz", [1000.0, 300.0, 120.0])
def test_averaging_behavior_over_a_bin_does_not_shift_it(rate_hz):
    """Of a ramp, the mean over a bin is its value at the center."""
    times = np.arange(round(10 * rate_hz)) / rate_hz
    session = made(behavior=times, behavior_rate_hz=rate_hz, **lfp())
    inside = session.isel(time=slice(50, -50))
    np.testing.assert_allclose(inside["behavior"][:, 0], inside["time"], atol=1e-5)
