"""distill: a student learns to give, from LFP, the latents that a frozen teacher gives from spikes.

The loss is Eq. 1 of arXiv 2512.12461, ``squared error(LFP, linear(z_lfp)) + 5 * (1 - mean
cos(z_lfp[t], z_spike[t]))``, or Eq. 3, where behavior takes the place of the LFP."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from spikelfp_lab.configs import DistillConfig, ModelConfig, TrainConfig, config_hash
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import own_random_state
from spikelfp_lab.models.encode import encode
from spikelfp_lab.presets import preset_configs
from spikelfp_lab.sessions import TRAIN, iterate_sessions, same_clock, split_session
from spikelfp_lab.training.batches import (
    SessionWindows,
    add_behavior,
    add_to_vocabulary,
    augment,
    behavior_axes,
    prepare,
    session_values,
)
from spikelfp_lab.training.chance import refuse_chance
from spikelfp_lab.training.loop import Callback, fit
from spikelfp_lab.training.pretraining import Sessions
from spikelfp_lab.training.processes import Processes
from spikelfp_lab.training.runs import data_digests, kept
from spikelfp_lab.training.shards import Shards


def alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine between latents (..., d), mean over all others: the second term of Eq. 1.

    >>> round(float(alignment(torch.ones(2, 3), 2 * torch.ones(2, 3))), 6)
    0.0
    """
    return 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def center_latents(latents: np.ndarray, use: np.ndarray, how: str) -> np.ndarray:
    """Take from (time, latent) latents their mean, or mean and SD, over the time in ``use``; "none"
    leaves them.
    """
    if how == "none":
        return latents
    mean = np.nanmean(latents[use], axis=0)
    scale = np.nanstd(latents[use], axis=0) + 1e-6 if how == "scale" else 1.0
    return (latents - mean) / scale


Teacher = Autoencoder | xr.DataArray  # or the latents to reproduce themselves
# name under which a teacher that is not frozen is part of its student while both are trained
TEACHER = "teacher"


