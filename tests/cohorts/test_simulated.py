"""Simulated sessions: valid, reproducible, true, and at the calibrated level of difficulty."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab.cohorts import simulated
from spikelfp_lab.cohorts.generative import DEFAULT_PARAMETERS, Drift
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.sessions import validate_session
from spikelfp_lab.signal import band_power


@pytest.fixture(scope="module")
def demo():
    return simulated.session()


def _lagged_ridge_r2(features, behavior, lags):
    """R2 over both axes on the last fifth, trained on the first four, with a guard between."""
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = np.arange(10, len(features) - 10)
    design = np.concatenate([features[rows + lag] for lag in lags], axis=1, dtype=np.float32)
    train, test = rows < 0.8 * len(features), rows >= 0.8 * len(features) + 200
    design -= design[train].mean(axis=0)
    x, y, level = design[train], behavior[rows[train]], behavior[rows[train]].mean(axis=0)
    gram = (x.T @ x).astype(np.float64) + 1e4 * np.eye(x.shape[1])
    truth = behavior[rows[test]]
    error = truth - design[test] @ np.linalg.solve(gram, x.T @ (y - level)) - level
    return float(np.mean(1 - (error**2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)))


def test_levels_are_as_calibrated(demo):
    """Ridge sets a fair bar: these ranges are the point of the levels."""
    behavior = demo["behavior"].values
    spikes = demo["spikes"].values.astype(np.float32)
    assert 0.73 < _lagged_ridge_r2(spikes, behavior, range(-10, 11, 2)) < 0.90
    assert 0.30 < _lagged_ridge_r2(demo["lfp"].values, behavior, range(-10, 11)) < 0.50
    power = band_power(demo["lfp"]).values
    assert 0.30 < _lagged_ridge_r2(power, behavior, range(-10, 11, 4)) < 0.50


def test_session_is_valid_and_keeps_truth_and_parameters(demo):
    validate_session(demo)
    assert demo.sizes["time"] == 48_000 and demo.sizes["channel"] == 32
    assert np.isfinite(demo["lfp"].values).all() and np.isfinite(demo["behavior"].values).all()
    kept = json.loads(demo.attrs["generative_parameters"])
    assert kept["seed"] == 0 and kept["n_channels"] == 32
    defaults = json.loads(json.dumps(dataclasses.asdict(DEFAULT_PARAMETERS)))
    assert kept["parameters"] == defaults
    # latents are behavior's of 100 ms later, on the session's own clock
    truth = demo["latent_truth"].sel(latent_truth_dim="vx").values
    velocity = demo["behavior"].values[:, 0] / DEFAULT_PARAMETERS.velocity_scale_cm_s
    np.testing.assert_allclose(truth[:-10], velocity[10:], atol=0.05)


def test_a_day_is_the_same_whichever_other_days_are_asked_for():
    options = {"duration_s": 5, "n_channels": 3, "drift": "wang", "progress": False}
    days, late = (simulated.cohort(days=d, **options) for d in ((0, 671), (671,)))
    assert list(days["I"]) == ["d000", "d671"]
    xr.testing.assert_identical(days["I/d671"].to_dataset(), late["I/d671"].to_dataset())
    assert days["I/d671"].attrs["day"] == 671 and "spikes" in days["I/d000"]
    gone = simulated.cohort(days=(5,), **options | {"drift": Drift(units_lost=1, units_replaced=0)})
    assert "spikes" not in gone["I/d005"]  # and it is a session still
    for wrong in ({"days": (1, 1)}, {"days": (1,), "drift": "rust"}):
        with pytest.raises(ConfigError, match="milekovic"):
            simulated.cohort(**options | wrong)
    with pytest.raises(ConfigError, match="days"):
        simulated.cohort(days=(1,), progress=False)


def test_a_session_does_not_depend_on_what_else_is_asked_for():
    options = {"duration_s": 5.0, "n_channels": 6, "n_units": 5, "progress": False}
    few = simulated.cohort(n_sessions=2, **options)
    many = simulated.cohort(n_sessions=3, subjects=("I", "C"), **options)
    xr.testing.assert_identical(few["I/s02"].to_dataset(), many["I/s02"].to_dataset())
    paths = [f"/{subject}/s0{index}" for subject in "IC" for index in (1, 2, 3)]
    assert [leaf.path for leaf in many.leaves] == paths
    assert many["I"].sizes == {}  # parents hold nothing
    assert all(leaf.sizes["channel"] == 6 and leaf.sizes["unit"] == 5 for leaf in many.leaves)
    assert not np.array_equal(many["I/s01"]["lfp"].values, many["C/s01"]["lfp"].values)


@pytest.mark.parametrize("options", [{"subjects": "I"}, {"subjects": ()}, {"n_sessions": 0}])
def test_bad_options_are_one_clear_error(options):
    with pytest.raises(ConfigError):
        simulated.cohort(**options, duration_s=5.0, progress=False)
