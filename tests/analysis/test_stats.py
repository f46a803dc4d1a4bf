"""Statistics: the numbers of scipy, pairs that match, and honesty about few sessions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikelfp_lab.analysis import (
    bootstrap_interval,
    compare,
    control_false_discoveries,
    paired_test,
)
from spikelfp_lab.errors import ConfigError, DataError


def make_scores(*, sessions=6, seeds=3, gains=None, noise=0.02, readouts=("one_frame",)):
    """Tidy scores: every model scored on each session, seed and axis."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.6, sessions)
    return pd.DataFrame(
        {
            "model": model,
            "session": f"I/s{session:02d}",
            "seed": seed,
            "readout": readout,
            "split": "test",
            "axis": axis,
            "r2": base[session] + gain + noise * rng.normal(),
        }
        for model, gain in (gains or {"Distilled": 0.2, "MS-LFP": 0.0, "SS-LFP": 0.0}).items()
        for session in range(sessions)
        for seed in range(seeds)
        for readout in readouts
        for axis in ("vx", "vy")
    )


def test_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=30)) for _ in range(150)]
    covered = np.mean([low < 0 < high for low, high in intervals])
    assert 0.88 < covered < 0.99
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])
    wide, narrow = (bootstrap_interval(rng.normal(size=30), level=p) for p in (0.99, 0.5))
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_interval_of_one_value_is_unknown_and_of_none_an_error():
    assert np.isnan(bootstrap_interval([0.5])).all()
    for bad in ([], [0.1, np.nan]):
        with pytest.raises(DataError, match="no interval"):
            bootstrap_interval(bad)


def test_paired_test_is_scipys_over_sessions_and_seeds():
    scores = make_scores()
    result = paired_test(scores, a="Distilled", b="MS-LFP")
    table = scores.groupby(["model", "session", "seed"])["r2"].mean().unstack("model")
    difference = (table["Distilled"] - table["MS-LFP"]).to_numpy()
    assert result["n"] == 18
    assert result["p"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert result["difference"] == pytest.approx(difference.mean())
    assert result["low"] < 0.2 < result["high"]
    assert (result["wins"], result["effect"]) == (18, 1.0)
    swapped = paired_test(scores, a="MS-LFP", b="Distilled")
    assert (swapped["p"], swapped["effect"], swapped["wins"]) == (result["p"], -1.0, 0)


def test_rank_biserial_of_a_known_case():
    scores = pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"] * 4,
            "session": list("wxyz") * 2,
            "seed": 0,
            "r2": [1.0, 2, 3, -4, 0, 0, 0, 0],
        }
    )
    result = paired_test(scores, a="a", b="b")
    assert result["effect"] == pytest.approx((1 + 2 + 3 - 4) / 10)
    assert (result["wins"], result["n"]) == (3, 4)


def test_few_sessions_say_what_they_could_have_shown():
    scores = make_scores(sessions=3, seeds=1)
    result = paired_test(scores, a="Distilled", b="MS-LFP")
    assert result["p"] == result["p_min"] == 0.25
    by_session = paired_test(make_scores(), a="Distilled", b="MS-LFP", unit=("session",))
    assert (by_session["n"], by_session["p"], by_session["p_min"]) == (6, 0.03125, 0.03125)
    alone = paired_test(make_scores(sessions=1, seeds=1), a="Distilled", b="MS-LFP")
    assert alone["p"] == alone["p_min"] == 1.0
    assert np.isnan(alone["low"])


def test_identical_scores_are_no_difference():
    scores = make_scores(gains={"a": 0.0, "b": 0.0}, noise=0)
    result = paired_test(scores, a="a", b="b")
    assert (result["p"], result["effect"], result["difference"]) == (1.0, 0.0, 0.0)


def test_model_without_seeds_meets_every_seed_of_the_other():
    scores = make_scores()
    ridge = make_scores(seeds=1, gains={"Raw LFP ridge": 0.1}).assign(seed=np.nan)
    both = pd.concat([scores, ridge])
    assert paired_test(both, a="Distilled", b="Raw LFP ridge")["n"] == 18
    assert paired_test(both, a="Raw LFP ridge", b="Distilled")["wins"] == 0


def test_compare_corrects_over_all_pairs_and_readouts():
    scores = make_scores(readouts=("one_frame", "lagged"))
    table = compare(scores, reference="Distilled")
    assert len(table) == 4
    assert list(table["readout"]) == ["one_frame"] * 2 + ["lagged"] * 2
    assert set(table["b"]) == {"MS-LFP", "SS-LFP"}
    assert (table["a"] == "Distilled").all() and (table["difference"] > 0.15).all()
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))


