"""The tables of questions: complete, without leaks, and true where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from spikelfp_lab import ConfigError, decode, open_cohort
from spikelfp_lab import study as questions
from spikelfp_lab.study import Study, scores_of, silence
from tests.factories import make_session


def test_generalization_pairs_every_model_with_every_other_session_and_trains_none(study):
    before = study.models("I/s03")["Distilled"].digest()
    table = questions.generalization(study)
    pairs = table[["trained_on", "session", "seen"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["I/s03", "I/s01", "pre-training"], ["I/s03", "I/s02", "pre-training"]]
    assert table.groupby("model").size().nunique() == 1
    assert {"Distilled", "MS-LFP", "MS-LFP, trained on it", "Raw LFP ridge"} < set(table["model"])
    assert table["r2"].notna().all()
    assert study.models("I/s03")["Distilled"].digest() == before
    narrow = replace(study, _loaded={})
    narrow.__dict__["sessions"] = {
        name: one.isel(channel=slice(0, 2 + i))
        for i, (name, one) in enumerate(study.sessions.items())
    }
    with pytest.raises(ConfigError, match="same number of channels"):
        questions.generalization(narrow)


def test_nothing_lost_and_all_labels_are_the_comparison_and_everything_lost_is_nothing(study):
    keys = ["model", "readout", "split", "axis"]
    whole = study.scores().set_index(keys)["r2"]
    lost = questions.channel_loss(study, shares=(0.0, 1.0))
    labels = questions.label_efficiency(study, minutes=(0.05, 100.0))
    assert labels["minutes"].nunique() == 2 and 100.0 not in set(labels["minutes"])
    for table in (lost[lost["lost"] == 0], labels[labels["minutes"] == labels["minutes"].max()]):
        ours = table.set_index(keys)["r2"]
        np.testing.assert_allclose(ours, whole[ours.index], atol=1e-6)
    blind = lost.query("lost == 1.0 and split == 'test' and readout == 'one_frame'")
    assert (blind["r2"] < 0.05).all()  # a constant explains nothing


def test_silencing_takes_the_share_it_is_asked_for_and_no_other_values():
    session = make_session(bins=400, units=10)
    lost = silence(session, 0.4, split=np.zeros(400), seed=1)
    changed = (lost["spikes"] != session["spikes"]).any("time")
    assert int((lost["spikes"].sum("time") == 0).sum()) >= 4 >= int(changed.sum())
    kept = (lost["lfp"].std("time") > 1e-6).to_numpy()
    assert int((~kept).sum()) == round(0.4 * session.sizes["channel"])
    xr.testing.assert_identical(lost["lfp"][:, kept], session["lfp"][:, kept])
    assert lost["behavior"].identical(session["behavior"])


def test_cost_counts_the_weights_that_decoding_needs(study):
    table, models = questions.cost(study).set_index("model"), study.models("I/s03")
    counts = {m: sum(p.numel() for p in models[m].parameters()) for m in ("Distilled", "MS-LFP")}
    needed = [*models["Distilled"].transformer.parameters()]
    needed += models["Distilled"].tokenizer.parameters()
    assert table.loc["Distilled", "parameters"] == sum(p.numel() for p in needed)
    assert (table["mflop_per_s"] > 0).all()
    # the multi-session model has tables of three sessions and needs those of one
    assert table.loc["MS-LFP", "parameters"] < counts["MS-LFP"]


def test_latents_that_are_the_truth_recover_it(study):
    """The table's own machinery, with the truth itself in the place of a model's latents."""
    for question in (questions.linear_bound, questions.recovery):
        with pytest.raises(ConfigError, match="simulated cohort only"):
            question(study)
    cohort = open_cohort("simulated", n_sessions=1, duration_s=60, progress=False)
    session = cohort["I/s01"].to_dataset()
    truth = session["latent_truth"].rename(latent_truth_dim="latent").reset_coords(drop=True)
    simulated = Study(preset="smoke", progress=False)
    simulated.__dict__["sessions"] = {"I/s01": session}
    asked = questions.true_latents(session)
    table = scores_of(simulated, 0, "I/s01", {"Truth": truth}, session=asked)
    assert set(table["axis"]) == set(session["latent_truth_dim"].to_numpy())
    assert (table["r2"] > 0.999).all()


def test_every_model_of_every_setting_is_made_and_scored(study):
    """Ten models unsupervised, six supervised; what each was made from is in its record."""
    compared, supervised = study.models("I/s03"), study.models("I/s03", 0, "supervised")
    assert set(supervised) == set(compared) - {"Untrained"} | {"SS-MM"}
    assert all(model.behavior_head is not None for model in supervised.values())
    assert all(model.behavior_head is None for model in compared.values())
    models = study.models("I/s03", 0, "unsupervised")
    # the cohort has no other subject
    further = {"SS-MM", "SS-Teacher", "MS-Distilled", "Random teacher"}
    assert set(models) - set(compared) == further
    assert set(models["MS-Distilled"].sessions) == {"I/s01", "I/s02", "I/s03"}
    assert models["Random teacher"].info["teacher"]["train"]["lr"] == 0.0
    table = study.scores("unsupervised")
    assert {"SS-MM", "SS-MM (LFP only)", "Raw LFP ridge"} < set(table["model"])
    assert table["r2"].notna().all()
    assert "Raw LFP ridge" not in set(study.scores("supervised")["model"])


def test_every_ablation_is_its_own_student(study):
    table = questions.ablation_scores(study)
    asked = questions.ablations(study, "I/s03", 0)
    assert list(table["question"].unique()) == list(asked)
    for question, variants in asked.items():
        rows = table[table["question"] == question]
        assert list(rows["variant"].unique()) == list(variants)
        assert rows.groupby("variant")["own"].first().sum() == 1
    own = table[table["own"]].groupby(["readout", "split", "axis"])["r2"]
    assert (own.nunique() == 1).all()  # one and the same
    assert table[~table["own"]]["r2"].nunique() > table["variant"].nunique()


def test_alignment_knows_its_teacher(study):
    table = questions.alignment(study)
    assert set(table["measure"]) == {"CKA", "CCA", "Retrieval", "Procrustes distance"}
    assert "Teacher" not in set(table["model"])
    assert table["value"].between(0, 1).all()
    assert questions.layers(study).groupby("model").size().nunique() == 1


def test_frozen_read_outs_are_scored_where_nothing_was_fitted(study):
    table = questions.frozen(study)
    assert set(table["session"]) == {"I/s01", "I/s02"} and set(table["seen"]) == {"pre-training"}
    sizes = table.groupby(["model", "fitted"]).size().unstack()
    assert sizes["frozen"].nunique() == 1 and sizes.loc["MS-LFP"].isna()["same session"]
    assert (sizes["same session"].dropna() == sizes["frozen"].iloc[0]).all()
    assert {"MS-Distilled", "Spikes through LFP", "LFP and power ridge"} <= set(table["model"])
    anew = table[table["fitted"] == "same session"].query("model == 'Raw LFP ridge'")
    own = study.sessions["I/s01"]["lfp"]
    split = study.split("I/s01")
    scaled = (own - own.mean("time")) / own.std("time")
    again = decode(scaled, study.sessions["I/s01"], split=split)
    keys = ["readout", "split", "axis"]
    both = anew[anew["session"] == "I/s01"].merge(again, on=keys, suffixes=("", "_again"))
    np.testing.assert_allclose(both["r2"], both["r2_again"], atol=0.01)
    with pytest.raises(ConfigError, match="simulated"):
        questions.lasting(study, "perge")


def test_published_points_are_those_of_the_paper():
    test = questions.published_generalization().query("split == 'valtest'")
    wide = test.pivot(index="session", columns="model", values="r2")
    assert len(wide) == 27 and (wide["Distilled"] > wide["MS-LFP, trained on it"]).all()
    mean = wide[wide.index.str.startswith("C/")]["Distilled"].mean()
    assert mean == pytest.approx(0.593, abs=1e-3)
