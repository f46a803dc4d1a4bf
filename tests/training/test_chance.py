"""A teacher is asked what its latents know of hidden counts."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import spikelfp_lab as sl
from spikelfp_lab import DataError, MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.training.batches import prepare
from spikelfp_lab.training.chance import hidden_r2, refuse_chance
from tests.factories import make_session

MODEL = ModelConfig(
    width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32, affine_space=True
)
TRAIN = TrainConfig(steps=250, batch=16, window_s=0.6, val_every=50)
STILL = replace(TRAIN, steps=1, lr=0.0, val_every=1)
HIDE, CPU = MaskConfig(units=0.25, predicted=0.5), torch.device("cpu")
pretrain = partial(sl.pretrain, modality="spikes", model=MODEL, train=STILL, progress=False)


def waves(name: str, seed: int):
    """A session whose units follow one slow wave, each with a gain of its own."""
    session = make_session(bins=4000, units=16, session=name)
    rng = np.random.default_rng(seed)
    drive = np.sin(np.arange(4000) / 12 + seed)[:, None] * rng.uniform(0.5, 1.0, 16)
    session["spikes"].values = rng.poisson(0.5 * np.exp(drive)).astype(session["spikes"].dtype)
    return session


@pytest.fixture(scope="module")
def pretrained():
    return pretrain({"I/s01": waves("s01", 0), "I/s02": waves("s02", 1)}, mask=HIDE, train=TRAIN)


def refuse(teacher, session=None):
    refuse_chance(teacher, session or waves("s01", 0), "I/s01", train=TRAIN, device=CPU)


def test_a_trained_teacher_passes_and_is_left_as_it_is(pretrained):
    state, digest = torch.get_rng_state(), pretrained.digest()
    pretrained.train()
    refuse(pretrained)
    assert pretrained.training and pretrained.digest() == digest
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_shuffled_weights_are_refused(pretrained):
    torch.manual_seed(0)  # an unlucky shuffle can pass on enough of the counts
    shuffled = copy.deepcopy(pretrained)
    for weight in shuffled.parameters():
        weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
    with pytest.raises(DataError, match=r"no better than chance on session I/s01.*force=True"):
        refuse(shuffled)


def test_one_tuned_on_another_session_still_teaches_the_first(pretrained):
    """Its predictor has moved away from the first session, its latents tell as much of it."""
    train = replace(TRAIN, steps=60, lr=1e-3)
    tuned = sl.finetune(pretrained, waves("s03", 2), mask=HIDE, train=train, progress=False)
    torch.nn.init.normal_(tuned.predictor.read_out.shared.weight)  # at chance, and worse
    refuse(tuned)


def test_distill_asks_every_teacher_unless_forced(pretrained):
    session = waves("s01", 0)
    untrained, student = pretrain(session), replace(MODEL, predictor_layers=0, affine_space=False)
    quick = TrainConfig(steps=2, batch=2, window_s=0.6, val_every=2)
    distill = partial(sl.distill, model=student, train=quick, progress=False)
    assert distill(session, untrained, force=True).modality == "lfp"
    both = {"I/s01": session, "I/s02": waves("s02", 1)}
    with pytest.raises(DataError, match="chance on session I/s01"):
        distill(both, {"I/s01": untrained, "I/s02": pretrained})


def test_units_without_spikes_are_no_reason_to_fail(pretrained):
    session = waves("s01", 0)
    session["spikes"].values[:, 3:] = 0
    windows = prepare(session, "I/s01", modality="spikes", train=TRAIN, device=CPU)
    assert np.isfinite(hidden_r2(pretrained.eval(), windows)).all()


def test_few_validation_windows_are_asked_often(pretrained):
    """Of two windows, one draw of what is hidden tells little: .03 to .24, with a SD of .07."""
    windows = prepare(waves("s01", 0), "I/s01", modality="spikes", train=TRAIN, device=CPU)
    pairs = [replace(windows, val=windows.val[i : i + 2]) for i in range(len(windows.val) - 1)]
    assert np.std([hidden_r2(pretrained.eval(), pair) for pair in pairs]) < 0.045
