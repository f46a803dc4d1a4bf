"""Statistics: the numbers of scipy, pairs that match, and honesty about few sessions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikelfp_lab.analysis import (
    bootstrap_interval,
    control_false_discoveries,
    paired_test,
    paired_tests,
    summarize,
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


def test_paired_tests_corrects_over_all_pairs_and_readouts():
    scores = make_scores(readouts=("one_frame", "lagged"))
    table = paired_tests(scores, reference="Distilled")
    assert len(table) == 4
    assert list(table["readout"]) == ["one_frame"] * 2 + ["lagged"] * 2
    assert set(table["b"]) == {"MS-LFP", "SS-LFP"}
    assert (table["a"] == "Distilled").all() and (table["difference"] > 0.15).all()
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))


def test_paired_tests_finds_nothing_where_nothing_is():
    rng = np.random.default_rng(3)
    models = {f"model {i}": 0.0 for i in range(10)}
    scores = make_scores(gains=models, noise=0.05).assign(r2=lambda t: rng.normal(size=len(t)))
    assert (paired_tests(scores, reference="model 0")["p_adjusted"] > 0.05).all()


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
    table = paired_tests(scores, reference="a", by=["experiment"])
    assert len(table) == 150
    assert stats.kstest(table["p"], "uniform").pvalue > 0.02
    assert 0.01 < (table["p"] < 0.05).mean() < 0.1
    assert (table["p_adjusted"] < 0.05).sum() <= 1


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


def test_paired_tests_against_some_by_columns_and_families():
    scores = pd.concat(
        make_scores(readouts=("one_frame", "lagged")).assign(cohort=cohort)
        for cohort in ("makin", "flint")
    )
    table = paired_tests(
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
    assert (paired_tests(make_scores(), reference="Distilled")["n_family"] == 2).all()


def test_errors_name_the_cure():
    scores = make_scores()
    with pytest.raises(DataError, match=r"No scores.*'Best'.*Distilled, MS-LFP, SS-LFP"):
        paired_test(scores, a="Best", b="MS-LFP")
    with pytest.raises(DataError, match="no column seed"):
        paired_test(scores.drop(columns="seed"), a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="mix the splits"):
        paired_tests(
            pd.concat([scores, scores.assign(split="train")]),
            reference="Distilled",
        )
    partial = scores[(scores["model"] != "MS-LFP") | (scores["session"] != "I/s00")]
    with pytest.raises(DataError, match="3 of the 18 units"):
        paired_test(partial, a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="are NaN"):
        paired_test(scores.assign(r2=np.nan), a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="no model but"):
        paired_tests(scores[scores["model"] == "Distilled"], reference="Distilled")
    with pytest.raises(DataError, match=r"No scores.*'Best'"):
        paired_tests(scores, reference="Distilled", against=["Best"])
    with pytest.raises(ConfigError, match=r"family names cohort.*\(readout\)"):
        paired_tests(scores, reference="Distilled", family=["cohort"])
    with pytest.raises(DataError, match="no column cohort"):
        paired_tests(scores, reference="Distilled", by=["cohort"])
    with pytest.raises(DataError, match="no column readout"):
        control_false_discoveries(pd.DataFrame({"p": [0.1]}), family=["readout"])
    for bad in (np.nan, 1.5):
        with pytest.raises(DataError, match="1 of the 2 p values"):
            control_false_discoveries(pd.DataFrame({"p": [0.1, bad]}))


def test_sessions_weigh_the_same_however_many_seeds_they_have():
    rng = np.random.default_rng(0)
    rows = [
        {"model": m, "readout": "lagged", "session": s, "seed": seed, "axis": axis}
        for m in ("Distilled", "MS-LFP")
        for s, seeds in (("s1", 3), ("s2", 1), ("s3", 2))
        for seed in range(seeds)
        for axis in ("vx", "vy")
    ]
    scores = pd.DataFrame(rows).assign(r2=rng.random(len(rows)), split="test")
    row = summarize(scores).set_index("model").loc["MS-LFP"]
    own = scores.query("model == 'MS-LFP'")
    by_session = own.groupby(["session", "seed"])["r2"].mean().groupby("session").mean()
    assert row["r2"] == pytest.approx(by_session.mean())
    assert (row["low"], row["high"]) == pytest.approx(bootstrap_interval(by_session))
    assert (row["n_sessions"], row["n_seeds"]) == (3, 3)
    with pytest.raises(DataError, match="no column seed"):
        summarize(scores.drop(columns="seed"))
    with pytest.raises(DataError, match="test, val"):
        summarize(pd.concat([scores, scores.assign(split="val")]))