class Distillation:
    """The objective of a student: align with the teacher, and reconstruct LFP (or regress
    behavior).
    """

    def __init__(self, cohort: Shards, *, distill: DistillConfig, train: TrainConfig):
        self.cohort, self.distill, self.train = cohort, distill, train

    def terms(
        self, model: Autoencoder, windows: SessionWindows, starts: np.ndarray, values: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms of a batch, and the latents (B, T, d), or (layers, B, T, d), of student and
        teacher.
        """
        goal = self.distill
        steps = None
        if goal.mask_ratio and model.training:
            batch, time = values.shape[:2]
            order = torch.rand(batch, time, device=values.device).argsort(dim=1)
            steps = order[:, : max(1, round(time * (1 - goal.mask_ratio)))].sort(dim=1).values
        tokens = model.token_latents(
            values, windows.name, steps=steps, every_layer=goal.layers == "all"
        )
        latents = tokens.mean(dim=-2)
        teacher = self._teacher(model, windows, starts, steps)
        if goal.layers == "all":
            tokens, latents, teacher = tokens[-1], latents[1:], teacher.permute(2, 0, 1, 3)
        if goal.target == "behavior":
            wanted = _at(windows.cut(windows.targets["behavior"], starts), steps)
            task = model.behavior_loss(tokens.mean(dim=-2), wanted)
        else:
            wanted = _at(windows.cut(windows.values, starts), steps)
            task = model.reconstruction_loss(tokens, wanted, windows.name)
        aligned = alignment(latents, teacher)
        loss = goal.task_weight * task + goal.alignment_weight * aligned
        return {"loss": loss, "alignment": aligned, goal.target: task}, latents, teacher

    def _teacher(
        self, model: Autoencoder, windows: SessionWindows, starts: np.ndarray, steps: Tensor | None
    ) -> Tensor:
        """The teacher's latents of the windows: kept ones, or, when it is not frozen, what it gives
        now.
        """
        if self.distill.frozen:
            return _at(windows.cut(windows.targets["teacher"], starts), steps)
        counts = windows.cut(windows.targets["spikes"], starts)
        return _at(model.get_submodule(TEACHER).latents(counts, windows.name), steps)  # type: ignore[operator]

    def loss(self, model: Autoencoder, step: int) -> dict[str, Tensor]:
        windows, starts = self.cohort.draw(step)
        values = augment(
            windows.cut(windows.values, starts),
            drop=self.train.drop_inputs,
            noise=self.train.noise,
        )
        return self.terms(model, windows, starts, values)[0]

    def validate(self, model: Autoencoder) -> dict[str, float]:
        """Loss terms, and the cosine that remains once each side's mean is taken away, which is
        what ranks students of Eq. 1.

        Those of Eq. 3, which have labels, are ranked by the error of behavior, as supervised models
        without a teacher are."""

        def measure(windows: SessionWindows) -> dict[str, float]:
            terms, student, teacher = self.terms(
                model, windows, windows.val, windows.cut(windows.values, windows.val)
            )
            student, teacher = student.float().flatten(-3, -2), teacher.float().flatten(-3, -2)
            centered = alignment(student - student.mean(-2, True), teacher - teacher.mean(-2, True))
            values = {name: value.item() for name, value in terms.items()}
            values["centered alignment"] = centered.item()
            rank = "behavior" if self.distill.target == "behavior" else "centered alignment"
            return {"score": values[rank]} | values

        return self.cohort.average(measure)


def _at(series: Tensor, steps: Tensor | None) -> Tensor:
    """The time steps (B, K) of windows (B, T, ...), or all of them."""
    if steps is None:
        return series
    return series[torch.arange(len(series), device=series.device)[:, None], steps]


def shuffle_latents(latents: np.ndarray, *, window: int, seed: int) -> np.ndarray:
    """Latents (time, latent) cut in stretches of ``window`` bins and put in a random order: a
    teacher that knows nothing of the moment.

    Within a stretch the teacher's statistics and dynamics stay as they are; none keeps its place.
    It is the control that a student must not gain from. Fewer than two stretches, which no order
    changes, raise :class:`DataError`.

    >>> shuffle_latents(np.arange(8.0)[:, None], window=2, seed=0).ravel().tolist()
    [4.0, 5.0, 0.0, 1.0, 6.0, 7.0, 2.0, 3.0]
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


@own_random_state()
def distill(
    sessions: Sessions,
    teacher: Autoencoder | Mapping[str, Teacher],
    *,
    preset: str = "demo",
    model: ModelConfig | None = None,
    distill: DistillConfig | None = None,
    train: TrainConfig | None = None,
    shuffle_teacher: bool = False,
    force: bool = False,
    device: str | torch.device = "auto",
    progress: bool = True,
    folder: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Autoencoder:
    """Train an LFP student to reproduce the latents of a frozen spike teacher.

    The teacher reads each session once, in eval mode and unmasked; its latents are kept. Of several
    processes each encodes its own sessions. The student starts from random weights.

    Parameters
    ----------
    sessions : Dataset, DataTree, or mapping of str to Dataset
        Sessions with spikes and LFP that the teacher knows. One is the paper's default, several its
        extension A.12.
    teacher : Autoencoder, or mapping of str to Autoencoder or DataArray
        A spike model, see :func:`~spikelfp_lab.pretrain` and :func:`~spikelfp_lab.finetune`. Or,
        for each session, the model that was trained on it or the latents to reproduce themselves,
        (time, latent) on its clock; those of :func:`~spikelfp_lab.encode` say in their attributes
        how time was split.
    preset : {"smoke", "demo", "paper"}
        Where configs come from that are not given.
    model : ModelConfig, optional
        The student's; its width must be the teacher's.
    distill, train : configs, optional
        In place of the preset's.
    shuffle_teacher : bool
        The control of a teacher whose latents are shuffled in time, in stretches of a window.
    force : bool
        Distill from a teacher that is no better than chance too (a control), which is refused
        otherwise: one from whose latents a linear read-out tells hidden spike counts no better
        than each unit's mean rate does, or the latents of random weights
        (:mod:`spikelfp_lab.training.chance`), and that, if it learned behavior, gives none.
        Latents in place of a model are taken as they are.
    device, progress, folder, overwrite, callbacks
        As in :func:`~spikelfp_lab.pretrain`.

    Returns
    -------
    Autoencoder
        An LFP model with its best weights (best alignment of centered latents on validation
        windows).

    Raises
    ------
    CheckpointError
        The teacher does not know a session.
    DataError
        The teacher is no spike model or was trained on another split, widths or, with
        ``layers="all"``, depths differ, latents are on another clock, a session lacks LFP, spikes,
        or, with ``target="behavior"``, behavior, or the teacher is no better than chance and
        ``force`` is not given.
    ConfigError
        Latents as a teacher, with ``layers="all"`` or ``frozen=False``, which need the model; or
        ``train.shards`` does not fit the number of processes that ``torchrun`` started.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> cohort = sl.open_cohort("simulated", n_sessions=1, duration_s=30, progress=False)
    >>> quick = sl.TrainConfig(steps=2, batch=2, window_s=0.5, val_every=2)
    >>> teacher = sl.pretrain(cohort, "spikes", train=quick, progress=False)
    >>> student = sl.distill(cohort["I/s01"], teacher, train=quick, force=True, progress=False)
    >>> student.modality
    'lfp'
    """
    named = iterate_sessions(sessions)
    configs = preset_configs(preset, "distill")
    shape, goal = model or configs.model, distill or configs.distill
    train = train or configs.train
    teachers = dict.fromkeys(named, teacher) if isinstance(teacher, Autoencoder) else dict(teacher)
    _check(named, teachers, shape, goal, train)
    teachers = {name: teachers[name] for name in named}
    processes = Processes.join(device)

    def make(name: str, session: xr.Dataset) -> SessionWindows:
        one = teachers[name]
        if isinstance(one, Autoencoder) and not force:
            refuse_chance(one, session, name, train=train, device=processes.device)
        latents = _latents(
            session, name, one, goal, processes.device, progress and processes.is_main
        )
        return _with_targets(session, name, latents, goal, train, processes.device, shuffle_teacher)

    def run(folder: Path | None) -> Autoencoder:
        cohort = Shards(named, make, modality="lfp", train=train, processes=processes)
        torch.manual_seed(train.seed)
        student = Autoencoder(
            shape,
            modality="lfp",
            sessions={},
            bin_size_s=cohort.sessions[0].bin_size_s,
            n_behavior=len(behavior_axes(named)) if goal.target == "behavior" else 0,
        ).to(processes.device)
        for known in cohort.sessions:
            add_to_vocabulary(student, known)
        infos = {
            n: t.info if isinstance(t, Autoencoder) else "latents" for n, t in teachers.items()
        }
        first, *others = infos.values()
        student.info = {
            "made_by": "distill",
            "train": train.to_dict(),
            "distill": goal.to_dict(),
            "shuffle_teacher": shuffle_teacher,
            "teacher": infos if any(other != first for other in others) else first,
        }
        if not goal.frozen:  # one model, as checked above
            (one,) = set(teachers.values())
            student.add_module(TEACHER, copy.deepcopy(one).to(processes.device))  # type: ignore[arg-type]
        student = fit(
            student,
            Distillation(cohort, distill=goal, train=train),
            train=train,
            cohort=cohort,
            label=f"distill{' (shuffled teacher)' if shuffle_teacher else ''} ({', '.join(named)})",
            progress=progress,
            folder=folder,
            fingerprint=config_hash("distill", shape, goal, train, shuffle_teacher, *named),
            callbacks=callbacks,
        )
        if not goal.frozen:
            delattr(student, TEACHER)
        return student

    def recipe() -> dict[str, Any]:
        read = ("spikes", "lfp", *(["behavior"] if goal.target == "behavior" else []))
        return {
            "verb": "distill",
            "model": shape.to_dict(),
            "distill": goal.to_dict(),
            "train": train.to_dict(),
            "shuffle_teacher": shuffle_teacher,
            "teacher": {name: _digest(one) for name, one in teachers.items()},
            "data": data_digests(named, read, processes),
        }

    return kept(folder, recipe, run, overwrite=overwrite, processes=processes)


def _digest(teacher: Teacher) -> str:
    """A short hash of a model, or of latents."""
    if isinstance(teacher, Autoencoder):
        return teacher.digest()
    return hashlib.sha256(np.ascontiguousarray(teacher.to_numpy()).tobytes()).hexdigest()[:12]


def _check(
    named: Mapping[str, xr.Dataset],
    teachers: Mapping[str, Teacher],
    model: ModelConfig,
    goal: DistillConfig,
    train: TrainConfig,
) -> None:
    """Refuse what would leak or make no sense, before anything is trained."""
    if not goal.frozen and (
        len(set(map(id, teachers.values()))) > 1
        or not all(isinstance(one, Autoencoder) for one in teachers.values())
    ):
        raise ConfigError("frozen=False needs the teacher itself, one model for all sessions")
    for name, session in named.items():
        one = teachers.get(name)
        if one is None or (isinstance(one, Autoencoder) and name not in one.sessions):
            known = list(teachers if one is None else one.sessions)
            raise CheckpointError(
                f"the teacher does not know {[name]}, only {known}: "
                "teacher = finetune(teacher, session) first"
            )
        if isinstance(one, Autoencoder):
            if one.modality != "spikes":
                raise DataError(
                    f"the teacher reads {one.modality!r}; distillation needs a teacher of spikes"
                )
            if goal.layers == "all" and one.config.layers != model.layers:
                raise DataError(
                    f"the student has {model.layers} layers, the teacher {one.config.layers}: "
                    "layers='all' aligns one with one (ModelConfig.layers)"
                )
            width, split = one.config.width, one.info.get("train", {})
        else:
            if goal.layers == "all":
                raise ConfigError("layers='all' needs the teacher itself, not latents")
            width, split = one.sizes["latent"], one.attrs
            bin_size_s = float(session.attrs["bin_size_s"])
            if not same_clock(one["time"], session["time"], bin_size_s=bin_size_s):
                raise DataError(f"the latents to reproduce are not on the clock of session {name}")
        if width != model.width:
            raise DataError(
                f"the student is {model.width} wide, the teacher {width}: "
                "their latents must have the same width (ModelConfig.width)"
            )
        for key in ("scheme", "seed"):
            if key in split and split[key] != getattr(train, key):
                raise DataError(
                    f"the teacher's time was split with {key}={split[key]!r}, the student's with "
                    f"{getattr(train, key)!r}: the teacher has trained on what the student is "
                    f"tested on. Give TrainConfig({key}={split[key]!r})."
                )


def _with_targets(
    session: xr.Dataset,
    name: str,
    latents: np.ndarray,
    goal: DistillConfig,
    train: TrainConfig,
    device: torch.device,
    shuffle: bool,
) -> SessionWindows:
    """The session's LFP, with the teacher's latents as a target."""
    flat = latents.reshape(len(latents), -1)
    # As a variable of the session, so that no window is missing any of them.
    taught = session.assign(teacher=(("time", "teacher_latent"), flat))
    windows = prepare(
        taught, name, modality="lfp", train=train, device=device, together_with=("teacher",)
    )
    use = split_session(
        session, scheme=train.scheme, window_s=train.window_s, seed=train.seed
    ).to_numpy()
    if shuffle:  # within each part of the split, so that the control leaks nothing either
        latents = latents.copy()
        for part in np.unique(use):
            rows = np.flatnonzero((use == part) & np.isfinite(flat).all(axis=1))
            latents[rows] = shuffle_latents(latents[rows], window=windows.length, seed=train.seed)
    latents = center_latents(latents, use == TRAIN, goal.center)
    windows.targets["teacher"] = torch.as_tensor(latents, dtype=torch.float32, device=device)
    if not goal.frozen:
        counts = session_values(session, "spikes")
        windows.targets["spikes"] = torch.as_tensor(counts, dtype=torch.float32, device=device)
    if goal.target == "behavior":
        add_behavior(windows, session, train=train)
    return windows


def _latents(
    session: xr.Dataset,
    name: str,
    teacher: Teacher,
    goal: DistillConfig,
    device: torch.device,
    progress: bool,
) -> np.ndarray:
    """What is to be reproduced: (time, latent), or (time, layer, latent) for all layers."""
    if not isinstance(teacher, Autoencoder):
        return teacher.transpose("time", ...).to_numpy()
    options: dict[str, Any] = {"as_session": name, "device": device, "progress": progress}
    if goal.layers == "last":
        return encode(teacher, session, **options).to_numpy()
    layers = range(1, teacher.config.layers + 1)
    return np.stack([encode(teacher, session, layer=n, **options).to_numpy() for n in layers], 1)
