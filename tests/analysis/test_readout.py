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
from spikelfp_lab.analysis import ReadOut, decode, fit_readout, score_predicted
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import TEST, TRAIN, VAL, split_session, usable_runs
from tests.factories import make_session

NAN = {"nan_lfp": range(70, 75), "nan_behavior": range(40, 50)}


def lagging_session(*, bins=3000, bin_size_s=0.01):
    """A session with trials, a gap and NaN, whose behavior is that of the LFP three bins before."""
    options = {"bins": bins, "bin_size_s": bin_size_s, "trial_bins": 700, "gaps": [bins // 2]}
    session = make_session(**options, **NAN)
    noise = np.random.default_rng(1).normal(size=session["behavior"].shape)
    moved = session["behavior"].roll(time=3, roll_coords=False) + 0.5 * noise
    # channels of very different size and offset, which the read-out must not care about
    lfp = session["lfp"] * np.geomspace(0.1, 100, session.sizes["channel"]) + 5
    return session.assign(behavior=moved.astype("float32"), lfp=lfp.astype("float32"))


def halves(session, *, scheme="blocks"):
    return split_session(session, scheme=scheme, window_s=0.5)


def by_hand(session, *, before=0, after=0, scheme="blocks"):
    """Rows and lagged features of every bin whose neighborhood is whole, one bin at a time."""
    lfp, split = session["lfp"].values.astype(float), halves(session, scheme=scheme).values
    run = np.zeros(len(lfp), int) - 1
    for number, (start, stop) in enumerate(usable_runs(session, variables=["lfp"])):
        run[start:stop] = number
    around = {t: slice(t - before, t + after + 1) for t in range(before, len(lfp) - after)}
    edges = {t: set(zip(run[part], split[part], strict=True)) for t, part in around.items()}
    rows = np.array([t for t in around if run[t] >= 0 and len(edges[t]) == 1])
    lagged = np.stack([lfp[around[t]].ravel() for t in rows])
    known = np.isfinite(session["behavior"].values[rows]).all(axis=1)
    return rows, lagged, split[rows], known


def predict(latents, session, **options):
    """Fitted and applied on one split, as decode does it."""
    split = halves(session)
    fitted = fit_readout(latents, session, split=split, **options)
    return fitted.predict(latents, split=split.assign_coords(trial=session["trial"]))


@pytest.mark.parametrize(
    ("kind", "before", "after"), [("one_frame", 0, 0), ("lagged", 10, 10), ("past", 10, 0)]
)
def test_same_as_scikit_learn(kind, before, after):
    session = lagging_session()
    rows, lagged, split, known = by_hand(session, before=before, after=after)
    behavior = session["behavior"].values[rows].astype(float)
    train = (split == TRAIN) & known

    errors = []
    for penalty in PENALTIES:
        # scikit-learn's alpha is absolute, and five folds train on four fifths of the rows
        model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum() * 4 / 5))
        guess = cross_val_predict(model, lagged[train], behavior[train], cv=KFold(5))
        errors.append((((guess - behavior[train]) ** 2).mean(0) / behavior[train].var(0)).sum())
    penalty = PENALTIES[np.argmin(errors)]
    model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum()))
    expected = model.fit(lagged[train], behavior[train]).predict(lagged)

    predicted = predict(session["lfp"], session, kind=kind)
    assert predicted.attrs["relative_penalty"] == penalty
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(predicted.values[:, 0])), rows)
    np.testing.assert_allclose(predicted.values[rows], expected, rtol=0, atol=1e-11)

    scores = decode(session["lfp"], session, readouts=kind, split=halves(session))
    test = (split == TEST) & known
    expected_r2 = r2_score(behavior[test], expected[test], multioutput="raw_values")
    np.testing.assert_allclose(scores.query("split == 'test'")["r2"], expected_r2, atol=1e-12)


def test_paper_protocol_is_least_squares_with_val_and_test_pooled():
    session = lagging_session(bins=12000)
    rows, features, split, known = by_hand(session, scheme="paper")
    behavior = session["behavior"].values[rows].astype(float)
    train, pooled = (split == TRAIN) & known, np.isin(split, (VAL, TEST)) & known
    expected = LinearRegression().fit(features[train], behavior[train]).predict(features[pooled])
    scores = decode(session["lfp"], session, protocol="paper")
    r2 = scores.query("split == 'valtest' and readout == 'one_frame'")["r2"]
    wanted = r2_score(behavior[pooled], expected, multioutput="raw_values")
    np.testing.assert_allclose(r2, wanted, atol=1e-6)


