"""What the models of a study are made from: everything needed comes first, and once."""

from dataclasses import replace
from itertools import groupby

import pytest

from spikelfp_lab.study import Study, model_specs
from tests.factories import make_session


def demo(*, full: bool = False) -> Study:
    """A study of the simulated cohort, none of whose sessions are made."""
    study, one = Study(n_seeds=2, full=full), make_session(bin_size_s=0.01)
    study.__dict__["sessions"] = {f"I/s0{i}": one for i in range(1, 8)}
    return study


@pytest.mark.parametrize("full", [False, True])
def test_all_that_a_model_needs_is_trained_in_an_earlier_stage(full):
    study, done = demo(full=full), {}
    for _, stage in groupby(study.specs(), key=lambda spec: len(spec.needs)):
        specs = [*stage]
        for spec in specs:
            assert all(done[need.folder] == need for need in spec.needs), spec.folder
            if spec.verb != "distill":  # held-out sessions are in nobody's pre-training
                several = spec.start.sessions if spec.start else spec.sessions
                assert len(several) == 1 or not set(several) & set(study.held_out)
        work = [spec.work(study) for spec in specs]
        assert work == sorted(work, reverse=True)  # the longest first
        assert not done.keys() & {spec.folder for spec in specs}
        done |= {spec.folder: spec for spec in specs}
    assert len({folder.lower() for folder in done}) == len(done)
    for seed, name in study.side_runs:
        for setting in ("comparison", "unsupervised", "supervised"):
            wanted = model_specs(study, setting, name, seed).values()
            assert all(done[spec.folder] == spec for spec in wanted)


def test_side_questions_ask_all_their_models_of_the_same_sessions():
    for part in ("unsupervised", "supervised", "ablations"):
        made = demo().specs(part)
        assert {name for spec in made for name in spec.sessions} & {"I/s06", "I/s07"} == set()


def test_a_student_of_several_sessions_has_one_teacher_that_still_knows_all_of_them():
    """Fine-tuning left the tables of the sessions of its pre-training, and what they share."""
    spec = model_specs(demo(), "unsupervised", "I/s05")["MS-Distilled"]
    assert spec.sessions == ("I/s01", "I/s02", "I/s03", "I/s04", "I/s05")
    tuned, before = spec.start, spec.start.start
    assert tuned.sessions == ("I/s05",) and tuned.configs(demo()).finetune.tables_only
    assert {*before.sessions, *tuned.sessions} == {*spec.sessions}


def test_models_read_no_band_power_where_a_cohort_has_none():
    study = demo()
    assert study.configs("lfp").model.bands_hz
    slow = {"I/s01": make_session(bin_size_s=0.1)}
    study.__dict__["sessions"] = study.sessions | slow
    assert study.configs("lfp").model.bands_hz == ()
    assert Study(cohort_name="simulated-V").simulated and not Study(cohort_name="flint").simulated


def test_recordings_are_read_without_noise_and_fine_tuned_with_all_weights():
    study, simulated = Study(cohort_name="v1_gamma"), demo()
    study.__dict__["sessions"] = {"alpa/gratings": make_session(bin_size_s=0.05)}
    assert simulated.configs("distill").train.noise and simulated.configs("lfp").train.noise == 0
    assert study.configs("distill").train.noise == study.configs("distill").train.drop_inputs == 0
    tuned, trained = study.configs("spikes").finetune, study.configs("spikes").train
    assert not tuned.tables_only and tuned.lr == trained.lr


def test_where_all_weights_are_tuned_each_session_is_read_by_the_teacher_of_it(monkeypatch):
    study, made = Study(cohort_name="cao2021"), []
    names = ("mouse1/s1", "mouse2/s1", "ratA/s1")
    study.__dict__["sessions"] = dict.fromkeys(names, make_session(bin_size_s=0.1))
    monkeypatch.setattr(Study, "model", lambda _, spec: spec.folder)
    monkeypatch.setattr("spikelfp_lab.study.study.distill", lambda _, t, **__: made.append(t))
    study._make(model_specs(study, "unsupervised", "ratA/s1")["MS-Distilled"])
    assert [*made[0].values()] == ["seed0/teacher", "seed0/teacher", "seed0/ratA/s1/teacher"]


def test_controls_know_nothing_of_the_moment():
    specs = model_specs(demo(), "unsupervised", "I/s05")
    still = specs["Untrained"].configs(demo()).train
    assert still.steps == 1 and still.lr == 0.0
    random = specs["Random teacher"].start
    assert random.control == "untrained" and random.configs(demo()).train.lr == 0.0
    assert specs["Other subject's teacher"].start.sessions == ("C/s01",)
    same = replace(specs["Distilled"], folder=specs["Shuffled teacher"].folder, control="shuffled")
    assert specs["Shuffled teacher"] == same  # nothing else differs


def test_pretraining_without_lfp_leaves_out_models_of_several_sessions_of_it():
    """And a recording of another subject gives the control, where the cohort has one."""
    study, one = Study(cohort_name="v1_gamma"), make_session(bin_size_s=0.05)
    spikes = one.drop_vars("lfp")
    sessions = {"alpa/gratings": one, "alpa/hues": spikes, "tutu/hues": spikes}
    study.__dict__["sessions"] = sessions
    specs = model_specs(study, "unsupervised", "alpa/gratings")
    assert not {"MS-LFP", "MS-Distilled"} & {*specs}
    assert specs["Distilled"].start.start.sessions == ("alpa/hues", "tutu/hues")
    assert specs["Other subject's teacher"].start == specs["Distilled"].start.start
    assert study.configs("distill").train.scheme == "trials"
    study.__dict__["sessions"] = {name: sessions[name] for name in ("alpa/gratings", "alpa/hues")}
    study.__dict__.pop("pretraining")
    assert "Other subject's teacher" not in model_specs(study, "unsupervised", "alpa/gratings")
