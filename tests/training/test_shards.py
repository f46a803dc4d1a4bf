"""Sessions in shards: dealt evenly, each counting for its length, the same whatever the number of
processes.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikelfp_lab import MaskConfig, ModelConfig, TrainConfig, pretrain
from spikelfp_lab.training import loop
from spikelfp_lab.training.batches import prepare
from spikelfp_lab.training.loop import make_optimizer
from spikelfp_lab.training.shards import Processes, Shards, deal, shard_weights
from tests.factories import make_session

CPU = torch.device("cpu")
TRAIN = TrainConfig(steps=6, batch=8, window_s=0.4, val_every=3)
MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)

lengths = st.lists(st.integers(1, 10_000), min_size=1, max_size=30)


@given(windows=lengths, shards=st.integers(1, 12))
def test_every_session_is_sampled_by_its_share_of_windows_and_shards_are_even(windows, shards):
    """No shard holds more than the mean and the longest session."""
    groups = deal(windows, shards)
    assert len(groups) == shards and all(groups)
    assert {i for group in groups for i in group} == set(range(len(windows)))
    weights = shard_weights(groups, windows)
    assert sum(weights) == pytest.approx(1)
    expected = np.zeros(len(windows))
    for group, weight in zip(groups, weights, strict=True):
        for i in group:
            expected[i] += weight * windows[i] / sum(windows[j] for j in group)
    np.testing.assert_allclose(expected, np.array(windows) / sum(windows))
    assert max(weights) * sum(windows) <= sum(windows) / shards + max(windows) + 1e-6


def cohort(*lengths, shards=1):
    named = {f"I/s{i}": make_session(bins=n, seed=i) for i, n in enumerate(lengths)}
    train = replace(TRAIN, shards=shards)

    def ready(session, name):
        return prepare(session, name, modality="lfp", train=train, device=CPU)

    return Shards(named, ready, modality="lfp", train=train, processes=Processes(CPU))


def test_one_shard_draws_sessions_by_length_seed_and_step_alone():
    dealt = cohort(1500, 700, 700)
    assert dealt.shares == {0: 1.0}
    held = list(dealt.held.values())
    weights = np.array([len(one.train) for one in held], float)
    names = []
    for step in range(300):
        ((share, windows, starts),) = dealt.turns(step)
        assert share == 1.0
        rng = np.random.default_rng([0, step])  # what a run of (seed, step) alone would draw
        assert held[rng.choice(3, p=weights / weights.sum())] is windows
        np.testing.assert_array_equal(starts, rng.choice(windows.train, size=8))
        names.append(windows.name)
    assert names.count("I/s0") / 300 == pytest.approx(weights[0] / weights.sum(), abs=0.1)


def test_a_session_alone_is_in_all_shards_and_counts_once_in_an_average():
    dealt = cohort(1500, shards=4)
    assert dealt.groups == [[0]] * 4 and dealt.shares == dict.fromkeys(range(4), 0.25)
    starts = {tuple(starts) for *_, starts in dealt.turns(0)}
    assert len(starts) == 4  # four parts of a batch, not the same one four times
    assert len(dealt.sessions) == 1
    dealt = cohort(1500, 700, shards=4)
    assert dealt.average(lambda windows: {"x": 1.0 + (windows.name == "I/s1")}) == {"x": 1.5}


def test_the_gradient_of_a_step_is_the_weighted_mean_of_the_shards(monkeypatch):
    lengths, summed, first = (2500, 700, 900), {}, {}
    named = {f"I/s{i}": make_session(bins=n, seed=i) for i, n in enumerate(lengths)}

    def gradients(model):
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    def optimizer(model, train):
        first.update({k: v.clone() for k, v in model.state_dict().items()})
        made = make_optimizer(model, train)
        made.register_step_pre_hook(lambda *_: summed.update(gradients(model)))
        return made

    monkeypatch.setattr(loop, "make_optimizer", optimizer)
    train = replace(TRAIN, steps=1, val_every=1, shards=2, clip=1e9)
    model = pretrain(named, "lfp", model=MODEL, mask=MaskConfig(), train=train, progress=False)
    tables = [f"tokenizer.space.{i}" in summed for i in range(3)]
    assert sum(tables) == 2  # that of the session that was not drawn is left alone
    model.load_state_dict(first)
    dealt, by_hand = cohort(*lengths, shards=2), dict.fromkeys(summed, 0.0)
    windows = [len(dealt.held[i].train) for i in range(3)]
    shares = {0: windows[0] / sum(windows), 1: (windows[1] + windows[2]) / sum(windows)}
    assert dealt.groups == [[0], [1, 2]] and dealt.shares == pytest.approx(shares)
    for share, one, starts in dealt.turns(0):
        model.zero_grad()
        values = one.cut(starts)["values"]
        model.masked_loss(values, one.name, mask=MaskConfig()).backward()
        for name, gradient in gradients(model).items():
            by_hand[name] = by_hand[name] + share * gradient
    for name, gradient in summed.items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-4, atol=1e-6)
