"""Tokenizers: a stretch of one session -> one token per (time step, patch of units or channels).

Only the unit (or channel) axis is patched, so a window of T steps and P patches gives T * P tokens
in time-major order: token ``t * P + p``. What is session-specific lives here, in the *space
tables*: one learned row for each session and patch. Everything else is shared between sessions
(arXiv 2512.12461, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikelfp_lab.configs import ModelConfig


def n_patches(size: int, patch: int) -> int:
    """Patches needed for ``size`` units or channels; the last one is padded.

    >>> n_patches(96, 32), n_patches(95, 32), n_patches(97, 32)
    (3, 3, 4)
    """
    return -(-size // patch)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, N, d) at ``index`` (B, K) -> (B, K, d)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def row_by_patch(table: Tensor, patch: Tensor) -> Tensor:
    """Row of ``table`` (P, d) for each ``patch`` (B, N) -> (B, N, d); a one-hot product, whose
    backward is faster than that of indexing.
    """
    return F.one_hot(patch, len(table)).to(table.dtype) @ table


def map_by_patch(tokens: Tensor, maps: Tensor, patch: Tensor) -> Tensor:
    """Tokens (B, N, d), each by the map of its ``patch`` (B, N): ``maps`` (P, d, e) -> (B, N, e).

    Every map is applied and one result kept: with the few patches of a session that is cheaper than
    to gather maps."""
    if len(maps) == 1:
        return tokens @ maps[0]
    mapped = torch.einsum("bnd,pde->bnpe", tokens, maps)
    return mapped.gather(2, patch[..., None, None].expand(-1, -1, 1, maps.shape[2])).squeeze(2)


class Tokenizer(nn.Module):
    """What both tokenizers share: patching, padding and the space tables.

    Parameters
    ----------
    patch : int
        S, units or channels in a patch.
    width : int
        d, numbers in a token.
    sizes : mapping of str to int
        Session name -> its number of units or channels. The order fixes the order of the tables.
    affine : bool
        Add to each session and patch a learned (d, d) map, started at the identity, in front of its
        space row. The paper has the row alone (``False``).
    """

    def __init__(self, *, patch: int, width: int, sizes: Mapping[str, int], affine: bool):
        super().__init__()
        self.patch, self.width, self.affine = patch, width, affine
        self.sizes: dict[str, int] = {}
        self.space = nn.ParameterList()  # one (P, d) table a session, in the order of `sizes`
        self.maps = nn.ParameterList()  # one (P, d, d) table a session, when affine
        for name, size in sizes.items():
            self.add_session(name, size)

    def add_session(self, name: str, size: int) -> None:
        """Give a new session tables of its own, freshly initialized."""
        patches = n_patches(size, self.patch)
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
        """(B, T, C) values of session ``name`` -> (B, T, P, S), the last patch padded with
        ``fill``.
        """
        count = n_patches(self.sizes[name], self.patch)
        padding = count * self.patch - self.sizes[name]
        return F.pad(values, (0, padding), value=fill).unflatten(2, (count, self.patch))

    def spread(self, flags: Tensor, name: str) -> Tensor:
        """(B, T, P) flags of tokens -> (B, T, C), of their units or channels."""
        return flags.repeat_interleave(self.patch, dim=2)[:, :, : self.sizes[name]]

    def real(self, name: str, device: torch.device) -> Tensor:
        """(P, S) bool: True where a patch holds a real unit or channel, False on padding."""
        size = self.sizes[name]
        count = n_patches(size, self.patch)
        return (torch.arange(count * self.patch, device=device) < size).view(count, self.patch)

    def counts(self, name: str, device: torch.device) -> Tensor:
        """(P,) bool: True where a patch is of units, False where it is of channels."""
        size = len(self.rows(name))
        return torch.full((size,), isinstance(self, SpikeTokenizer), device=device)

    def embed_values(
        self, values: Tensor, name: str, hidden: Tensor | None, keep: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    def forward(
        self,
        values: Tensor,
        name: str,
        *,
        hidden: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Tokens of ``values`` (B, T, C), recorded in session ``name``.

        Parameters
        ----------
        values : Tensor, (B, T, C)
        name : str
        hidden : Tensor of bool, (B, T, C), optional
            Where it is True, a value is not shown.
        keep : Tensor of int64, (B, K), optional
            Tokens to return, by their place in time-major order; all of them by default.

        Returns
        -------
        Tensor, (B, K, d)
            Or (B, T * P, d) without ``keep``.
        """
        space = self.rows(name)
        tokens = self.embed_values(values, name, hidden, keep)
        if keep is None:
            keep = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        patch = keep % len(space)
        if self.affine:
            tokens = map_by_patch(tokens, self.maps[self.index(name)], patch)
        return tokens + row_by_patch(space, patch)


