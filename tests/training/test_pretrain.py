import numpy as np
import pytest
import torch

from spikelfp_lab import (
    CheckpointError,
    ConfigError,
    DataError,
    DistillConfig,
    MaskConfig,
    ModelConfig,
    TrainConfig,
    decode,
    encode,
    finetune,
    load,
    pretrain,
)
from spikelfp_lab.sessions import split_session
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=2, spike_patch=16, channel_patch=8, predictor_width=32)
QUICK = TrainConfig(steps=4, batch=2, window_s=0.4, val_every=2)


def test_the_names_given_become_the_vocabulary():
    cohort = {"one": make_session(), "two": make_session(session="s02", units=20)}
    model = pretrain(cohort, "spikes", model=MODEL, train=QUICK, progress=False)
    assert model.sessions == {"one": 6, "two": 20}
    assert model.info["made_by"] == "pretrain" and model.info["train"]["steps"] == 4
    assert list(model.history.columns) == ["step", "split", "metric", "value"]


def test_pretraining_finds_what_drives_the_units():
    """Latents of a trained model decode the hidden drive better than those of random weights."""
    session = make_session(bins=4000, units=16)
    longer = TrainConfig(steps=250, batch=16, window_s=0.6, val_every=50)
    mask = MaskConfig(units=0.25)
    model = pretrain(session, "spikes", model=MODEL, mask=mask, train=longer, progress=False)
    random = pretrain(
        session,
        "spikes",
        model=MODEL,
        train=TrainConfig(steps=1, lr=0.0, batch=2, window_s=0.6),
        progress=False,
    )

    def r2(m) -> float:
        table = decode(
            encode(m, session),
            session,
            readouts=("one_frame",),
            split=split_session(session, window_s=0.6),
        )
        return table.query("split == 'test'")["r2"].mean()

    assert r2(model) > r2(random) + 0.05


def test_finetune_trains_a_copy_with_tables_for_the_new_session():
    first, second = make_session(), make_session(session="s02", units=9)
    model = pretrain(first, "spikes", model=MODEL, train=QUICK, progress=False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tuned = finetune(model, second, train=QUICK, progress=False)
    assert list(tuned.sessions) == ["I/s01", "I/s02"] and list(model.sessions) == ["I/s01"]
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    moved = [k for k, v in before.items() if not torch.equal(v, tuned.state_dict()[k])]
    assert any(key.startswith("transformer") for key in moved)
    assert np.isfinite(encode(tuned, second)).all()


def test_finetune_refuses_another_number_of_units():
    model = pretrain(make_session(), "spikes", model=MODEL, train=QUICK, progress=False)
    with pytest.raises(Exception, match="6 units in this model, the data have 9"):
        finetune(model, make_session(units=9), train=QUICK, progress=False)


def test_what_cannot_be_trained_on_is_one_clear_error():
    session = make_session()
    with pytest.raises(DataError, match="has no 'lfp'"):
        pretrain(session.drop_vars("lfp"), "lfp", train=QUICK, progress=False)
    with pytest.raises(ConfigError, match="no preset 'huge'"):
        pretrain(session, "lfp", preset="huge")
    with pytest.raises(ConfigError, match="'both'"):
        pretrain(session, "eeg")
    with pytest.raises(DataError, match="short"):
        pretrain(make_session(bins=60), "lfp", train=QUICK, progress=False)
    with pytest.raises(ConfigError, match="predictor_layers"):
        pretrain(session, "lfp", model=ModelConfig(predictor_layers=0), train=QUICK)


def test_sessions_of_one_model_share_a_bin_size():
    fast, slow = make_session(), make_session(session="s02", bin_size_s=0.04)
    with pytest.raises(DataError, match=r"bins of 0\.04 s, the model's are 0\.02 s"):
        pretrain({"I/s01": fast, "I/s02": slow}, "spikes", train=QUICK, progress=False)
    model = pretrain(fast, "spikes", model=MODEL, train=QUICK, progress=False)
    with pytest.raises(DataError, match=r"bins of 0\.04 s"):
        finetune(model, slow, train=QUICK, progress=False)


def test_a_channel_that_is_nan_throughout_is_named_with_its_cure():
    session = make_session()
    session["lfp"][:, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN throughout in column\(s\) \[2\].*drop_bad_channels"):
        pretrain(session, "lfp", model=MODEL, train=QUICK, progress=False)


def test_white_noise_cannot_be_predicted():
    """If it could, dropped values would have reached the visible tokens (through the LFP
    tokenizer's convolution, say).
    """
    session = make_session(bins=3000, channels=8)
    session["lfp"][:] = np.random.default_rng(0).normal(size=session["lfp"].shape)
    noise_model = pretrain(
        session,
        "lfp",
        model=MODEL,
        mask=MaskConfig(),
        train=TrainConfig(steps=150, batch=8, window_s=0.6, val_every=50),
        progress=False,
    )
    losses = noise_model.history.query("split == 'val' and metric == 'loss'")["value"]
    assert losses.min() > 0.95


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaskConfig(ratio=1.0),
        lambda: ModelConfig(width=65),
        lambda: ModelConfig(heads=0),
        lambda: ModelConfig(predictor_width=33),
        lambda: TrainConfig(scheme="block"),
        lambda: TrainConfig(seed=-1),
        lambda: TrainConfig(steps=0),
        lambda: TrainConfig(warmup=3),
        lambda: TrainConfig(final_lr=-1),
        lambda: TrainConfig(weight_decay=-1),
        lambda: TrainConfig(window_s=float("nan")),
        lambda: ModelConfig(predictor_layers=-1),
        lambda: ModelConfig(max_count=-3),
        lambda: DistillConfig(alignment_weight=-1),
        lambda: TrainConfig.from_dict({"stepz": 3}),
    ],
)
def test_configs_that_make_no_sense_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_the_caller_s_random_numbers_go_on_as_if_nothing_had_been_trained():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    pretrain(make_session(), "spikes", model=MODEL, train=QUICK, progress=False)
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)


