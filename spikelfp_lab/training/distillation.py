"""distill: a student learns to give, from LFP, the latents that a frozen teacher gives from spikes.

The loss is Eq. 1 of arXiv 2512.12461, ``squared error(LFP, linear(z_lfp)) + 5 * (1 - mean
cos(z_lfp[t], z_spike[t]))``, or Eq. 3, where behavior takes the place of the LFP. With maps,
``linear_of_session(z_lfp)`` stands for z_lfp in the cosine."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from spikelfp_lab.configs import DistillConfig, ModelConfig, TrainConfig
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import own_random_state
from spikelfp_lab.models.encode import encode, values_of
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.sessions import TRAIN, bins_in, iterate_sessions, same_clock
from spikelfp_lab.training.batches import SessionWindows, model_for, prepare, split_of
from spikelfp_lab.training.chance import refuse_chance
from spikelfp_lab.training.loop import TEACHER, Callback, Sessions, carry_out
from spikelfp_lab.training.shards import Processes

Teacher = Autoencoder | xr.DataArray  # or the latents to reproduce themselves


def alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between latents (..., d), mean over all others: the second term of Eq. 1."""
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def moments(latents: np.ndarray, use: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """What is taken from latents (time, latent), (latent,) each: their mean in ``use`` and, with
    "scale", their SD there; else 0 and 1.
    """
    mean, scale = np.zeros(latents.shape[1], np.float32), np.ones(latents.shape[1], np.float32)
    if how != "none":
        mean = np.nanmean(latents[use], axis=0)
    if how == "scale":
        scale = np.nanstd(latents[use], axis=0) + np.float32(1e-6)
    return mean, scale


def shuffle_latents(latents: np.ndarray, *, window: int, seed: int) -> np.ndarray:
    """Latents (time, latent) in stretches of ``window`` bins, none in its place: a teacher that
    knows nothing of the moment, from which a student must not gain.
    """
    stretches = np.array_split(np.arange(len(latents)), len(latents) // window or 1)
    if len(stretches) < 2:
        raise DataError(
            f"{len(latents)} bins of latents are too few to shuffle in stretches of {window}: "
            "give a longer session or a shorter TrainConfig.window_s"
        )
    cycle = np.random.default_rng(seed).permutation(len(stretches))
    order = np.empty_like(cycle)
    order[cycle] = np.roll(cycle, 1)  # each takes the place of the one before it in the cycle
    return latents[np.concatenate([stretches[i] for i in order])]


def distillation(
    goal: DistillConfig, model: Autoencoder, name: str, inputs: Tensor, wanted: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Objective of a student: align with the teacher, and reconstruct LFP (or regress behavior).

    On validation windows there is also the alignment that remains once each side's mean is taken
    away: it ranks students of Eq. 1. Those of Eq. 3 are ranked by the error of behavior.
    """
    (batch, time, _), device, steps = inputs.shape, inputs.device, None
    if goal.mask_ratio and model.training:
        order = torch.rand(batch, time, device=device).argsort(dim=1)
        steps = order[:, : max(1, round(time * (1 - goal.mask_ratio)))].sort(dim=1).values
    every = goal.layers == "all"
    tokens = model.token_latents(inputs, name, steps=steps, every_layer=every)
    latents = tokens.mean(dim=-2)
    trained: Any = None if goal.frozen else model.get_submodule(TEACHER)
    teacher = trained.latents(wanted["spikes"], name) if trained else wanted["teacher"]
    if model.teacher_width:
        latents = model.to_teacher[model.tokenizer.index(name)](latents)
    target = wanted["behavior" if goal.target == "behavior" else "values"]
    if steps is not None:
        rows = torch.arange(batch, device=device)[:, None]
        teacher, target = teacher[rows, steps], target[rows, steps]
    if every:
        tokens, latents = tokens[-1], latents[1:]
        teacher = teacher.unflatten(-1, (len(latents), -1)).permute(2, 0, 1, 3)
    if goal.target == "behavior":
        task = model.behavior_loss(tokens.mean(dim=-2), target)
    else:
        task = model.reconstruction_loss(tokens, target, name)
    aligned = alignment(latents, teacher)
    loss = goal.task_weight * task + goal.alignment_weight * aligned
    terms = {"loss": loss, "alignment": aligned, goal.target: task}
    if not model.training:
        flat = [each.float().flatten(-3, -2) for each in (latents, teacher)]
        terms["centered alignment"] = alignment(*(x - x.mean(-2, True) for x in flat))
    return terms


@own_random_state()
def distill(
    sessions: Sessions, teacher: Autoencoder | Mapping[str, Teacher], *, preset: str = "demo",
    model: ModelConfig | None = None, distill: DistillConfig | None = None,
    train: TrainConfig | None = None, shuffle_teacher: bool = False, force: bool = False,
    device: str | torch.device = "auto", progress: bool = True, folder: str | Path | None = None,
    overwrite: bool = False, callbacks: Sequence[Callback] = (),
) -> Autoencoder:  # fmt: skip
    """Train an LFP student, from random weights, to reproduce the latents of a spike teacher.

    With ``DistillConfig.maps``, as in the presets smoke and demo, a student of several sessions has
    one space for all of them, in which one read-out fits all, and a linear map from it to each
    session's teacher.

    Parameters
    ----------
    sessions : Dataset, DataTree, or mapping of str to Dataset
        Sessions with spikes and LFP that the teacher knows: one, or several (A.12 of the paper).
    teacher : Autoencoder, or mapping of str to Autoencoder or DataArray
        A spike model; or for each session its model, or latents (time, latent) on its clock.
    preset : {"smoke", "demo", "paper"}
        Where configs come from that are not given.
    model : ModelConfig, optional
        The student's; its width must be the teacher's.
    distill, train : configs, optional
        In place of the preset's.
    shuffle_teacher : bool
        The control of a teacher whose latents are shuffled in time, in stretches of a window.
    force : bool
        Distill from a teacher that is no better than chance too (a control), see
        ``spikelfp_lab.training.chance``. Latents in place of a model are taken as they are.
    device, progress, folder, overwrite, callbacks
        As in :func:`~spikelfp_lab.pretrain`.

    Returns
    -------
    Autoencoder
        An LFP model with its best weights (alignment of centered latents on validation windows).

    Raises
    ------
    CheckpointError, DataError, ConfigError
        The teacher does not know a session; it is no spike model, no better than chance, of another
        split, width, depth or clock, or a session lacks what is learned; or latents are given where
        the model is needed (``layers="all"``, ``frozen=False``).

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> teacher = sl.pretrain(cohort, "spikes", train=quick, progress=False)
    >>> sl.distill(cohort, teacher, train=quick, force=True, progress=False).modality
    'lfp'
    """
    named, configs = iterate_sessions(sessions), preset_configs(preset, "distill")
    shape, goal = model or model_for(configs.model, named), distill or configs.distill
    train = train or configs.train
    given = dict.fromkeys(named, teacher) if isinstance(teacher, Autoencoder) else dict(teacher)
    _check(named, given, shape, goal, train)
    teachers: dict[str, Teacher] = {name: given[name] for name in named}
    behavior = goal.target == "behavior"
    progress = progress and Processes.join(device).is_main

    def ready(session: xr.Dataset, name: str, device: torch.device) -> SessionWindows:
        one, options = teachers[name], {"device": device, "progress": progress, "as_session": name}
        if isinstance(one, Autoencoder):
            if not force:
                refuse_chance(one, session, name, train=train, device=device)
            layers = [None] if goal.layers == "last" else range(1, one.config.layers + 1)
            each = [encode(one, session, layer=layer, **options).to_numpy() for layer in layers]
            latents = np.concatenate(each, axis=1)
        else:
            latents = one.transpose("time", ...).to_numpy()
        split = split_of(session, train).to_numpy()
        if shuffle_teacher:  # within each part of the split, so that it leaks nothing either
            latents = latents.copy()
            window = bins_in(train.window_s, bin_size_s=session.attrs["bin_size_s"])
            for part in np.unique(split):
                rows = (split == part) & np.isfinite(latents).all(axis=1)
                latents[rows] = shuffle_latents(latents[rows], window=window, seed=train.seed)
        mean, scale = taken = moments(latents, split == TRAIN, goal.center)
        latents = (latents - mean) / scale
        # As a variable of the session, so that no window is missing any of them.
        taught = session.assign(teacher=(("time", "teacher_latent"), latents))
        options = {"train": train, "device": device, "behavior": behavior}
        options |= {"finite": ("teacher",), "shape": shape}
        windows = prepare(taught, name, modality="lfp", **options)
        windows.taught = taken
        if not goal.frozen:
            spikes = values_of(session, ("spikes",))
            windows.targets["spikes"] = torch.as_tensor(spikes, dtype=torch.float32, device=device)
        return windows

    infos = {n: t.info if isinstance(t, Autoencoder) else "latents" for n, t in teachers.items()}
    own = {"shuffle_teacher": shuffle_teacher}
    digests = {name: _digest(one) for name, one in teachers.items()}
    recipe = own | {"model": shape.to_dict(), "teacher": digests}
    first, *others = infos.values()
    info = own | {"teacher": infos if any(other != first for other in others) else first}
    options: dict[str, Any] = {"device": device, "progress": progress, "folder": folder}
    options |= {"overwrite": overwrite, "callbacks": callbacks, "behavior": behavior}
    if not goal.frozen:  # one model, as checked
        options["teacher"] = next(iter(teachers.values()))
    if goal.maps:
        options["teacher_width"] = max(map(_width, teachers.values()))
    goals = {"distill": goal, "train": train}
    given = (shape, named, "lfp", distillation, goals, recipe, info)
    return carry_out("distill", *given, ready=ready, **options)


def _width(teacher: Teacher) -> int:
    """How many numbers a latent has."""
    return teacher.config.width if isinstance(teacher, Autoencoder) else teacher.sizes["latent"]


def _digest(teacher: Teacher) -> str:
    """A short hash of a model, or of latents."""
    if isinstance(teacher, Autoencoder):
        return teacher.digest()
    return hashlib.sha256(np.ascontiguousarray(teacher.to_numpy()).tobytes()).hexdigest()[:12]


def _check(
    named: Mapping[str, xr.Dataset], teachers: Mapping[str, Teacher], model: ModelConfig,
    goal: DistillConfig, train: TrainConfig,
) -> None:  # fmt: skip
    """Refuse what would leak or make no sense, before anything is trained."""
    several = len(set(map(id, teachers.values()))) > 1
    latents = not all(isinstance(one, Autoencoder) for one in teachers.values())
    if (latents and goal.layers == "all") or ((latents or several) and not goal.frozen):
        raise ConfigError("layers='all' and frozen=False need the teacher itself, one for all")
    for name, session in named.items():
        one, wrong = teachers.get(name), ""
        if one is None or (isinstance(one, Autoencoder) and name not in one.sessions):
            known = list(teachers if one is None else one.sessions)
            cure = "teacher = finetune(teacher, session) first"
            raise CheckpointError(f"the teacher does not know {[name]}, only {known}: {cure}")
        if isinstance(one, Autoencoder):
            split, depth = one.info.get("train", {}), one.config.layers
            if one.modality != "spikes":
                wrong = f"this is no teacher of spikes, it reads {one.modality!r}"
            if goal.layers == "all" and depth != model.layers:
                wrong = f"layers='all' aligns {model.layers} layers with the teacher's {depth}"
        else:
            split, bin_size_s = one.attrs, session.attrs["bin_size_s"]
            if not same_clock(one["time"], session["time"], bin_size_s=bin_size_s):
                wrong = f"the latents to reproduce are not on the clock of session {name}"
        width, widest = _width(one), max(map(_width, teachers.values()))
        if goal.maps and width != widest:
            wrong = (
                f"latents are {width} wide in session {name}, {widest} in another: give one width"
            )
        if not goal.maps and width != model.width:
            wrong = f"the student is {model.width} wide: give it the teacher's same width, {width}"
        for key in ("scheme", "seed"):
            if split.get(key, getattr(train, key)) != getattr(train, key):
                own, theirs = getattr(train, key), split[key]
                wrong = f"time was split with {key}={theirs!r}, the student's with {own!r}: a leak"
        if wrong:
            raise DataError(wrong)
