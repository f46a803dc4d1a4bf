"""Read-outs: the same numbers as scikit-learn, and nothing from where they may not look."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikelfp_lab._ridge import PENALTIES
from spikelfp_lab.analysis import decode, predict, score
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import TEST, TRAIN, VAL, split_session, usable_runs
from tests.factories import make_session

WINDOW_S = 0.5


def lagging_session(*, bins=3000, bin_size_s=0.01):
    """A session with trials, a gap and NaN, whose behavior is that of the LFP three bins before."""
    session = make_session(
        bins=bins,
        bin_size_s=bin_size_s,
        trial_bins=700,
        gaps=[bins // 2],
        nan_lfp=range(70, 75),
        nan_behavior=range(40, 50),
    )
    noise = np.random.default_rng(1).normal(size=session["behavior"].shape)
    behavior = np.roll(session["behavior"].values, 3, axis=0) + 0.5 * noise
    # channels of very different size and offset, which the read-out must not care about
    lfp = session["lfp"].values * np.geomspace(0.1, 100, session.sizes["channel"]) + 5
    return session.assign(
        behavior=(("time", "behavior_dim"), behavior.astype("float32")),
        lfp=(("time", "channel"), lfp.astype("float32")),
    )


def by_hand(session, *, reach, scheme="blocks"):
    """Rows and lagged features of every bin whose neighborhood is whole, one bin at a time."""
    lfp = session["lfp"].values.astype(float)
    split = split_session(session, scheme=scheme, window_s=WINDOW_S).values
    run = np.zeros(len(lfp), int) - 1
    for number, (start, stop) in enumerate(usable_runs(session, variables=["lfp"])):
        run[start:stop] = number
    rows = [
        t
        for t in range(reach, len(lfp) - reach)
        if run[t] >= 0
        and len(set(run[t - reach : t + reach + 1])) == 1
        and len(set(split[t - reach : t + reach + 1])) == 1
    ]
    rows = np.array(rows)
    lagged = np.stack([lfp[t - reach : t + reach + 1].ravel() for t in rows])
    known = np.isfinite(session["behavior"].values[rows]).all(axis=1)
    return rows, lagged, split[rows], known


@pytest.mark.parametrize(("readout", "reach"), [("one_frame", 0), ("lagged", 10)])
def test_same_as_scikit_learn(readout, reach):
    session = lagging_session()
    rows, lagged, split, known = by_hand(session, reach=reach)
    behavior = session["behavior"].values[rows].astype(float)
    train = (split == TRAIN) & known

    errors = []
    for penalty in PENALTIES:
        n = train.sum()
        # scikit-learn's alpha is absolute, and five folds train on four fifths of the rows
        model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * n * 4 / 5))
        guess = cross_val_predict(model, lagged[train], behavior[train], cv=KFold(5))
        errors.append((((guess - behavior[train]) ** 2).mean(0) / behavior[train].var(0)).sum())
    penalty = PENALTIES[np.argmin(errors)]
    model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum()))
    expected = model.fit(lagged[train], behavior[train]).predict(lagged)

    predicted = predict(session["lfp"], session, readout=readout, window_s=WINDOW_S)
    assert predicted.attrs["relative_penalty"] == penalty
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(predicted.values[:, 0])), rows)
    np.testing.assert_allclose(predicted.values[rows], expected, atol=1e-6)

    scores = decode(session["lfp"], session, readouts=[readout], window_s=WINDOW_S)
    test = (split == TEST) & known
    r2 = scores.query("split == 'test'")["r2"]
    expected_r2 = r2_score(behavior[test], expected[test], multioutput="raw_values")
    np.testing.assert_allclose(r2, expected_r2, atol=1e-6)


def test_paper_protocol_is_least_squares_with_val_and_test_pooled():
    session = lagging_session(bins=12000)
    rows, features, split, known = by_hand(session, reach=0, scheme="paper")
    behavior = session["behavior"].values[rows].astype(float)
    train, pooled = (split == TRAIN) & known, np.isin(split, (VAL, TEST)) & known
    expected = LinearRegression().fit(features[train], behavior[train]).predict(features[pooled])
    scores = decode(session["lfp"], session, protocol="paper", window_s=WINDOW_S)
    assert list(scores["split"].unique()) == ["train", "val", "test", "valtest"]
    r2 = scores.query("split == 'valtest' and readout == 'one_frame'")["r2"]
    expected_r2 = r2_score(behavior[pooled], expected, multioutput="raw_values")
    np.testing.assert_allclose(r2, expected_r2, atol=1e-6)


def test_one_row_for_every_readout_split_and_axis():
    scores = decode(lagging_session()["lfp"], lagging_session(), window_s=WINDOW_S)
    assert list(scores.columns) == ["readout", "split", "axis", "r2"]
    assert len(scores.drop_duplicates(["readout", "split", "axis"])) == 2 * 3 * 2
    lagged, one = (
        scores.query(f"readout == '{name}' and split == 'test'")["r2"].mean()
        for name in ("lagged", "one_frame")
    )
    assert lagged > 0.5 > one  # the behavior follows the LFP by three bins


def test_test_split_is_never_looked_at_in_fitting():
    session = lagging_session()
    split = split_session(session, window_s=WINDOW_S)
    spoiled = session.copy(deep=True)
    spoiled["lfp"][split.values == TEST] *= 50
    spoiled["behavior"][split.values == TEST] += 1e4
    for readout in ("one_frame", "lagged"):
        clean, spoilt = (
            predict(s["lfp"], s, readout=readout, window_s=WINDOW_S) for s in (session, spoiled)
        )
        elsewhere = split.values != TEST
        np.testing.assert_array_equal(clean.values[elsewhere], spoilt.values[elsewhere])


def test_counts_decode_like_floats_and_a_cohort_leaf_like_its_dataset():
    session = lagging_session()
    leaf = xr.DataTree.from_dict({"I/s01": session})["I/s01"]
    counts = decode(session["spikes"], leaf, window_s=WINDOW_S)
    floats = decode(session["spikes"].astype(float).T, session, window_s=WINDOW_S)
    np.testing.assert_allclose(counts["r2"], floats["r2"], rtol=1e-9)


@pytest.mark.parametrize(("bin_size_s", "lag_s", "reach"), [(0.1, 0.1, 1), (0.1, 0.3, 3)])
def test_reach_is_counted_in_bins(bin_size_s, lag_s, reach):
    session = lagging_session(bin_size_s=bin_size_s)
    predicted = predict(session["lfp"], session, lag_s=lag_s, window_s=10 * bin_size_s)
    bins = np.flatnonzero(np.isfinite(predicted.values[:, 0]))
    assert bins[0] == reach
    assert np.isnan(predicted.values[70 - reach : 75 + reach]).all()
    assert np.isfinite(predicted.values[[70 - reach - 1, 75 + reach]]).all()


def test_constant_features_and_more_features_than_bins_are_no_trouble():
    session = lagging_session(bins=1200)
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(1200, 900))
    wide[:, :5] = 3.0
    latents = xr.DataArray(wide, dims=("time", "latent"), coords={"time": session["time"]})
    for protocol, scheme in ((None, "blocks"), ("paper", "paper")):
        if protocol == "paper":
            session = session.assign_coords(time=session["time"] * 5)
            session.attrs["bin_size_s"] = 0.05
            latents = latents.assign_coords(time=session["time"])
        scores = decode(
            latents, session, readouts=["one_frame"], protocol=protocol, scheme=scheme, window_s=0.2
        )
        assert np.isfinite(scores["r2"]).all()
        assert scores.query("split == 'test'")["r2"].max() < 0.2


def test_constant_axis_scores_nan():
    session = lagging_session()
    session["behavior"][:, 1] = 2.0
    scores = decode(session["lfp"], session, readouts="one_frame", window_s=WINDOW_S)
    assert scores.query("axis == 'vy'")["r2"].isna().all()
    assert scores.query("axis == 'vx'")["r2"].notna().all()


def test_errors_name_the_cure():
    session = lagging_session()
    lfp = session["lfp"]
    with pytest.raises(DataError, match="no 'behavior'"):
        decode(lfp, session.drop_vars("behavior"), window_s=WINDOW_S)
    with pytest.raises(DataError, match=r"not on the session's clock.*2999 bins.*session has 3000"):
        decode(lfp[:-1], session, window_s=WINDOW_S)
    with pytest.raises(DataError, match="clock"):
        decode(lfp.assign_coords(time=lfp["time"] + 1), session, window_s=WINDOW_S)
    with pytest.raises(DataError, match="untimed"):
        decode(lfp.drop_vars(["time", "trial"]), session, window_s=WINDOW_S)
    with pytest.raises(DataError, match="dims 'time' and one other"):
        decode(lfp.values, session, window_s=WINDOW_S)
    with pytest.raises(ConfigError, match="one_frame, lagged"):
        decode(lfp, session, readouts=["both"], window_s=WINDOW_S)
    with pytest.raises(ConfigError, match="protocol"):
        decode(lfp, session, protocol="official", window_s=WINDOW_S)
    split = split_session(session, window_s=WINDOW_S)
    for code, part in ((TEST, "test"), (TRAIN, "train")):
        with pytest.raises(DataError, match=f"'{part}' split"):
            decode(lfp.where(split != code), session, window_s=WINDOW_S)


def test_latents_carry_the_split_of_their_model():
    """What encode writes in attrs is the default; what is asked for goes before it."""
    session = make_session(bins=2000)
    latents = session["lfp"].assign_attrs(scheme="blocks", window_s=0.4, seed=3)
    carried = predict(latents, session)["split"]
    np.testing.assert_array_equal(carried, split_session(session, window_s=0.4, seed=3))
    asked = predict(latents, session, seed=1, window_s=0.6)["split"]
    np.testing.assert_array_equal(asked, split_session(session, window_s=0.6, seed=1))


@pytest.mark.parametrize("protocol", [None, "paper"])
def test_score_of_what_predict_returns_is_decode(protocol):
    session = lagging_session(bins=12000)
    options = {"window_s": WINDOW_S, "protocol": protocol}
    scores = decode(session["lfp"], session, **options)
    for readout, rows in scores.groupby("readout"):
        predicted = predict(session["lfp"], session, readout=readout, **options)
        again = score(predicted.transpose(), xr.DataTree(session))
        pd.testing.assert_frame_equal(again, rows.reset_index(drop=True), check_exact=True)
    named = score(predicted, session, readout="mine")
    assert set(named["readout"]) == {"mine"} and list(named["r2"]) == list(again["r2"])


def test_score_errors_name_the_cure():
    session = lagging_session()
    predicted = predict(session["lfp"], session, window_s=WINDOW_S)
    with pytest.raises(DataError, match="coordinate 'split'"):
        score(predicted.drop_vars("split"), session)
    with pytest.raises(DataError, match="dims 'time' and 'behavior_dim'"):
        score(predicted.rename(behavior_dim="axis"), session)
    with pytest.raises(
        DataError, match="The prediction is of vx, the session's behavior has vx, vy"
    ):
        score(predicted[:, :1], session)
    with pytest.raises(DataError, match="predictions are not on the session's clock"):
        score(predicted[:-1], session)
    with pytest.raises(DataError, match=r"'test' split.*within 0.1 s of an edge.*now 0.5 s"):
        score(predicted.where(predicted["split"] != TEST), session)
    with pytest.raises(DataError, match="no 'behavior'"):
        score(predicted, session.drop_vars("behavior"))
