"""The model: tokenizer -> transformer -> latents, and a predictor of what was dropped.

One class serves teacher, baselines and student. With predictor layers it is a masked autoencoder;
without, its predictor is the linear read-out of Eq. 1, and it is what a student is. In a masked
pass (arXiv 2512.12461, section 3) 60 % of the tokens are dropped and not seen. A mask token plus
its space row stands in for each and attends to the latents of the others; a linear layer reads its
S values: log-rates of counts, or potentials.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pandas as pd
import safetensors.torch
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from spikelfp_lab._files import settle, whole
from spikelfp_lab._guard import reading
from spikelfp_lab.configs import MaskConfig, ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError
from spikelfp_lab.models.named import check_card, named, push
from spikelfp_lab.models.tokenizers import TOKENIZERS, row_by_patch, take
from spikelfp_lab.models.transformer import OutputLayer, Predictor, Transformer
from spikelfp_lab.sessions import bins_in

Modality = Literal["spikes", "lfp", "both"]
Size = int | tuple[int, int]  # units, or channels, or both

# What a model of each modality reads of a session.
VARIABLES = {"spikes": ("spikes",), "lfp": ("lfp",), "both": ("spikes", "lfp")}
FORMAT_VERSION = 2  # 1, that of version 0.1.0, has no labels of units and channels
DIMS = {"spikes": "unit", "lfp": "channel"}


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
        Behavior dimensions of a linear read-out that is trained too (supervised setting).
    teacher_width : int
        Width of a teacher's latents, where each session has a linear map to those of its teacher.

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
        self, config: ModelConfig, *, modality: Modality, sessions: Mapping[str, Size],
        bin_size_s: float, n_behavior: int = 0, teacher_width: int = 0,
    ):  # fmt: skip
        super().__init__()
        if modality not in VARIABLES:
            raise ConfigError(f"modality is {modality!r}: choose one of {list(VARIABLES)}")
        self.config, self.bin_size_s = config, float(bin_size_s)
        self.modality: Modality = modality
        self.tokenizer = TOKENIZERS[modality](config)
        past = bins_in(config.context_s, bin_size_s=self.bin_size_s) if config.causal else 0
        self.transformer = Transformer(config, config.width, config.layers, past)
        patch = self.tokenizer.patch
        self.read_out = OutputLayer(config, config.width, patch)
        self.predictor = Predictor(config, patch) if config.predictor_layers else None
        self.teacher_width = teacher_width
        self.to_teacher = nn.ModuleList()  # one a session, where there are such maps
        # last, because it may be added later, and a digest goes by the order of weights
        self.behavior_head = nn.Linear(config.width, n_behavior) if n_behavior else None
        self.history = pd.DataFrame()
        self.info: dict = {}
        self.labels: dict[str, dict[str, list[str]]] = {}  # session -> "unit", "channel" -> labels
        self.by_place = False  # read from a file without labels: to be said once
        for name, size in sessions.items():
            self.add_session(name, size)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write to a folder, atomically; only another model is overwritten, and only when asked."""
        path = Path(path)
        if path.exists() and not (overwrite and is_model(path)):
            cure = ", or pass overwrite=True" if is_model(path) else ": this is not a saved model"
            raise CheckpointError(f"{path} exists; choose another folder{cure}")
        with whole(path, overwrite=overwrite) as partial:
            partial.mkdir()
            for name, content in contents(self).items():
                (partial / name).write_bytes(content)
        return path

    def push_to_hub(self, repo: str) -> str:
        """Upload to the Hugging Face Hub as ``owner/name``; gives the address to :func:`load`."""
        with TemporaryDirectory() as folder:
            return push(self.save(Path(folder) / "model"), repo)

    def digest(self) -> str:
        """A short hash of the weights: two models with the same digest are the same function."""
        total = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            total.update(name.encode())
            total.update(tensor.contiguous().cpu().numpy().tobytes())
        return total.hexdigest()[:12]

    def __repr__(self) -> str:
        count, made_by = sum(p.numel() for p in self.parameters()), self.info.get("made_by")
        what = f"{self.modality} ({made_by or 'untrained'}), {count / 1e6:.2f} M weights"
        return f"<Autoencoder of {what}; sessions: {', '.join(self.sessions)}>"

    @property
    def sessions(self) -> dict[str, Size]:
        """The session vocabulary: name -> number of units or channels, or of both."""
        return dict(self.tokenizer.sizes)

    def add_behavior(self, axes: Sequence[str]) -> None:
        """Give the model a linear read-out of behavior, if it has none, to be trained with it."""
        head = self.behavior_head = self.behavior_head or nn.Linear(self.config.width, len(axes))
        if head.out_features != len(axes):
            raise DataError(f"the model reads out {head.out_features} axes of behavior, not {axes}")

    def add_session(self, name: str, size: Size) -> None:
        """Give a new session tables of its own; a known name raises :class:`CheckpointError`."""
        if name in self.tokenizer.sizes:
            raise CheckpointError(f"session {name!r} is already in the model's vocabulary")
        index = len(self.tokenizer.sizes)
        self.tokenizer.add_session(name, size)  # type: ignore[arg-type]  # each its own size
        for part in filter(None, (self, self.predictor)):
            part.read_out.add_session(len(self.tokenizer.rows(name)))
        # Z-scoring of the LFP travels with the model; the trainer sets it from training time.
        widths = {"": sum(self.tokenizer.columns(name))}
        if self.teacher_width:
            own = nn.Linear(self.config.width, self.teacher_width)
            if not index:  # the shared space begins as that of the first session's teacher
                nn.init.eye_(own.weight)
                nn.init.zeros_(own.bias)
            self.to_teacher.append(own)
            widths["teacher_"] = self.teacher_width
        for what, columns in widths.items():
            self.register_buffer(f"{what}mean_{index}", torch.zeros(columns))
            self.register_buffer(f"{what}std_{index}", torch.ones(columns))

    def statistics(self, name: str, what: str = "") -> tuple[Tensor, Tensor]:
        """Mean and SD (C,) that a session is z-scored by, to be read or set; 0 and 1 for spikes.

        With ``what="teacher_"``, those that were taken from its teacher's latents.
        """
        index = self.tokenizer.index(name)
        return self.get_buffer(f"{what}mean_{index}"), self.get_buffer(f"{what}std_{index}")

    def reach(self, name: str) -> int:
        """Bins of the past that a latent of a causal model draws on."""
        patches, of_lfp = len(self.tokenizer.rows(name)), getattr(self.tokenizer, "lfp", None)
        taps = getattr(of_lfp or self.tokenizer, "past", 0)
        return self.config.layers * (self.transformer.past - 1) + -(-taps // patches)

    def tables(self, name: str) -> list[nn.Parameter]:
        """The parameters that belong to a session alone."""
        own = re.compile(rf"\b(space|maps|own|to_teacher)\.{self.tokenizer.index(name)}\b")
        return [each for key, each in self.named_parameters() if own.search(key)]

    def token_latents(
        self, values: Tensor, name: str, *, steps: Tensor | None = None,
        modality: Modality | None = None, every_layer: bool = False,
    ) -> Tensor:  # fmt: skip
        """Latents of the tokens of values (B, T, C) of a session: (B, T, P, d).

        Of the time ``steps`` (B, K) or one ``modality`` alone: the others are not seen. With
        ``every_layer``: after 0, 1, ... all blocks, (layers + 1, B, T, P, d).
        """
        time, patches, device = values.shape[1], len(self.tokenizer.rows(name)), values.device
        steps = torch.arange(time, device=device) if steps is None else steps
        shown, units = torch.arange(patches, device=device), self.tokenizer.unit_patches(name)
        if modality not in (None, self.modality):
            shown = shown[:units] if modality == "spikes" else shown[units:]
        index = (steps.unsqueeze(-1) * patches + shown).flatten(-2)  # (N,) or (B, N)
        keep = None if index.shape == (time * patches,) else index.expand(len(values), -1)
        tokens = self.tokenizer(values, name, keep=keep)
        latents = self.transformer(tokens, index // patches, every_layer=every_layer)
        return latents.unflatten(-2, (-1, len(shown)))

    def latents(self, values: Tensor, name: str, layer: int | None = None, **options) -> Tensor:
        """The mean of :meth:`token_latents` over patches, (B, T, d); after a ``layer`` or all."""
        tokens = self.token_latents(values, name, every_layer=layer is not None, **options)
        return (tokens if layer is None else tokens[layer]).mean(-2)

    def masked_loss(
        self, values: Tensor, name: str, *, mask: MaskConfig, generator: Generator | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """:meth:`mean_loss` of what is dropped, plus, with ``mask.units``, of what is hidden, of
        values (B, T, C), or of ``targets`` where these are an augmented input."""
        assert self.predictor is not None
        wanted, hidden = values if targets is None else targets, None
        if mask.units:
            draw = torch.rand(values.shape, generator=generator, device=values.device)
            hidden = draw < mask.units
            values = values.masked_fill(hidden, torch.nan)
        table = self.tokenizer.rows(name)
        visible, dropped = self.draw_mask(values, name, mask=mask, generator=generator)
        predict = dropped[:, : max(1, round(dropped.shape[1] * mask.predicted))]
        seen_at, asked_at = visible // len(table), predict // len(table)
        latents = self.transformer(self.tokenizer(values, name, keep=visible), seen_at)
        masks = self.predictor.mask_token + row_by_patch(table, predict % len(table))
        states = self.predictor(masks, asked_at, latents, seen_at)
        loss = self.mean_loss(self.predictor.read_out, states, wanted, name, predict)
        if hidden is not None:
            loss += self.mean_loss(self.read_out, latents, wanted, name, visible, use=hidden)
        return loss

    def draw_mask(
        self, values: Tensor, name: str, *, mask: MaskConfig, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Places of the tokens that are visible, (B, K), and dropped, (B, N - K), shuffled."""
        n_tokens = values.shape[1] * len(self.tokenizer.rows(name))
        draw = torch.rand(len(values), n_tokens, generator=generator, device=values.device)
        order = draw.argsort(dim=1)
        n_visible = max(1, round(n_tokens * (1 - mask.ratio)))
        return order[:, :n_visible], order[:, n_visible:]

    def reconstruction_loss(self, latents: Tensor, wanted: Tensor, name: str) -> Tensor:
        """The first term of Eq. 1: token latents (B, T, P, d), read out, and what is ``wanted``."""
        tokens = latents.flatten(1, 2)
        index = torch.arange(tokens.shape[1], device=wanted.device).expand(len(tokens), -1)
        return self.mean_loss(self.read_out, tokens, wanted, name, index)

    def behavior_loss(self, latents: Tensor, wanted: Tensor) -> Tensor:
        """Squared error of behavior read out of latents (B, T, d), over the steps without NaN."""
        assert self.behavior_head is not None
        known = torch.isfinite(wanted).all(dim=-1, keepdim=True)
        error = (self.behavior_head(latents).float() - wanted.nan_to_num()) ** 2
        return (error * known).sum() / (known.sum() * wanted.shape[-1]).clamp(min=1)

    def mean_loss(
        self, read_out: OutputLayer, states: Tensor, wanted: Tensor, name: str, index: Tensor,
        use: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Mean over tokens at ``index`` (B, N), read out of their states (B, N, width), against
        ``wanted`` (B, T, C), where this is known and in ``use``: Poisson negative log-likelihood of
        log-rates, nats; squared error of potentials; of both modalities, the sum of the means."""
        place = index % len(self.tokenizer.rows(name))
        predicted = read_out(states, self.tokenizer.index(name), place).float()
        wanted = wanted if use is None else wanted.masked_fill(~use, torch.nan)
        wanted = take(self.tokenizer.patches(wanted, name).flatten(1, 2), index)
        use, wanted = wanted.isfinite(), wanted.nan_to_num()
        counts = (place < self.tokenizer.unit_patches(name)).unsqueeze(-1)
        losses = []
        if self.modality != "lfp":  # log-rate 0, whose exponential is finite, for a potential
            loss = F.poisson_nll_loss(predicted * counts, wanted, log_input=True, reduction="none")
            losses.append((loss, use & counts))
        if self.modality != "spikes":
            losses.append((F.mse_loss(predicted, wanted, reduction="none"), use & ~counts))
        means = [(loss * asked).sum() / asked.sum().clamp(min=1) for loss, asked in losses]
        return torch.stack(means).sum()

    def check_session(self, name: str, bin_size_s: float) -> None:
        """Refuse a session without tables, or with bins of another size."""
        known = self.sessions
        if name not in known:
            add = "finetune(model, session)" if self.predictor else "distill(session, teacher)"
            cure = f"Add it by {add}, or encode it with as_session={next(iter(known), None)!r}."
            what = f"session {name!r} is not in this model's vocabulary {list(known)}"
            raise CheckpointError(f"{what}. {cure}")
        if abs(bin_size_s / self.bin_size_s - 1) > 1e-3:
            bins = f"has bins of {bin_size_s:g} s, the model's are {self.bin_size_s:g} s"
            raise CheckpointError(f"session {name} {bins}: open it with the model's bin size")


def contents(model: Autoencoder) -> dict[str, bytes]:
    """File name -> content of a checkpoint: weights and config, no pickle."""
    tensors = {key: tensor.contiguous().cpu() for key, tensor in model.state_dict().items()}
    config = {
        "format_version": FORMAT_VERSION,
        "versions": {name: version(name) for name in ("spikelfp_lab", "torch", "xarray")},
        "model": model.config.to_dict(), "modality": model.modality, "sessions": model.sessions,
        "labels": model.labels, "bin_size_s": model.bin_size_s,
        "n_behavior": model.behavior_head.out_features if model.behavior_head else 0,
        "teacher_width": model.teacher_width, "info": model.info,
        "history": model.history.to_dict(orient="list"),
    }  # fmt: skip
    weights = safetensors.torch.save(tensors)
    return {"model.safetensors": weights, "config.json": json.dumps(config, indent=1).encode()}


def is_model(path: Path) -> bool:
    """Whether both files of a checkpoint are there."""
    settle(path)
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def load(name: str | Path) -> Autoencoder:
    """Read a model: a folder that :meth:`Autoencoder.save` wrote, here or in version 0.1.0; else
    one that ships with the package, by its name; or one on the Hugging Face Hub.

    It is on the CPU, in eval mode. CheckpointError: no such folder or name, damaged files, another
    format, or weights that the card beside them is not about. Nothing in the files is executed.

    >>> load("simulated/distilled").modality  # or "hf://owner/name@revision"
    'lfp'
    """
    path, what = Path(name), "is damaged, or was not written by this package"
    cure = "Copy the folder again, or train and save the model again."
    if not str(name).startswith("hf://"):
        settle(path)
    if not path.exists():
        path = named(str(name))
    with reading(path, what, cure, kind=CheckpointError):
        check_card(path)
        config = json.loads((path / "config.json").read_bytes())
        weights = safetensors.torch.load_file(path / "model.safetensors")
        if config["format_version"] not in (1, FORMAT_VERSION):
            raise ValueError(f"another version's format, {str(config['format_version'])[:100]}")
        shape, sizes = config["model"], config["sessions"].items()
        if shape["layers"] + shape["predictor_layers"] + len(sizes) > len(weights):
            raise ValueError("more layers and sessions are declared than there are weights")
        fields = {key: config[key] for key in ("modality", "bin_size_s", "n_behavior")}
        fields["teacher_width"] = config.get("teacher_width", 0)  # none in version 0.1.0
        fields["sessions"] = {k: tuple(v) if isinstance(v, list) else v for k, v in sizes}
        model = build(shape, weights, **fields)
        model.history = pd.DataFrame(dict(config["history"]))
        model.info, model.labels = dict(config["info"]), dict(config.get("labels", {}))
        model.by_place = not model.labels
    return model


def build(
    shape: dict[str, Any], weights: dict[str, Tensor], optional: tuple[str, ...] = (), **fields: Any
) -> Autoencoder:
    """The model of a file, made once its weights, but for ``optional`` ones, are known to fit: a
    damaged file may declare one that no memory holds.
    """
    try:
        with torch.device("meta"):  # where numbers take no memory
            outline = Autoencoder(ModelConfig.from_dict(shape), **fields)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    declared, found = (
        {(name, *tensor.shape) for name, tensor in named.items() if not name.startswith(optional)}
        for named in (outline.state_dict(), weights)
    )
    if odd := sorted(declared ^ found):
        raise ValueError(f"{odd[:3]} (names, sizes) are missing, or there and not declared")
    for name, tensor in weights.items():
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ValueError(f"{name} is {tensor.dtype}, or holds numbers that are NaN or infinite")
    model = Autoencoder(outline.config, **fields)
    model.load_state_dict(weights, strict=False)
    return model.eval()
