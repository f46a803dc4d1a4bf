import pytest
import torch

from spikelfp_lab import MaskConfig, ModelConfig
from spikelfp_lab.models import Autoencoder

CONFIG = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)
NAME = "I/s01"


def make(modality="spikes", size=20, **options) -> Autoencoder:
    torch.manual_seed(0)
    options = {"modality": modality, "sessions": {NAME: size}, "bin_size_s": 0.01} | options
    return Autoencoder(CONFIG, **options)


def counts(size=20, time=12):
    return torch.randint(0, 4, (3, time, size)).float()


def zeroed(modality="spikes", size=20) -> Autoencoder:
    """With read-outs of nothing: a Poisson loss of 1 for every entry, whatever its count."""
    model = make(modality, size)
    for part in (model.predictor.read_out.shared, model.read_out.shared):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    return model


def masked(model, values, seed=5, **mask):
    generator = torch.Generator().manual_seed(seed)
    return model.masked_loss(values, NAME, mask=MaskConfig(**mask), generator=generator)


@torch.no_grad()
def test_the_loss_leaves_padding_out():
    model = zeroed(size=4)  # one patch, 12 of 16 entries padding
    torch.testing.assert_close(masked(model, counts(4)), torch.tensor(1.0))
    model.predictor.read_out.shared.bias[4:] = 50.0
    torch.testing.assert_close(masked(model, counts(4)), torch.tensor(1.0))
    model.predictor.read_out.shared.bias[3] = 50.0  # a real unit
    assert masked(model, 0 * counts(4)) > 1e10
    model, values = zeroed("lfp", 12), torch.randn(3, 5, 12)
    loss = model.reconstruction_loss(model.token_latents(values, NAME), values, NAME)
    torch.testing.assert_close(loss, (values**2).mean())
    model, values = zeroed("both", (20, 12)), torch.cat([counts(), torch.randn(3, 12, 12)], dim=2)
    loss = masked(model, values, ratio=0.99)  # rate 1, and the mean square of potentials
    torch.testing.assert_close(loss, 1 + values[:, :, 20:].square().mean(), rtol=0.2, atol=0)


def test_dropped_tokens_and_hidden_units_are_not_seen():
    """What is predicted must not depend on their values, only the loss does."""
    model, values, reads = make(), counts(), []
    hook = model.predictor.read_out.shared.register_forward_hook
    hook(lambda _m, _i, output: reads.append(output))
    generator = torch.Generator().manual_seed(5)
    mask = torch.rand(3, 24, generator=generator).argsort(1)
    other = values.clone()
    for b, dropped in enumerate(mask[:, round(24 * 0.4) :]):
        for token in dropped:
            step, patch = divmod(int(token), 2)
            other[b, step, patch * 16 : (patch + 1) * 16] += 1
    masked(model, values)
    masked(model, other)
    torch.testing.assert_close(reads[0], reads[1])
    hidden = torch.rand(values.shape, generator=generator) < 0.3
    shown = [v.masked_fill(hidden, torch.nan) for v in (values, values + hidden)]
    torch.testing.assert_close(*(model.tokenizer(v, NAME) for v in shown))
    # and a hidden unit is read from the latent of its moment: one more loss of 1
    torch.testing.assert_close(masked(zeroed(), values, units=0.3), torch.tensor(2.0))


@pytest.mark.parametrize(("modality", "size"), [("spikes", 20), ("lfp", 20), ("both", (20, 12))])
def test_gradients_reach_every_weight(modality, size):
    model, values = make(modality, size), counts(32 if modality == "both" else 20)
    masked(model, values, units=0.3).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_what_is_not_shown_is_not_seen():
    model, steps = make("lfp", 12), torch.tensor([[0, 3, 7]]).expand(3, -1)
    values = torch.randn(3, 12, 12)
    seen = model.token_latents(values, NAME, steps=steps)
    values[:, [1, 2, 4, 5, 6, 8]] += 5
    torch.testing.assert_close(model.token_latents(values, NAME, steps=steps), seen)


def test_behavior_that_is_not_known_does_not_count():
    model, latents, wanted = make(n_behavior=2), torch.randn(3, 12, 32), torch.randn(3, 12, 2)
    known = model.behavior_loss(latents[:, :6], wanted[:, :6])
    wanted[:, 6:, 0] = torch.nan
    torch.testing.assert_close(model.behavior_loss(latents, wanted), known)
    assert model.behavior_loss(latents, torch.full_like(wanted, torch.nan)) == 0
