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
from spikelfp_lab.errors import DataError

GAINS = {"Distilled": 0.2, "MS-LFP": 0.0, "SS-LFP": 0.0}


def make_scores(*, sessions=6, seeds=3, gains=GAINS, noise=0.02, readouts=("one_frame",)):
    """Tidy scores: every model scored on each session, seed and axis."""
    levels = [list(gains), [f"I/s{i}" for i in range(sessions)], range(seeds), readouts, ["x", "y"]]
    names = ["model", "session", "seed", "readout", "axis"]
    scores = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
    rng = np.random.default_rng(0)
    base = dict(zip(levels[1], rng.uniform(0.3, 0.6, sessions), strict=True))
    r2 = scores["session"].map(base) + scores["model"].map(gains)
    return scores.assign(split="test", r2=r2 + noise * rng.normal(size=len(scores)))


def small(**columns):
    """Scores of two models on a few units, as they are given."""
    return pd.DataFrame(columns).assign(model=lambda t: np.repeat(["a", "b"], len(t) // 2))


def test_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=30)) for _ in range(150)]
    assert 0.88 < np.mean([low < 0 < high for low, high in intervals]) < 0.99
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])
    assert np.isnan(bootstrap_interval([0.5])).all()
    for bad in ([], [0.1, np.nan]):
        with pytest.raises(DataError, match="no interval"):
            bootstrap_interval(bad)


def test_paired_test_is_scipys_over_sessions_and_seeds():
    scores = make_scores()
    result = paired_test(scores, a="Distilled", b="MS-LFP")
    table = scores.groupby(["model", "session", "seed"])["r2"].mean().unstack("model")
    difference = (table["Distilled"] - table["MS-LFP"]).to_numpy()
    assert result["n"] == result["wins"] == 18 and result["effect"] == 1.0
    assert result["p"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert result["difference"] == pytest.approx(difference.mean())
    assert result["low"] < 0.2 < result["high"]
    swapped = paired_test(scores, a="MS-LFP", b="Distilled")
    assert (swapped["p"], swapped["effect"], swapped["wins"]) == (result["p"], -1.0, 0)


def test_effects_of_known_cases():
    scores = small(session=list("wxyz") * 2, seed=0, r2=[1.0, 2, 3, -4, 0, 0, 0, 0])
    result = paired_test(scores, a="a", b="b")
    assert result["effect"] == pytest.approx((1 + 2 + 3 - 4) / 10) and result["wins"] == 3
    r2 = [0.5, 0.6, 0.3, 0.2, 0.4, 0.4, 0.3, 0.3]
    scores = small(session=list("xxyy") * 2, seed=[0, 1, 0, 1] * 2, r2=r2)
    result = paired_test(scores, a="a", b="b")  # differences .1, .2, 0, -.1
    assert (result["n"], result["n_sessions"], result["n_seeds"]) == (4, 2, 2)
    assert (result["wins"], result["share"]) == (2, 0.5)
    assert result["d_z"] == pytest.approx(0.05 / np.std([0.1, 0.2, 0, -0.1], ddof=1))
    assert result["p_min"] == 0.25  # a pair without a difference says nothing
    assert (result["low"], result["high"]) == pytest.approx((-0.05, 0.15))
    same = paired_test(scores.assign(r2=0.3), a="a", b="b")
    assert (same["p"], same["effect"], same["difference"]) == (1.0, 0.0, 0.0)
    equal = paired_test(scores.assign(r2=[0.3] * 4 + [0.2] * 4), a="a", b="b")
    assert np.isnan(equal["d_z"]) and equal["share"] == 1.0


def test_few_sessions_say_what_they_could_have_shown():
    scores = make_scores(sessions=3, seeds=1)
    result = paired_test(scores, a="Distilled", b="MS-LFP")
    assert result["p"] == result["p_min"] == 0.25
    by_session = paired_test(make_scores(), a="Distilled", b="MS-LFP", unit=("session",))
    assert (by_session["n"], by_session["p"], by_session["p_min"]) == (6, 0.03125, 0.03125)
    alone = paired_test(make_scores(sessions=1, seeds=1), a="Distilled", b="MS-LFP")
    assert alone["p"] == alone["p_min"] == 1.0 and np.isnan(alone["low"])
    bare = scores.drop(columns="seed")
    assert paired_test(bare, a="Distilled", b="MS-LFP", unit=("session",))["n_seeds"] == 1


def test_paired_tests_corrects_over_all_pairs_and_readouts():
    scores = make_scores(readouts=("one_frame", "lagged"))
    table = paired_tests(scores, reference="Distilled")
    assert list(table["readout"]) == ["one_frame"] * 2 + ["lagged"] * 2
    assert set(table["b"]) == {"MS-LFP", "SS-LFP"}
    assert (table["difference"] > 0.15).all() and (table["n_family"] == 4).all()
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))
    some = paired_tests(scores, reference="Distilled", against=["MS-LFP"])
    assert set(some["b"]) == {"MS-LFP"} and (some["n_family"] == 2).all()


def test_p_is_uniform_where_nothing_is():
    rng = np.random.default_rng(4)
    gains = {f"model {i}": 0.0 for i in range(2)}
    scores = make_scores(sessions=14, seeds=1, gains=gains, readouts=range(150))
    scores = scores.assign(r2=rng.normal(size=len(scores)))
    table = paired_tests(scores, reference="model 0")
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


def test_sessions_weigh_the_same_however_many_seeds_they_have():
    scores = make_scores(sessions=3)
    scores = scores[scores["seed"] < scores["session"].map({"I/s0": 3, "I/s1": 1, "I/s2": 2})]
    row = summarize(scores).set_index("model").loc["MS-LFP"]
    own = scores[scores["model"] == "MS-LFP"]
    by_session = own.groupby(["session", "seed"])["r2"].mean().groupby("session").mean()
    assert row["r2"] == pytest.approx(by_session.mean())
    assert (row["low"], row["high"]) == pytest.approx(bootstrap_interval(by_session))
    assert (row["n_sessions"], row["n_seeds"]) == (3, 3)


def test_errors_name_the_cure():
    scores, pair = make_scores(), {"a": "Distilled", "b": "MS-LFP"}
    partial = scores[(scores["model"] != "MS-LFP") | (scores["session"] != "I/s0")]
    for bad, problem in (
        (scores[scores["model"] != "MS-LFP"], "18 of the 18 units.*models Distilled, SS-LFP"),
        (scores.drop(columns="seed"), "no column seed"),
        (pd.concat([scores, scores.assign(split="train")]), "mix the splits"),
        (partial, "3 of the 18 units"),
        (scores.assign(r2=np.nan), "are NaN"),
    ):
        with pytest.raises(DataError, match=problem):
            paired_test(bad, **pair)
    with pytest.raises(DataError, match="no model but"):
        paired_tests(scores[scores["model"] == "Distilled"], reference="Distilled")
    with pytest.raises(DataError, match="no column readout"):
        control_false_discoveries(pd.DataFrame({"p": [0.1]}), family=["readout"])
    for bad in (np.nan, 1.5):
        with pytest.raises(DataError, match="p values"):
            control_false_discoveries(pd.DataFrame({"p": [0.1, bad]}))
