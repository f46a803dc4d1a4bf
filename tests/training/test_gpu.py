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
asks_in_vain = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)
both = pytest.mark.parametrize("modality", ["spikes", "lfp"])


def model_and_values(modality: str) -> tuple[Autoencoder, torch.Tensor]:
    torch.manual_seed(0)
    model = Autoencoder(CONFIG, modality=modality, sessions=SESSIONS, bin_size_s=0.01)
    values = torch.randn(4, 50, SESSIONS["I/s01"])
    return model, torch.poisson(values.exp() / 5) if modality == "spikes" else values


def step(model, values, *, bf16: bool = False) -> dict[str, torch.Tensor]:
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
    named = dict(model.named_parameters())
    found = {f"gradient of {k}": p.grad.clone() for k, p in named.items() if p.grad is not None}
    optimizer.step()
    found |= {"loss": loss} | named
    return {name: tensor.detach().float().cpu() for name, tensor in found.items()}


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], what: str) -> float:
    """Largest difference, relative to the norm, over what is named so."""
    assert one.keys() == other.keys()
    names = [name for name in one if name.startswith(what)]
    a, b = (torch.cat([result[name].flatten() for name in names]) for result in (one, other))
    return float((a - b).norm() / a.norm())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@both
@pytest.mark.parametrize(("bf16", "limit"), [(False, 1e-3), (True, 3e-2)])
def test_cpu_and_gpu_agree_on_a_step(modality, bf16, limit):
    on_cpu = step(*model_and_values(modality))
    on_gpu = step(*(each.cuda() for each in model_and_values(modality)), bf16=bf16)
    for what in ("loss", "gradient", "transformer"):
        assert difference(on_cpu, on_gpu, what) < limit, what


@asks_in_vain
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
    assert all(difference(plain, built, what) < 1e-4 for what in ("loss", "gradient"))
    assert all("forward" not in vars(part) for part in model.modules())


@asks_in_vain
def test_one_graph_serves_all_blocks_and_sessions(monkeypatch):
    """Sessions have other numbers of tokens: were each compiled anew, a cohort would never be
    done.
    """
    built = []

    def count(graph, inputs):
        built.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    torch._dynamo.reset()
    model, _ = model_and_values("lfp")
    with compiled(model), torch.no_grad():
        for name, channels in SESSIONS.items():
            for batch in (2, 3):
                model.masked_loss(torch.randn(batch, 50, channels), name, mask=MaskConfig())
    assert len(built) <= 4  # encoder and predictor; a size of 1 in a batch would be one more
