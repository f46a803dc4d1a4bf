"""The tables of questions: complete, without leaks, and true where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab import ConfigError, open_cohort
from spikelfp_lab import study as questions
from spikelfp_lab.study import Study, scores_of, silence
from tests.factories import make_session


def test_generalization_pairs_every_model_with_every_other_session(study):
    table = questions.generalization(study)
    pairs = table[["trained_on", "session", "seen"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["I/s03", "I/s01", "pre-training"], ["I/s03", "I/s02", "pre-training"]]
    assert table.groupby("model").size().nunique() == 1
    assert {"Distilled", "MS-LFP", "MS-LFP, trained on it", "Raw LFP ridge"} < set(table["model"])
    assert table["r2"].notna().all()


def test_generalization_does_not_train_on_the_other_session(study):
    """What a carried-over model gives does not depend on the other session's spikes."""
    before = study.models("I/s03")["Distilled"].digest()
    questions.generalization(study)
    assert study.models("I/s03")["Distilled"].digest() == before
    assert list(study.models("I/s03")["Distilled"].sessions) == ["I/s03"]


def test_sessions_of_other_electrodes_cannot_be_paired(study, monkeypatch):
    narrow = {
        name: one.isel(channel=slice(0, 2 + i))
        for i, (name, one) in enumerate(study.sessions.items())
    }
    other = replace(study, _loaded={})
    monkeypatch.setitem(other.__dict__, "sessions", narrow)
    with pytest.raises(ConfigError, match="same number of channels"):
        questions.generalization(other)


def test_nothing_lost_is_the_comparison_and_everything_lost_is_nothing(study):
    table = questions.channel_loss(study, shares=(0.0, 1.0))
    whole = study.scores().set_index(["model", "readout", "split", "axis"])["r2"]
    ours = table[table["lost"] == 0.0].set_index(["model", "readout", "split", "axis"])["r2"]
    np.testing.assert_allclose(ours, whole[ours.index], atol=1e-6)
    blind = table.query("lost == 1.0 and split == 'test' and readout == 'one_frame'")
    assert (blind["r2"] < 0.05).all()  # a constant explains nothing


def test_silencing_takes_the_share_it_is_asked_for_and_no_other_values():
    session = make_session(bins=400, units=10)
    split = np.zeros(400)
    lost = silence(session, 0.4, split=split, seed=1)
    changed = (lost["spikes"] != session["spikes"]).any("time")
    assert int((lost["spikes"].sum("time") == 0).sum()) >= 4 >= int(changed.sum())
    constant = lost["lfp"].std("time") < 1e-6
    assert int(constant.sum()) == round(0.4 * session.sizes["channel"])
    same = lost["lfp"].isel(channel=~constant.to_numpy())
    xr.testing.assert_identical(same, session["lfp"].isel(channel=~constant.to_numpy()))
    assert lost["behavior"].identical(session["behavior"])


def test_labels_of_all_the_training_time_give_the_comparison(study):
    table = questions.label_efficiency(study, minutes=(0.05, 100.0))
    assert table["minutes"].nunique() == 2 and 100.0 not in set(table["minutes"])
    last = table[table["minutes"] == table["minutes"].max()]
    keys = ["model", "readout", "axis"]
    whole = study.scores().query("split == 'test'").set_index(keys)["r2"]
    ours = last.set_index(keys)["r2"]
    np.testing.assert_allclose(ours, whole[ours.index], atol=1e-6)


def test_cost_counts_the_weights_that_decoding_needs(study):
    table = questions.cost(study).set_index("model")
    student = study.models("I/s03")["Distilled"]
    needed = [*student.transformer.parameters(), *student.tokenizer.parameters()]
    assert table.loc["Distilled", "parameters"] == sum(p.numel() for p in needed)
    assert (table["mflop_per_s"] > 0).all()
    # the multi-session model has tables of three sessions and needs those of one
    both = study.models("I/s03")["MS-LFP"]
    assert table.loc["MS-LFP", "parameters"] < sum(p.numel() for p in both.parameters())


