"""The model: tokenizer -> transformer -> latents, and a predictor that reconstructs what was
dropped.

One class serves teacher, baselines and student. With predictor layers it is a masked autoencoder;
without, its predictor is the linear read-out of Eq. 1, and it is what a student is. Steps of a
masked pass (arXiv 2512.12461, section 3):

1. a random 60 % of the tokens are dropped: the encoder never sees them, nor does the tokenizer's
   convolution see their values
2. values (B, T, C) -> visible tokens (B, 0.4 * N, d), N = T * P
3. visible tokens -> transformer -> latents
4. a mask token plus its space row stands in for each dropped one; in the predictor these attend to
   the latents
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

from spikelfp_lab._guard import reading
from spikelfp_lab.configs import MaskConfig, ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models import checkpoint
from spikelfp_lab.models.tokenizers import (
    BothTokenizer,
    LFPTokenizer,
    SpikeTokenizer,
    map_by_patch,
    row_by_patch,
    take,
)
from spikelfp_lab.models.transformer import Transformer

Modality = Literal["spikes", "lfp", "both"]
Size = int | tuple[int, int]  # units, or channels, or both

VARIABLES: dict[Modality, tuple[str, ...]] = {
    "spikes": ("spikes",),
    "lfp": ("lfp",),
    "both": ("spikes", "lfp"),
}
"""What a model of each modality reads of a session."""
DIMS = {"spikes": "unit", "lfp": "channel"}


class OutputLayer(nn.Module):
    """Linear read-out of S values for each token; with session tables, each session and patch adds
    a map of its own.
    """

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

    Dropped tokens attend to visible ones only: a mask token knows nothing but its place, so that
    attending to others of its kind would cost time and tell nothing."""

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
        self.read_out = OutputLayer(width, patch, affine=config.affine_space)

    def forward(self, masks: Tensor, at: Tensor, latents: Tensor, latents_at: Tensor) -> Tensor:
        """Mask tokens (B, K, d) at time steps ``at`` (B, K) and latents of visible tokens -> (B, K,
        width).
        """
        context = (self.narrow(latents), latents_at)
        return self.transformer(self.narrow(masks), at, context=context)


