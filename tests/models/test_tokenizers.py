import pytest
import torch

from spikelfp_lab import ModelConfig
from spikelfp_lab.models.tokenizers import (
    BothTokenizer,
    LFPTokenizer,
    SpikeTokenizer,
    map_by_patch,
    row_by_patch,
    take,
)

CONFIG = ModelConfig(width=32, spike_patch=16, channel_patch=8)


def test_tokens_are_time_major_with_a_padded_last_patch():
    tokenizer = SpikeTokenizer(CONFIG, {"a": 40})
    counts = torch.zeros(2, 7, 40)
    changed = counts.clone()
    changed[:, 3, 20] = 2  # step 3, patch 1
    before, after = tokenizer(counts, "a"), tokenizer(changed, "a")
    assert before.shape == (2, 7 * 3, 32)
    moved = (before != after).any(-1).any(0).nonzero().flatten()
    assert moved.tolist() == [3 * 3 + 1]
    assert tokenizer.real("a", torch.device("cpu")).sum(1).tolist() == [16, 16, 8]


def test_counts_above_the_maximum_are_clamped():
    tokenizer = SpikeTokenizer(CONFIG, {"a": 16})
    five, nine = torch.full((1, 2, 16), 5.0), torch.full((1, 2, 16), 9.0)
    torch.testing.assert_close(tokenizer(five, "a"), tokenizer(nine, "a"))


def test_one_hot_product_equals_a_table_look_up():
    tokenizer = SpikeTokenizer(CONFIG, {"a": 16})
    counts = torch.randint(0, 6, (2, 5, 16))
    looked_up = tokenizer.table[counts].flatten(-2) + tokenizer.space[0][0]
    torch.testing.assert_close(tokenizer(counts.float(), "a"), looked_up)


def test_space_tables_are_all_that_tells_sessions_apart():
    tokenizer = SpikeTokenizer(CONFIG, {"a": 16, "b": 16})
    counts = torch.randint(0, 4, (1, 5, 16)).float()
    difference = tokenizer(counts, "a") - tokenizer(counts, "b")
    torch.testing.assert_close(
        difference, (tokenizer.space[0] - tokenizer.space[1]).expand(1, 5, 32)
    )


def test_affine_map_starts_as_the_paper_s_tokenizer():
    torch.manual_seed(0)
    plain = SpikeTokenizer(CONFIG, {"a": 20})
    mapped = SpikeTokenizer(
        ModelConfig(width=32, spike_patch=16, channel_patch=8, affine_space=True), {"a": 20}
    )
    mapped.load_state_dict(plain.state_dict(), strict=False)
    counts = torch.randint(0, 4, (1, 5, 20)).float()
    torch.testing.assert_close(plain(counts, "a"), mapped(counts, "a"))


def test_lfp_tokens_never_look_ahead():
    tokenizer = LFPTokenizer(CONFIG, {"a": 8})
    values = torch.randn(1, 30, 8)
    changed = values.clone()
    changed[:, 20:] += 1.0
    before, after = tokenizer(values, "a"), tokenizer(changed, "a")
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert (before[:, 20:] != after[:, 20:]).any()


def test_with_one_patch_the_convolution_runs_over_time():
    tokenizer = LFPTokenizer(CONFIG, {"a": 8})
    values = torch.randn(1, 30, 8)
    by_hand = tokenizer.conv.bias + sum(
        values[:, 20 - CONFIG.dilation * back]
        @ tokenizer.conv.weight[:, :, CONFIG.kernel - 1 - back].T
        for back in range(CONFIG.kernel)
    )
    torch.testing.assert_close(tokenizer(values, "a")[:, 20], by_hand + tokenizer.space[0][0])


@pytest.mark.parametrize("modality", ["spikes", "lfp"])
@pytest.mark.parametrize("size", [20, 7])  # several patches, and one
@pytest.mark.parametrize("affine", [False, True])
def test_tokens_that_are_kept_are_those_of_the_whole(modality, size, affine):
    config = ModelConfig(width=32, spike_patch=16, channel_patch=8, affine_space=affine)
    kind = SpikeTokenizer if modality == "spikes" else LFPTokenizer
    tokenizer = kind(config, {"I/s01": size})
    for maps in tokenizer.maps:
        torch.nn.init.normal_(maps)
    values = torch.randint(0, 4, (3, 12, size)).float()
    hidden = torch.rand(values.shape) < 0.3
    whole = tokenizer(values, "I/s01", hidden=hidden)
    keep = torch.rand(whole.shape[:2]).argsort(1)[:, :9]
    torch.testing.assert_close(
        tokenizer(values, "I/s01", hidden=hidden, keep=keep), take(whole, keep)
    )


def test_a_token_is_mapped_by_its_own_patch():
    """Against one product a patch, written out."""
    tokens, maps = torch.randn(2, 6, 5), torch.randn(3, 5, 4)
    patch = torch.tensor([[0, 2, 1, 1, 0, 2], [2, 2, 0, 1, 0, 1]])
    mapped = map_by_patch(tokens, maps, patch)
    for b in range(2):
        for n in range(6):
            torch.testing.assert_close(mapped[b, n], tokens[b, n] @ maps[patch[b, n]])
    torch.testing.assert_close(row_by_patch(maps[:, 0], patch), maps[:, 0][patch])


def test_both_modalities_are_the_two_tokenizers_side_by_side():
    torch.manual_seed(0)
    both = BothTokenizer(CONFIG, {"a": (20, 12)})  # two patches each
    counts, lfp = torch.randint(0, 4, (2, 6, 20)).float(), torch.randn(2, 6, 12)
    tokens = both(torch.cat([counts, lfp], dim=2), "a").view(2, 6, 4, 32)
    torch.testing.assert_close(tokens[:, :, :2].flatten(1, 2), both.spikes(counts, "a"))
    torch.testing.assert_close(tokens[:, :, 2:].flatten(1, 2), both.lfp(lfp, "a"))
    assert both.counts("a", torch.device("cpu")).tolist() == [True, True, False, False]
    # the narrower patch is padded: 16 and 4 units, 8 and 4 channels are real
    assert both.real("a", torch.device("cpu")).sum(1).tolist() == [16, 4, 8, 4]


def test_flags_of_tokens_are_spread_to_their_own_columns():
    both = BothTokenizer(CONFIG, {"a": (20, 12)})
    flags = torch.zeros(1, 1, 4, dtype=torch.bool)
    flags[0, 0, 1] = flags[0, 0, 2] = True
    spread = both.spread(flags, "a")[0, 0]
    assert spread.nonzero().flatten().tolist() == [16, 17, 18, 19, *range(20, 28)]
    values = torch.arange(32.0).expand(1, 1, 32)
    patches = both.patches(values, "a", fill=-1.0)
    assert patches.shape == (1, 1, 4, 16)
    assert sorted(patches[patches >= 0].tolist()) == list(range(32))
