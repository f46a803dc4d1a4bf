"""pretrain and finetune: masked autoencoding on one or many sessions (arXiv 2512.12461, section
3).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import MaskConfig, ModelConfig, TrainConfig, config_hash
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder, Modality
from spikelfp_lab.models.device import own_random_state
from spikelfp_lab.models.labels import in_order_of
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.training.batches import (
    SessionWindows,
    add_behavior,
    add_to_vocabulary,
    augment,
    behavior_axes,
    prepare,
    some_validation,
)
from spikelfp_lab.training.loop import Callback, fit
from spikelfp_lab.training.processes import Processes
from spikelfp_lab.training.runs import data_digests, kept
from spikelfp_lab.training.shards import Shards

Sessions = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset]


class MaskedReconstruction:
    """The objective of masked autoencoding: reconstruct the dropped tokens of windows of all
    sessions.
    """

    def __init__(self, cohort: Shards, *, mask: MaskConfig, train: TrainConfig):
        self.cohort, self.mask, self.train = cohort, mask, train

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        windows, starts = self.cohort.draw(step)
        values = windows.cut(windows.values, starts)
        inputs = augment(
            values, drop=self.train.drop_inputs, noise=self.train.noise, counts=windows.n_units
        )
        loss = model.masked_loss(inputs, windows.name, mask=self.mask, targets=values)
        return self._terms(model, windows, starts, inputs, loss)

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Mean terms over sessions; the same windows and masks every time."""

        def measure(windows: SessionWindows) -> dict[str, float]:
            starts = some_validation(windows)
            values = windows.cut(windows.values, starts)
            generator = torch.Generator(values.device).manual_seed(0)
            loss = model.masked_loss(values, windows.name, mask=self.mask, generator=generator)
            terms = self._terms(model, windows, starts, values, loss)
            return {name: term.item() for name, term in terms.items()}

        means = self.cohort.average(measure)
        return {"score": means.get("behavior", means["loss"])} | means

    def _terms(
        self,
        model: Autoencoder,
        windows: SessionWindows,
        starts: np.ndarray,
        inputs: Tensor,
        loss: Tensor,
    ) -> dict[str, Tensor]:
        """The masked loss and, in the supervised setting, that of behavior beside it."""
        if not self.mask.behavior:
            return {"loss": loss}
        wanted = windows.cut(windows.targets["behavior"], starts)
        behavior = model.behavior_loss(model.latents(inputs, windows.name), wanted)
        return {"loss": loss + self.mask.behavior * behavior, "behavior": behavior}


def _prepare_all(
    named: Mapping[str, xr.Dataset],
    modality: Modality,
    mask: MaskConfig,
    train: TrainConfig,
    processes: Processes,
) -> Shards:
    def make(name: str, session: xr.Dataset) -> SessionWindows:
        windows = prepare(session, name, modality=modality, train=train, device=processes.device)
        if mask.behavior:
            add_behavior(windows, session, train=train)
        return windows

    return Shards(named, make, modality=modality, train=train, processes=processes)


