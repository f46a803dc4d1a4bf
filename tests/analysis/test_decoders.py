"""References: near the optimum where one is known, and nothing from where they may not look."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from spikelfp_lab.analysis import _kalman_filter, gru, kalman, score_predicted, wiener
from spikelfp_lab.analysis._gru import GRU_TRAIN
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import TEST, TRAIN, VAL, split_session

BIN_S = 0.02
WINDOW_S = 0.5
QUICK = replace(GRU_TRAIN, steps=6, batch=4, val_every=3)


METHODS = {
    "wiener": partial(wiener, lag_s=0.1),
    "kalman": kalman,
    "gru": partial(gru, parameters=500, train=QUICK, progress=False, device="cpu"),
}
methods = pytest.mark.parametrize("name", METHODS)


def make(behavior, inputs, *, gap=None, trial=None):
    """A session of two axes and its inputs, on one clock."""
    time = BIN_S * (0.5 + np.arange(len(behavior)))
    time[gap or len(time) :] += 1.0
    coords = {"time": time, "behavior_dim": ["vx", "vy"]}
    if trial is not None:
        coords["trial"] = ("time", trial)
    session = xr.Dataset(
        {"behavior": (("time", "behavior_dim"), behavior)}, coords, {"bin_size_s": BIN_S}
    )
    attrs = {"scheme": "blocks", "window_s": WINDOW_S, "seed": 0}  # as latents have them
    return session, xr.DataArray(inputs, {"time": time}, ("time", "channel"), attrs=attrs)


def linear_gaussian(*, bins=6000, channels=8):
    """Behavior that turns and decays, seen through noise, and the system that made both."""
    rng, turn = np.random.default_rng(0), 0.06
    dynamics = 0.98 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    behavior = np.zeros((bins, 2))
    for t in range(1, bins):
        behavior[t] = dynamics @ behavior[t - 1] + 0.1 * rng.normal(size=2)
    observation = rng.normal(size=(channels, 2))
    mixing = np.eye(channels) + 0.3 * rng.normal(size=(channels, channels))
    inputs = behavior @ observation.T + 4 * rng.normal(size=(bins, channels)) @ mixing.T
    prior = 0.01 / (1 - 0.98**2) * np.eye(2)
    system = _kalman_filter.System(
        dynamics, 0.01 * np.eye(2), observation, 16 * mixing @ mixing.T, prior, np.zeros(channels)
    )
    return behavior, inputs, system


def textbook(system, observed):
    """The Kalman filter as it is usually written, one bin at a time."""
    state, covariance = np.zeros(len(system.prior)), system.prior
    states = []
    for y in observed:
        gain = covariance @ system.observation.T
        gain = gain @ np.linalg.inv(system.observation @ gain + system.noise)
        state = state + gain @ (y - system.offset - system.observation @ state)
        covariance = covariance - gain @ system.observation @ covariance
        states.append(state)
        state = system.dynamics @ state
        covariance = system.dynamics @ covariance @ system.dynamics.T + system.process
    return np.array(states)


def r2_of(predicted, session):
    return score_predicted(predicted, session).query("split == 'test'")["r2"].mean()


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_filter_is_the_textbooks(channels):
    _, observed, system = linear_gaussian(bins=90, channels=channels)
    system = system._replace(offset=np.linspace(-3, 5, channels))
    states = _kalman_filter.filtered(system, observed, np.array([[0, 7], [20, 90]]))
    for run in (slice(0, 7), slice(20, 90)):
        np.testing.assert_allclose(states[run], textbook(system, observed[run]), atol=1e-6)
    assert np.isnan(states[7:20]).all()


def test_kalman_is_near_the_optimum_and_ahead_of_a_short_wiener_filter():
    behavior, inputs, system = linear_gaussian()
    session, lfp = make(behavior, inputs)
    predicted = kalman(lfp, session)
    optimum = r2_of(predicted.copy(data=textbook(system, inputs)), session)
    assert 0.5 < optimum < 0.95
    assert optimum - 0.02 < r2_of(predicted, session) < optimum + 0.02
    short, long = (r2_of(wiener(lfp, session, lag_s=lag_s), session) for lag_s in (0.04, 0.8))
    assert short < r2_of(predicted, session) - 0.1
    assert short < long < optimum + 0.02


def test_gru_reads_an_envelope_that_no_linear_filter_sees():
    rng = np.random.default_rng(0)
    behavior = gaussian_filter1d(rng.normal(size=(4000, 2)), 12, axis=0)
    behavior /= behavior.std(axis=0)
    envelope = np.exp(0.7 * behavior @ rng.normal(size=(2, 6)))
    session, lfp = make(behavior, envelope * rng.normal(size=(4000, 6)))
    split = split_session(session, window_s=1.0)
    assert r2_of(wiener(lfp, session, split=split), session) < 0.1
    train = replace(GRU_TRAIN, steps=150, batch=16, lr=1e-2, drop_inputs=0.1, noise=0.1)
    options = {"parameters": 1200, "train": train, "progress": False, "device": "cpu"}
    assert r2_of(gru(lfp, session, split=split, **options), session) > 0.4


@methods
def test_looks_at_no_test_bin_and_not_ahead(name):
    behavior, inputs, _ = linear_gaussian(bins=2400)
    session, lfp = make(behavior, inputs)
    split = split_session(session, window_s=WINDOW_S).values
    clean = METHODS[name](lfp, session)

    spoiled = behavior.copy()
    spoiled[split == TEST] += 1e3
    if name != "gru":  # which stops early by validation bins
        spoiled[split == VAL] -= 1e3
    again = METHODS[name](lfp, make(spoiled, inputs)[0])
    np.testing.assert_array_equal(again.values, clean.values)

    changed = np.where((split == TEST)[:, None], 10 - 5 * inputs, inputs)
    after = METHODS[name](make(behavior, changed)[1], session)
    first = int(np.flatnonzero(split == TEST)[0])
    np.testing.assert_array_equal(after.values[:first], clean.values[:first])
    assert np.nanmax(np.abs(after.values - clean.values)[split == TEST]) > 1e-3

    spoiled[split == TRAIN] = spoiled[split == TRAIN][::-1]
    other = METHODS[name](lfp, make(spoiled, inputs)[0])
    assert np.nanmax(np.abs(other.values - clean.values)) > 1e-3  # the checks above can fail


@methods
@pytest.mark.parametrize("edge", ["gap", "trial", "NaN"])
def test_starts_anew_after_gaps_trials_and_nan(name, edge):
    behavior, inputs, _ = linear_gaussian(bins=2400)
    split = split_session(make(behavior, inputs)[0], window_s=WINDOW_S).values
    middle = int(np.flatnonzero(split == TEST)[60])
    trial = (np.arange(2400) >= middle).astype(int)
    options = {"gap": {"gap": middle}, "trial": {"trial": trial}, "NaN": {}}[edge]
    if edge == "NaN":
        inputs[middle - 1, 3] = np.nan
    session, lfp = make(behavior, inputs, **options)
    clean = METHODS[name](lfp, session).values
    inputs[middle - 30 : middle - 1] += 20
    changed = METHODS[name](make(behavior, inputs, **options)[1], session).values
    np.testing.assert_array_equal(changed[middle:], clean[middle:])
    assert (changed != clean)[middle - 20 : middle - 1].all()
    known = np.isfinite(clean).all(axis=1)
    if name == "wiener":  # needs five bins before
        assert not known[middle : middle + 5].any() and known[middle + 5]
    else:
        np.testing.assert_array_equal(known, np.isfinite(inputs).all(axis=1))


@methods
def test_missing_behavior_is_predicted_on_the_split_of_decode(name):
    behavior, inputs, _ = linear_gaussian(bins=2400)
    behavior[100:130, 0] = np.nan
    session, lfp = make(behavior, inputs)
    carried = METHODS[name](lfp.assign_attrs(window_s=0.4, seed=3), session)
    assert carried.dims == ("time", "behavior_dim") and np.isfinite(carried.values[100:130]).all()
    np.testing.assert_array_equal(carried["split"], split_session(session, window_s=0.4, seed=3))
    scores = score_predicted(carried, session)
    assert list(scores["readout"].unique()) == [name] and np.isfinite(scores["r2"]).all()


def test_gru_is_repeatable_and_looks_ahead_within_a_run_if_asked_to():
    behavior, inputs, _ = linear_gaussian(bins=2400)
    middle = int(np.flatnonzero(split_session(make(behavior, inputs)[0], window_s=0.5) == TEST)[60])
    session, lfp = make(behavior, inputs, gap=middle)
    both, before = partial(METHODS["gru"], bidirectional=True), torch.get_rng_state()
    clean = both(lfp, session)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(clean.values, both(lfp, session).values)
    inputs[middle + 10 : middle + 30] += 10
    changed = both(make(behavior, inputs, gap=middle)[1], session)
    assert (changed.values[middle : middle + 10] != clean.values[middle : middle + 10]).all()
    np.testing.assert_array_equal(changed.values[:middle], clean.values[:middle])


def test_errors_name_the_cure():
    behavior, inputs, _ = linear_gaussian(bins=2400)
    session, lfp = make(behavior, inputs)
    short, noisy = make(behavior, inputs, trial=np.arange(2400) // 10)
    for name, bad, of, problem in (
        ("wiener", lfp, session.drop_vars("behavior"), "no 'behavior'"),
        ("kalman", lfp[:-1], session, "not on the session's clock"),
        ("gru", inputs, session, "dims 'time' and one other"),
        ("kalman", lfp * np.nan, session, "'train' split"),
        ("gru", noisy, short, "shorter than a window"),
    ):
        with pytest.raises(DataError, match=problem):
            METHODS[name](bad, of)
