"""A study trains each model once, by the verbs, and finds it again in its folder."""

from dataclasses import replace

import numpy as np
import pytest

from spikelfp_lab import ConfigError, DataError, pretrain
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study import Setup, Study, model_specs


def written(study: Study) -> dict[str, int]:
    """Each model's file and when it was written."""
    found = study.folder.rglob("model.safetensors")
    return {str(path.parent.relative_to(study.folder)): path.stat().st_mtime_ns for path in found}


def test_models_are_found_again_and_none_is_trained_twice(study):
    study.train()
    before = written(study)
    specs = study.specs()
    assert set(before) == {spec.folder for spec in specs}
    again = replace(study, _loaded={})  # as another notebook would find them
    again.train()
    for spec in specs:
        assert again.model(spec).digest() == study.model(spec).digest()
    # and as a verb finds them in notebooks 01 to 06, which know of no study
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
    teacher = study.model(model_specs(study, "comparison", "I/s03")["Teacher"].start)
    assert found.digest() == teacher.digest() and written(study) == before


def test_scores_are_tidy_and_complete(study):
    scores = study.scores()
    assert list(scores.columns) == ["session", "seed", "model", "readout", "split", "axis", "r2"]
    ridges = {"Raw LFP ridge", "Band power ridge", "LFP and power ridge", "Spikes ridge"}
    assert set(scores["model"]) == set(model_specs(study, "comparison", "I/s03")) | ridges
    assert (scores.groupby("model").size() == 2 * 3 * 2).all()  # read-outs x splits x axes
    assert scores["r2"].notna().all()


def test_first_minutes_are_those_of_the_training_time(study):
    known = study.first_minutes("I/s03", 0, 0.05).to_numpy()
    train = np.flatnonzero(study.split("I/s03").values == TRAIN)
    count = round(60 * 0.05 / study.sessions["I/s03"].attrs["bin_size_s"])
    assert known[train[:count]].all() and not known[train[count:]].any()
    assert known.sum() == known.size - train.size + count


def test_the_environment_chooses(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    chosen = {"COHORT": "cao2021", "PRESET": "smoke", "SEEDS": "3", "FULL": "1"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    study = Study.from_environment()
    assert (study.cohort_name, study.preset, study.n_seeds) == ("cao2021", "smoke", 3)
    assert study.full and study.folder.as_posix() == "runs/cao2021/smoke"
    for name, value, problem in (
        ("SEEDS", "many", "SEEDS"),
        ("PRESET", "huge", "no preset 'huge'"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ConfigError, match=problem):
            patch.setenv(name, value)
            Setup.from_environment()
    with pytest.raises(DataError, match="nowhere"):
        _ = Study(cohort_name="nowhere", runs=tmp_path).cohort


def test_simulated_sessions_are_made_once_and_kept(tmp_path, monkeypatch):
    setup = Setup(preset="smoke", runs=tmp_path, progress=False)
    first = setup._simulated("I/s02", 20.0).load()
    monkeypatch.setattr("spikelfp_lab.cohorts.simulated.session", lambda *_, **__: pytest.fail())
    assert setup._simulated("I/s02", 20.0).identical(first)
    assert (first.attrs["subject"], first.attrs["session"]) == ("I", "s02")