def test_supervised_pretraining_learns_behavior_and_tells_nothing_of_test_time():
    session = make_session(bins=3000, units=16)
    train = TrainConfig(steps=120, batch=8, window_s=0.6, val_every=20)
    mask = MaskConfig(behavior=1.0)
    model = pretrain(session, "spikes", model=MODEL, mask=mask, train=train, progress=False)
    val = model.history.query("split == 'val'").pivot(
        index="step", columns="metric", values="value"
    )
    assert (val["score"] == val["behavior"]).all()
    assert val["behavior"].min() < 0.8 * val["behavior"].iloc[0]
    # behavior outside of training and validation time never enters
    from spikelfp_lab import split_session

    split = split_session(session, window_s=0.6, seed=0)
    changed = session.copy()
    changed["behavior"] = session["behavior"].where(split != 2, 99.0)
    again = pretrain(changed, "spikes", model=MODEL, mask=mask, train=train, progress=False)
    assert again.digest() == model.digest()


def test_fine_tuning_can_add_behavior_to_a_model_without():
    first, second = make_session(), make_session(session="s02")
    model = pretrain(first, "lfp", model=MODEL, train=QUICK, progress=False)
    mask = MaskConfig(behavior=1.0)
    tuned = finetune(model, second, mask=mask, train=QUICK, progress=False)
    assert model.behavior_head is None and tuned.behavior_head.out_features == 2
    other = make_session(session="s03", behavior=("x",))
    with pytest.raises(DataError, match="2 axes"):
        finetune(tuned, other, mask=mask, train=QUICK, progress=False)
    with pytest.raises(DataError, match="no 'behavior'"):
        lost = make_session(behavior=())
        pretrain(lost, "lfp", model=MODEL, mask=mask, train=QUICK, progress=False)


def test_a_model_of_both_is_trained_saved_and_reads_what_there_is(tmp_path):
    session = make_session(bins=1200)
    model = pretrain(session, "both", model=MODEL, train=QUICK, progress=False)
    assert model.sessions == {"I/s01": (6, 4)}
    model.save(tmp_path / "both")
    again = load(tmp_path / "both")
    assert again.sessions == model.sessions and again.digest() == model.digest()
    whole = encode(again, session)
    lfp = encode(again, session.drop_vars("spikes"))
    spikes = encode(again, session.drop_vars("lfp"))
    assert (whole.attrs["modality"], lfp.attrs["modality"]) == ("both", "lfp")
    assert not np.allclose(whole, lfp) and not np.allclose(lfp, spikes)
    quiet = session.assign(lfp=session["lfp"] * 0)
    np.testing.assert_allclose(encode(again, quiet.drop_vars("lfp")), spikes)
    with pytest.raises(CheckpointError, match="6 units in this model, the data have 7"):
        encode(again, make_session(bins=1200, units=7))
    with pytest.raises(ConfigError, match="layers 0 to 2"):
        encode(again, session, layer=3)