def test_compare_finds_nothing_where_nothing_is():
    rng = np.random.default_rng(3)
    models = {f"model {i}": 0.0 for i in range(10)}
    scores = make_scores(gains=models, noise=0.05).assign(r2=lambda t: rng.normal(size=len(t)))
    assert (compare(scores, reference="model 0")["p_adjusted"] > 0.05).all()


def nested(rng, *, sessions=12, seeds=3, mean=0.1, between=0.05, within=0.03):
    """(session, seed) differences: what sessions have in common, and what seeds add."""
    return (
        mean
        + between * rng.normal(size=(sessions, 1))
        + within * rng.normal(size=(sessions, seeds))
    )


def test_interval_over_sessions_covers_and_one_over_all_values_does_not():
    rng = np.random.default_rng(0)
    covered = np.zeros(3)
    session = np.repeat(np.arange(12), 3)
    for _ in range(100):
        values = nested(rng)
        intervals = (
            bootstrap_interval(values.mean(axis=1)),
            bootstrap_interval(values.ravel(), sessions=session),
            bootstrap_interval(values.ravel()),
        )
        covered += [low < 0.1 < high for low, high in intervals]
    averaged, two_level, flat = covered / 100
    assert 0.85 <= averaged <= 0.99
    assert averaged <= two_level <= 1.0
    assert flat < averaged - 0.05


def test_two_level_interval_of_known_cases():
    # of two sessions without spread, the mean of two draws is 0, 1/2 or 1: p 1/4, 1/2, 1/4
    apart = bootstrap_interval([0.0, 0.0, 1.0], sessions=["x", "x", "y"])
    assert apart == (0.0, 1.0)
    middle = bootstrap_interval([0.0, 0.0, 1.0], sessions=["x", "x", "y"], level=0.4)
    assert middle == (0.5, 0.5)
    # one value a session is the bootstrap of one level
    values = np.random.default_rng(0).normal(size=20)
    one, two = bootstrap_interval(values), bootstrap_interval(values, sessions=np.arange(20))
    np.testing.assert_allclose(one, two, atol=0.03)
    # its variance is that of both levels
    low, high = bootstrap_interval([0.0, 2.0] * 40, sessions=np.repeat(np.arange(40), 2))
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(1 / 2 / 40), rel=0.1)
    assert np.isnan(bootstrap_interval([1.0, 2.0], sessions=["x", "x"])).all()
    with pytest.raises(DataError, match="3 values have 2 sessions"):
        bootstrap_interval([1.0, 2.0, 3.0], sessions=["x", "y"])


def test_numbers_of_sessions_and_seeds_and_the_sizes_of_effects():
    scores = pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"] * 4,
            "session": list("xxyy") * 2,
            "seed": [0, 1, 0, 1] * 2,
            "r2": [0.5, 0.6, 0.3, 0.2, 0.4, 0.4, 0.3, 0.3],
        }
    )
    result = paired_test(scores, a="a", b="b")  # differences .1, .2, 0, -.1
    assert (result["n"], result["n_sessions"], result["n_seeds"]) == (4, 2, 2)
    assert result["difference"] == pytest.approx(0.05)
    assert (result["wins"], result["share"]) == (2, 0.5)
    assert result["d_z"] == pytest.approx(0.05 / np.std([0.1, 0.2, 0, -0.1], ddof=1))
    assert result["p_min"] == 0.25  # a pair without a difference says nothing
    assert (result["low"], result["high"]) == pytest.approx((-0.05, 0.15))
    resampled = paired_test(scores, a="a", b="b", seeds="resample")
    assert resampled["low"] < result["low"] and result["high"] < resampled["high"]
    by_session = paired_test(scores, a="a", b="b", unit=("session",))
    assert (by_session["n"], by_session["n_sessions"], by_session["n_seeds"]) == (2, 2, 2)
    bare = scores[scores["seed"] == 0].drop(columns="seed")
    assert paired_test(bare, a="a", b="b", unit=("session",))["n_seeds"] == 1
    equal = paired_test(scores.assign(r2=[0.3] * 4 + [0.2] * 4), a="a", b="b")
    assert np.isnan(equal["d_z"]) and equal["share"] == 1.0