def test_truths_are_known_of_simulated_sessions_only(study):
    with pytest.raises(ConfigError, match="simulated cohort only"):
        questions.linear_bound(study)
    with pytest.raises(ConfigError, match="simulated cohort only"):
        questions.recovery(study)


def test_latents_that_are_the_truth_recover_it():
    """The table's own machinery, with the truth itself in the place of a model's latents."""
    session = open_cohort("simulated", n_sessions=1, duration_s=60, progress=False)["I/s01"]
    session = session.to_dataset()
    truth = session["latent_truth"].rename(latent_truth_dim="latent").reset_coords(drop=True)
    study = Study(preset="smoke", progress=False)
    study.__dict__["sessions"] = {"I/s01": session}
    asked = questions.true_latents(session)
    table = scores_of(study, 0, "I/s01", {"Truth": truth}, session=asked)
    assert set(table["axis"]) == set(session["latent_truth_dim"].to_numpy())
    assert (table["r2"] > 0.999).all()


def test_every_model_of_every_setting_is_made_and_scored(study):
    """Twelve models unsupervised, six supervised; what each was made from is in its record."""
    unsupervised, supervised = study.models("I/s03"), study.models("I/s03", 0, "supervised")
    assert set(supervised) == {
        "SS-LFP",
        "MS-LFP",
        "SS-MM",
        "Teacher",
        "Distilled",
        "Shuffled teacher",
    }
    assert all(model.behavior_head is not None for model in supervised.values())
    assert all(model.behavior_head is None for model in unsupervised.values())
    both = study.models("I/s03", 0, "unsupervised")
    # the cohort has no other subject
    further = {"SS-MM", "SS-Teacher", "MS-Distilled", "MS-Distilled, centered", "Random teacher"}
    assert set(both) - set(unsupervised) == further
    assert both["MS-Distilled, centered"].info["distill"]["center"] == "mean"
    assert both["Random teacher"].info["teacher"]["train"]["lr"] == 0.0
    table = study.scores("unsupervised")
    assert {"SS-MM", "SS-MM (LFP only)", "Raw LFP ridge"} < set(table["model"])
    assert table["r2"].notna().all()
    assert "Raw LFP ridge" not in set(study.scores("supervised")["model"])


def test_every_ablation_is_its_own_student(study):
    table = questions.ablation_scores(study)
    asked = questions.ablations(study, "I/s03", 0)
    assert list(dict.fromkeys(table["question"])) == list(asked)
    for question, variants in asked.items():
        rows = table[table["question"] == question]
        assert list(dict.fromkeys(rows["variant"])) == list(variants)
        assert rows.groupby("variant")["own"].first().sum() == 1
    own = table[table["own"]].groupby(["question", "readout", "split", "axis"])["r2"].first()
    assert (own.groupby(["readout", "split", "axis"]).nunique() == 1).all()  # one and the same
    assert table[~table["own"]]["r2"].nunique() > table["variant"].nunique()


def test_alignment_knows_its_teacher(study):
    table = questions.alignment(study)
    assert set(table["measure"]) == {"CKA", "CCA", "Retrieval", "Procrustes distance"}
    assert "Teacher" not in set(table["model"])
    assert table["value"].between(0, 1).all()
    layers = questions.layers(study)
    assert layers.groupby("model").size().nunique() == 1


def test_published_points_are_those_of_the_paper():
    table = questions.published_generalization()
    test = table[table["split"] == "valtest"]
    assert test["session"].nunique() == 27
    wide = test.pivot(index="session", columns="model", values="r2")
    assert (wide["Distilled"] > wide["MS-LFP, trained on it"]).all()
    assert (
        abs(
            test[test["session"].str.startswith("C/")].query("model == 'Distilled'")["r2"].mean()
            - 0.593
        )
        < 1e-3
    )
