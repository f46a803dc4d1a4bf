from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikelfp_lab import (
    CheckpointError,
    ConfigError,
    DataError,
    DistillConfig,
    ModelConfig,
    TrainConfig,
    encode,
    finetune,
    pretrain,
)
from spikelfp_lab import distill as checked_distill
from spikelfp_lab.training.distillation import alignment, center_latents, shuffle_latents
from tests.factories import make_session

distill = partial(checked_distill, force=True)  # these teachers see a few steps only
MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
STUDENT = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_layers=0)
QUICK = TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2)
LONGER = TrainConfig(steps=120, batch=8, window_s=0.4, val_every=20)


@pytest.fixture(scope="module")
def session():
    return make_session(bins=2500, units=16)


@pytest.fixture(scope="module")
def teacher(session):
    return pretrain(session, "spikes", model=MODEL, train=LONGER, progress=False)


def test_alignment_is_one_minus_cosine_and_ignores_scale():
    a, b = torch.randn(2, 5, 7, 3)
    torch.testing.assert_close(alignment(a, 3 * a), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(alignment(a, -a), torch.tensor(2.0))
    by_hand = 1 - ((a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).mean()
    torch.testing.assert_close(alignment(2 * a, b), by_hand)


def test_gradient_of_alignment_is_the_numerical_one():
    a = torch.randn(2, 3, requires_grad=True)
    b = torch.randn(2, 3)
    alignment(a, b).backward()
    step = torch.zeros(2, 3)
    step[0, 1] = 1e-3
    numerical = (alignment(a.detach() + step, b) - alignment(a.detach() - step, b)) / 2e-3
    assert a.grad is not None
    assert float(numerical) == pytest.approx(float(a.grad[0, 1]), abs=1e-3)


@given(
    bins=st.integers(2, 300), window=st.integers(1, 50), seed=st.integers(0, 9)
)  # fmt: skip
def test_shuffling_keeps_every_latent_and_the_order_within_a_stretch_and_none_in_its_place(
    bins, window, seed
):
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


def test_centering_uses_the_time_it_is_given():
    latents = np.random.default_rng(0).normal(3, 2, size=(200, 4))
    use = np.arange(200) < 100
    centered = center_latents(latents, use, "mean")
    np.testing.assert_allclose(centered[use].mean(0), 0, atol=1e-12)
    scaled = center_latents(latents, use, "scale")
    np.testing.assert_allclose(scaled[use].std(0), 1, atol=1e-3)
    assert center_latents(latents, use, "none") is latents


@pytest.mark.parametrize("center", ["none", "mean", "scale"])
def test_a_student_comes_nearer_to_its_teacher_but_not_to_a_shuffled_one(session, teacher, center):
    goal = DistillConfig(center=center)

    def centered_alignment(**options) -> float:
        student = distill(
            session, teacher, model=STUDENT, distill=goal, train=LONGER, progress=False, **options
        )
        history = student.history.query("split == 'val' and metric == 'centered alignment'")
        return history["value"].min()

    assert centered_alignment() < 0.8
    assert centered_alignment(shuffle_teacher=True) > 0.9


def test_the_teacher_stays_as_it_is_and_sessions_may_be_many(session, teacher):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    student = distill(
        {"I/s01": session}, teacher, model=STUDENT, train=QUICK, progress=False
    )  # fmt: skip
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert student.modality == "lfp" and student.info["teacher"]["made_by"] == "pretrain"
    assert np.isfinite(encode(student, session)).all()


def test_a_student_s_state_is_not_taken_for_that_of_another_teacher(session, teacher, tmp_path):
    options = {"model": STUDENT, "train": QUICK, "progress": False, "folder": tmp_path}
    first = distill(session, teacher, **options)
    assert distill(session, teacher, **options).digest() == first.digest()
    other = finetune(teacher, session, train=QUICK, progress=False)
    with pytest.raises(CheckpointError, match="another training"):
        distill(session, other, **options)
    given = encode(teacher, session)
    with pytest.raises(CheckpointError, match="another training"):
        distill(session, {"I/s01": given}, **options)
    apart = options | {"folder": tmp_path / "latents"}
    distill(session, {"I/s01": given}, **apart)
    with pytest.raises(CheckpointError, match="another training"):
        distill(session, {"I/s01": given * 1.1}, **apart)


def test_behavior_can_take_the_place_of_reconstruction(session, teacher):
    goal = DistillConfig(target="behavior")
    student = distill(session, teacher, model=STUDENT, distill=goal, train=LONGER, progress=False)
    errors = student.history.query("split == 'train' and metric == 'behavior'")["value"]
    assert errors.iloc[-1] < 0.9 * errors.iloc[0]
    assert student.behavior_head is not None and student.behavior_head.out_features == 2


def test_what_cannot_be_distilled_is_one_clear_error(session, teacher):
    options = {"train": QUICK, "progress": False}
    lfp = pretrain(session, "lfp", model=MODEL, **options)
    with pytest.raises(DataError, match="teacher of spikes"):
        distill(session, lfp, model=STUDENT, **options)
    with pytest.raises(DataError, match="same width"):
        distill(session, teacher, model=ModelConfig(width=64), **options)
    with pytest.raises(DataError, match="has no 'lfp'"):
        distill(session.drop_vars("lfp"), teacher, model=STUDENT, **options)
    with pytest.raises(CheckpointError, match=r"does not know \['I/s09'\].*finetune"):
        distill(make_session(session="s09"), teacher, model=STUDENT, **options)
    with pytest.raises(DataError, match="split with seed=0, the student's with 3"):
        other = TrainConfig(steps=4, batch=2, window_s=0.4, seed=3)
        distill(session, teacher, model=STUDENT, train=other, progress=False)
    with pytest.raises(CheckpointError, match="student gets a new session by distill"):
        student = distill(session, teacher, model=STUDENT, **options)
        encode(student, make_session(session="s09"))
    with pytest.raises(ConfigError, match="no predictor"):
        finetune(student, session, **options)


def test_sessions_of_different_behavior_cannot_share_a_read_out(session, teacher):
    other = session.assign_coords(behavior_dim=["cos", "sin"]).assign_attrs(session="s02")
    both = finetune(teacher, other, train=QUICK, progress=False)
    goal = DistillConfig(target="behavior")
    with pytest.raises(DataError, match="behavior differs"):
        distill({"I/s01": session, "I/s02": other}, both, model=STUDENT, distill=goal, train=QUICK)


def students(session, teacher, *goals, train=QUICK):
    return [
        distill(session, teacher, model=STUDENT, distill=goal, train=train, progress=False)
        for goal in goals
    ]


def test_latents_can_be_the_teacher(session, teacher):
    """The teacher's own latents, given as such, make the same student."""
    given = {"I/s01": encode(teacher, session)}
    first, second = (
        distill(session, one, model=STUDENT, train=QUICK, progress=False)
        for one in (teacher, given)
    )
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])
    with pytest.raises(DataError, match="clock"):
        late = given["I/s01"].assign_coords(time=given["I/s01"]["time"] + 1)
        distill(session, {"I/s01": late}, model=STUDENT, train=QUICK, progress=False)
    with pytest.raises(ConfigError, match="the teacher itself"):
        everything = DistillConfig(layers="all")
        distill(session, given, model=STUDENT, distill=everything, train=QUICK, progress=False)


