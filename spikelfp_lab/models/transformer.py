"""The backbone, a pre-norm transformer with rotary time and gated MLPs (arXiv 2512.12461), and what
reads its latents. All patches of a time step share its position."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.models.tokenizers import map_by_patch

ROTARY_BASE = 10_000.0
NORM_EPS = 1e-6
Context = tuple[Tensor, Tensor] | None  # other tokens to attend to, and their positions or angles


def rotary(positions: Tensor, head_width: int) -> Tensor:
    """Cosines and sines (..., N, 1, head_width / 2, 2) of the angles at time steps (..., N)."""
    half = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32)
    angles = positions.float().unsqueeze(-1) * ROTARY_BASE ** (-half / head_width)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).unsqueeze(-3)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate each head of ``x`` (B, N, heads, head_width); number ``i`` of its first half and of
    its second are a plane. One complex product is half the memory traffic of cosines and sines."""
    first, second = x.float().unflatten(-1, (2, -1)).unbind(-2)
    if torch.compiler.is_compiling():  # which makes one kernel of this, but none of complex numbers
        cos, sin = turn.unbind(-1)
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.complex(first, second) * torch.view_as_complex(turn))
    return turned.flatten(-2).to(x.dtype)


def by_part(layer: nn.Linear, *inputs: Tensor) -> list[Tensor]:
    """Each input by its own part of a layer: read faster later on than parts of one product."""
    parts = layer.weight.chunk(len(inputs)), layer.bias.chunk(len(inputs))
    return [F.linear(x, weight, bias) for x, weight, bias in zip(inputs, *parts, strict=True)]


class Attention(nn.Module):
    """Multi-head attention with rotary positions: among the tokens, or from them to a context."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, turn: Tensor, context: Context = None, mask: Tensor | None = None
    ) -> Tensor:
        source, source_turn = (x, turn) if context is None else context
        made = by_part(self.qkv, x, source, source)
        q, k, v = (each.unflatten(-1, (self.heads, -1)) for each in made)
        made = rotate(q, turn), rotate(k, source_turn), v
        q, k, v = (each.transpose(1, 2) for each in made)  # (B, heads, N, d / heads)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(attended.transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    """SiLU-gated MLP; the first half of ``gate_up`` is the gate."""

    def __init__(self, width: int, ratio: int):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = by_part(self.gate_up, x, x)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """Attention and MLP, each normalized in front and added to what came in."""

    def __init__(self, config: ModelConfig, width: int):
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.attention = Attention(width, config.heads)
        self.norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.mlp = GatedMLP(width, config.mlp_ratio)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, turn: Tensor, context: Context = None, mask: Tensor | None = None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), turn, context, mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """A stack of blocks and a final norm; with ``past``, causal: each block attends to so many time
    steps, that of the token the last."""

    def __init__(self, config: ModelConfig, width: int, layers: int, past: int = 0):
        super().__init__()
        self.past = past
        self.head_width = width // config.heads
        self.blocks = nn.ModuleList(Block(config, width) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)

    def forward(
        self, x: Tensor, positions: Tensor, context: Context = None, *, every_layer: bool = False
    ) -> Tensor:
        """Tokens (B, N, d) at time steps (N,) or (B, N) -> (B, N, d); with ``every_layer``, after
        0, 1, ... all blocks, (layers + 1, B, N, d). Attention goes to the ``context``, if any."""
        x = x.to(self.norm.weight.dtype)  # products may be in bf16, what they are added to is not
        turn = rotary(positions, self.head_width)
        other = None if context is None else (context[0], rotary(context[1], self.head_width))
        mask, states = None, [x]
        if self.past:
            age = positions.unsqueeze(-1) - positions.unsqueeze(-2)
            mask = ((age >= 0) & (age < self.past)).unsqueeze(-3)  # the same for all heads
        for block in self.blocks:
            x = block(x, turn, other, mask)
            if every_layer:
                states.append(x)
        return self.norm(torch.stack(states) if every_layer else x)


class OutputLayer(nn.Module):
    """Linear read-out of S values for each token; when affine, with a map a session and patch."""

    def __init__(self, config: ModelConfig, width: int, patch: int):
        super().__init__()
        self.shared = nn.Linear(width, patch)
        self.affine = config.affine_space
        self.own = nn.ParameterList()  # one (P, width, S) table a session, in the order of sessions

    def add_session(self, patches: int) -> None:
        """Tables for a new session, started at nothing but the shared read-out."""
        if self.affine:
            self.own.append(nn.Parameter(torch.zeros(patches, *self.shared.weight.T.shape)))

    def forward(self, tokens: Tensor, session: int, patch: Tensor) -> Tensor:
        """Tokens (B, N, width) at patches ``patch`` (B, N) -> (B, N, S)."""
        values = self.shared(tokens)
        return values + map_by_patch(tokens, self.own[session], patch) if self.affine else values


class Predictor(nn.Module):
    """Latents of the visible tokens -> what the read-out of the dropped ones reads."""

    def __init__(self, config: ModelConfig, patch: int):
        super().__init__()
        width = config.predictor_width
        self.mask_token = nn.Parameter(0.02 * torch.randn(config.width))
        self.narrow = nn.Linear(config.width, width)
        self.transformer = Transformer(config, width, config.predictor_layers)
        self.read_out = OutputLayer(config, width, patch)

    def forward(self, masks: Tensor, at: Tensor, latents: Tensor, latents_at: Tensor) -> Tensor:
        """Mask tokens (B, K, d) at time steps attend to latents at theirs -> (B, K, width)."""
        return self.transformer(self.narrow(masks), at, (self.narrow(latents), latents_at))


@contextmanager
def compiled(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """A context in which the blocks are compiled; what is around them differs by session."""
    blocks = [part for part in model.modules() if isinstance(part, Block)] if enabled else []
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=True)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # that of the class is found again
