import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab import TrainConfig
from spikelfp_lab.sessions import TRAIN, VAL, split_session
from spikelfp_lab.training.batches import augment, draw, prepare
from tests.factories import make_session

TRAINING = TrainConfig(steps=5, batch=4, window_s=0.4)


def windows(**options):
    session = make_session(bins=1500, **options)
    return session, prepare(
        session, "I/s01", modality="lfp", train=TRAINING, device=torch.device("cpu")
    )


def test_lfp_is_z_scored_on_training_time_alone():
    session, data = windows()
    split = split_session(session, window_s=0.4).to_numpy()
    np.testing.assert_allclose(data.values[split == TRAIN].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.values[split == TRAIN].std(0, correction=0), 1, atol=1e-4)
    other = session.copy(deep=True)
    other["lfp"][split != TRAIN] *= 100
    again = prepare(other, "I/s01", modality="lfp", train=TRAINING, device=torch.device("cpu"))
    np.testing.assert_array_equal(again.mean, data.mean)
    np.testing.assert_array_equal(again.std, data.std)


def test_training_windows_touch_no_validation_or_test_time():
    session, data = windows(gaps=[700], nan_lfp=[200])
    split = split_session(session, window_s=0.4).to_numpy()
    reach = np.arange(data.length)
    assert (split[data.train[:, None] + reach] == TRAIN).all()
    assert (split[data.val[:, None] + reach] == VAL).all()
    assert torch.isfinite(data.cut(data.values, data.train)).all()
    assert (np.diff(data.val) >= data.length).all()


def test_cut_gives_the_series_at_the_starts():
    _, data = windows()
    cut = data.cut(data.values, np.array([3, 10]))
    torch.testing.assert_close(cut[1], data.values[10 : 10 + data.length])


@settings(deadline=None)  # a slow moment of the machine is no failure
@given(step=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_what_is_drawn_depends_on_seed_and_step_alone(step, seed):
    _, data = windows()
    first, second = (draw([data, data], batch=4, seed=seed, step=step) for _ in range(2))
    np.testing.assert_array_equal(first[1], second[1])
    assert set(first[1]) <= set(data.train)


def test_sessions_are_drawn_in_proportion_to_their_length():
    _, long = windows()
    _, short = windows()
    short.name, short.train = "short", long.train[: len(long.train) // 4]
    names = [draw([long, short], batch=1, seed=0, step=s)[0].name for s in range(2000)]
    assert abs(names.count("short") / 2000 - 0.2) < 0.03


def test_augmentation_silences_whole_channels_of_a_window_and_adds_noise():
    torch.manual_seed(0)
    ones = torch.ones(400, 6, 10)
    dropped = augment(ones, drop=0.6, noise=0.0)
    assert ((dropped == 0).all(1) | (dropped == 1).all(1)).all()
    assert abs((dropped == 0).float().mean() - 0.3) < 0.02  # uniform up to 0.6
    noisy = augment(ones, drop=0.0, noise=0.5)
    assert abs((noisy - 1).std() - 0.5) < 0.01
    assert augment(ones, drop=0.0, noise=0.0) is ones
