"""The backbone: a pre-norm transformer with rotary time and gated MLPs (arXiv 2512.12461).

Time enters through the rotary position alone: all patches of a time step share that step's position.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10_000.0
NORM_EPS = 1e-6

Rotation = tuple[Tensor, Tensor]  # cosines and sines


def rotary(positions: Tensor, head_width: int) -> Rotation:
    """Cosines and sines of the rotary angles.

    Parameters
    ----------
    positions : Tensor, (..., N) integer
        Time step of each token.
    head_width : int
        Numbers in an attention head; half as many frequencies.

    Returns
    -------
    cos, sin : Tensor, (..., 1, N, head_width / 2) float32
        With an axis for the heads.

    Examples
    --------
    >>> cos, sin = rotary(torch.arange(3), 8)
    >>> cos.shape
    torch.Size([1, 3, 4])
    """
    half = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32)
    angles = positions.float().unsqueeze(-1) * ROTARY_BASE ** (-half / head_width)
    return angles.cos().unsqueeze(-3), angles.sin().unsqueeze(-3)


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """Rotate the two halves of each head (half-split convention); ``x`` is (B, heads, N, head_width)."""
    cos, sin = (part.to(x.dtype) for part in turn)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    """Multi-head attention with rotary positions: among the tokens, or from them to a context."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, turn: Rotation, context: tuple[Tensor, Rotation] | None = None
    ) -> Tensor:
        batch, tokens, width = x.shape
        if context is None:
            q, k, v = self.split(self.qkv(x), 3)
            k = rotate(k, turn)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self.split(F.linear(x, weight[:width], bias[:width]), 1)
            k, v = self.split(F.linear(context[0], weight[width:], bias[width:]), 2)
            k = rotate(k, context[1])
        attended = F.scaled_dot_product_attention(rotate(q, turn), k, v)
        return self.out(attended.transpose(1, 2).reshape(batch, tokens, width))

    def split(self, x: Tensor, parts: int) -> Tensor:
        """(B, N, parts * d) -> (parts, B, heads, N, d / heads)."""
        return x.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)


class GatedMLP(nn.Module):
    """SiLU-gated MLP; gate and up projections share one matrix product."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Attention and MLP, each normalized in front and added to what came in."""

    def __init__(self, width: int, heads: int, ratio: int, dropout: float):
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.attention = Attention(width, heads)
        self.norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.mlp = GatedMLP(width, ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, turn: Rotation, context: tuple[Tensor, Rotation] | None = None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), turn, context))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """A stack of blocks and a final norm.

    Parameters
    ----------
    width, layers, heads, ratio : int
        d, depth, attention heads, hidden-to-width ratio of the MLP.
    dropout : float
        On the output of each attention and MLP.
    """

    def __init__(
        self, *, width: int, layers: int, heads: int, ratio: int = 4, dropout: float = 0.0
    ):
        super().__init__()
        self.head_width = width // heads
        self.blocks = nn.ModuleList(Block(width, heads, ratio, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)

    def forward(
        self, x: Tensor, positions: Tensor, *, context: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Tokens (B, N, d) at integer time steps ``positions`` (N,) or (B, N) -> (B, N, d).

        With ``context``, other tokens (B, M, d) and their positions, attention goes to these instead.
        """
        turn = rotary(positions, self.head_width)
        other = None if context is None else (context[0], rotary(context[1], self.head_width))
        for block in self.blocks:
            x = block(x, turn, other)
        return self.norm(x)