class SpikeTokenizer(Tokenizer):
    """Counts -> tokens: a table over the counts 0 ... ``max_count`` (larger ones clamped) and
    padding, d / S numbers a unit.

    A token is the concatenation of its S units' rows. The table is applied as a one-hot product,
    which is the same function as an embedding look-up and on the CPU has a much faster backward.
    """

    def __init__(self, config: ModelConfig, sizes: Mapping[str, int]):
        super().__init__(
            patch=config.spike_patch, width=config.width, sizes=sizes, affine=config.affine_space
        )
        self.max_count = config.max_count
        self.table = nn.Parameter(torch.randn(config.max_count + 2, config.width // self.patch))

    def embed_values(
        self, values: Tensor, name: str, hidden: Tensor | None, keep: Tensor | None
    ) -> Tensor:
        padding = self.max_count + 1
        unknown = values.isnan() if hidden is None else hidden | values.isnan()  # not observed
        shown = values.clamp(max=self.max_count).masked_fill(unknown, padding)
        counts = self.patches(shown, name, fill=padding).flatten(1, 2)
        if keep is not None:
            counts = take(counts, keep)
        one_hot = counts.unsqueeze(-1) == torch.arange(padding + 1, device=values.device)
        return (one_hot.to(self.table.dtype) @ self.table).flatten(-2)


class LFPTokenizer(Tokenizer):
    """Z-scored potentials -> tokens: a causal, dilated convolution, S channels in and d numbers
    out, shared by all patches.

    As in the authors' code it runs along the token axis, patches interleaved: tap k of token n
    reads token n - k * dilation. With one patch that is a convolution over time; with more, taps
    reach the neighboring patches of the same and the steps before."""

    def __init__(self, config: ModelConfig, sizes: Mapping[str, int]):
        super().__init__(
            patch=config.channel_patch, width=config.width, sizes=sizes, affine=config.affine_space
        )
        self.conv = nn.Conv1d(
            config.channel_patch, config.width, config.kernel, dilation=config.dilation
        )

    def embed_values(
        self, values: Tensor, name: str, hidden: Tensor | None, keep: Tensor | None
    ) -> Tensor:
        shown = values if hidden is None else values.masked_fill(hidden, 0.0)
        patches = self.patches(shown, name, fill=0.0)
        past = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0]
        tokens = self.conv(F.pad(patches.flatten(1, 2).transpose(1, 2), (past, 0)))  # (B, d, T * P)
        tokens = tokens.transpose(1, 2)
        return tokens if keep is None else take(tokens, keep)


class BothTokenizer(nn.Module):
    """Spikes and LFP side by side: the tokens of a time step are those of its units' patches, then
    those of its channels'.

    Values are (B, T, U + C), counts first; a session's size is the pair (U, C). Each modality has
    the tokenizer, and the tables, that it has alone; the narrower patch is padded to the wider."""

    def __init__(self, config: ModelConfig, sizes: Mapping[str, tuple[int, int]]):
        super().__init__()
        self.spikes, self.lfp = SpikeTokenizer(config, {}), LFPTokenizer(config, {})
        self.patch = max(config.spike_patch, config.channel_patch)
        for name, size in sizes.items():
            self.add_session(name, size)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        return {name: (units, self.lfp.sizes[name]) for name, units in self.spikes.sizes.items()}

    def add_session(self, name: str, size: tuple[int, int]) -> None:
        """Give a new session tables of its own, freshly initialized."""
        for part, own in zip((self.spikes, self.lfp), size, strict=True):
            part.add_session(name, own)

    def index(self, name: str) -> int:
        """Position of a session in the vocabulary."""
        return self.spikes.index(name)

    def rows(self, name: str) -> Tensor:
        """(P, d) space row of each patch of a session."""
        return torch.cat([self.spikes.rows(name), self.lfp.rows(name)])

    def patches(self, values: Tensor, name: str, *, fill: float) -> Tensor:
        """(B, T, U + C) values of session ``name`` -> (B, T, P, S), padded with ``fill``."""
        parts = zip((self.spikes, self.lfp), values.split(self.sizes[name], dim=2), strict=True)
        return torch.cat(
            [self._widen(part.patches(own, name, fill=fill), fill) for part, own in parts], dim=2
        )

    def spread(self, flags: Tensor, name: str) -> Tensor:
        """(B, T, P) flags of tokens -> (B, T, U + C), of their units and channels."""
        counts = len(self.spikes.rows(name))
        return torch.cat(
            [
                self.spikes.spread(flags[:, :, :counts], name),
                self.lfp.spread(flags[:, :, counts:], name),
            ],
            dim=2,
        )

    def real(self, name: str, device: torch.device) -> Tensor:
        """(P, S) bool: True where a patch holds a real unit or channel, False on padding."""
        parts = (self.spikes, self.lfp)
        return torch.cat([self._widen(part.real(name, device), False) for part in parts])

    def counts(self, name: str, device: torch.device) -> Tensor:
        """(P,) bool: True where a patch is of units, False where it is of channels."""
        return torch.cat([part.counts(name, device) for part in (self.spikes, self.lfp)])

    def forward(
        self,
        values: Tensor,
        name: str,
        *,
        hidden: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`Tokenizer.forward`."""
        size, time = self.sizes[name], values.shape[1]
        masks = (None, None) if hidden is None else hidden.split(size, dim=2)
        tokens = [
            part(own, name, hidden=mask).unflatten(1, (time, -1))
            for part, own, mask in zip(
                (self.spikes, self.lfp), values.split(size, dim=2), masks, strict=True
            )
        ]
        both = torch.cat(tokens, dim=2).flatten(1, 2)
        return both if keep is None else take(both, keep)

    def _widen(self, patches: Tensor, fill: float) -> Tensor:
        return F.pad(patches, (0, self.patch - patches.shape[-1]), value=fill)
