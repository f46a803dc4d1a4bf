import torch
from torch.nn import functional as F

from spikelfp_lab import ModelConfig
from spikelfp_lab.models.transformer import Attention, Transformer, rotary, rotate


def test_rotation_keeps_lengths_and_sees_only_relative_time():
    q, k = torch.randn(2, 1, 1, 1, 8)

    def product(at: int, to: int) -> torch.Tensor:
        here, there = (rotary(torch.tensor([t]), 8) for t in (at, to))
        return (rotate(q, here) * rotate(k, there)).sum()

    torch.testing.assert_close(product(3, 10), product(103, 110))
    assert not torch.isclose(product(3, 10), product(3, 12))
    torch.testing.assert_close(rotate(q, rotary(torch.tensor([17]), 8)).norm(), q.norm())


def test_output_follows_a_permutation_of_the_tokens_and_no_shift_of_all_positions():
    torch.manual_seed(0)
    model = Transformer(ModelConfig(heads=4), 32, 2).eval()
    x, positions, order = torch.randn(2, 12, 32), torch.arange(12), torch.randperm(12)
    out, close = model(x, positions), {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(out[:, order], model(x[:, order], positions[order]), **close)
    torch.testing.assert_close(out, model(x, positions + 40), **close)


def test_attention_equals_the_textbook_and_to_itself_as_context_is_self_attention():
    torch.manual_seed(0)
    attention, x = Attention(16, 1), torch.randn(1, 5, 16)
    still = rotary(torch.zeros(5, dtype=torch.int64), 16)  # position 0 turns nothing
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    expected = attention.out(F.softmax(q @ k.mT / 4, dim=-1) @ v)
    torch.testing.assert_close(attention(x, still, None), expected)
    turn = rotary(torch.arange(5), 16)
    torch.testing.assert_close(attention(x, turn, None), attention(x, turn, (x, turn)))
