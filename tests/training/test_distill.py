from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import spikelfp_lab as sl
from spikelfp_lab import CheckpointError, ConfigError, DataError, DistillConfig, TrainConfig
from spikelfp_lab.training.distillation import alignment, shuffle_latents
from tests.factories import make_session

STUDENT = sl.ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_layers=0)
MODEL = replace(STUDENT, predictor_layers=1, predictor_width=32)
QUICK = TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2)
LONGER = TrainConfig(steps=120, batch=8, window_s=0.4, val_every=20)
pretrain = partial(sl.pretrain, modality="spikes", model=MODEL, train=QUICK, progress=False)
finetune = partial(sl.finetune, train=QUICK, progress=False)
# these teachers see a few steps only
distill = partial(sl.distill, model=STUDENT, train=QUICK, force=True, progress=False)


@pytest.fixture(scope="module")
def session():
    return make_session(bins=2500, units=16)


@pytest.fixture(scope="module")
def teacher(session):
    return pretrain(session, train=LONGER)


def values(model, metric, split="val"):
    return model.history.query(f"split == '{split}' and metric == '{metric}'")["value"]


def test_alignment_is_one_minus_cosine_and_ignores_scale():
    a, b = torch.randn(2, 5, 7, 3)
    torch.testing.assert_close(alignment(a, -a), torch.tensor(2.0))
    by_hand = 1 - ((a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).mean()
    torch.testing.assert_close(alignment(2 * a, b), by_hand)


@given(bins=st.integers(2, 300), window=st.integers(1, 50), seed=st.integers(0, 9))
def test_shuffling_keeps_stretches_and_leaves_none_in_its_place(bins, window, seed):
    latents = np.arange(float(bins))[:, None]
    if bins // window < 2:
        with pytest.raises(DataError, match="too few to shuffle"):
            shuffle_latents(latents, window=window, seed=seed)
        return
    shuffled = shuffle_latents(latents, window=window, seed=seed)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), latents)
    assert (np.diff(shuffled[:, 0]) == 1).sum() >= bins - 1 - bins // window
    if bins % window == 0:  # else stretches differ in length, and what follows one is shifted
        assert (shuffled != latents).all()


@pytest.mark.parametrize("center", ["none", "mean", "scale"])
def test_a_student_comes_nearer_to_its_teacher_but_not_to_a_shuffled_one(session, teacher, center):
    before, options = teacher.digest(), {"distill": DistillConfig(center=center), "train": LONGER}
    student = distill(session, teacher, **options)
    assert values(student, "centered alignment").min() < 0.8
    shuffled = distill(session, teacher, shuffle_teacher=True, **options)
    assert values(shuffled, "centered alignment").min() > 0.9
    assert teacher.digest() == before and student.info["teacher"]["made_by"] == "pretrain"
    assert student.modality == "lfp" and np.isfinite(sl.encode(student, session)).all()


def test_a_student_s_state_is_not_taken_for_that_of_another_teacher(session, teacher, tmp_path):
    latents, folders = sl.encode(teacher, session), (tmp_path / "model", tmp_path / "latents")
    given = {"I/s01": latents}
    # the teacher's own latents, given as such, make the same student
    models = [distill(session, one, folder=f) for one, f in zip((teacher, given), folders)]  # noqa: B905
    assert models[0].digest() == models[1].digest()
    assert distill(session, teacher, folder=folders[0]).digest() == models[0].digest()
    others = (finetune(teacher, session), folders[0]), ({"I/s01": latents * 1.1}, folders[1])
    for other, folder in others:
        with pytest.raises(CheckpointError, match="another training"):
            distill(session, other, folder=folder)


