"""Statistics: the numbers of scipy, pairs that match, and honesty about few sessions."""

import numpy as np
import pandas as pd
import pytest
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


def make_scores(*, sessions=6, seeds=3, gains=GAINS, readouts=("one_frame",)):
    """Tidy scores: every model scored on each session, seed and axis."""
    levels = [list(gains), [f"I/s{i}" for i in range(sessions)], range(seeds), readouts, ["x", "y"]]
    names = ["model", "session", "seed", "readout", "axis"]
    scores = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
    rng = np.random.default_rng(0)
    base = dict(zip(levels[1], rng.uniform(0.3, 0.6, sessions), strict=True))
    r2 = scores["session"].map(base) + scores["model"].map(gains)
    return scores.assign(split="test", r2=r2 + 0.02 * rng.normal(size=len(scores)))


def test_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=30)) for _ in range(150)]
    assert 0.88 < np.mean([low < 0 < high for low, high in intervals]) < 0.99
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])
    assert np.isnan(bootstrap_interval([0.5])).all()
    with pytest.raises(DataError, match="no interval"):
        bootstrap_interval([0.1, np.nan])


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
    def tested(session, seed, r2):
        scores = pd.DataFrame({"session": list(session) * 2, "seed": seed * 2, "r2": r2})
        half = len(session)
        return paired_test(scores.assign(model=["a"] * half + ["b"] * half), a="a", b="b")

    result = tested("wxyz", [0] * 4, [1.0, 2, 3, -4, 0, 0, 0, 0])
    assert result["effect"] == pytest.approx((1 + 2 + 3 - 4) / 10) and result["wins"] == 3
    result = tested("xxyy", [0, 1, 0, 1], [0.5, 0.6, 0.3, 0.2, 0.4, 0.4, 0.3, 0.3])
    # differences .1, .2, 0, -.1
    assert (result["n"], result["n_sessions"], result["n_seeds"]) == (4, 2, 2)
    assert (result["wins"], result["share"]) == (2, 0.5)
    assert result["d_z"] == pytest.approx(0.05 / np.std([0.1, 0.2, 0, -0.1], ddof=1))
    assert result["p_min"] == 0.25  # a pair without a difference says nothing
    assert (result["low"], result["high"]) == pytest.approx((-0.05, 0.15))
    same = tested("xxyy", [0, 1, 0, 1], [0.3] * 8)
    assert (same["p"], same["effect"]) == (1.0, 0.0)


def test_few_sessions_say_what_they_could_have_shown():
    models = {"a": "Distilled", "b": "MS-LFP"}
    few = paired_test(make_scores(sessions=3, seeds=1), **models)
    assert few["p"] == few["p_min"] == 0.25
    by_session = paired_test(make_scores(), **models, unit=("session",))
    assert (by_session["n"], by_session["p"], by_session["p_min"]) == (6, 0.03125, 0.03125)


def test_paired_tests_corrects_over_all_pairs_and_readouts_or_over_families():
    scores = make_scores(readouts=("one_frame", "lagged"))
    table = paired_tests(scores, reference="Distilled")
    assert list(table["readout"]) == ["one_frame"] * 2 + ["lagged"] * 2
    assert (table["difference"] > 0.15).all() and (table["n_family"] == 4).all()
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))
    p = [0.01, 0.04, 0.9, 0.03]
    apart = control_false_discoveries(table.assign(p=p), family=["readout"])
    wanted = [stats.false_discovery_control(part) for part in (p[:2], p[2:])]
    np.testing.assert_allclose(apart["p_adjusted"], np.concatenate(wanted))
    assert (apart["n_family"] == 2).all()


def test_p_is_uniform_where_nothing_is():
    rng = np.random.default_rng(4)
    gains = {"model 0": 0.0, "model 1": 0.0}
    scores = make_scores(sessions=14, seeds=1, gains=gains, readouts=range(150))
    scores = scores.assign(r2=rng.normal(size=len(scores)))
    table = paired_tests(scores, reference="model 0")
    assert stats.kstest(table["p"], "uniform").pvalue > 0.02
    assert 0.01 < (table["p"] < 0.05).mean() < 0.1
    assert (table["p_adjusted"] < 0.05).sum() <= 1


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
    scores = make_scores()
    partial = scores[(scores["model"] != "MS-LFP") | (scores["session"] != "I/s0")]
    for bad, problem in (
        (
            scores[scores["model"] != "MS-LFP"],
            r"18 of the 18 .*models are \['Distilled', 'SS-LFP'\]",
        ),
        (scores.drop(columns="seed"), "no column seed"),
        (pd.concat([scores, scores.assign(split="train")]), "mix the splits"),
        (partial, "3 of the 18 units"),
        (scores.assign(r2=np.nan), "are NaN"),
    ):
        with pytest.raises(DataError, match=problem):
            paired_test(bad, a="Distilled", b="MS-LFP")
    with pytest.raises(DataError, match="p values"):
        control_false_discoveries(pd.DataFrame({"p": [0.1, np.nan]}))
