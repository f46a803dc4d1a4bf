"""Tokenizers: a stretch of one session -> one token per (time step, patch of units or channels).

T steps and P patches give T * P tokens in time-major order, token ``t * P + p``. What is
session-specific lives in the *space tables*: one learned row for each session and patch. All else
is shared between sessions (arXiv 2512.12461, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikelfp_lab.configs import ModelConfig

Opt = Tensor | None


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, d) at ``index`` (B, K) -> (B, K, d)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def row_by_patch(table: Tensor, patch: Tensor) -> Tensor:
    """Row of ``table`` (P, d) for each ``patch`` (B, N), by a one-hot product: a fast backward."""
    return F.one_hot(patch, len(table)).to(table.dtype) @ table


def map_by_patch(tokens: Tensor, maps: Tensor, patch: Tensor) -> Tensor:
    """Tokens (B, N, d), each by the map (d, e) of its ``patch`` (B, N) -> (B, N, e)."""
    if len(maps) == 1:
        return tokens @ maps[0]
    mapped = torch.einsum("bnd,pde->bnpe", tokens, maps)
    return mapped.gather(2, patch[..., None, None].expand(-1, -1, 1, maps.shape[2])).squeeze(2)


class Tokenizer(nn.Module):
    """Patching, padding and space tables; when affine, with a map a session and patch too."""

    def __init__(self, patch: int, width: int, affine: bool):
        super().__init__()
        self.patch, self.width, self.affine = patch, width, affine
        self.sizes: dict[str, int] = {}  # session -> units or channels, in the order of the tables
        self.space = nn.ParameterList()  # one (P, d) table a session
        self.maps = nn.ParameterList()  # one (P, d, d) table a session, when affine

    def add_session(self, name: str, size: int) -> None:
        """Give a new session tables of its own, freshly initialized."""
        patches = -(-size // self.patch)  # the last one is padded
        self.sizes[name] = size
        self.space.append(nn.Parameter(0.02 * torch.randn(patches, self.width)))
        if self.affine:
            self.maps.append(nn.Parameter(torch.eye(self.width).repeat(patches, 1, 1)))

    def index(self, name: str) -> int:
        """Position of a session in the vocabulary."""
        return list(self.sizes).index(name)

    def rows(self, name: str) -> Tensor:
        """(P, d) space row of each patch of a session."""
        return self.space[self.index(name)]

    def patches(self, values: Tensor, name: str, *, fill: float) -> Tensor:
        """(B, T, C) values of a session -> (B, T, P, S), the last patch padded with ``fill``."""
        padding = -self.sizes[name] % self.patch
        return F.pad(values, (0, padding), value=fill).unflatten(2, (-1, self.patch))

    def spread(self, flags: Tensor, name: str) -> Tensor:
        """(B, T, P) flags of tokens -> (B, T, C), of their units or channels."""
        return flags.repeat_interleave(self.patch, dim=2)[:, :, : self.sizes[name]]

    def counts(self, name: str, device: torch.device) -> Tensor:
        """(P,) bool: True where a patch is of units, False where it is of channels."""
        is_units = isinstance(self, SpikeTokenizer)
        return torch.full((len(self.rows(name)),), is_units, device=device)

    def place(self, tokens: Tensor, name: str, keep: Opt) -> Tensor:
        """Tokens (B, K, d), those at ``keep`` or all, by the map and the row of their patches."""
        space = self.rows(name)
        if keep is None:
            keep = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        patch = keep % len(space)
        if self.affine:
            tokens = map_by_patch(tokens, self.maps[self.index(name)], patch)
        return tokens + row_by_patch(space, patch)


class SpikeTokenizer(Tokenizer):
    """Counts -> tokens: a table over the counts 0 ... ``max_count`` (larger ones clamped) and
    padding, d / S numbers a unit, concatenated. It is applied as a one-hot product, whose backward
    is much faster on the CPU than that of a look-up.
    """

    def __init__(self, config: ModelConfig):
        super().__init__(config.spike_patch, config.width, config.affine_space)
        self.max_count = config.max_count
        self.table = nn.Parameter(torch.randn(config.max_count + 2, config.width // self.patch))

    def forward(self, values: Tensor, name: str, hidden: Opt = None, keep: Opt = None) -> Tensor:
        """Values (B, T, C) of a session, unknown where ``hidden`` -> tokens (B, K, d).

        ``keep`` (B, K) says which, by their place in time-major order; all T * P by default.
        """
        padding = self.max_count + 1
        unknown = values.isnan() if hidden is None else hidden | values.isnan()  # not observed
        shown = values.clamp(max=self.max_count).masked_fill(unknown, padding)
        counts = self.patches(shown, name, fill=padding).flatten(1, 2)
        if keep is not None:
            counts = take(counts, keep)
        one_hot = counts.unsqueeze(-1) == torch.arange(padding + 1, device=values.device)
        return self.place((one_hot.to(self.table.dtype) @ self.table).flatten(-2), name, keep)


class LFPTokenizer(Tokenizer):
    """Z-scored potentials -> tokens: a causal, dilated convolution of all patches.

    As in the authors' code it runs along the token axis, patches interleaved: tap k of token n
    reads token n - k * dilation, with several patches those beside it too."""

    def __init__(self, config: ModelConfig):
        super().__init__(config.channel_patch, config.width, config.affine_space)
        self.past = (config.kernel - 1) * config.dilation
        self.conv = nn.Conv1d(self.patch, config.width, config.kernel, dilation=config.dilation)

    def forward(self, values: Tensor, name: str, hidden: Opt = None, keep: Opt = None) -> Tensor:
        """As :meth:`SpikeTokenizer.forward`; what is hidden is 0."""
        shown = values if hidden is None else values.masked_fill(hidden, 0.0)
        patches = self.patches(shown, name, fill=0.0).flatten(1, 2).transpose(1, 2)
        tokens = self.conv(F.pad(patches, (self.past, 0))).transpose(1, 2)  # (B, T * P, d)
        return self.place(tokens if keep is None else take(tokens, keep), name, keep)


class BothTokenizer(nn.Module):
    """Spikes and LFP side by side: a time step's tokens are those of its units, then its channels.

    Values are (B, T, U + C), counts first; a session's size is the pair (U, C). The narrower patch
    is padded to the wider."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.spikes, self.lfp = SpikeTokenizer(config), LFPTokenizer(config)
        self.patch = max(config.spike_patch, config.channel_patch)

    @property
    def parts(self) -> tuple[SpikeTokenizer, LFPTokenizer]:
        return self.spikes, self.lfp

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {name: (units, self.lfp.sizes[name]) for name, units in self.spikes.sizes.items()}

    def add_session(self, name: str, size: tuple[int, int]) -> None:
        for part, own in zip(self.parts, size, strict=True):
            part.add_session(name, own)

    def index(self, name: str) -> int:
        return self.spikes.index(name)

    def rows(self, name: str) -> Tensor:
        return torch.cat([part.rows(name) for part in self.parts])

    def patches(self, values: Tensor, name: str, *, fill: float) -> Tensor:
        split = zip(self.parts, values.split(self.sizes[name], dim=2), strict=True)
        each = [part.patches(own, name, fill=fill) for part, own in split]
        return torch.cat([F.pad(p, (0, self.patch - p.shape[-1]), value=fill) for p in each], dim=2)

    def spread(self, flags: Tensor, name: str) -> Tensor:
        split = flags.split([len(part.rows(name)) for part in self.parts], dim=2)
        each = zip(self.parts, split, strict=True)
        return torch.cat([part.spread(own, name) for part, own in each], dim=2)

    def counts(self, name: str, device: torch.device) -> Tensor:
        return torch.cat([part.counts(name, device) for part in self.parts])

    def forward(self, values: Tensor, name: str, hidden: Opt = None, keep: Opt = None) -> Tensor:
        size, steps = self.sizes[name], (values.shape[1], -1)
        masks = (None, None) if hidden is None else hidden.split(size, dim=2)
        each = zip(self.parts, values.split(size, dim=2), masks, strict=True)
        tokens = [part(own, name, hidden=mask).unflatten(1, steps) for part, own, mask in each]
        both = torch.cat(tokens, dim=2).flatten(1, 2)
        return both if keep is None else take(both, keep)


TOKENIZERS = {"spikes": SpikeTokenizer, "lfp": LFPTokenizer, "both": BothTokenizer}
