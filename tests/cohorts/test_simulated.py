"""Simulated sessions: valid, reproducible, true, and at the calibrated level of difficulty."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab.cohorts import simulated
from spikelfp_lab.cohorts.generative import DEFAULT_PARAMETERS, LATENT_NAMES
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.sessions import validate_session
from spikelfp_lab.signal import band_power


@pytest.fixture(scope="module")
def demo():
    return simulated.session()


def _lagged_ridge_r2(features, behavior, *, lags, penalty):
    """R2 over both axes on the last fifth, trained on the first four, with a guard between."""
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    reach = max(abs(lag) for lag in lags)
    rows = np.arange(reach, len(features) - reach)
    train = rows[rows < 0.8 * len(features)]
    test = rows[rows >= 0.8 * len(features) + 200]

    def design(which):
        return np.concatenate([features[which + lag] for lag in lags], axis=1, dtype=np.float32)

    x, y = design(train), behavior[train]
    center, level = x.mean(axis=0), y.mean(axis=0)
    x -= center
    gram = (x.T @ x).astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, x.T @ (y - level))
    error = behavior[test] - ((design(test) - center) @ weights + level)
    return float(
        np.mean(1 - (error**2).sum(0) / ((behavior[test] - behavior[test].mean(0)) ** 2).sum(0))
    )


def test_levels_are_as_calibrated(demo):
    """Ridge sets a fair bar: these ranges are the point of the levels, see the issue's text."""
    behavior = demo["behavior"].values
    lags = range(-10, 11, 2)
    spikes = _lagged_ridge_r2(
        demo["spikes"].values.astype(np.float32), behavior, lags=range(-10, 11, 2), penalty=1e4
    )
    lfp = _lagged_ridge_r2(demo["lfp"].values, behavior, lags=range(-10, 11), penalty=1e4)
    power = _lagged_ridge_r2(
        band_power(demo["lfp"]).values, behavior, lags=list(lags)[::2], penalty=1e4
    )
    assert 0.73 < spikes < 0.90
    assert 0.30 < lfp < 0.50
    assert 0.30 < power < 0.50


def test_session_is_valid_and_names_what_it_holds(demo):
    validate_session(demo)
    assert demo.sizes["time"] == 48_000 and demo.sizes["channel"] == 32
    assert 40 <= demo.sizes["unit"] <= 90
    assert demo["behavior"].behavior_dim.values.tolist() == ["vx", "vy"]
    assert demo["behavior"].attrs["units"] == "cm/s"
    assert demo["lfp"].attrs == {"kind": "LFP", "units": "uV"}
    assert np.isfinite(demo["lfp"].values).all() and np.isfinite(demo["behavior"].values).all()


def test_truth_and_parameters_are_kept(demo):
    assert demo["latent_truth"].dims == ("time", "latent_truth_dim")
    assert tuple(demo["latent_truth_dim"].values) == LATENT_NAMES
    kept = json.loads(demo.attrs["generative_parameters"])
    assert kept["seed"] == 0 and kept["n_channels"] == 32
    defaults = json.loads(json.dumps(dataclasses.asdict(DEFAULT_PARAMETERS)))
    assert kept["parameters"] == defaults
    for name, dim in (("spike_tuning", "unit"), ("lfp_mixing", "channel")):
        assert demo[name].dims == (dim, "latent_truth_dim")
    # latents are behavior's of 100 ms later, on the session's own clock
    truth = demo["latent_truth"].sel(latent_truth_dim="vx").values
    velocity = (
        demo["behavior"].sel(behavior_dim="vx").values / DEFAULT_PARAMETERS.velocity_scale_cm_s
    )
    np.testing.assert_allclose(truth[:-10], velocity[10:], atol=0.05)
    assert np.abs(demo["latent_truth"].mean("time")).max() < 0.25
    assert np.abs(demo["latent_truth"].std("time") - 1).max() < 0.25


def test_line_noise_does_not_reach_the_session(demo):
    spectrum = np.abs(np.fft.rfft(demo["lfp"].values[:, 0])) ** 2
    hz = np.fft.rfftfreq(48_000, 0.01)
    aliased = spectrum[np.abs(hz - 40.0) < 0.02].max()
    assert aliased < 20 * np.median(spectrum[np.abs(hz - 40.0) < 1.0])


def test_a_session_does_not_depend_on_how_many_are_asked_for():
    options = {"duration_s": 5.0, "n_channels": 4, "progress": False}
    few, many = simulated.cohort(n_sessions=2, **options), simulated.cohort(n_sessions=4, **options)
    xr.testing.assert_identical(few["I/s02"].to_dataset(), many["I/s02"].to_dataset())
    assert [leaf.path for leaf in many.leaves] == ["/I/s01", "/I/s02", "/I/s03", "/I/s04"]
    assert many["I"].sizes == {}  # parents hold nothing


def test_subjects_differ_and_keep_their_channels():
    tree = simulated.cohort(
        subjects=("I", "C"), n_sessions=2, duration_s=5.0, n_channels=6, n_units=5, progress=False
    )
    assert [leaf.path for leaf in tree.leaves] == ["/I/s01", "/I/s02", "/C/s01", "/C/s02"]
    assert all(leaf.sizes["channel"] == 6 and leaf.sizes["unit"] == 5 for leaf in tree.leaves)
    assert not np.array_equal(tree["I/s01"]["lfp"].values, tree["C/s01"]["lfp"].values)


def test_levels_can_be_set():
    loud = dataclasses.replace(DEFAULT_PARAMETERS, background_uv=600.0)
    plain = simulated.session(duration_s=5.0, n_channels=2, n_units=2)
    louder = simulated.session(duration_s=5.0, n_channels=2, n_units=2, parameters=loud)
    assert louder["lfp"].values.std() > 4 * plain["lfp"].values.std()
    np.testing.assert_array_equal(louder["spikes"], plain["spikes"])


@pytest.mark.parametrize(
    "options", [{"subjects": "I"}, {"subjects": ()}, {"subjects": ("I", "I")}, {"n_sessions": 0}]
)
def test_bad_options_are_one_clear_error(options):
    with pytest.raises(ConfigError):
        simulated.cohort(**options, duration_s=5.0, progress=False)