@own_random_state()
def pretrain(
    sessions: Sessions,
    modality: Modality,
    *,
    preset: str = "demo",
    model: ModelConfig | None = None,
    mask: MaskConfig | None = None,
    train: TrainConfig | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    folder: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Train a masked autoencoder on the training windows of one or many sessions.

    Parameters
    ----------
    sessions : Dataset, DataTree, or mapping of str to Dataset
        A session, a cohort, or name -> session; the names become the model's session vocabulary.
    modality : {"spikes", "lfp", "both"}
        What is read and reconstructed: counts (Poisson), z-scored potentials (squared error), or
        the tokens of both in one model.
    preset : {"smoke", "demo", "paper"}
        Where configs come from that are not given.
    model, mask, train : configs, optional
        In place of the preset's.
    device : str
        "auto", "cpu" or "cuda"; of several processes each takes a GPU of its own.
    progress : bool
        Show a progress bar.
    folder : str or Path, optional
        Keep the training here: a second call with the same configs and data finds the finished
        model, an interrupted one goes on, with as many processes as there are then. A second
        process waits for the first and takes its result.
    overwrite : bool
        Train anew where ``folder`` holds another training, which is refused otherwise.
    callbacks : sequence of functions
        Called with the tidy history after each validation; one may raise
        :class:`~spikelfp_lab.training.StopTraining`, which ends training with its best weights.

    Returns
    -------
    Autoencoder
        With its best weights (lowest validation loss), in eval mode; ``history`` is the tidy
        record.

    Raises
    ------
    CheckpointError
        ``folder`` holds the training of other configs, data or ``TRAINING_VERSION``, or is damaged.
    DataError
        A session lacks the modality, or, with ``mask.behavior``, behavior, or is too short for a
        window.
    ConfigError
        Unknown preset or modality, or ``train.shards`` does not fit the number of processes that
        ``torchrun`` started.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> teacher = sl.pretrain(cohort, "spikes", train=quick, progress=False)
    >>> list(teacher.sessions)
    ['I/s01']
    """
    named = iterate_sessions(sessions)
    configs = preset_configs(preset, modality)
    model_config, mask, train = (
        model or configs.model,
        mask or configs.mask,
        train or configs.train,
    )
    if not model_config.predictor_layers:
        raise ConfigError("masked autoencoding needs ModelConfig.predictor_layers of at least 1")
    processes = Processes.join(device)
    configs = {"model": model_config, "mask": mask, "train": train}

    def run(folder: Path | None) -> Autoencoder:
        cohort = _prepare_all(named, modality, mask, train, processes)
        torch.manual_seed(train.seed)
        new = Autoencoder(
            model_config,
            modality=modality,
            sessions={},
            bin_size_s=float(next(iter(named.values())).attrs["bin_size_s"]),
            n_behavior=len(behavior_axes(named)) if mask.behavior else 0,
        ).to(processes.device)
        for known in cohort.sessions:
            add_to_vocabulary(new, known)
        new.info = {"made_by": "pretrain", "train": train.to_dict(), "mask": mask.to_dict()}
        return fit(
            new,
            MaskedReconstruction(cohort, mask=mask, train=train),
            train=train,
            cohort=cohort,
            label=f"pretrain {modality} ({len(named)} session{'s' * (len(named) > 1)})",
            progress=progress,
            folder=folder,
            fingerprint=config_hash("pretrain", modality, *configs.values(), *named),
            callbacks=callbacks,
        )

    def recipe() -> dict[str, Any]:
        return {
            "verb": "pretrain",
            "modality": modality,
            **{name: config.to_dict() for name, config in configs.items()},
            "data": data_digests(named, _variables(modality, mask), processes),
        }

    return kept(folder, recipe, run, overwrite=overwrite, processes=processes)


@own_random_state()
def finetune(
    model: Autoencoder,
    session: Sessions,
    *,
    preset: str = "demo",
    mask: MaskConfig | None = None,
    train: TrainConfig | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    folder: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Go on training a copy of ``model`` on new sessions: new session tables where needed, all
    weights trained.

    With ``mask.behavior`` above 0 the copy learns their behavior too, whether or not ``model`` did.

    Parameters, errors and result are those of :func:`pretrain`; ``model`` itself stays as it is,
    and the copy keeps the sessions it knows.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=2, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> teacher = sl.pretrain(cohort["I/s01"], "spikes", train=quick, progress=False)
    >>> list(sl.finetune(teacher, cohort["I/s02"], train=quick, progress=False).sessions)
    ['I/s01', 'I/s02']
    """
    if model.predictor is None:
        raise ConfigError(
            "a student has no predictor to fine-tune by masked autoencoding; use distill(session, "
            "teacher)"
        )
    named = {name: in_order_of(model, one, name) for name, one in iterate_sessions(session).items()}
    configs = preset_configs(preset, model.modality)
    mask, train = mask or configs.mask, train or configs.finetune
    processes = Processes.join(device)

    def run(folder: Path | None) -> Autoencoder:
        cohort = _prepare_all(named, model.modality, mask, train, processes)
        torch.manual_seed(train.seed)
        tuned = copy.deepcopy(model).to(processes.device)
        if mask.behavior:
            axes = behavior_axes(named)
            if tuned.behavior_head is None:
                tuned.add_behavior(len(axes))
                tuned.to(processes.device)
            elif tuned.behavior_head.out_features != len(axes):
                raise DataError(
                    f"the model reads out {tuned.behavior_head.out_features} axes of behavior, "
                    f"{', '.join(named)} has {len(axes)}: {', '.join(axes)}"
                )
        for known in cohort.sessions:
            add_to_vocabulary(tuned, known)
        tuned.info = {
            "made_by": "finetune",
            "train": train.to_dict(),
            "mask": mask.to_dict(),
            "from": model.info,
        }
        return fit(
            tuned,
            MaskedReconstruction(cohort, mask=mask, train=train),
            train=train,
            cohort=cohort,
            label=f"finetune {model.modality} ({', '.join(named)})",
            progress=progress,
            folder=folder,
            fingerprint=config_hash("finetune", mask, train, model.digest(), *named),
            callbacks=callbacks,
        )

    def recipe() -> dict[str, Any]:
        return {
            "verb": "finetune",
            "mask": mask.to_dict(),
            "train": train.to_dict(),
            "digest of the model": model.digest(),
            "data": data_digests(named, _variables(model.modality, mask), processes),
        }

    return kept(folder, recipe, run, overwrite=overwrite, processes=processes)


def _variables(modality: Modality, mask: MaskConfig) -> tuple[str, ...]:
    """What is read of a session."""
    return (*VARIABLES[modality], *(["behavior"] if mask.behavior else []))
