"""The state of a run on disk, and what is said of steps that went wrong."""

import pytest
import torch

from spikelfp_lab import CheckpointError, ModelConfig, TrainConfig, pretrain
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.training.loop import make_optimizer
from spikelfp_lab.training.state import Recent, State
from tests.factories import make_session

MODEL = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
QUICK = TrainConfig(steps=5, batch=2, window_s=0.4, val_every=5)


def test_a_state_of_other_configs_is_refused(tmp_path):
    session = make_session(bins=1500)
    pretrain(session, "spikes", model=MODEL, train=QUICK, progress=False, folder=tmp_path)
    other = TrainConfig(steps=6, batch=2, window_s=0.4, val_every=5)
    with pytest.raises(CheckpointError, match="other configs"):
        pretrain(session, "spikes", model=MODEL, train=other, progress=False, folder=tmp_path)
    another = make_session(bins=1500, seed=1)
    with pytest.raises(CheckpointError, match="other data"):
        pretrain(another, "spikes", model=MODEL, train=QUICK, progress=False, folder=tmp_path)


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="delete it"):
        pretrain(
            make_session(), "spikes", model=MODEL, train=QUICK, progress=False, folder=tmp_path
        )


def recent(losses, norms):
    kept = Recent()
    for loss, norm in zip(losses, norms, strict=True):
        kept.add(1.0, {"loss": torch.tensor(loss)})
        kept.end_step(kept.loss(), torch.tensor(norm))
    return kept


def test_the_first_step_that_was_not_finite_is_named_among_many():
    model = Autoencoder(MODEL, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    state = State(model, make_optimizer(model, QUICK), "")
    state.step = 14  # after the four steps below
    nan = float("nan")
    fine = recent([1.0] * 4, [1.0] * 4)
    assert fine.finite() and fine.finite(1)
    lost = recent([1.0, 1.0, nan, nan], [1.0, 1.0, nan, nan])
    assert not lost.finite() and not lost.finite(1)
    assert "loss is no longer finite at step 13" in str(lost.error("it", state, None))
    steep = recent([1.0, 1.0, nan, nan], [1.0, nan, nan, nan])
    assert "gradient is no longer finite at step 12" in str(steep.error("it", state, None))
