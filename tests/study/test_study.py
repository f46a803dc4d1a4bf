"""A study trains each model once, by the verbs, and finds it again in its folder."""

from dataclasses import replace

import numpy as np
import pytest

from spikelfp_lab import ConfigError, DataError, pretrain
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study import Setup, Study, model_specs
from tests.study.conftest import make_study


def written(study: Study) -> dict[str, int]:
    """Each model's file and when it was written."""
    found = study.folder.rglob("model.safetensors")
    return {str(path.parent.relative_to(study.folder)): path.stat().st_mtime_ns for path in found}


def test_models_are_found_again_and_none_is_trained_twice(study):
    study.train()
    before = written(study)
    stages = study.stages()
    assert set(before) == {spec.folder for specs in stages.values() for spec in specs}
    again = replace(study, _loaded={})  # as another notebook would find them
    again.train()
    for specs in stages.values():
        for spec in specs:
            assert again.model(spec).digest() == study.model(spec).digest()
    assert written(study) == before


def test_a_verb_finds_what_the_study_has_trained(study):
    """As notebooks 01 to 06 do, which know of no study."""
    teacher = study.model(model_specs(study, "comparison", "I/s03")["Teacher"].start)
    before = written(study)
    setup = Setup(study.cohort_name, "smoke", runs=study.runs)
    found = pretrain(
        {name: setup.sessions[name] for name in setup.having("spikes")},
        "spikes",
        preset=setup.preset,
        train=setup.configs("spikes").train,
        folder=setup.folder / "seed0" / "teacher",
        device="cpu",
        progress=False,
    )
    assert found.digest() == teacher.digest() and written(study) == before


def test_a_model_knows_the_sessions_of_its_spec(study):
    models = study.models("I/s03", setting="unsupervised")
    assert list(models["Distilled"].sessions) == ["I/s03"]
    assert list(models["MS-Distilled"].sessions) == ["I/s01", "I/s02", "I/s03"]
    assert list(models["Teacher"].sessions) == ["I/s01", "I/s02", "I/s03"]
    assert "Other subject's teacher" not in models  # the cohort has one subject
    assert models["Shuffled teacher"].digest() != models["Distilled"].digest()


def test_the_untrained_control_learned_nothing(study):
    untrained = study.models("I/s03")["Untrained"]
    assert untrained.history.query("split == 'train'")["step"].max() == 1
    assert untrained.info["train"]["lr"] == 0.0


def test_scores_are_tidy_and_complete(study):
    scores = study.scores()
    assert list(scores.columns) == ["session", "seed", "model", "readout", "split", "axis", "r2"]
    ridges = {"Raw LFP ridge", "Band power ridge", "Spikes ridge"}
    assert set(scores["model"]) == set(model_specs(study, "comparison", "I/s03")) | ridges
    assert (scores.groupby("model").size() == 2 * 3 * 2).all()  # read-outs x splits x axes
    assert scores["r2"].notna().all()


def test_minutes_of_lfp_are_the_first_of_the_training_time(study):
    spec = model_specs(study, "comparison", "I/s03")["Distilled"]
    cut = study._first_minutes("I/s03", replace(spec, minutes=0.05))
    train = np.flatnonzero(study.split("I/s03").values == TRAIN)
    known = cut["lfp"].notnull().all("channel").values
    assert known[train].sum() == round(60 * 0.05 / cut.attrs["bin_size_s"])
    assert known[train[: known[train].sum()]].all() and known.sum() > known[train].sum()


def test_the_comparison_needs_eight_models(study, tmp_path):
    study = make_study(tmp_path)
    study.train("comparison")
    assert set(written(study)) == {
        "seed0/teacher",
        "seed0/ms_lfp",
        *(
            f"seed0/I/s03/{name}"
            for name in (
                "teacher", "ms_lfp", "ss_lfp", "distilled", "shuffled_teacher", "untrained"
            )
        ),
    }  # fmt: skip


def test_the_environment_chooses(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {"COHORT": "cao2021", "PRESET": "smoke", "SEEDS": "3", "FULL": "1"}.items():
        monkeypatch.setenv(name, value)
    study = Study.from_environment()
    assert (study.cohort_name, study.preset, study.n_seeds) == ("cao2021", "smoke", 3)
    assert study.full and study.folder.as_posix() == "runs/cao2021/smoke"
    monkeypatch.setenv("SEEDS", "many")
    with pytest.raises(ConfigError, match="SEEDS is 'many'"):
        Setup.from_environment()
    monkeypatch.setenv("SEEDS", "1")
    monkeypatch.setenv("PRESET", "huge")
    with pytest.raises(ConfigError, match="no preset 'huge'"):
        Setup.from_environment()


def test_an_unknown_cohort_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        _ = Study(cohort_name="nowhere", runs=tmp_path).cohort


def test_simulated_sessions_are_made_once_and_kept(tmp_path, monkeypatch):
    setup = Setup(preset="smoke", runs=tmp_path, progress=False)
    first = setup._simulated("I/s02", 20.0).load()
    monkeypatch.setattr("spikelfp_lab.cohorts.simulated.session", lambda *_, **__: pytest.fail())
    assert setup._simulated("I/s02", 20.0).identical(first)
    assert (first.attrs["subject"], first.attrs["session"]) == ("I", "s02")
