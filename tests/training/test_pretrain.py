import numpy as np
import pytest
import torch

from spikelfp_lab import (
    ConfigError,
    DataError,
    MaskConfig,
    ModelConfig,
    TrainConfig,
    decode,
    encode,
    finetune,
    pretrain,
)
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
        session, "spikes", model=MODEL, train=TrainConfig(steps=1, lr=0.0, batch=2, window_s=0.6), progress=False
    )  # fmt: skip

    def r2(m) -> float:
        table = decode(encode(m, session), session, readouts=("one_frame",), window_s=0.6)
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
    """If it could, dropped values would have reached the visible tokens (through the LFP tokenizer's convolution, say)."""
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
