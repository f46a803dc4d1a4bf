import numpy as np
import torch

from spikelfp_lab import TrainConfig
from spikelfp_lab.sessions import TRAIN, VAL, split_session
from spikelfp_lab.training.batches import augment, prepare
from tests.factories import make_session

TRAINING = TrainConfig(steps=5, batch=4, window_s=0.4)


def windows(session):
    device = torch.device("cpu")
    return prepare(session, "I/s01", modality="lfp", train=TRAINING, device=device)


def test_lfp_is_z_scored_on_training_time_alone():
    session = make_session(bins=1500)
    data, training = windows(session), split_session(session, window_s=0.4).to_numpy() == TRAIN
    np.testing.assert_allclose(data.values[training].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.values[training].std(0, correction=0), 1, atol=1e-4)
    other = session.copy(deep=True)
    other["lfp"][~training] *= 100
    np.testing.assert_array_equal(windows(other).mean, data.mean)
    np.testing.assert_array_equal(windows(other).std, data.std)


def test_training_windows_touch_no_validation_or_test_time_and_nothing_missing():
    session = make_session(bins=1500, gaps=[700], nan_lfp=[200])
    data, split = windows(session), split_session(session, window_s=0.4).to_numpy()
    reach = np.arange(data.length)
    assert (split[data.train[:, None] + reach] == TRAIN).all()
    assert (split[data.val[:, None] + reach] == VAL).all()
    cut = data.cut(data.train)["values"]
    assert torch.isfinite(cut).all() and (np.diff(data.val) >= data.length).all()
    start = data.train[1]
    torch.testing.assert_close(cut[1], data.values[start : start + data.length])


def test_augmentation_silences_whole_channels_of_a_window_and_adds_noise():
    torch.manual_seed(0)
    ones = torch.ones(400, 6, 10)
    dropped = augment(ones, TrainConfig(drop_inputs=0.6))
    assert ((dropped == 0).all(1) | (dropped == 1).all(1)).all()
    assert abs((dropped == 0).float().mean() - 0.3) < 0.02  # uniform up to 0.6
    torch.manual_seed(0)
    in_threes = augment(torch.ones(400, 6, 4 + 18), TrainConfig(drop_inputs=0.6), 4, 3)
    channels = in_threes[:, 0, 4:].unflatten(1, (6, 3))
    assert (channels == channels[..., :1]).all() and 0.2 < (channels == 0).float().mean() < 0.4
    noisy = augment(ones, TrainConfig(noise=0.5), counts=4)
    assert abs((noisy - 1)[..., 4:].std() - 0.5) < 0.01
    assert (noisy[..., :4] == 1).all() and augment(ones, TrainConfig()) is ones
