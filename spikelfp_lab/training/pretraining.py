"""pretrain and finetune: masked autoencoding on one or many sessions (arXiv 2512.12461, section
3).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from spikelfp_lab.configs import MaskConfig, ModelConfig, TrainConfig
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder, Modality
from spikelfp_lab.models.device import own_random_state
from spikelfp_lab.models.encode import in_order_of
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.training.batches import VALIDATION_WINDOWS, model_for
from spikelfp_lab.training.loop import Callback, Sessions, carry_out


def masked_reconstruction(
    mask: MaskConfig, model: Autoencoder, name: str, inputs: Tensor, wanted: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Objective of masked autoencoding: reconstruct the dropped tokens of windows of all sessions,
    and with ``MaskConfig.behavior`` read out behavior.
    """
    generator = None if model.training else torch.Generator(inputs.device).manual_seed(0)
    options = {"targets": wanted["values"], "generator": generator}
    loss = model.masked_loss(inputs, name, mask=mask, **options)
    if not mask.behavior:
        return {"loss": loss}
    behavior = model.behavior_loss(model.latents(inputs, name), wanted["behavior"])
    return {"loss": loss + mask.behavior * behavior, "behavior": behavior}


@own_random_state()
def pretrain(
    sessions: Sessions, modality: Modality, *, preset: str = "demo",
    model: ModelConfig | None = None, mask: MaskConfig | None = None,
    train: TrainConfig | None = None, device: str | torch.device = "auto", progress: bool = True,
    folder: str | Path | None = None, overwrite: bool = False, callbacks: Sequence[Callback] = (),
) -> Autoencoder:  # fmt: skip
    """Train a masked autoencoder on the training windows of one or many sessions.

    Parameters
    ----------
    sessions : Dataset, DataTree, or mapping of str to Dataset
        A session, a cohort, or name -> session; the names become the model's session vocabulary.
    modality : {"spikes", "lfp", "both"}
        What is reconstructed: counts (Poisson), z-scored potentials (squared error), or both.
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
        model, an interrupted one goes on. A second process waits for the first.
    overwrite : bool
        Train anew where ``folder`` holds another training, which is refused otherwise.
    callbacks : sequence of functions
        Called with the tidy history after each validation; one may raise
        :class:`~spikelfp_lab.training.StopTraining`.

    Returns
    -------
    Autoencoder
        With its best weights (lowest validation loss), in eval mode, and its tidy ``history``.

    Raises
    ------
    CheckpointError, DataError, ConfigError
        A folder of another training or damaged; a session that lacks what is learned, or is too
        short; an unknown preset or modality, or shards that the processes cannot share.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> teacher = sl.pretrain(cohort, "spikes", train=quick, progress=False)
    >>> list(teacher.sessions)
    ['I/s01']
    """
    named, configs = iterate_sessions(sessions), preset_configs(preset, modality)
    start, mask = model or model_for(configs.model, named), mask or configs.mask
    if not start.predictor_layers:
        raise ConfigError("masked autoencoding needs ModelConfig.predictor_layers of at least 1")
    goals = {"mask": mask, "train": train or configs.train}
    options = {"device": device, "progress": progress, "folder": folder, "overwrite": overwrite}
    options |= {"behavior": mask.behavior > 0, "callbacks": callbacks, "most": VALIDATION_WINDOWS}
    recipe = {"modality": modality, "model": start.to_dict()}
    given = start, named, modality, masked_reconstruction, goals, recipe, {}
    return carry_out("pretrain", *given, **options)


@own_random_state()
def finetune(
    model: Autoencoder, session: Sessions, *, preset: str = "demo", mask: MaskConfig | None = None,
    train: TrainConfig | None = None, device: str | torch.device = "auto", progress: bool = True,
    folder: str | Path | None = None, overwrite: bool = False, callbacks: Sequence[Callback] = (),
) -> Autoencoder:  # fmt: skip
    """Go on training a copy of ``model`` on sessions, which get tables where they are new.

    With ``TrainConfig.tables_only``, as in the presets smoke and demo, these tables alone are
    trained: every other session's latents stay as they are, bit for bit.
    With ``mask.behavior`` above 0 the copy learns behavior too, whether or not ``model`` did.
    Parameters, errors and result are those of :func:`pretrain`.

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
    mask, recipe = mask or configs.mask, {"digest of the model": model.digest()}
    goals = {"mask": mask, "train": train or configs.finetune}
    options = {"device": device, "progress": progress, "folder": folder, "overwrite": overwrite}
    options |= {"behavior": mask.behavior > 0, "callbacks": callbacks, "most": VALIDATION_WINDOWS}
    given = model, named, model.modality, masked_reconstruction, goals, recipe, {"from": model.info}
    return carry_out("finetune", *given, **options)
