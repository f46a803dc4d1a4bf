"""What the models of a study are made from: everything needed comes first, and once."""

from dataclasses import replace

import pytest

from spikelfp_lab.study import Study, ablations, model_specs

SETTINGS = ("comparison", "unsupervised", "supervised")


@pytest.fixture
def demo(monkeypatch) -> Study:
    """A study of the simulated cohort, none of whose sessions are made."""
    study = Study(n_seeds=2)
    names = [f"I/s0{i}" for i in range(1, 8)]
    sessions = {name: {"spikes", "lfp"} for name in names}
    monkeypatch.setitem(study.__dict__, "sessions", sessions)
    return study


@pytest.mark.parametrize("full", [False, True])
def test_all_that_a_model_needs_is_trained_in_an_earlier_stage(demo, full):
    study = replace(demo, full=full)
    study.__dict__["sessions"] = demo.sessions
    done: dict[str, object] = {}
    for verb, specs in study.stages().items():
        for spec in specs:
            assert spec.verb == verb
            assert all(done[need.folder] == need for need in spec.needs), spec.folder
        work = [spec.work(study) for spec in specs]
        assert work == sorted(work, reverse=True)  # the longest first
        assert not done.keys() & {spec.folder for spec in specs}
        done |= {spec.folder: spec for spec in specs}
    assert len({folder.lower() for folder in done}) == len(done)
    wanted = [
        spec
        for seed, name in (study.runs_of_all if full else study.side_runs)
        for setting in SETTINGS
        for spec in model_specs(study, setting, name, seed).values()
    ]
    assert all(done[spec.folder] == spec for spec in wanted)


def test_held_out_sessions_are_in_nobody_s_pretraining(demo):
    for specs in demo.stages().values():
        for spec in specs:
            if len(spec.sessions) > 1 and spec.verb == "pretrain":
                assert not set(spec.sessions) & set(demo.held_out)
            if spec.verb == "finetune":
                assert not set(spec.sessions) & set(spec.start.sessions)


def test_each_session_is_read_by_the_teacher_that_was_trained_on_it(demo):
    """The fine-tuned teacher may have forgotten the sessions of its pre-training."""
    spec = model_specs(demo, "unsupervised", "I/s05")["MS-Distilled"]
    assert spec.sessions == ("I/s01", "I/s02", "I/s03", "I/s04", "I/s05")
    assert spec.start.folder == "seed0/I/s05/teacher" and spec.start.sessions == ("I/s05",)
    assert spec.pretrained.folder == "seed0/teacher"
    assert set(spec.pretrained.sessions) == set(spec.sessions[:-1])


def test_side_questions_are_asked_of_the_first_session_and_seed_unless_all_are_asked(demo):
    assert demo.side_runs == [(0, "I/s05")] and len(demo.runs_of_all) == 6
    assert set(model_specs(demo, "unsupervised", "I/s06")) < set(
        model_specs(demo, "unsupervised", "I/s05")
    )
    everything = replace(demo, full=True)
    everything.__dict__["sessions"] = demo.sessions
    assert everything.side_runs == everything.runs_of_all


@pytest.mark.parametrize("full", [False, True])
def test_ablations_change_one_thing_beside_the_study_s_own(demo, full):
    study = replace(demo, full=full)
    study.__dict__["sessions"] = demo.sessions
    own = model_specs(study, "comparison", "I/s05")["Distilled"]
    asked = ablations(study, "I/s05", 0)
    for question, variants in asked.items():
        assert sum(spec == own for spec in variants.values()) == 1, question
        others = {spec.folder: spec for spec in variants.values() if spec != own}
        assert len(others) == len(variants) - 1
        for spec in others.values():
            changed = [spec.changes != {}, spec.minutes is not None, spec.start != own.start]
            assert sum(changed) == 1
    few = {question: set(variants) for question, variants in ablations(demo, "I/s05", 0).items()}
    assert all(few[question] <= set(asked[question]) for question in few)


def test_controls_know_nothing_of_the_moment(demo):
    specs = model_specs(demo, "unsupervised", "I/s05")
    still = specs["Untrained"].configs(demo).train
    assert still.steps == 1 and still.lr == 0.0
    random = specs["Random teacher"].start
    assert random.control == "untrained" and random.configs(demo).train.lr == 0.0
    assert specs["Other subject's teacher"].start.sessions == ("C/s01",)
    same = replace(specs["Distilled"], folder=specs["Shuffled teacher"].folder, control="shuffled")
    assert specs["Shuffled teacher"] == same  # nothing else differs