def test_one_row_for_every_readout_split_and_axis():
    session = lagging_session()
    scores = decode(session["lfp"], session, split=halves(session))
    assert len(scores.drop_duplicates(["readout", "split", "axis"])) == len(scores) == 2 * 3 * 2
    r2 = scores.query("split == 'test'").groupby("readout")["r2"].mean()
    assert r2["lagged"] > 0.5 > r2["one_frame"]  # the behavior follows the LFP by three bins
    causal = decode(session["lfp"].assign_attrs(causal=True), session, split=halves(session))
    assert list(causal["readout"].unique()) == ["one_frame", "past"]


def test_r2_depends_on_no_units_dtype_or_container():
    """Volt or microvolt, an offset, channels of very different size; mm or km of behavior."""
    session = lagging_session()
    lfp, behavior = session["lfp"].astype(float), session["behavior"].astype(float)
    options = {"split": halves(session)}
    base = decode(lfp, session, **options)["r2"]
    unlike = np.where(np.arange(lfp.sizes["channel"]) % 2, 1e-9, 1e6)
    for features in (lfp * 1e-9, lfp * 1e6, lfp + 1e6, lfp * unlike):
        np.testing.assert_allclose(decode(features, session, **options)["r2"], base, atol=1e-5)
    for moved in (behavior * 1e-9, behavior * 1e6, behavior + 1e6, behavior * [1, 1e5]):
        again = decode(lfp, session.assign(behavior=moved), **options)
        np.testing.assert_allclose(again["r2"], base, atol=1e-5)
    leaf = xr.DataTree.from_dict({"I/s01": session})["I/s01"]
    counts = decode(session["spikes"], leaf, **options)
    floats = decode(session["spikes"].astype(float).T, session, **options)
    np.testing.assert_allclose(counts["r2"], floats["r2"], rtol=1e-9)


def test_test_split_is_never_looked_at_in_fitting():
    session = lagging_session()
    test = halves(session).values == TEST
    spoiled = session.copy(deep=True)
    spoiled["lfp"][test] *= 50
    spoiled["behavior"][test] += 1e4
    clean, spoilt = (predict(each["lfp"], each) for each in (session, spoiled))
    np.testing.assert_array_equal(clean.values[~test], spoilt.values[~test])


def test_reach_is_counted_in_bins():
    session = lagging_session(bin_size_s=0.1)
    split = split_session(session, window_s=1.0)
    fitted = fit_readout(session["lfp"], session, lag_s=0.3, split=split)
    known = np.isfinite(fitted.predict(session["lfp"]).values[:, 0])
    assert np.flatnonzero(known)[0] == 3
    assert not known[70 - 3 : 75 + 3].any() and known[[66, 78]].all()


@pytest.mark.parametrize("protocol", [None, "paper"])
def test_constant_features_and_axes_and_more_features_than_bins_are_no_trouble(protocol):
    session = lagging_session(bins=1200)
    wide = np.random.default_rng(1).normal(size=(1200, 900))
    wide[:, :5] = 3.0
    latents = xr.DataArray(wide, {"time": session["time"]}, ("time", "latent"))
    session["behavior"][:, 1] = 2.0
    options = {"readouts": "one_frame", "protocol": protocol, "split": halves(session)}
    r2 = decode(latents, session, **options).set_index("axis")["r2"]
    assert r2["vx"].notna().all() and r2["vy"].isna().all()


def test_units_that_were_not_observed_count_as_at_their_mean():
    session = lagging_session()
    observed = np.ones(session["spikes"].shape, bool)
    observed[900:2100, 1] = False
    known = session["spikes"] * observed
    known = known.assign_coords(observed=(("time", "unit"), observed))
    split = halves(session)
    fitted = fit_readout(known, session, kind="one_frame", split=split)
    train = (split.values == TRAIN) & np.isfinite(session["behavior"].values).all(axis=1)
    mean = session["spikes"].values[train & observed[:, 1], 1].mean()
    assert fitted.ridge.mean[1] == pytest.approx(mean)
    filled = session["spikes"].astype(float).where(observed, mean)
    np.testing.assert_allclose(fitted.predict(known), fitted.predict(filled))