def test_p_is_uniform_where_nothing_is():
    rng = np.random.default_rng(4)
    scores = pd.DataFrame(
        [
            (experiment, model, session, 0, rng.normal())
            for experiment in range(150)
            for model in "ab"
            for session in range(14)
        ],
        columns=["experiment", "model", "session", "seed", "r2"],
    )
    table = compare(scores, reference="a", by=["experiment"])
    assert len(table) == 150
    assert stats.kstest(table["p"], "uniform").pvalue > 0.02
    assert 0.01 < (table["p"] < 0.05).mean() < 0.1
    assert (table["p_adjusted"] < 0.05).sum() <= 1


def test_false_discoveries_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    true = np.arange(40) < 8
    shares, powers = [], []
    for _ in range(300):
        p = np.where(true, stats.norm.sf(rng.normal(3.5, 1, 40)), rng.random(40))
        found = control_false_discoveries(pd.DataFrame({"p": p}))["p_adjusted"] < 0.2
        shares.append((found & ~true).sum() / max(1, found.sum()))
        powers.append(found[true].mean())
    assert 0.1 < np.mean(shares) < 0.2  # 0.2 times the share of nulls, 0.16, is expected
    assert np.mean(powers) > 0.8


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.floats(0, 1)), min_size=1, max_size=12),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_families_are_controlled_each_by_itself(rows, apart):
    tests = pd.DataFrame(rows, columns=["group", "p"])
    adjusted = control_false_discoveries(tests, family=["group"] if apart else ())
    assert list(adjusted["p"]) == list(tests["p"])
    for _, part in adjusted.groupby("group") if apart else [(None, adjusted)]:
        np.testing.assert_allclose(part["p_adjusted"], stats.false_discovery_control(part["p"]))
        assert (part["n_family"] == len(part)).all()


def test_compare_against_some_by_columns_and_families():
    scores = pd.concat(
        make_scores(readouts=("one_frame", "lagged")).assign(cohort=cohort)
        for cohort in ("makin", "flint")
    )
    table = compare(
        scores,
        reference="Distilled",
        against=["MS-LFP"],
        by=["cohort", "readout"],
        family=["readout"],
    )
    assert list(table["cohort"]) == ["makin"] * 2 + ["flint"] * 2
    assert set(table["b"]) == {"MS-LFP"} and (table["n_family"] == 2).all()
    assert (table[["n_sessions", "n_seeds"]] == [6, 3]).all(axis=None)
    assert (table["p"] >= table["p_min"]).all()
    for _, part in table.groupby("readout"):
        np.testing.assert_allclose(part["p_adjusted"], stats.false_discovery_control(part["p"]))
    assert (compare(make_scores(), reference="Distilled")["n_family"] == 2).all()


def test_errors_name_the_cure():
    scores = make_scores()
    with pytest.raises(DataError, match=r"No scores.*'Best'.*Distilled, MS-LFP, SS-LFP"):
        paired_test(scores, a="Best", b="MS-LFP")
    with pytest.raises(DataError, match="no column seed"):
        paired_test(scores.drop(columns="seed"), a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="mix the splits"):
        compare(
            pd.concat([scores, scores.assign(split="train")]),
            reference="Distilled",
        )
    partial = scores[(scores["model"] != "MS-LFP") | (scores["session"] != "I/s00")]
    with pytest.raises(DataError, match="3 of the 18 units"):
        paired_test(partial, a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="are NaN"):
        paired_test(scores.assign(r2=np.nan), a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="no model but"):
        compare(scores[scores["model"] == "Distilled"], reference="Distilled")
    with pytest.raises(DataError, match=r"No scores.*'Best'"):
        compare(scores, reference="Distilled", against=["Best"])
    with pytest.raises(ConfigError, match=r"family names cohort.*\(readout\)"):
        compare(scores, reference="Distilled", family=["cohort"])
    with pytest.raises(DataError, match="no column cohort"):
        compare(scores, reference="Distilled", by=["cohort"])
    with pytest.raises(ConfigError, match="'average' or 'resample'"):
        paired_test(scores, a="Distilled", b="MS-LFP", seeds="both")
    with pytest.raises(DataError, match="no column readout"):
        control_false_discoveries(pd.DataFrame({"p": [0.1]}), family=["readout"])
    for bad in (np.nan, 1.5):
        with pytest.raises(DataError, match="1 of the 2 p values"):
            control_false_discoveries(pd.DataFrame({"p": [0.1, bad]}))
