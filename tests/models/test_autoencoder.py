import pytest
import torch

from spikelfp_lab import CheckpointError, ConfigError, MaskConfig, ModelConfig
from spikelfp_lab.models import Autoencoder

CONFIG = ModelConfig(width=32, layers=1, spike_patch=16, channel_patch=8, predictor_width=32)


def make(modality="spikes", size=20, **options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        CONFIG, modality=modality, sessions={"I/s01": size}, bin_size_s=0.01, **options
    )


def counts(size=20, time=12):
    return torch.randint(0, 4, (3, time, size)).float()


def test_latents_are_the_mean_over_patches():
    model, values = make(), counts()
    torch.testing.assert_close(
        model.latents(values, "I/s01"), model.token_latents(values, "I/s01").mean(2)
    )
    assert model.latents(values, "I/s01").shape == (3, 12, 32)


def test_the_loss_is_of_dropped_tokens_and_leaves_padding_out():
    """With one token left visible the rest is dropped; rates of exp(0) = 1 make the Poisson loss 1
    for every entry, padding or not.
    """
    model, values = make(), counts()
    torch.nn.init.zeros_(model.predictor.read_out.shared.weight)
    torch.nn.init.zeros_(model.predictor.read_out.shared.bias)
    loss = model.masked_loss(values, "I/s01", mask=MaskConfig(ratio=0.6))
    torch.testing.assert_close(loss, torch.tensor(1.0))
    torch.nn.init.constant_(
        model.predictor.read_out.shared.bias[4:], 50.0
    )  # units 4 ... 15 of each patch
    with torch.no_grad():
        exploded = model.masked_loss(values * 0, "I/s01", mask=MaskConfig(ratio=0.6))
    assert exploded > 1e10  # real units 4 ... 15 of the first patch are counted
    patches = model.tokenizer.real("I/s01", values.device)
    assert patches[1].sum() == 4  # and those of the second patch are padding
    model = make(size=4)  # one patch, 12 of 16 entries padding
    torch.nn.init.zeros_(model.predictor.read_out.shared.weight)
    with torch.no_grad():
        model.predictor.read_out.shared.bias.zero_()[4:] = 50.0
        unharmed = model.masked_loss(counts(4), "I/s01", mask=MaskConfig(ratio=0.6))
    torch.testing.assert_close(unharmed, torch.tensor(1.0))


def test_hidden_tokens_are_hidden():
    """The prediction for a dropped token must not depend on its values, only the loss does."""
    model, values = make(), counts()
    reads = []
    model.predictor.read_out.shared.register_forward_hook(
        lambda _m, _i, output: reads.append(output)
    )
    mask = torch.rand(3, 24, generator=torch.Generator().manual_seed(5)).argsort(1)
    dropped = mask[:, round(24 * 0.4) :]
    other = values.clone().repeat(1, 1, 1)
    for b in range(3):
        for token in dropped[b]:
            step, patch = divmod(int(token), 2)
            other[b, step, patch * 16 : (patch + 1) * 16] += 1
    for v in (values, other):
        model.masked_loss(
            v, "I/s01", mask=MaskConfig(ratio=0.6), generator=torch.Generator().manual_seed(5)
        )
    torch.testing.assert_close(reads[0], reads[1])


def test_predicting_some_of_the_dropped_tokens_does_not_change_the_mean_loss():
    """Same mask, same visible tokens: half of the dropped tokens give the loss of all on average
    over draws, and each draw differs.
    """
    model, values = make(), counts(time=40)

    def loss(seed: int, predicted: float) -> torch.Tensor:
        return model.masked_loss(
            values,
            "I/s01",
            mask=MaskConfig(predicted=predicted),
            generator=torch.Generator().manual_seed(seed),
        )

    with torch.no_grad():
        whole = torch.stack([loss(seed, 1.0) for seed in range(40)])
        half = torch.stack([loss(seed, 0.5) for seed in range(40)])
    assert (half != whole).all()
    spread = (half - whole).std() / len(whole) ** 0.5
    assert (half - whole).mean().abs() < 4 * spread
    with pytest.raises(ConfigError, match="predicted"):
        MaskConfig(predicted=0.0)


def test_hidden_units_are_hidden_and_read_from_the_latent_of_their_moment():
    """What is shown to the encoder does not change with a hidden unit's count; without hidden units
    that term is absent.
    """
    model, values = make(), counts()
    hidden = torch.zeros_like(values, dtype=torch.bool)
    hidden[0, 3, 7] = True
    other = values.clone()
    other[0, 3, 7] += 1
    torch.testing.assert_close(
        model.tokenizer(values, "I/s01", hidden=hidden),
        model.tokenizer(other, "I/s01", hidden=hidden),
    )
    for part in (model.predictor.read_out.shared, model.read_out.shared):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    loss = model.masked_loss(values, "I/s01", mask=MaskConfig(units=0.3))
    torch.testing.assert_close(loss, torch.tensor(2.0))  # a Poisson loss of 1 from either read-out


