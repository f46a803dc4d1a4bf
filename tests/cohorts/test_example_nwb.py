"""The example file is a recording of the simulator, and comes back as the simulator's session."""

import numpy as np
import pytest

import spikelfp_lab as sl
from spikelfp_lab import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.cohorts.example_nwb import write_example_nwb
from spikelfp_lab.sessions import iterate_sessions


def test_the_file_opens_as_the_simulated_session(tmp_path):
    path = write_example_nwb(tmp_path / "day.nwb", duration_s=20, n_channels=6, seed=3)
    with pytest.warns(SpikeLFPWarning, match="5"):  # the electrode that is marked bad
        opened = sl.open_session(
            path, derive="velocity", smooth_s=0.02, start_s=0.01, progress=False
        )
    direct = simulated.session(duration_s=20, n_channels=6, seed=3)
    assert opened.attrs["subject"] == "I" and opened.attrs["session"] == "s01"
    assert opened.sizes["channel"] == 5 and opened["lfp"].attrs["units"] == "uV"

    at = np.searchsorted(opened["time"].values, direct["time"].values - 1e-6)
    inside = slice(200, 1700)  # away from the ends, where filters differ
    ours, theirs = opened.isel(time=at[inside]), direct.isel(time=inside)
    np.testing.assert_allclose(ours["time"], theirs["time"], atol=1e-6)
    np.testing.assert_array_equal(ours["spikes"], theirs["spikes"])
    for name, least in (("lfp", 0.97), ("behavior", 0.98)):
        for column in range(ours[name].shape[1]):
            pair = np.corrcoef(ours[name][:, column], theirs[name][:, column])
            assert pair[0, 1] > least


def test_nothing_is_overwritten(tmp_path):
    path = write_example_nwb(tmp_path / "day.nwb", duration_s=5, n_channels=2)
    with pytest.raises(DataError, match="exists already"):
        write_example_nwb(path, duration_s=5, n_channels=2)


def test_a_folder_of_nwb_and_zarr_is_a_cohort(tmp_path):
    for index in (1, 2):
        write_example_nwb(tmp_path / f"day{index}.nwb", index=index, duration_s=5, n_channels=3)
    sl.save_session(simulated.session(3, duration_s=5, n_channels=2), tmp_path / "I" / "s03.zarr")
    with pytest.warns(SpikeLFPWarning):
        cohort = sl.open_cohort(tmp_path, derive="velocity", progress=False)
    assert list(iterate_sessions(cohort)) == ["I/s03", "I/s01", "I/s02"]
    assert cohort["I/s02"].sizes["channel"] == 2  # the third is marked bad
    assert cohort["I/s01"]["behavior"].attrs["units"] == "cm/s"
    with pytest.warns(SpikeLFPWarning, match="marked bad"):  # said in other processes
        spread = sl.open_cohort(tmp_path, derive="velocity", n_jobs=2, progress=False)
    for name, session in iterate_sessions(cohort).items():
        assert spread[name].to_dataset().identical(session)


def test_the_data_sets_of_the_paper_open_by_name(tmp_path):
    with pytest.raises(DataError, match="Flint_2012_e1"):
        sl.open_cohort("flint", folder=tmp_path)
    with pytest.raises(ConfigError, match="indy_19990101_01"):
        sl.open_cohort("makin", sessions=["indy_19990101_01"])