def test_errors_name_the_cure():
    session = lagging_session(bins=5000)
    lfp, split = session["lfp"], halves(session)
    late = session.assign_coords(time=session["time"] + 3600)
    shifted = late["lfp"].assign_coords(time=late["time"] + 0.03)  # an hour into the recording
    for latents, of, options, kind, problem in (
        (lfp, session.drop_vars("behavior"), {}, DataError, "no 'behavior'"),
        (lfp[:-1], session, {}, DataError, "clock: it has 4999 bins.*the session 5000 bins"),
        (shifted, late, {}, DataError, "not on the session's clock"),
        (lfp, session, {"readouts": []}, ConfigError, "readouts is empty"),
        (lfp, session, {"lag_s": -0.1}, ConfigError, "lag_s is -0.1"),
        (lfp, session, {"lag_s": np.nan}, ConfigError, "lag_s is nan"),
        (lfp.where(split != TRAIN), session, {"split": split}, DataError, "'train' split"),
    ):
        with pytest.raises(kind, match=problem):
            decode(latents, of, **options)


def latents_of(session):
    """Latents as encode returns them."""
    split = {"scheme": "blocks", "window_s": 0.4, "seed": 3}
    names = {"session": "I/s01", "encoded_as": "I/s01", "digest": "a" * 16}
    return session["lfp"].rename(channel="latent").assign_attrs(split | names)


def test_the_split_that_was_taken_is_said():
    session = make_session(bins=4000)
    latents = latents_of(session)
    scores = decode(latents, session)
    said = {"scheme": "blocks", "window_s": 0.4, "seed": 3, "split_from": "latents"}
    assert scores.attrs == said
    own = split_session(session, window_s=0.4, seed=3)
    pd.testing.assert_frame_equal(decode(latents, session, split=own), scores, check_exact=True)
    lost = decode(latents.drop_attrs(), session).attrs
    assert lost == {"scheme": "blocks", "window_s": 2.0, "seed": 0, "split_from": "default"}
    with pytest.raises(DataError, match="latents of session I/s01, the behavior is of I/s02"):
        decode(latents, session.assign_attrs(session="s02"))


def test_a_readout_is_frozen_saved_and_knows_its_latents(tmp_path):
    session = make_session(bins=4000)
    latents = latents_of(session)
    readout = fit_readout(latents, session)
    lagged = decode(latents, session).query("readout == 'lagged'").reset_index(drop=True)
    path = readout.save(tmp_path / "readout.safetensors")
    kept = ReadOut.load(path)
    assert kept == readout
    frozen = decode(latents[:, ::-1], session, readout=kept)  # matched by label
    pd.testing.assert_frame_equal(frozen, lagged)
    # scored on another day, whose behavior it has never seen
    moved = session["behavior"].copy(data=session["behavior"].values[::-1])
    other = session.assign_attrs(session="s02").assign(behavior=moved)
    frozen = decode(latents.assign_attrs(session="I/s02"), other, readout=readout)
    assert frozen.query("split == 'test'")["r2"].max() < lagged.query("split == 'test'")["r2"].max()
    for bad, problem in (
        (latents.assign_coords(latent=[1, 2, 3, 4]), r"lack \['ch00'.*besides \[1"),
        (latents.drop_vars("latent"), "labeled alike"),
        (latents.assign_attrs(digest="b" * 16), "the model a{16} .* of b{16}"),
        (latents.assign_coords(time=latents["time"] * 2), "these .* in bins of 0.04 s"),
    ):
        with pytest.raises(DataError, match=problem):
            readout.predict(bad)
    with pytest.warns(SpikeLFPWarning, match="lost their attrs"):
        readout.predict(latents.drop_attrs())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="no saved read-out"):
        ReadOut.load(path)


def test_score_errors_name_the_cure():
    session = lagging_session()
    predicted = predict(session["lfp"], session)
    with pytest.raises(DataError, match="coordinate 'split'"):
        score_predicted(predicted.drop_vars("split"), session)
    with pytest.raises(DataError, match=r"The prediction is of .'vx'., the session's"):
        score_predicted(predicted[:, :1], session)
