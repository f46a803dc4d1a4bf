"""The model: tokenizer -> transformer -> latents, and a predictor that reconstructs what was dropped.

One class serves teacher, baselines and student. With predictor layers it is a masked autoencoder; without, its predictor is the linear
read-out of Eq. 1, and it is what a student is. Steps of a masked pass (arXiv 2512.12461, section 3):

1. a random 60 % of the tokens are dropped: the encoder never sees them, nor does the tokenizer's convolution see their values
2. values (B, T, C) -> visible tokens (B, 0.4 * N, d), N = T * P
3. visible tokens -> transformer -> latents
4. a mask token plus its space row stands in for each dropped one; in the predictor these attend to the latents
5. a linear layer gives S values for each dropped token: log-rates of spike counts, or potentials
6. loss on these, padding left out
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikelfp_lab.configs import MaskConfig, ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.tokenizers import (
    LFPTokenizer,
    SpikeTokenizer,
    map_by_patch,
    row_by_patch,
    take,
)
from spikelfp_lab.models.transformer import Transformer

Modality = Literal["spikes", "lfp"]


class ReadOut(nn.Module):
    """Linear read-out of S values for each token; with session tables, each session and patch adds a map of its own."""

    def __init__(self, width: int, patch: int, *, affine: bool):
        super().__init__()
        self.shared = nn.Linear(width, patch)
        self.affine = affine
        self.own = nn.ParameterList()  # one (P, width, S) table a session, in the order of sessions

    def add_session(self, patches: int) -> None:
        """Tables for a new session, started at nothing but the shared read-out."""
        if self.affine:
            self.own.append(nn.Parameter(torch.zeros(patches, *self.shared.weight.T.shape)))

    def forward(self, tokens: Tensor, session: int, patch: Tensor) -> Tensor:
        """Tokens (B, N, width) at patches ``patch`` (B, N) -> (B, N, S)."""
        values = self.shared(tokens)
        if self.affine:
            values = values + map_by_patch(tokens, self.own[session], patch)
        return values


class Predictor(nn.Module):
    """Latents of the visible tokens -> what the read-out of the dropped ones reads.

    Dropped tokens attend to visible ones only: a mask token knows nothing but its place, so that attending to others of its kind would cost
    time and tell nothing.
    """

    def __init__(self, config: ModelConfig, patch: int):
        super().__init__()
        width = config.predictor_width
        self.mask_token = nn.Parameter(0.02 * torch.randn(config.width))
        self.narrow = nn.Linear(config.width, width)
        self.transformer = Transformer(
            width=width,
            layers=config.predictor_layers,
            heads=config.heads,
            ratio=config.mlp_ratio,
            dropout=config.dropout,
        )
        self.read_out = ReadOut(width, patch, affine=config.affine_space)

    def forward(self, masks: Tensor, at: Tensor, latents: Tensor, latents_at: Tensor) -> Tensor:
        """Mask tokens (B, K, d) at time steps ``at`` (B, K) and latents of visible tokens -> (B, K, width)."""
        context = (self.narrow(latents), latents_at)
        return self.transformer(self.narrow(masks), at, context=context)


class Autoencoder(nn.Module):
    """A transformer over the tokens of one modality, with tables for each session it knows.

    Parameters
    ----------
    config : ModelConfig
    modality : {"spikes", "lfp"}
    sessions : mapping of str to int
        The session vocabulary: name -> number of units or channels.
    bin_size_s : float
        Width of the time bins the model is trained on, seconds.
    n_behavior : int
        Behavior dimensions of a linear read-out trained with the model (supervised setting); 0 for none.

    Attributes
    ----------
    history : pandas.DataFrame
        Tidy record of the training: step, split, metric, value.
    info : dict
        JSON-able provenance: configs, seed, metrics, versions.

    Examples
    --------
    >>> model = Autoencoder(ModelConfig(), modality="lfp", sessions={"I/s01": 32}, bin_size_s=0.01)
    >>> model.latents(torch.zeros(2, 50, 32), "I/s01").shape
    torch.Size([2, 50, 64])
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        modality: Modality,
        sessions: Mapping[str, int],
        bin_size_s: float,
        n_behavior: int = 0,
    ):
        super().__init__()
        if modality not in ("spikes", "lfp"):
            raise ConfigError(f"modality is {modality!r}: choose 'spikes' or 'lfp'")
        self.config, self.bin_size_s = config, bin_size_s
        self.modality: Modality = modality
        tokenizer = SpikeTokenizer if modality == "spikes" else LFPTokenizer
        self.tokenizer = tokenizer(config, {})
        self.transformer = Transformer(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            ratio=config.mlp_ratio,
            dropout=config.dropout,
        )
        patch = self.tokenizer.patch
        self.read_out = ReadOut(config.width, patch, affine=config.affine_space)
        self.predictor = Predictor(config, patch) if config.predictor_layers else None
        self.behavior_head = nn.Linear(config.width, n_behavior) if n_behavior else None
        self.history = pd.DataFrame()
        self.info: dict = {}
        for name, size in sessions.items():
            self.add_session(name, size)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write to a folder, see :func:`spikelfp_lab.models.save`."""
        from spikelfp_lab.models.checkpoint import save  # which imports this module

        return save(self, path, overwrite=overwrite)

    def digest(self) -> str:
        """A short hash of the weights: two models with the same digest are the same function."""
        total = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            total.update(name.encode())
            total.update(tensor.contiguous().cpu().numpy().tobytes())
        return total.hexdigest()[:12]

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        known = list(self.sessions)
        names = ", ".join(known[:4]) + (f", ... ({len(known)} in all)" if len(known) > 4 else "")
        return (
            f"<Autoencoder of {self.modality}: {parameters / 1e6:.2f} M parameters, {self.config.layers} layers of "
            f"width {self.config.width}, bins of {1000 * self.bin_size_s:g} ms, {self.info.get('made_by', 'untrained')}>\n"
            f"sessions: {names}"
        )

    @property
    def sessions(self) -> dict[str, int]:
        """The session vocabulary: name -> number of units or channels."""
        return dict(self.tokenizer.sizes)

    def add_session(self, name: str, size: int) -> None:
        """Give a new session tables of its own; a known name raises :class:`CheckpointError`."""
        if name in self.tokenizer.sizes:
            raise CheckpointError(f"session {name!r} is already in the model's vocabulary")
        index = len(self.tokenizer.sizes)
        self.tokenizer.add_session(name, size)
        patches = len(self.tokenizer.space[index])
        self.read_out.add_session(patches)
        if self.predictor is not None:
            self.predictor.read_out.add_session(patches)
        # Z-scoring of the LFP travels with the model; the trainer sets it from training time.
        self.register_buffer(f"mean_{index}", torch.zeros(size))
        self.register_buffer(f"std_{index}", torch.ones(size))

    def set_statistics(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Keep the mean and standard deviation (C,) that ``name`` is z-scored by."""
        index = self.tokenizer.index(name)
        self.get_buffer(f"mean_{index}").copy_(mean)
        self.get_buffer(f"std_{index}").copy_(std)

    def statistics(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (C,) that ``name`` is z-scored by; 0 and 1 for spikes."""
        index = self.tokenizer.index(name)
        return self.get_buffer(f"mean_{index}"), self.get_buffer(f"std_{index}")

    def positions(self, time: int, patches: int, device: torch.device) -> Tensor:
        """Time step of each of the ``time * patches`` tokens."""
        return torch.arange(time, device=device).repeat_interleave(patches)

    def token_latents(self, values: Tensor, name: str) -> Tensor:
        """Latents of every token, (B, T, P, d), nothing dropped."""
        batch, time, _ = values.shape
        tokens = self.tokenizer(values, name)
        patches = tokens.shape[1] // time
        latents = self.transformer(tokens, self.positions(time, patches, values.device))
        return latents.view(batch, time, patches, -1)

    def latents(self, values: Tensor, name: str) -> Tensor:
        """Latents of every time step, (B, T, d): the mean over a step's patches."""
        return self.token_latents(values, name).mean(dim=2)

    def masked_loss(
        self,
        values: Tensor,
        name: str,
        *,
        mask: MaskConfig,
        generator: torch.Generator | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Masked-autoencoding loss of a batch.

        Parameters
        ----------
        values : Tensor, (B, T, C)
            Counts, or z-scored potentials.
        name : str
            Session they were recorded in.
        mask : MaskConfig
            What is hidden.
        generator : torch.Generator, optional
            Draws the mask.
        targets : Tensor, (B, T, C), optional
            What is reconstructed, where it is not ``values`` (an augmented input).

        Returns
        -------
        Tensor, ()
            Mean loss of the dropped entries that are predicted plus, with ``mask.units``, that of the hidden ones; padding left out. Poisson negative
            log-likelihood (log-rates; the count's constant left out), nats, or squared error in units of the channels' variance.
        """
        if self.predictor is None:
            raise ConfigError("a model without predictor layers has no masked loss")
        batch, time, _ = values.shape
        hidden = None
        if mask.units:
            hidden = (
                torch.rand(values.shape, generator=generator, device=values.device) < mask.units
            )
        session = self.tokenizer.index(name)
        patches = len(self.tokenizer.space[session])
        n_tokens = time * patches
        positions = self.positions(time, patches, values.device)

        # Attention does not mind the order of tokens: their positions travel along.
        order = torch.rand(batch, n_tokens, generator=generator, device=values.device).argsort(1)
        n_visible = max(1, round(n_tokens * (1 - mask.ratio)))
        visible, dropped = order[:, :n_visible], order[:, n_visible:]
        predict = dropped[:, : max(1, round(dropped.shape[1] * mask.predicted))]
        unseen = hidden
        if self.modality == "lfp":  # its convolution would carry dropped tokens into visible ones
            gone = torch.zeros_like(order, dtype=torch.bool).scatter(1, dropped, True)
            gone = gone.view(batch, time, patches).repeat_interleave(self.tokenizer.patch, dim=2)
            gone = gone[:, :, : values.shape[2]]
            unseen = gone if hidden is None else gone | hidden
        tokens = self.tokenizer(values, name, hidden=unseen, keep=visible)
        latents = self.transformer(tokens, positions[visible])
        own_row = row_by_patch(self.tokenizer.space[session], predict % patches)
        masks = self.predictor.mask_token + own_row
        states = self.predictor(masks, positions[predict], latents, positions[visible])
        predicted = self.predictor.read_out(states, session, predict % patches)

        wanted = self.tokenizer.patches(values if targets is None else targets, fill=0.0)
        wanted = wanted.flatten(1, 2)
        real = self.tokenizer.real(name, values.device)
        use = real[predict % patches]
        loss = (self.entry_loss(predicted, take(wanted, predict)) * use).sum() / use.sum()
        if hidden is None:
            return loss
        direct = self.read_out(latents, session, visible % patches)
        use = real[visible % patches] & take(
            self.tokenizer.patches(hidden, fill=False).flatten(1, 2), visible
        )
        return loss + (self.entry_loss(direct, take(wanted, visible)) * use).sum() / use.sum()

    def reconstruction_loss(self, latents: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Loss of a linear read-out of token latents (B, T, P, d) against ``wanted`` (B, T, C), nothing dropped: the first term of Eq. 1."""
        patches = latents.shape[2]
        place = torch.arange(patches, device=wanted.device).repeat(latents.shape[1])
        place = place.expand(len(latents), -1)
        predicted = self.read_out(latents.flatten(1, 2), self.tokenizer.index(name), place)
        use = self.tokenizer.real(name, wanted.device)[place]
        wanted = self.tokenizer.patches(wanted, fill=0.0).flatten(1, 2)
        return (self.entry_loss(predicted, wanted) * use).sum() / use.sum()

    def entry_loss(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        """Loss of each entry: Poisson for counts, squared error for potentials."""
        predicted = predicted.float()
        if self.modality == "spikes":
            return F.poisson_nll_loss(predicted, wanted, log_input=True, reduction="none")
        return F.mse_loss(predicted, wanted, reduction="none")

    def check_session(self, name: str, size: int) -> None:
        """Refuse a session the model has no tables for, or one with another number of channels."""
        what = "units" if self.modality == "spikes" else "channels"
        if name not in self.tokenizer.sizes:
            borrow = f"as_session={next(iter(self.tokenizer.sizes), None)!r}"
            add = "Add it with finetune(model, session), or encode it"
            if self.predictor is None:
                add = "A student gets a new session by distill(session, teacher); or encode it"
            raise CheckpointError(
                f"session {name!r} is not in this model's vocabulary {list(self.tokenizer.sizes)}. "
                f"{add} with a known session's tables, {borrow}."
            )
        if self.tokenizer.sizes[name] != size:
            raise CheckpointError(
                f"session {name!r} has {self.tokenizer.sizes[name]} {what} in this model, the data have {size}. "
                f"Give the same {what} in the same order, or add the session with finetune(model, session)."
            )
