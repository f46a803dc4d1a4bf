"""A study trains each model once and finds it again, in memory, on disk, and by its configs alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikelfp_lab import ConfigError, DataError
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.presets import PRESETS
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.study import COMPARISON, Study
from tests.factories import make_session


@pytest.fixture
def quick(monkeypatch):
    """The smoke preset with trainings of two steps."""
    for role, preset in PRESETS["smoke"].items():
        train = replace(preset.train, steps=2, batch=2, window_s=0.4, val_every=1)
        monkeypatch.setitem(
            PRESETS["smoke"], role, replace(preset, train=train, finetune=replace(train, lr=1e-3))
        )


@pytest.fixture
def study(quick, tmp_path) -> Study:
    return small_study(tmp_path)


def small_study(tmp_path: Path) -> Study:
    sessions = [make_session(bins=1400, session=f"s0{i}", seed=i, units=5 + i) for i in range(1, 4)]
    save_cohort(cohort_from_sessions(sessions), tmp_path / "cohort")
    return Study(
        cohort_name=str(tmp_path / "cohort"),
        preset="smoke",
        runs=tmp_path / "runs",
        figures=tmp_path / "figures",
        progress=False,
    )


def test_held_out_sessions_are_in_nobody_s_pretraining(study):
    assert study.held_out == ["I/s03"] and study.pretraining == ["I/s01", "I/s02"]
    assert list(study.teacher().sessions) == ["I/s01", "I/s02"]
    assert list(study.ms_lfp().sessions) == ["I/s01", "I/s02"]
    assert list(study.distilled("I/s03").sessions) == ["I/s03"]


def test_a_model_is_trained_once(study):
    first = study.teacher_for("I/s03")
    assert study.teacher_for("I/s03") is first
    written = {path.name for path in study.runs.iterdir()}
    assert not any(name.endswith("unfinished") for name in written)
    again = replace(study, _loaded={}).teacher_for("I/s03")  # as another notebook would find it
    assert {path.name for path in study.runs.iterdir()} == written
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])


def test_an_unfinished_run_of_other_data_does_not_block(study):
    study.ss_lfp("I/s03")
    (trained,) = study.runs.glob("ss-lfp-*")
    trained.rename(study.runs / "elsewhere")
    unfinished = study.runs / f"{trained.name}.unfinished"
    unfinished.mkdir()
    (unfinished / "state.safetensors").write_bytes(b"of another time")
    assert replace(study, _loaded={}).ss_lfp("I/s03") is not None
    assert trained.exists() and not unfinished.exists()


def test_data_that_changed_in_a_folder_is_not_taken_for_the_old(study):
    first = study.ss_lfp("I/s03")
    changed = [
        make_session(bins=1400, session=f"s0{i}", seed=9 + i, units=5 + i) for i in range(1, 4)
    ]
    save_cohort(cohort_from_sessions(changed), study.cohort_name, overwrite=True)
    again = Study(**{f: getattr(study, f) for f in ("cohort_name", "preset", "runs", "progress")})
    assert again.ss_lfp("I/s03").digest() != first.digest()


def test_an_interrupted_cohort_is_not_taken_for_a_smaller_one(tmp_path, monkeypatch):
    study = Study(preset="smoke", runs=tmp_path, progress=False)

    def interrupted(cohort, folder):
        save_cohort(cohort_from_sessions([make_session()]), folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spikelfp_lab.study.ground.save_cohort", interrupted)
        patch.setattr("spikelfp_lab.study.ground.open_cohort", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            _ = study.cohort
    assert not list(tmp_path.glob("cohort-????????????"))
    whole = cohort_from_sessions([make_session(), make_session(session="s02")])
    with monkeypatch.context() as patch:
        again = lambda name, **_: whole if name == "simulated" else open_cohort(name)  # noqa: E731
        patch.setattr("spikelfp_lab.study.ground.open_cohort", again)
        assert list(study.sessions) == ["I/s01", "I/s02"]
    assert len(list(tmp_path.iterdir())) == 1  # what was left of the first is gone


def test_another_seed_or_config_is_another_model(study, monkeypatch):
    names = set()

    def new() -> set[str]:
        fresh = {path.name for path in study.runs.iterdir()} - names
        names.update(fresh)
        return fresh

    study.ss_lfp("I/s03", 0)
    assert len(new()) == 1
    study.ss_lfp("I/s03", 1)
    assert len(new()) == 1
    preset = PRESETS["smoke"]["lfp"]
    changed = replace(preset, train=replace(preset.train, noise=0.1))
    monkeypatch.setitem(PRESETS["smoke"], "lfp", changed)
    replace(study, _loaded={}).ss_lfp("I/s03", 0)
    assert len(new()) == 1


def test_train_makes_all_that_the_comparison_asks_for(tmp_path):
    """In processes of its own, which know the preset as it is: hence no quick one here."""
    study = small_study(tmp_path)
    study.train("comparison")
    written = {path.name for path in study.runs.iterdir()}
    kinds = {name.rsplit("-", 1)[0] for name in written}
    assert kinds == {"teacher", "teacher-tuned", "ms-lfp", "ms-lfp-tuned", "ss-lfp", "student", "untrained"}  # fmt: skip
    models = study.models("I/s03", 0)
    assert list(models) == list(COMPARISON)
    assert all(len(model.history) for model in models.values())
    assert {path.name for path in study.runs.iterdir()} == written


def test_scores_are_tidy_and_complete(study):
    scores = study.scores()
    assert list(scores.columns) == ["session", "seed", "model", "readout", "split", "axis", "r2"]
    assert set(scores["model"]) == {
        "SS-LFP",
        "MS-LFP",
        "Distilled",
        "Teacher",
        "Untrained",
        "Shuffled teacher",
        "Raw LFP ridge",
        "Band power ridge",
        "Spikes ridge",
    }
    per_model = scores.groupby("model").size()
    assert (per_model == 2 * 3 * 2).all()  # read-outs x splits x axes
    assert scores["r2"].notna().all()


def test_the_untrained_control_learned_nothing(study):
    untrained = study.untrained("I/s03")
    assert untrained.history.query("split == 'train'")["step"].max() == 1
    assert untrained.info["train"]["lr"] == 0.0


def test_the_environment_chooses(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {"COHORT": "cao2021", "PRESET": "smoke", "SEEDS": "3"}.items():
        monkeypatch.setenv(name, value)
    study = Study.from_environment()
    assert (study.cohort_name, study.preset, study.n_seeds) == ("cao2021", "smoke", 3)
    assert study.figures == Path("figures/cao2021/smoke")  # demo alone draws the committed ones
    monkeypatch.setenv("SEEDS", "many")
    with pytest.raises(ConfigError, match="SEEDS is 'many'"):
        Study.from_environment()
    monkeypatch.setenv("SEEDS", "1")
    monkeypatch.setenv("PRESET", "huge")
    with pytest.raises(ConfigError, match="no preset 'huge'"):
        Study.from_environment()


def test_an_unknown_cohort_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        _ = Study(cohort_name="nowhere", runs=tmp_path).cohort
