import torch
from torch.nn import functional as F

from spikelfp_lab.models.transformer import Attention, Transformer, rotary, rotate


def small(**options) -> Transformer:
    torch.manual_seed(0)
    return Transformer(width=32, layers=2, heads=4, **options).eval()


def test_rotation_keeps_lengths_and_sees_only_relative_time():
    q, k = torch.randn(2, 1, 1, 1, 8)

    def product(at: int, to: int) -> torch.Tensor:
        here, there = (rotary(torch.tensor([t]), 8) for t in (at, to))
        return (rotate(q, here) * rotate(k, there)).sum()

    torch.testing.assert_close(product(3, 10), product(103, 110))
    assert not torch.isclose(product(3, 10), product(3, 12))
    turned = rotate(q, rotary(torch.tensor([17]), 8))
    torch.testing.assert_close(turned.norm(), q.norm())


def test_output_follows_a_permutation_of_the_tokens():
    model, x, positions = small(), torch.randn(2, 12, 32), torch.arange(12)
    order = torch.randperm(12)
    torch.testing.assert_close(
        model(x, positions)[:, order], model(x[:, order], positions[order]), atol=1e-5, rtol=1e-5
    )


def test_shifting_all_positions_changes_nothing():
    model, x, positions = small(), torch.randn(2, 12, 32), torch.arange(12)
    torch.testing.assert_close(model(x, positions), model(x, positions + 40), atol=1e-5, rtol=1e-5)


def test_attention_to_itself_as_context_is_self_attention():
    torch.manual_seed(0)
    attention, x = Attention(32, 4), torch.randn(2, 6, 32)
    turn = rotary(torch.arange(6), 8)
    torch.testing.assert_close(attention(x, turn, None), attention(x, turn, (x, turn)))


def test_attention_equals_the_textbook():
    torch.manual_seed(0)
    attention, x = Attention(16, 1), torch.randn(1, 5, 16)
    still = rotary(torch.zeros(5, dtype=torch.int64), 16)  # position 0 turns nothing
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    expected = attention.out(F.softmax(q @ k.mT / 4, dim=-1) @ v)
    torch.testing.assert_close(attention(x, still, None), expected)
