from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import spikelfp_lab as sl
from spikelfp_lab import ConfigError, DataError, DistillConfig, MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.sessions import TEST, split_session
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=2, spike_patch=16, channel_patch=8, predictor_width=32)
QUICK = TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2)
pretrain = partial(sl.pretrain, model=MODEL, train=QUICK, progress=False)
finetune = partial(sl.finetune, train=QUICK, progress=False)


def test_pretraining_finds_what_drives_the_units():
    """Latents of a trained model decode the hidden drive better than those of random weights."""
    session = make_session(bins=4000, units=16)
    longer = TrainConfig(steps=250, batch=16, window_s=0.6, val_every=50)
    still = TrainConfig(steps=1, lr=0.0, batch=2, window_s=0.6)
    model = pretrain(session, "spikes", mask=MaskConfig(units=0.25), train=longer)
    options = {"readouts": ("one_frame",), "split": split_session(session, window_s=0.6)}

    def r2(m) -> float:
        table = sl.decode(sl.encode(m, session), session, **options)
        return table.query("split == 'test'")["r2"].mean()

    assert r2(model) > r2(pretrain(session, "spikes", train=still)) + 0.05


def test_finetune_trains_a_copy_with_tables_for_the_new_session():
    second, mask = make_session(session="s02", units=9), MaskConfig(behavior=1.0)
    state = torch.get_rng_state()
    model = pretrain({"I/s01": make_session(), "other": make_session(units=20)}, "spikes")
    assert model.sessions == {"I/s01": 6, "other": 20} and model.info["train"]["steps"] == 4
    assert torch.equal(torch.get_rng_state(), state)
    before = model.digest()
    tuned = finetune(model, second, mask=mask)
    assert list(tuned.sessions) == ["I/s01", "other", "I/s02"] and len(model.sessions) == 2
    assert model.digest() == before and tuned.info["from"] == model.info
    norms = [m.state_dict()["transformer.norm.weight"] for m in (model, tuned)]
    assert not torch.equal(*norms) and np.isfinite(sl.encode(tuned, second)).all()
    assert model.behavior_head is None and tuned.behavior_head.out_features == 2  # added by it
    with pytest.raises(DataError, match="2 axes"):
        finetune(tuned, make_session(session="s03", behavior=("x",)), mask=mask)


@pytest.mark.parametrize("modality", ["spikes", "lfp", "both"])
def test_tuning_tables_alone_leaves_every_earlier_session_as_it_was(modality):
    first, second = make_session(), make_session(session="s02", units=20, channels=6)
    shape = replace(MODEL, affine_space=True)
    model = pretrain(first, modality, model=shape)
    train = replace(QUICK, steps=40, val_every=10, tables_only=True)
    tuned = finetune(model, second, train=train)
    before, after = (sl.encode(each, first) for each in (model, tuned))
    np.testing.assert_array_equal(before, after)
    losses = tuned.history.query("split == 'val' and metric == 'loss'")["value"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert all(each.requires_grad for each in tuned.parameters())
    with pytest.raises(ConfigError, match="tables_only is for finetune"):
        pretrain(first, modality, train=train)


def test_what_cannot_be_trained_on_is_one_clear_error():
    session, nan = make_session(), make_session()
    nan["lfp"][:, 2] = np.nan
    slow = make_session(session="s02", bin_size_s=0.04)
    students, bins = {"model": ModelConfig(predictor_layers=0)}, r"bins of 0\.04 s, .* 0\.02 s"
    for message, sessions, modality, options in (
        ("has no 'lfp'", session.drop_vars("lfp"), "lfp", {}),
        ("no preset 'huge'", session, "lfp", {"preset": "huge"}),
        ("short", make_session(bins=60), "lfp", {}),
        ("predictor_layers", session, "lfp", students),
        (bins, {"a": session, "b": slow}, "spikes", {}),
        (r"NaN throughout in column\(s\) \[2\].*drop_bad_channels", nan, "lfp", {}),
    ):
        with pytest.raises(sl.SpikeLFPError, match=message):
            pretrain(sessions, modality, **options)
    with pytest.raises(sl.CheckpointError, match=r"6 units .* have 9"):
        finetune(pretrain(session, "spikes"), make_session(units=9))


def test_white_noise_cannot_be_predicted():
    """If it could, dropped values would have reached the visible tokens (through the LFP
    tokenizer's convolution, say).
    """
    session = make_session(bins=3000, channels=8)
    session["lfp"][:] = np.random.default_rng(0).normal(size=session["lfp"].shape)
    train = TrainConfig(steps=150, batch=8, window_s=0.6, val_every=50)
    history = pretrain(session, "lfp", mask=MaskConfig(), train=train).history
    assert history.query("split == 'val' and metric == 'loss'")["value"].min() > 0.95


@pytest.mark.parametrize(
    ("config", "fields", "values"),
    [
        (MaskConfig, ("ratio", "predicted"), (1.0, 0.0)),
        (ModelConfig, ("width", "heads", "predictor_width", "max_count"), (65, 0, 33, -3)),
        (ModelConfig, ("predictor_layers",), (-1,)),
        (TrainConfig, ("scheme", "seed", "steps", "warmup", "shards"), ("block", -1, 0, 3, 0)),
        (TrainConfig, ("final_lr", "weight_decay", "window_s"), (-1, -1, float("nan"))),
        (TrainConfig, ("shards", "stepz"), (3, 3)),
        (DistillConfig, ("alignment_weight",), (-1,)),
    ],
)
def test_configs_that_make_no_sense_are_refused(config, fields, values):
    assert config.from_dict(config().to_dict()) == config()
    for name, value in zip(fields, values, strict=True):
        with pytest.raises(ConfigError):
            config.from_dict({name: value})


def test_supervised_pretraining_learns_behavior_and_tells_nothing_of_test_time():
    session = make_session(bins=3000, units=16)
    train = TrainConfig(steps=120, batch=8, window_s=0.6, val_every=20)
    supervised = partial(pretrain, modality="spikes", mask=MaskConfig(behavior=1.0), train=train)
    model = supervised(session)
    val = model.history.query("split == 'val'").pivot(
        index="step", columns="metric", values="value"
    )
    assert (val["score"] == val["behavior"]).all()
    assert val["behavior"].min() < 0.8 * val["behavior"].iloc[0]
    split = split_session(session, window_s=0.6, seed=0)
    changed = session.assign(behavior=session["behavior"].where(split != TEST, 99.0))
    assert supervised(changed).digest() == model.digest()