def test_all_layers_are_aligned_when_asked(session, teacher):
    """Same weights and batches, other loss; with one layer, all is the last."""
    last, every = students(session, teacher, DistillConfig(), DistillConfig(layers="all"))
    for key, tensor in last.state_dict().items():
        torch.testing.assert_close(tensor, every.state_dict()[key])
    deep = ModelConfig(width=32, layers=2, spike_patch=16, channel_patch=8, predictor_layers=0)
    with pytest.raises(DataError, match="one with one"):
        goal = DistillConfig(layers="all")
        distill(session, teacher, model=deep, distill=goal, train=QUICK, progress=False)


def test_a_teacher_that_is_not_frozen_learns_with_its_student_and_is_left_behind(session, teacher):
    before = teacher.digest()
    frozen, free = students(session, teacher, DistillConfig(), DistillConfig(frozen=False))
    assert teacher.digest() == before  # a copy was trained
    assert set(free.state_dict()) == set(frozen.state_dict())
    loss = {
        m: m.history.query("split == 'train' and metric == 'alignment'")["value"].iloc[-1]
        for m in (frozen, free)
    }
    assert loss[free] < loss[frozen]  # two that move meet sooner


def test_masked_students_see_less_in_training_and_all_in_use(session, teacher):
    whole, masked = students(session, teacher, DistillConfig(), DistillConfig(mask_ratio=0.6))
    assert masked.digest() != whole.digest()
    assert np.isfinite(encode(masked, session)).all()


def test_supervised_students_are_ranked_by_behavior(session, teacher):
    goal = DistillConfig(target="behavior")
    (student,) = students(session, teacher, goal, train=LONGER)
    val = student.history.query("split == 'val'").pivot(
        index="step", columns="metric", values="value"
    )
    assert (val["score"] == val["behavior"]).all()
    assert student.info["best_step"] == val["behavior"].idxmin()
