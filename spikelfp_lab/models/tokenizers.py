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


def places(keep: Tensor, time: int, patches: int) -> Tensor:
    """(B, T, P) bool: True at the tokens ``keep`` (B, K)."""
    flags = torch.zeros((len(keep), time * patches), dtype=torch.bool, device=keep.device)
    return flags.scatter(1, keep, True).unflatten(1, (time, patches))


class Tokenizer(nn.Module):
    """Patching, padding and space tables; when affine, with a map a session and patch too.

    Called with values (B, T, C) of a session, NaN where unknown, it gives tokens (B, K, d): all, or
    those at ``keep`` (B, K), by their place in time-major order, and sees nothing of the others."""

    def __init__(self, patch: int, width: int, affine: bool):
        super().__init__()
        self.patch, self.width, self.affine = patch, width, affine
        self.each = 1  # numbers of a unit or channel in a bin
        self.sizes: dict[str, int] = {}  # session -> units or channels, in the order of the tables
        self.space = nn.ParameterList()  # one (P, d) table a session
        self.maps = nn.ParameterList()  # one (P, d, d) table a session, when affine

    def add_session(self, name: str, size: int) -> None:
        """Give a new session tables of its own, freshly initialized."""
        patches = -(-size * self.each // self.patch)  # the last one is padded
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

    def columns(self, name: str) -> list[int]:
        """How many columns the values of a session have, by variable."""
        return [self.sizes[name] * self.each]

    def unit_patches(self, name: str) -> int:
        """How many patches, the first ones, are of units; the rest are of channels."""
        return len(self.rows(name)) if isinstance(self, SpikeTokenizer) else 0

    def patches(self, values: Tensor, name: str) -> Tensor:
        """(B, T, C) values of a session -> (B, T, P, S), the last patch padded with NaN."""
        padding = -sum(self.columns(name)) % self.patch
        return F.pad(values, (0, padding), value=torch.nan).unflatten(2, (-1, self.patch))

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
    """Counts -> tokens: a table over 0 ... ``max_count`` (larger ones clamped) and unknown, d / S
    numbers a unit, by a one-hot product, whose backward is faster than that of a look-up."""

    def __init__(self, config: ModelConfig):
        super().__init__(config.spike_patch, config.width, config.affine_space)
        self.max_count = config.max_count
        self.table = nn.Parameter(torch.randn(config.max_count + 2, config.width // self.patch))

    def forward(self, values: Tensor, name: str, keep: Opt = None) -> Tensor:
        patches = self.patches(values, name).flatten(1, 2)
        patches = patches if keep is None else take(patches, keep)
        counts = patches.clamp(max=self.max_count).nan_to_num(self.max_count + 1)
        one_hot = counts.unsqueeze(-1) == torch.arange(len(self.table), device=values.device)
        return self.place((one_hot.to(self.table.dtype) @ self.table).flatten(-2), name, keep)


class LFPTokenizer(Tokenizer):
    """Z-scored potentials -> tokens: a causal, dilated convolution of all patches, unknown ones 0.

    With ``bands_hz`` each channel's potential is followed by its log power in these bands. As in
    the authors' code it runs along the token axis, patches interleaved: tap k of token n reads
    token n - k * dilation, with several patches those beside it too."""

    def __init__(self, config: ModelConfig):
        patch = config.channel_patch * config.per_channel
        super().__init__(patch, config.width, config.affine_space)
        self.each = config.per_channel
        self.past = (config.kernel - 1) * config.dilation
        self.conv = nn.Conv1d(self.patch, config.width, config.kernel, dilation=config.dilation)

    def forward(self, values: Tensor, name: str, keep: Opt = None, seen: Opt = None) -> Tensor:
        patches = self.patches(values, name)
        unknown = patches.isnan()
        if keep is not None:
            seen = places(keep, *patches.shape[1:3])
        if seen is not None:  # (B, T, P), or the convolution would carry the others into these
            unknown |= ~seen.unsqueeze(-1)
        shown = patches.masked_fill(unknown, 0.0).flatten(1, 2).transpose(1, 2)
        tokens = self.conv(F.pad(shown, (self.past, 0))).transpose(1, 2)  # (B, T * P, d)
        return self.place(tokens if keep is None else take(tokens, keep), name, keep)


class BothTokenizer(nn.Module):
    """Spikes and LFP side by side: a time step's tokens are those of its units, then its channels.

    Values are (B, T, U + C); a session's size is (U, C). The narrower patch is padded."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.spikes, self.lfp = SpikeTokenizer(config), LFPTokenizer(config)
        self.parts = self.spikes, self.lfp
        self.patch = max(part.patch for part in self.parts)
        self.sizes: dict[str, tuple[int, int]] = {}

    def add_session(self, name: str, size: tuple[int, int]) -> None:
        self.sizes[name] = size
        for part, own in zip(self.parts, size, strict=True):
            part.add_session(name, own)

    def index(self, name: str) -> int:
        return self.spikes.index(name)

    def rows(self, name: str) -> Tensor:
        return torch.cat([part.rows(name) for part in self.parts])

    def columns(self, name: str) -> list[int]:
        return [n for part in self.parts for n in part.columns(name)]

    def unit_patches(self, name: str) -> int:
        return self.spikes.unit_patches(name)

    def patches(self, values: Tensor, name: str) -> Tensor:
        split = zip(self.parts, values.split(self.columns(name), dim=2), strict=True)
        each = [part.patches(own, name) for part, own in split]
        widened = [F.pad(own, (0, self.patch - own.shape[3]), value=torch.nan) for own in each]
        return torch.cat(widened, dim=2)

    def forward(self, values: Tensor, name: str, keep: Opt = None) -> Tensor:
        time, (counts, potentials) = values.shape[1], values.split(self.columns(name), 2)
        seen = None
        if keep is not None:
            seen = places(keep, time, len(self.rows(name)))[:, :, self.unit_patches(name) :]
        tokens = self.spikes(counts, name), self.lfp(potentials, name, seen=seen)
        both = torch.cat([each.unflatten(1, (time, -1)) for each in tokens], dim=2).flatten(1, 2)
        return both if keep is None else take(both, keep)


TOKENIZERS = {"spikes": SpikeTokenizer, "lfp": LFPTokenizer, "both": BothTokenizer}
