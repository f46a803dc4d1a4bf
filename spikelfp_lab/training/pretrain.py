"""pretrain and finetune: masked autoencoding on one or many sessions (arXiv 2512.12461, section 3)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import MaskConfig, ModelConfig, TrainConfig, config_hash
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder, Modality
from spikelfp_lab.models.device import own_random_state, pick_device
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.sessions import as_dataset, iterate_sessions
from spikelfp_lab.training.batches import (
    SessionWindows,
    add_behavior,
    add_to_vocabulary,
    augment,
    behavior_axes,
    draw,
    prepare,
)
from spikelfp_lab.training.loop import Callback, fit

Sessions = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset]

VALIDATION_WINDOWS = 24  # a session: enough for a steady loss, few enough to cost little


class MaskedReconstruction:
    """The objective of masked autoencoding: reconstruct the dropped tokens of windows of all sessions."""

    def __init__(self, cohort: list[SessionWindows], *, mask: MaskConfig, train: TrainConfig):
        self.cohort, self.mask, self.train = cohort, mask, train

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        windows, starts = draw(self.cohort, batch=self.train.batch, seed=self.train.seed, step=step)
        values = windows.cut(windows.values, starts)
        inputs = augment(
            values, drop=self.train.drop_inputs, noise=self.train.noise, counts=windows.n_units
        )
        loss = model.masked_loss(inputs, windows.name, mask=self.mask, targets=values)
        return self._terms(model, windows, starts, inputs, loss)

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Mean terms over sessions; the same windows and masks every time."""
        rows = []
        for windows in self.cohort:
            device = windows.values.device
            some = np.linspace(
                0, len(windows.val) - 1, min(len(windows.val), VALIDATION_WINDOWS)
            ).round()
            starts = windows.val[some.astype(int)]
            values = windows.cut(windows.values, starts)
            generator = torch.Generator(device).manual_seed(0)
            loss = model.masked_loss(values, windows.name, mask=self.mask, generator=generator)
            terms = self._terms(model, windows, starts, values, loss)
            rows.append({name: term.item() for name, term in terms.items()})
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
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
    device: torch.device,
) -> list[SessionWindows]:
    cohort = []
    for name, session in named.items():
        session = as_dataset(session)
        windows = prepare(session, name, modality=modality, train=train, device=device)
        if mask.behavior:
            add_behavior(windows, session, train=train)
        cohort.append(windows)
    return cohort


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
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Train a masked autoencoder on the training windows of one or many sessions.

    Parameters
    ----------
    sessions : Dataset, DataTree, or mapping of str to Dataset
        A session, a cohort, or name -> session; the names become the model's session vocabulary.
    modality : {"spikes", "lfp", "both"}
        What is read and reconstructed: counts (Poisson), z-scored potentials (squared error), or the tokens of both in one model.
    preset : {"smoke", "demo", "paper"}
        Where configs come from that are not given.
    model, mask, train : configs, optional
        In place of the preset's.
    device : str
        "auto", "cpu" or "cuda".
    progress : bool
        Show a progress bar.
    folder : str or Path, optional
        Keep the state of the run here, and go on from it if it was interrupted.
    callbacks : sequence of functions
        Called with the tidy history after each validation; one may raise :class:`~spikelfp_lab.training.StopTraining`, which ends training
        with its best weights.

    Returns
    -------
    Autoencoder
        With its best weights (lowest validation loss), in eval mode; ``history`` is the tidy record.

    Raises
    ------
    DataError
        A session lacks the modality, or, with ``mask.behavior``, behavior, or is too short for a window.
    ConfigError
        Unknown preset or modality.

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
    place = pick_device(device)
    cohort = _prepare_all(named, modality, mask, train, place)
    torch.manual_seed(train.seed)
    new = Autoencoder(
        model_config,
        modality=modality,
        sessions={},
        bin_size_s=float(next(iter(named.values())).attrs["bin_size_s"]),
        n_behavior=len(behavior_axes(named)) if mask.behavior else 0,
    ).to(place)
    for windows in cohort:
        add_to_vocabulary(new, windows)
    new.info = {"made_by": "pretrain", "train": train.to_dict(), "mask": mask.to_dict()}
    return fit(
        new,
        MaskedReconstruction(cohort, mask=mask, train=train),
        train=train,
        label=f"pretrain {modality} ({len(cohort)} session{'s' * (len(cohort) > 1)})",
        progress=progress,
        folder=None if folder is None else Path(folder),
        fingerprint=config_hash(new.digest(), mask, train, *(w.digest() for w in cohort)),
        callbacks=callbacks,
    )


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
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Go on training a copy of ``model`` on new sessions: new session tables where needed, all weights trained.

    With ``mask.behavior`` above 0 the copy learns their behavior too, whether or not ``model`` did.

    Parameters, errors and result are those of :func:`pretrain`; ``model`` itself stays as it is, and the copy keeps the sessions it knows.

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
            "a student has no predictor to fine-tune by masked autoencoding; use distill(session, teacher)"
        )
    named = iterate_sessions(session)
    configs = preset_configs(preset, model.modality)
    mask, train = mask or configs.mask, train or configs.finetune
    place = pick_device(device)
    cohort = _prepare_all(named, model.modality, mask, train, place)
    torch.manual_seed(train.seed)
    tuned = copy.deepcopy(model).to(place)
    if mask.behavior:
        axes = behavior_axes(named)
        if tuned.behavior_head is None:
            tuned.add_behavior(len(axes))
            tuned.to(place)
        elif tuned.behavior_head.out_features != len(axes):
            raise DataError(
                f"the model reads out {tuned.behavior_head.out_features} axes of behavior, "
                f"{', '.join(named)} has {len(axes)}: {', '.join(axes)}"
            )
    for windows in cohort:
        add_to_vocabulary(tuned, windows)
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
        label=f"finetune {model.modality} ({', '.join(named)})",
        progress=progress,
        folder=None if folder is None else Path(folder),
        fingerprint=config_hash(tuned.digest(), mask, train, *(w.digest() for w in cohort)),
        callbacks=callbacks,
    )
