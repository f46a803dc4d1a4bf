"""What write_nwb writes comes back as it was, is valid NWB, and is never half there."""

import errno
from datetime import UTC, datetime

import numpy as np
import pynwb
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nwbinspector import Importance, inspect_nwbfile
from pynwb import NWBHDF5IO
from pynwb.ecephys import ElectricalSeries

from spikelfp_lab.errors import ConfigError, DataError, SchemaError
from spikelfp_lab.io.nwb_read import describe_nwb, open_nwb
from spikelfp_lab.io.nwb_write import write_nwb
from tests.factories import make_session


def make_latents(session, count=3, shift=0.0):
    time = session["time"].values + shift
    values = np.random.default_rng(0).normal(size=(time.size, count)).astype(np.float32)
    values[:5] = np.nan  # as encode leaves what no window covers
    labels = [f"z{index}" for index in range(count)]
    return xr.DataArray(values, dims=("time", "latent"), coords={"time": time, "latent": labels})


def rich_session():
    session = make_session(units=3, channels=4, trial_bins=100, gaps=[350], nan_lfp=[5])
    trial = session["trial"].values.copy()
    trial[200:300] = -1
    return session.assign_coords(
        trial=("time", trial),
        correct=("time", trial % 2 == 0),
        quality=("unit", ["good", "mua", "né"]),
        tuning=(("unit", "behavior_dim"), np.arange(6.0).reshape(3, 2)),
        location=("channel", ["M1", "M1", "S1", "S1"]),
        x=("channel", np.arange(4.0)),
    ).assign_attrs(anything={"deep": [1, None, "x"]}, number=np.float32(2.5))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bins=st.integers(20, 200),
    units=st.integers(0, 3),
    channels=st.integers(0, 3),
    behavior=st.sampled_from([(), ("speed",), ("vx", "vy")]),
    trial_bins=st.none() | st.just(7),
    gap=st.booleans(),
    bin_size_s=st.sampled_from([0.01, 0.02, 1 / 30, 0.1]),
    start_s=st.floats(-10, 1e5),
    units_of_lfp=st.sampled_from(["uV", "mV", "V", "log power"]),
)
def test_any_session_comes_back_identical(
    tmp_path, bins, units, channels, behavior, trial_bins, gap, bin_size_s, start_s, units_of_lfp
):
    session = make_session(
        bins=bins,
        units=units,
        channels=channels or (0 if units else 1),
        behavior=behavior,
        trial_bins=trial_bins,
        gaps=[bins // 2] if gap else (),
        bin_size_s=bin_size_s,
    )
    session = session.assign_coords(time=("time", session["time"].values + start_s, {"units": "s"}))
    if "lfp" in session:
        session["lfp"].attrs["units"] = units_of_lfp
    back = open_nwb(write_nwb(session, tmp_path / "a.nwb", overwrite=True))
    xr.testing.assert_identical(back, session)
    for name in session.variables:
        assert back[name].dtype == session[name].dtype, name


def test_everything_a_session_can_hold_comes_back(tmp_path):
    session = rich_session()
    path = write_nwb(session, tmp_path / "a.nwb", latents=make_latents(session))
    xr.testing.assert_identical(open_nwb(path), session.assign_attrs(number=2.5))
    named = open_nwb(path, subject="J", session="s09")
    assert (named.attrs["subject"], named.attrs["session"]) == ("J", "s09")
    assert open_nwb(path, bin_size_s=0.02).identical(named.assign_attrs(subject="I", session="s01"))
    with pytest.raises(ConfigError, match=r"comes back as it was.*without lfp, bin_size_s"):
        open_nwb(path, lfp=False, bin_size_s=0.05)


@pytest.mark.parametrize("make", [rich_session, make_session])
def test_other_programs_find_nothing_wrong(tmp_path, make):
    session = make()
    latents = {"Teacher": make_latents(session), "a/b": make_latents(session, shift=0.3)}
    path = write_nwb(session, tmp_path / "a.nwb", latents=latents)
    errors = pynwb.validate(path=str(path))
    assert not errors, errors
    found = list(inspect_nwbfile(nwbfile_path=str(path), skip_validate=True))
    worst = [each for each in found if each.importance.value >= Importance.CRITICAL.value]
    assert not worst, worst
    with NWBHDF5IO(path=str(path), mode="r") as io:
        nwbfile = io.read()
        assert nwbfile.session_start_time.year == 1970
        assert "not known" in nwbfile.session_description


def test_other_programs_find_volts_positions_trials_and_latents(tmp_path):
    session = rich_session()
    session = session.assign_attrs(subject_sex="F")
    latents = make_latents(session)
    start = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
    path = write_nwb(
        session, tmp_path / "a.nwb", latents={"Distilled": latents}, session_start_time=start
    )
    with NWBHDF5IO(path=str(path), mode="r") as io:
        nwbfile = io.read()
        series = nwbfile.processing["ecephys"]["LFP"]["lfp"]
        assert isinstance(series, ElectricalSeries)
        volts = series.get_data_in_units()
        np.testing.assert_allclose(volts, session["lfp"].values * 1e-6, rtol=1e-6)
        np.testing.assert_array_equal(series.timestamps[:], session["time"])
        assert list(series.electrodes["location"].data[:]) == ["M1", "M1", "S1", "S1"]
        stored = nwbfile.processing["spikelfp_lab"]["latents_Distilled"]
        np.testing.assert_array_equal(stored.data[:], latents)
        assert "z0, z1, z2" in stored.description
        trials = nwbfile.trials.to_dataframe()
        assert trials["trial"].tolist() == [0, 1, 3, 4, 5]
        np.testing.assert_allclose(trials["start_time"].values[:2], [0.0, 2.0], atol=1e-9)
        assert nwbfile.units is None and nwbfile.session_start_time == start
        assert "not known" not in nwbfile.session_description
        assert (nwbfile.subject.age, nwbfile.subject.sex) == ("P0D/", "F")
        assert "cannot be had" in nwbfile.processing["spikelfp_lab"]["spikes"].description
    table = describe_nwb(path).set_index("object")
    used = dict(zip(table["role"], table.index, strict=True))
    assert used["spikes"] == "processing/spikelfp_lab/spikes"
    assert table.loc["processing/spikelfp_lab/latents_Distilled", "why"] == "latents of a model"


def test_a_file_is_replaced_only_when_asked_and_never_half_written(tmp_path, monkeypatch):
    path = write_nwb(make_session(bins=50), tmp_path / "deep" / "a.nwb")
    with pytest.raises(DataError, match="overwrite=True"):
        write_nwb(make_session(bins=60), path)
    write_nwb(make_session(bins=60), path, overwrite=True)

    def full(self, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(NWBHDF5IO, "write", full)
    with pytest.raises(DataError, match=r"could not be written.*No space left"):
        write_nwb(make_session(bins=70), path, overwrite=True)
    assert open_nwb(path).sizes["time"] == 60
    assert [each.name for each in path.parent.iterdir()] == ["a.nwb"]


def test_what_cannot_be_written_is_refused(tmp_path):
    session = make_session(bins=50)
    with pytest.raises(SchemaError):
        write_nwb(session.drop_attrs(), tmp_path / "a.nwb")
    with pytest.raises(DataError, match=r"not a DataArray \(time, latent\)"):
        write_nwb(session, tmp_path / "a.nwb", latents=make_latents(session).T)
    note = session.assign_coords(note=("time", ["x"] * 50))
    with pytest.raises(DataError, match=r"<U1 over time.*drop_vars\('note'\)"):
        write_nwb(note, tmp_path / "a.nwb")
    assert not list(tmp_path.iterdir())
