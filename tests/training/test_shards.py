"""Sessions in shards: dealt evenly, each counting for its length, the same whatever the number of
processes.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikelfp_lab import ConfigError, MaskConfig, ModelConfig, TrainConfig, pretrain
from spikelfp_lab.training import loop
from spikelfp_lab.training.batches import draw, prepare
from spikelfp_lab.training.loop import make_optimizer
from spikelfp_lab.training.processes import Processes
from spikelfp_lab.training.shards import Shards, deal, seed_step, shard_weights
from tests.factories import make_session

CPU = torch.device("cpu")
TRAIN = TrainConfig(steps=6, batch=8, window_s=0.4, val_every=3)
MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)

lengths = st.lists(st.integers(1, 10_000), min_size=1, max_size=30)


@given(windows=lengths, shards=st.integers(1, 12))
def test_every_session_is_sampled_by_its_share_of_windows(windows, shards):
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


@given(windows=lengths, shards=st.integers(1, 12))
def test_shards_are_about_even(windows, shards):
    """None holds more than the mean and the longest session, nor are two further apart than that
    session.
    """
    groups = deal(windows, shards)
    held = np.array(shard_weights(groups, windows)) * sum(windows)
    if len(windows) >= shards:
        assert sorted(i for group in groups for i in group) == list(range(len(windows)))
        assert held.max() - held.min() <= max(windows) + 1e-6
    else:  # a session has one shard more than another only if it is longer in each
        copies = np.bincount([i for (i,) in groups])
        assert all(
            windows[i] / copies[i] <= windows[j] / max(copies[j] - 1, 1e-9) + 1e-6
            for i in range(len(windows))
            for j in range(len(windows))
        )


def cohort(lengths=(1500, 700, 700), *, train):
    named = {f"I/s{i}": make_session(bins=n, seed=i) for i, n in enumerate(lengths)}

    def make(name, session):
        return prepare(session, name, modality="lfp", train=train, device=CPU)

    return Shards(named, make, modality="lfp", train=train, processes=Processes(CPU))


def test_one_shard_draws_as_if_there_were_none():
    dealt = cohort(train=TRAIN)
    assert dealt.shares == {0: 1.0}
    for step in range(20):
        assert list(dealt.turns(step)) == [1.0]
        windows, starts = dealt.draw(step)
        plain, wanted = draw(list(dealt.held.values()), batch=8, seed=0, step=step)
        assert windows is plain and dealt.drawn(step, 0) == windows.name
        np.testing.assert_array_equal(starts, wanted)
        rng = np.random.default_rng([0, step])  # what a run of (seed, step) alone would draw
        weights = np.array([len(one.train) for one in dealt.held.values()], float)
        assert rng.choice(3, p=weights / weights.sum()) == [*dealt.held.values()].index(plain)


def test_shards_draw_each_from_their_sessions_and_by_random_numbers_of_their_own():
    dealt = cohort(train=replace(TRAIN, shards=2))
    assert dealt.groups == [[0], [1, 2]]
    drawn, noise = {0: [], 1: []}, []
    for step in range(400):
        for _ in dealt.turns(step):
            windows, starts = dealt.draw(step)
            assert len(starts) == 4 and windows.name == dealt.drawn(step, dealt.turn)
            drawn[dealt.turn].append(windows.name)
            noise.append(float(torch.rand(())))
    assert set(drawn[0]) == {"I/s0"}
    assert abs(drawn[1].count("I/s1") / 400 - 0.5) < 0.1
    assert len(set(noise)) == 800


@given(seed=st.integers(0, 1000), step=st.integers(0, 100_000), shard=st.integers(0, 63))
def test_random_numbers_of_a_shard_are_those_of_seed_step_and_shard(seed, step, shard):
    train = TrainConfig(seed=seed)
    first, again, other = (
        (seed_step(train, step, which), torch.rand(4))[1] for which in (shard, shard, shard + 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    if shard == 0:  # that of a run without shards
        torch.manual_seed(seed * 1_000_003 + step)
        assert torch.equal(first, torch.rand(4))


def test_a_session_alone_is_in_all_shards():
    dealt = cohort((1500,), train=replace(TRAIN, shards=4))
    assert dealt.groups == [[0]] * 4 and dealt.shares == dict.fromkeys(range(4), 0.25)
    starts = [tuple(dealt.draw(0)[1]) for _ in dealt.turns(0)]
    assert len(set(starts)) == 4  # four parts of a batch, not the same one four times
    assert len(dealt.sessions) == 1 and dealt.told == [0]


def test_the_average_counts_every_session_once():
    dealt = cohort((1500, 700), train=replace(TRAIN, shards=4))
    assert dealt.average(lambda windows: {"x": 1.0 + (windows.name == "I/s1")}) == {"x": 1.5}


def test_what_is_known_of_sessions_is_what_they_are():
    dealt = cohort(train=replace(TRAIN, shards=2))
    for known, held in zip(dealt.sessions, dealt.held.values(), strict=True):
        assert (known.name, known.size, known.bin_size_s) == (held.name, 4, 0.02)
        assert known.n_train == len(held.train) and known.labels == held.labels
        np.testing.assert_array_equal(known.mean, held.mean)
        np.testing.assert_array_equal(known.std, held.std)


def test_shards_train_too_and_leave_the_tables_of_sessions_not_drawn_alone():
    named = {f"I/s{i}": make_session(bins=700, seed=i) for i in range(4)}
    train = replace(TRAIN, steps=1, val_every=1, shards=2)
    model = pretrain(named, "spikes", model=MODEL, train=train, progress=False)
    still = pretrain(named, "spikes", model=MODEL, train=replace(train, lr=0.0), progress=False)
    moved = [
        i
        for i in range(4)
        if not torch.equal(model.tokenizer.space[i], still.tokenizer.space[i])
    ]  # fmt: skip
    assert len(moved) == 2


def test_the_gradient_of_a_step_is_the_weighted_mean_of_the_shards(monkeypatch):
    named = {f"I/s{i}": make_session(bins=n, seed=i) for i, n in enumerate((2500, 700, 900))}
    train = replace(TRAIN, steps=1, val_every=1, shards=2, clip=1e9)
    summed, first = {}, {}

    def optimizer(model, train):
        first.update({k: v.clone() for k, v in model.state_dict().items()})
        made = make_optimizer(model, train)

        def keep(*_):
            summed.update(
                {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            )

        made.register_step_pre_hook(keep)
        return made

    monkeypatch.setattr(loop, "make_optimizer", optimizer)
    model = pretrain(named, "lfp", model=MODEL, mask=MaskConfig(), train=train, progress=False)
    model.load_state_dict(first)
    dealt = cohort((2500, 700, 900), train=train)
    assert dealt.groups == [[0], [1, 2]]
    lengths = [len(dealt.held[i].train) for i in range(3)]
    by_hand = dict.fromkeys(summed, 0.0)
    for shard, windows in ((0, lengths[0]), (1, lengths[1] + lengths[2])):
        seed_step(train, 0, shard)
        held = [dealt.held[i] for i in dealt.groups[shard]]
        one, starts = draw(held, batch=4, seed=0, step=0, shard=shard)
        model.zero_grad()
        values = one.cut(one.values, starts)
        model.masked_loss(values, one.name, mask=MaskConfig()).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                by_hand[name] = by_hand[name] + windows / sum(lengths) * parameter.grad
    for name, gradient in summed.items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shards", [3, 0, -1, 16])
def test_a_batch_that_shards_cannot_share_is_refused(shards):
    with pytest.raises(ConfigError, match="shards"):
        TrainConfig(batch=8, shards=shards)