class Autoencoder(nn.Module):
    """A transformer over the tokens of one modality, with tables for each session it knows.

    Parameters
    ----------
    config : ModelConfig
    modality : {"spikes", "lfp", "both"}
    sessions : mapping of str to int, or to (int, int)
        The session vocabulary: name -> number of units or channels, or of both.
    bin_size_s : float
        Width of the time bins the model is trained on, seconds.
    n_behavior : int
        Behavior dimensions of a linear read-out trained with the model (supervised setting); 0 for
        none.

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
        sessions: Mapping[str, Size],
        bin_size_s: float,
        n_behavior: int = 0,
    ):
        super().__init__()
        if modality not in VARIABLES:
            raise ConfigError(f"modality is {modality!r}: choose one of {list(VARIABLES)}")
        self.config, self.bin_size_s = config, bin_size_s
        self.modality: Modality = modality
        tokenizers = {"spikes": SpikeTokenizer, "lfp": LFPTokenizer, "both": BothTokenizer}
        self.tokenizer = tokenizers[modality](config, {})
        self.transformer = Transformer(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            ratio=config.mlp_ratio,
            dropout=config.dropout,
        )
        patch = self.tokenizer.patch
        self.read_out = OutputLayer(config.width, patch, affine=config.affine_space)
        self.predictor = Predictor(config, patch) if config.predictor_layers else None
        self.behavior_head: nn.Linear | None = None
        if n_behavior:
            self.add_behavior(n_behavior)
        self.history = pd.DataFrame()
        self.info: dict = {}
        self.labels: dict[str, dict[str, list[str]]] = {}  # session -> "unit", "channel" -> labels
        self.by_place = False  # read from a file without labels: to be said once
        for name, size in sessions.items():
            self.add_session(name, size)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write to a folder, see :func:`spikelfp_lab.models.save`."""
        return checkpoint.save(self, path, overwrite=overwrite)

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
            f"<Autoencoder of {self.modality}: {parameters / 1e6:.2f} M parameters, "
            f"{self.config.layers} layers of "
            f"width {self.config.width}, bins of {1000 * self.bin_size_s:g} ms, "
            f"{self.info.get('made_by', 'untrained')}>\n"
            f"sessions: {names}"
        )

    @property
    def sessions(self) -> dict[str, Size]:
        """The session vocabulary: name -> number of units or channels, or of both."""
        return dict(self.tokenizer.sizes)

    def add_behavior(self, n_behavior: int) -> None:
        """Give the model a linear read-out of behavior, to be trained with it."""
        self.behavior_head = nn.Linear(self.config.width, n_behavior)

    def add_session(self, name: str, size: Size) -> None:
        """Give a new session tables of its own; a known name raises :class:`CheckpointError`."""
        if name in self.tokenizer.sizes:
            raise CheckpointError(f"session {name!r} is already in the model's vocabulary")
        index = len(self.tokenizer.sizes)
        self.tokenizer.add_session(name, size)  # type: ignore[arg-type]  # each its own size
        patches = len(self.tokenizer.rows(name))
        self.read_out.add_session(patches)
        if self.predictor is not None:
            self.predictor.read_out.add_session(patches)
        # Z-scoring of the LFP travels with the model; the trainer sets it from training time.
        total = size if isinstance(size, int) else sum(size)
        self.register_buffer(f"mean_{index}", torch.zeros(total))
        self.register_buffer(f"std_{index}", torch.ones(total))

    def n_inputs(self, name: str) -> int:
        """Units and channels that the model reads of a session, together."""
        size = self.tokenizer.sizes[name]
        return size if isinstance(size, int) else sum(size)

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

    def token_latents(
        self,
        values: Tensor,
        name: str,
        *,
        steps: Tensor | None = None,
        modality: Modality | None = None,
        every_layer: bool = False,
    ) -> Tensor:
        """Latents of the tokens of every time step, (B, T, P, d).

        Parameters
        ----------
        values : Tensor, (B, T, C)
        name : str
            Session they were recorded in.
        steps : Tensor of int64, (B, K), optional
            Time steps that are shown, the same number in each window; the others are dropped, and
            the result is (B, K, P, d).
        modality : {"spikes", "lfp"}, optional
            Of a model of both: show the tokens of this one alone.
        every_layer : bool
            Give the latents after 0, 1, ... all blocks, (layers + 1, B, T, P, d), the tokens
            themselves first.
        """
        time, device = values.shape[1], values.device
        shown = torch.arange(len(self.tokenizer.rows(name)), device=device)
        at = torch.arange(time, device=device).expand(len(values), -1) if steps is None else steps
        keep = None
        positions = self.positions(time, len(shown), device)
        if steps is not None or modality not in (None, self.modality):
            patches = len(shown)
            if modality not in (None, self.modality):
                shown = shown[self.tokenizer.counts(name, device) == (modality == "spikes")]
            keep = (at.unsqueeze(-1) * patches + shown).flatten(1)
            positions = keep // patches
        hidden = None
        if steps is not None:  # the LFP tokenizer's convolution would carry what is dropped
            gone = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
            hidden = gone.scatter(1, steps, False).unsqueeze(-1).expand_as(values)
        tokens = self.tokenizer(values, name, hidden=hidden, keep=keep)
        latents = self.transformer(tokens, positions, every_layer=every_layer)
        return latents.unflatten(-2, (at.shape[1], len(shown)))

    def latents(
        self,
        values: Tensor,
        name: str,
        *,
        modality: Modality | None = None,
        every_layer: bool = False,
    ) -> Tensor:
        """Latents of every time step, (B, T, d), or (layers + 1, B, T, d): the mean over a step's
        patches.
        """
        return self.token_latents(values, name, modality=modality, every_layer=every_layer).mean(-2)

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
            Mean loss of the dropped entries that are predicted plus, with ``mask.units``, that of
            the hidden ones; padding left out. Poisson negative log-likelihood (log-rates; the
            count's constant left out), nats, or squared error in units of the channels' variance;
            for both modalities, the sum of the two means.
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
        table = self.tokenizer.rows(name)
        patches = len(table)
        n_tokens = time * patches
        positions = self.positions(time, patches, values.device)
        visible, dropped = self.draw_mask(values, name, mask=mask, generator=generator)
        predict = dropped[:, : max(1, round(dropped.shape[1] * mask.predicted))]
        unseen = hidden
        if (
            self.modality != "spikes"
        ):  # its convolution would carry dropped tokens into visible ones
            gone = torch.zeros(batch, n_tokens, dtype=torch.bool, device=values.device)
            gone = gone.scatter(1, dropped, True)
            gone = self.tokenizer.spread(gone.view(batch, time, patches), name)
            unseen = gone if hidden is None else gone | hidden
        tokens = self.tokenizer(values, name, hidden=unseen, keep=visible)
        latents = self.transformer(tokens, positions[visible])
        own_row = row_by_patch(table, predict % patches)
        masks = self.predictor.mask_token + own_row
        states = self.predictor(masks, positions[predict], latents, positions[visible])
        predicted = self.predictor.read_out(states, session, predict % patches)

        wanted = self.tokenizer.patches(values if targets is None else targets, name, fill=0.0)
        wanted = wanted.flatten(1, 2)
        loss = self.mean_loss(predicted, take(wanted, predict), name, predict % patches)
        if hidden is None:
            return loss
        direct = self.read_out(latents, session, visible % patches)
        asked = take(self.tokenizer.patches(hidden, name, fill=False).flatten(1, 2), visible)
        return loss + self.mean_loss(
            direct, take(wanted, visible), name, visible % patches, use=asked
        )

    def draw_mask(
        self,
        values: Tensor,
        name: str,
        *,
        mask: MaskConfig,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Which tokens of a batch (B, T, C) are visible, (B, K), and which are dropped, (B, N - K):
        their places in time-major order, in a random order.

        Attention does not mind the order of tokens: their positions travel along.
        """
        n_tokens = values.shape[1] * len(self.tokenizer.rows(name))
        order = torch.rand(len(values), n_tokens, generator=generator, device=values.device)
        order = order.argsort(dim=1)
        n_visible = max(1, round(n_tokens * (1 - mask.ratio)))
        return order[:, :n_visible], order[:, n_visible:]

    def reconstruction_loss(self, latents: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Loss of a linear read-out of token latents (B, T, P, d) against ``wanted`` (B, T, C),
        nothing dropped: the first term of Eq. 1.
        """
        patches = latents.shape[2]
        place = torch.arange(patches, device=wanted.device).repeat(latents.shape[1])
        place = place.expand(len(latents), -1)
        predicted = self.read_out(latents.flatten(1, 2), self.tokenizer.index(name), place)
        wanted = self.tokenizer.patches(wanted, name, fill=0.0).flatten(1, 2)
        return self.mean_loss(predicted, wanted, name, place)

    def behavior_loss(self, latents: Tensor, wanted: Tensor) -> Tensor:
        """Squared error of the read-out of behavior from latents (B, T, d), against ``wanted`` (B,
        T, axis), over the steps without NaN.
        """
        assert self.behavior_head is not None
        known = torch.isfinite(wanted).all(dim=-1, keepdim=True)
        error = (self.behavior_head(latents).float() - wanted.nan_to_num()) ** 2
        return (error * known).sum() / (known.sum() * wanted.shape[-1]).clamp(min=1)

    def mean_loss(
        self,
        predicted: Tensor,
        wanted: Tensor,
        name: str,
        patch: Tensor,
        *,
        use: Tensor | None = None,
    ) -> Tensor:
        """Mean over the real entries (B, N, S) of tokens of patches ``patch`` (B, N): Poisson for
        counts, squared error for potentials.

        ``use`` leaves further entries out. Of both modalities, the sum of the two means.
        """
        predicted = predicted.float()
        real = self.tokenizer.real(name, wanted.device)[patch]
        real = real & wanted.isfinite()  # what was not observed is not asked for
        real, wanted = real if use is None else real & use, wanted.nan_to_num()
        counts = self.tokenizer.counts(name, wanted.device)[patch].unsqueeze(-1)
        means = []
        if self.modality != "lfp":
            asked = real & counts
            # log-rate 0 where a potential is asked for: its exponential must stay finite
            log_rate = predicted if self.modality == "spikes" else predicted * counts
            loss = F.poisson_nll_loss(log_rate, wanted, log_input=True, reduction="none")
            means.append((loss * asked).sum() / asked.sum().clamp(min=1))
        if self.modality != "spikes":
            asked = real & ~counts
            loss = F.mse_loss(predicted, wanted, reduction="none")
            means.append((loss * asked).sum() / asked.sum().clamp(min=1))
        return torch.stack(means).sum()

    def check_session(self, name: str, size: Size) -> None:
        """Refuse a session the model has no tables for, or one with another number of channels."""
        what = {"spikes": "units", "lfp": "channels", "both": "units and channels"}[self.modality]
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
                f"session {name!r} has {self.tokenizer.sizes[name]} {what} in this model, the data "
                f"have {size}. "
                f"Give the same {what} in the same order, or add the session with finetune(model, "
                "session)."
            )


def load(path: str | Path) -> Autoencoder:
    """Read a model that :meth:`Autoencoder.save` wrote, here or in version 0.1.0.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Autoencoder
        On the CPU, in eval mode.

    Raises
    ------
    CheckpointError
        Missing, damaged, or of another format. Nothing in the files is executed.
    """
    path = Path(path)
    with reading(path, checkpoint.DAMAGED, checkpoint.CURE, kind=CheckpointError):
        config, weights = checkpoint.read(path)
        try:
            shape = ModelConfig.from_dict(config["model"])
        except ConfigError as error:
            raise CheckpointError(
                f"{path} {checkpoint.DAMAGED} ({error}). {checkpoint.CURE}"
            ) from error
        sessions = {
            name: tuple(size) if isinstance(size, list) else size
            for name, size in config["sessions"].items()
        }
        if shape.layers + shape.predictor_layers + len(sessions) > len(weights):
            raise ValueError("more layers and sessions are declared than there are weights")

        def make() -> Autoencoder:
            return Autoencoder(
                shape,
                modality=config["modality"],
                sessions=sessions,  # type: ignore[arg-type]  # a pair for both
                bin_size_s=float(config["bin_size_s"]),
                n_behavior=config["n_behavior"],
            )

        model = checkpoint.build(make, weights)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:  # in many lines, of which the first says nothing
            raise ValueError(" ".join(str(error).split())) from error
        model.history = checkpoint.history_of(config)
        model.info, model.labels = dict(config["info"]), dict(config.get("labels", {}))
        model.by_place = not model.labels
    return model.eval()
