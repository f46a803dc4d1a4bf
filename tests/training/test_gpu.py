"""A training step on a GPU against the same step on the CPU; and, without a GPU, what the GPU's
step is made of.
"""

from functools import partial

import pytest
import torch

from spikelfp_lab import MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.models.transformer import compiled
from spikelfp_lab.training.loop import make_optimizer

CONFIG = ModelConfig(width=64, layers=3, spike_patch=32, channel_patch=32, affine_space=True)
SESSIONS = {"I/s01": 70, "I/s02": 40}
# torch.compile itself asks tensors for a gradient that has none, and warns
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
both = pytest.mark.parametrize("modality", ["spikes", "lfp"])


def model_and_values(modality: str) -> tuple[Autoencoder, torch.Tensor]:
    torch.manual_seed(0)
    model = Autoencoder(CONFIG, modality=modality, sessions=SESSIONS, bin_size_s=0.01)
    values = torch.randn(4, 50, SESSIONS["I/s01"])
    return model, torch.poisson(values.exp() / 5) if modality == "spikes" else values


def step(model, values, *, bf16: bool = False) -> list[torch.Tensor]:
    """Loss, gradients and new weights of one step, on the CPU; the mask is the same on every
    device.
    """
    device = values.device
    order = torch.rand(4, 150, generator=torch.Generator().manual_seed(1)).argsort(1).to(device)
    model.draw_mask = lambda *args, **kw: order.split([60, 90], 1)
    optimizer = make_optimizer(model, TrainConfig(lr=1e-3))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        loss = model.masked_loss(values, "I/s01", mask=MaskConfig())
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    optimizer.step()
    weights = [p.flatten() for p in model.transformer.parameters()]
    found = loss, torch.cat(gradients), torch.cat(weights)
    return [each.detach().float().cpu() for each in found]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor], *, within: float) -> None:
    """Relative to the norm."""
    for a, b in zip(one, other, strict=True):
        assert (a - b).norm() < within * a.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@both
@pytest.mark.parametrize(("bf16", "limit"), [(False, 1e-3), (True, 3e-2)])
def test_cpu_and_gpu_agree_on_a_step(modality, bf16, limit):
    on_cpu = step(*model_and_values(modality))
    on_gpu = step(*(each.cuda() for each in model_and_values(modality)), bf16=bf16)
    assert_same(on_cpu, on_gpu, within=limit)


@both
def test_compiled_blocks_do_the_same(modality, monkeypatch):
    """All of torch.compile but the last stage, which takes a minute on a CPU."""
    plain = step(*model_and_values(modality))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    model, values = model_and_values(modality)
    before = set(model.state_dict())
    with compiled(model):
        built = step(model, values)
        assert set(model.state_dict()) == before
    assert_same(plain[:2], built[:2], within=1e-4)
    assert all("forward" not in vars(part) for part in model.modules())
