from dataclasses import replace

import pytest
import torch

from spikelfp_lab import ModelConfig
from spikelfp_lab.models.tokenizers import TOKENIZERS, places, take

CONFIG = ModelConfig(width=32, spike_patch=16, channel_patch=8)


def make(modality, config=CONFIG, **sizes):
    torch.manual_seed(0)
    tokenizer = TOKENIZERS[modality](config)
    for name, size in sizes.items():
        tokenizer.add_session(name, size)
    return tokenizer


def test_tokens_are_time_major_with_a_padded_last_patch():
    tokenizer = make("spikes", a=40)
    counts = torch.zeros(2, 7, 40)
    changed = counts.clone()
    changed[:, 3, 20] = 2  # step 3, patch 1
    before, after = tokenizer(counts, "a"), tokenizer(changed, "a")
    assert before.shape == (2, 7 * 3, 32)
    assert (before != after).any(-1).any(0).nonzero().flatten().tolist() == [3 * 3 + 1]


def test_one_hot_product_is_a_table_look_up_of_clamped_counts():
    tokenizer, counts = make("spikes", a=16), torch.randint(0, 9, (2, 5, 16))
    looked_up = tokenizer.table[counts.clamp(max=5)].flatten(-2) + tokenizer.space[0][0]
    torch.testing.assert_close(tokenizer(counts.float(), "a"), looked_up)


def test_lfp_tokens_are_a_convolution_over_time_that_never_looks_ahead():
    tokenizer, values = make("lfp", a=8), torch.randn(1, 30, 8)
    changed = values.clone()
    changed[:, 20:] += 1.0
    before, after = tokenizer(values, "a"), tokenizer(changed, "a")
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert (before[:, 20:] != after[:, 20:]).any()
    weight, last = tokenizer.conv.weight, CONFIG.kernel - 1
    by_hand = tokenizer.conv.bias + tokenizer.space[0][0]
    for back in range(CONFIG.kernel):
        by_hand = by_hand + values[:, 20 - CONFIG.dilation * back] @ weight[:, :, last - back].T
    torch.testing.assert_close(before[:, 20], by_hand)


@pytest.mark.parametrize("modality", ["spikes", "lfp", "both"])
@pytest.mark.parametrize("size", [20, 7])  # several patches, and one
@pytest.mark.parametrize("affine", [False, True])
def test_tokens_that_are_kept_are_those_of_the_whole_with_all_else_unknown(modality, size, affine):
    sizes = {"a": (size, size) if modality == "both" else size}
    tokenizer = make(modality, replace(CONFIG, affine_space=affine), **sizes)
    values = torch.randint(0, 4, (3, 12, size * (1 + (modality == "both")))).float()
    values[torch.rand(values.shape) < 0.3] = torch.nan  # unknown
    columns = torch.arange(float(values.shape[2]))
    of_patch = tokenizer.patches(columns.expand(1, 1, -1), "a")[0, 0, :, :, None] == columns
    keep = torch.rand(3, 12 * len(of_patch)).argsort(1)[:, :9]
    seen = places(keep, 12, len(of_patch)).float() @ of_patch.any(1).float() > 0
    whole = tokenizer(values.masked_fill(~seen, torch.nan), "a")
    torch.testing.assert_close(tokenizer(values, "a", keep=keep), take(whole, keep))
    if modality == "spikes":  # no token reads another
        torch.testing.assert_close(take(tokenizer(values, "a"), keep), take(whole, keep))


def test_both_modalities_are_the_two_tokenizers_side_by_side():
    both = make("both", a=(20, 12))  # two patches each
    counts, lfp = torch.randint(0, 4, (2, 6, 20)).float(), torch.randn(2, 6, 12)
    tokens = both(torch.cat([counts, lfp], dim=2), "a").view(2, 6, 4, 32)
    torch.testing.assert_close(tokens[:, :, :2].flatten(1, 2), both.spikes(counts, "a"))
    torch.testing.assert_close(tokens[:, :, 2:].flatten(1, 2), both.lfp(lfp, "a"))
    # the narrower patch is padded: 16 and 4 units, 8 and 4 channels are real
    patches = both.patches(torch.arange(32.0).expand(1, 1, 32), "a")
    assert patches.isfinite().sum(3).flatten().tolist() == [16, 4, 8, 4]
    assert sorted(patches[patches.isfinite()].tolist()) == list(range(32))