def test_one_read_out_fits_all_sessions_of_a_student_with_a_map_for_each():
    """Two days of one array, whose teachers' latents share nothing: each is the drive, turned and
    shifted in its own way.
    """
    rng, days = np.random.default_rng(0), {"I/s01": 0, "I/s02": 1}
    mixing, sessions, teachers = rng.normal(size=(2, 4)), {}, {}
    for name, seed in days.items():
        session = make_session(bins=3000, session=name[2:], seed=seed)
        drive = session["behavior"].to_numpy()
        session["lfp"][:] = drive @ mixing + 0.5 * rng.normal(size=session["lfp"].shape)
        latents = drive @ rng.normal(size=(2, 6)) + 3 * rng.normal(size=6)
        clock = {"time": session["time"]}
        teachers[name] = xr.DataArray(latents.astype("f4"), clock, ("time", "latent"))
        sessions[name] = session
    goal = DistillConfig(center="scale", maps=True)
    train = replace(LONGER, steps=200, val_every=50)
    student = distill(sessions, teachers, distill=goal, train=train)
    readout = sl.fit_readout(sl.encode(student, sessions["I/s01"]), sessions["I/s01"])
    other = sl.decode(sl.encode(student, sessions["I/s02"]), sessions["I/s02"], readout=readout)
    assert other.query("split == 'test'")["r2"].min() > 0.8
    # the maps lead to each session's own latents, of the teacher's width, mean and scale
    for name, session in sessions.items():
        found = sl.encode(student, session, space="teacher")
        assert found.shape == (3000, 6) and found.digest != student.digest()
        assert float(((found - teachers[name]) ** 2).mean() / teachers[name].var()) < 0.3
    with pytest.raises(DataError, match="read-out was fitted to"):
        readout.predict(found)
    with pytest.raises(DataError, match="wide"):
        distill(sessions, teachers | {"I/s02": found[:, :5]}, distill=goal)


def test_behavior_can_take_the_place_of_reconstruction_and_then_ranks(session, teacher):
    student = distill(session, teacher, distill=DistillConfig(target="behavior"), train=LONGER)
    errors = values(student, "behavior", "train")
    assert errors.iloc[-1] < 0.9 * errors.iloc[0] and student.behavior_head.out_features == 2
    ranks, scores = values(student, "behavior"), values(student, "score")
    assert ranks.tolist() == scores.tolist()
    assert student.info["best_step"] == student.history.loc[ranks.idxmin(), "step"]


def test_what_cannot_be_distilled_is_one_clear_error(session, teacher):
    lfp, wide = pretrain(session, modality="lfp"), {"model": replace(STUDENT, width=64)}
    wide["distill"] = DistillConfig()
    latents, unknown = sl.encode(teacher, session), make_session(session="s09")
    late = {"I/s01": latents.assign_coords(time=latents["time"] + 1)}
    free, seed = {"distill": DistillConfig(frozen=False)}, {"train": replace(QUICK, seed=3)}
    deep = {"distill": DistillConfig(layers="all"), "model": replace(STUDENT, layers=2)}
    other = make_session(behavior=("cos", "sin"), session="s02")
    cohort, goal = {"I/s01": session, "I/s02": other}, DistillConfig(target="behavior")
    for error, message, sessions, one, options in (
        (DataError, "teacher of spikes", session, lfp, {}),
        (DataError, "same width", session, teacher, wide),
        (DataError, "has no 'lfp'", session.drop_vars("lfp"), teacher, {}),
        (CheckpointError, r"does not know \['I/s09'\].*finetune", unknown, teacher, {}),
        (DataError, "split with seed=0, the student's with 3", session, teacher, seed),
        (DataError, "clock", session, late, {}),
        (ConfigError, "the teacher itself", session, {"I/s01": latents}, free),
        (DataError, "aligns 2 layers", session, teacher, deep),
        (DataError, "behavior differs", cohort, finetune(teacher, other), {"distill": goal}),
    ):
        with pytest.raises(error, match=message):
            distill(sessions, one, **options)
    student = distill(session, teacher, distill=DistillConfig())
    with pytest.raises(ConfigError, match="no maps"):
        sl.encode(student, session, space="teacher")
    with pytest.raises(CheckpointError, match=r"Add it by distill\(session, teacher\)"):
        sl.encode(student, unknown)
    with pytest.raises(ConfigError, match="no predictor"):
        finetune(student, session)


def test_all_layers_masked_inputs_and_a_teacher_that_is_not_frozen(session, teacher):
    before = teacher.digest()
    goals = {}, {"layers": "all"}, {"mask_ratio": 0.6}, {"frozen": False}
    plain, every, masked, free = (
        distill(session, teacher, distill=DistillConfig(**goal)) for goal in goals
    )
    for key, tensor in plain.state_dict().items():  # with one layer, all is the last
        torch.testing.assert_close(tensor, every.state_dict()[key])
    assert masked.digest() != plain.digest() and np.isfinite(sl.encode(masked, session)).all()
    # two that move meet sooner; a copy of the teacher was trained, and left behind
    last = [values(model, "alignment", "train").iloc[-1] for model in (free, plain)]
    assert last[0] < last[1] and teacher.digest() == before
    assert set(free.state_dict()) == set(plain.state_dict())