def test_reconstruction_leaves_padding_out():
    model, values = make("lfp", size=12), torch.randn(3, 5, 12)
    torch.nn.init.zeros_(model.read_out.shared.weight)
    torch.nn.init.zeros_(model.read_out.shared.bias)
    latents = model.token_latents(values, "I/s01")
    torch.testing.assert_close(
        model.reconstruction_loss(latents, values, "I/s01"), (values**2).mean()
    )


def test_gradients_reach_every_weight():
    for modality in ("spikes", "lfp"):
        model = make(modality)
        model.masked_loss(counts(), "I/s01", mask=MaskConfig(units=0.3)).backward()
        without = [name for name, p in model.named_parameters() if p.grad is None]
        assert not without


def test_gradient_of_the_masked_loss_is_the_numerical_one():
    model = make("lfp", size=8).double()
    values = torch.randn(2, 6, 8, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return model.masked_loss(
            values, "I/s01", mask=MaskConfig(ratio=0.5), generator=torch.Generator().manual_seed(1)
        )

    weight = model.transformer.blocks[0].mlp.down.weight
    loss().backward()
    assert weight.grad is not None
    step = 1e-4
    with torch.no_grad():
        weight[0, 0] += step
        up = loss()
        weight[0, 0] -= 2 * step
        down = loss()
        weight[0, 0] += step
    # entry_loss is computed in float32, hence the tolerance
    assert float((up - down) / (2 * step)) == pytest.approx(float(weight.grad[0, 0]), abs=2e-3)


def test_unknown_session_and_wrong_size_are_refused_with_the_cure():
    model = make()
    with pytest.raises(CheckpointError, match=r"finetune.*as_session='I/s01'"):
        model.check_session("I/s09", 20)
    with pytest.raises(CheckpointError, match="20 units in this model, the data have 21"):
        model.check_session("I/s01", 21)
    with pytest.raises(CheckpointError, match="already"):
        model.add_session("I/s01", 20)


def test_unknown_modality_is_refused():
    with pytest.raises(ConfigError, match="'both'"):
        make("eeg")


def both(time=12):
    model = make("both", (20, 12))
    values = torch.cat([counts(20, time), torch.randn(3, time, 12)], dim=2)
    return model, values


def test_a_model_of_both_reconstructs_both():
    """With read-outs of nothing the loss is that of rate 1 and potential 0: 1 for the counts plus
    the potentials' mean square.
    """
    model, values = both(time=400)
    for read_out in (model.predictor.read_out.shared, model.read_out.shared):
        torch.nn.init.zeros_(read_out.weight)
        torch.nn.init.zeros_(read_out.bias)
    loss = model.masked_loss(values, "I/s01", mask=MaskConfig(ratio=0.6))
    square = values[:, :, 20:].square().mean()
    torch.testing.assert_close(loss, 1 + square, rtol=0.05, atol=0)
    model.masked_loss(values, "I/s01", mask=MaskConfig(ratio=0.6, units=0.25)).backward()
    for part in (model.tokenizer.spikes, model.tokenizer.lfp):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_a_model_of_both_reads_one_alone():
    model, values = both()
    lfp = model.latents(values, "I/s01", modality="lfp")
    assert lfp.shape == (3, 12, 32)
    other = values.clone()
    other[:, :, :20] += 1  # spikes it is not shown
    torch.testing.assert_close(model.latents(other, "I/s01", modality="lfp"), lfp)
    assert not torch.allclose(model.latents(values, "I/s01"), lfp)


def test_steps_that_are_dropped_are_not_seen():
    model = make("lfp", 12)
    values, steps = torch.randn(3, 12, 12), torch.tensor([[0, 3, 7]]).expand(3, -1)
    seen = model.token_latents(values, "I/s01", steps=steps)
    assert seen.shape == (3, 3, 2, 32)
    other = values.clone()
    other[:, [1, 2, 4, 5, 6, 8]] += 5
    torch.testing.assert_close(model.token_latents(other, "I/s01", steps=steps), seen)


def test_the_last_of_every_layer_is_the_latent():
    model, values = make(), counts()
    every = model.latents(values, "I/s01", every_layer=True)
    assert len(every) == CONFIG.layers + 1
    torch.testing.assert_close(every[-1], model.latents(values, "I/s01"))


def test_behavior_that_is_not_known_does_not_count():
    model, latents = make(n_behavior=2), torch.randn(3, 12, 32)
    wanted = torch.randn(3, 12, 2)
    known = model.behavior_loss(latents[:, :6], wanted[:, :6])
    wanted[:, 6:, 0] = torch.nan
    torch.testing.assert_close(model.behavior_loss(latents, wanted), known)
    wanted[:] = torch.nan
    assert model.behavior_loss(latents, wanted) == 0
