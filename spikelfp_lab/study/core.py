"""The study: a preset and a cohort -> trained models, and their scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab._files import running
from spikelfp_lab.configs import TrainConfig, config_hash
from spikelfp_lab.errors import ConfigError, SpikeLFPWarning
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.models.autoencoder import Modality
from spikelfp_lab.presets import Role
from spikelfp_lab.sessions import TRAIN, split_session
from spikelfp_lab.study.catalog import MODELS, Job, Made, Setting, ablations, call, rounds
from spikelfp_lab.study.ground import Ground
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.recipe import Recipe
from spikelfp_lab.study.scoring import COLUMNS, reference_one, score_one, tidy
from spikelfp_lab.training import distill, finetune, pretrain

Part = Literal["comparison", "evidence", "ablations"]
PARTS: dict[Part, tuple[Setting, ...]] = {
    "comparison": ("comparison",),
    "evidence": ("unsupervised", "supervised"),
}


@dataclass(frozen=True)
class Study(Ground):
    """One cohort under one preset, over one or more seeds.

    The held-out sessions are in nobody's pre-training: teacher and MS-LFP are fine-tuned on their training blocks, students and SS-LFP are trained on
    the same blocks, and all are scored on the same test windows. A seed fixes weights, batches and the split.

    Attributes
    ----------
    cohort_name : str
        "simulated", "cao2021", "makin", "flint", or a folder of sessions.
    preset : str
        "smoke", "demo" or "paper".
    n_seeds : int
        Seeds 0 ... n_seeds - 1.
    runs : Path
        Where trained models and the simulated cohort are kept.
    figures : Path
        Where figures go.
    device : str
    progress : bool
    full : bool
        Whether grids run over all held-out sessions and seeds, or over the first of each.

    Examples
    --------
    >>> Study(preset="smoke", n_seeds=2).seeds
    range(0, 2)
    """

    # Models. Each is trained once: a second call, or another notebook, finds it under `runs`.

    def teacher(self, seed: int = 0, *, pretrained_on: int | None = None) -> Autoencoder:
        """Multi-session spike model, pre-trained on the pretraining sessions, or on the first ``pretrained_on`` of them."""
        return self._pretrained("teacher", "spikes", self.having("spikes")[:pretrained_on], seed)

    def ms_lfp(self, seed: int = 0) -> Autoencoder:
        """Multi-session LFP model, pre-trained on the pretraining sessions."""
        return self._pretrained("ms-lfp", "lfp", self.having("lfp"), seed)

    def ss_teacher(self, name: str, seed: int = 0, *, supervised: bool = False) -> Autoencoder:
        """Spike model of one session alone, trained for half as many steps as one of several sessions."""
        return self._pretrained(
            "ss-teacher", "spikes", [name], seed, supervised=supervised, share=0.5
        )

    def ss_lfp(self, name: str, seed: int = 0, *, supervised: bool = False) -> Autoencoder:
        """LFP model of one session alone."""
        return self._pretrained("ss-lfp", "lfp", [name], seed, supervised=supervised)

    def ss_mm(self, name: str, seed: int = 0, *, supervised: bool = False) -> Autoencoder:
        """Multimodal model: spikes and LFP of one session alone, as tokens of one transformer."""
        return self._pretrained("ss-mm", "both", [name], seed, supervised=supervised)

    def teacher_for(
        self,
        name: str,
        seed: int = 0,
        *,
        supervised: bool = False,
        pretrained_on: int | None = None,
    ) -> Autoencoder:
        """The teacher, fine-tuned on a session; pre-trained on none, it is the spike model of that session alone."""
        if pretrained_on == 0:
            return self.ss_teacher(name, seed, supervised=supervised)
        before = self.teacher(seed, pretrained_on=pretrained_on)
        return self._finetuned("teacher", "spikes", before, name, seed, supervised=supervised)

    def ms_lfp_for(self, name: str, seed: int = 0, *, supervised: bool = False) -> Autoencoder:
        """MS-LFP, fine-tuned on a held-out session."""
        return self._finetuned(
            "ms-lfp", "lfp", self.ms_lfp(seed), name, seed, supervised=supervised
        )

    def student(self, name: str, seed: int = 0, recipe: Recipe | None = None) -> Autoencoder:
        """The student of a held-out session that a recipe describes; by default the Distilled of the comparison."""
        recipe = recipe or Recipe()
        configs = recipe.apply(self.configs("distill", seed))
        names = [*(self.having("spikes", "lfp") if recipe.beside else []), name]

        def make(folder: Path) -> Autoencoder:
            return distill(
                {one: self._cut(one, recipe.minutes, configs.train) for one in names},
                self._teacher_of(name, seed, recipe),
                model=configs.model,
                distill=configs.distill,
                train=configs.train,
                shuffle_teacher=recipe.teacher == "shuffled",
                # The control knows nothing, and the smoke preset's models next to nothing.
                force=recipe.teacher == "random" or self.preset == "smoke",
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        teacher = self.configs("spikes", seed, supervised=recipe.supervised)
        parts = (teacher.model, teacher.train, teacher.finetune, teacher.mask)
        own = (configs.model, configs.train, configs.distill, recipe)
        return self._cached("student", make, *names, config_hash(*parts, *own, *self.pretraining))

    def distilled(self, name: str, seed: int = 0) -> Autoencoder:
        """Student of the fine-tuned teacher, trained on one session."""
        return self.student(name, seed)

    def shuffled(self, name: str, seed: int = 0) -> Autoencoder:
        """Control: student of a teacher whose latents are shuffled in time."""
        return self.student(name, seed, Recipe(teacher="shuffled"))

    def untrained(self, name: str, seed: int = 0, *, role: Role = "distill") -> Autoencoder:
        """Control: a student (or, with another role, such a model) with random weights, its statistics set and nothing learned."""
        configs = self.configs(role, seed)
        still = replace(configs.train, steps=1, lr=0.0, val_every=1)

        def make(folder: Path) -> Autoencoder:
            del folder  # nothing to resume
            return pretrain(
                {name: self.sessions[name]},
                "spikes" if role == "spikes" else "lfp",
                model=replace(configs.model, predictor_layers=1),
                train=still,
                device=self.device,
                progress=False,
            )

        return self._cached("untrained", make, name, role, config_hash(configs.model, still))

    def _teacher_of(
        self, name: str, seed: int, recipe: Recipe
    ) -> Autoencoder | dict[str, xr.DataArray]:
        if recipe.teacher == "random":
            return self.untrained(name, seed, role="spikes")
        if recipe.teacher == "other subject":
            return {name: self._foreign_latents(name, seed)}
        return self.teacher_for(
            name, seed, supervised=recipe.supervised, pretrained_on=recipe.pretrained_on
        )

    def foreign_teacher(self, stranger: str, seed: int = 0) -> Autoencoder:
        """The teacher as it reads a session of another subject: fine-tuned on it, unless its pre-training saw it."""
        teacher = self.teacher(seed)
        if stranger in teacher.sessions:
            return teacher
        return self._finetuned("teacher", "spikes", teacher, stranger, seed)

    def _foreign_latents(self, name: str, seed: int) -> xr.DataArray:
        """What the teacher makes of another subject's session, laid on this session's clock, again from its start where that is longer."""
        stranger = self.other_subject(name)
        if stranger is None:
            raise ConfigError(
                f"cohort {self.cohort_name!r} has no subject but that of {name}: there is no other's teacher"
            )
        teacher = self.foreign_teacher(stranger, seed)
        latents = encode(teacher, self._session(stranger), device=self.device, progress=False)
        known = latents.to_numpy()[np.isfinite(latents.to_numpy()).all(axis=1)]
        clock = self.sessions[name]["time"]
        laid = np.resize(known, (clock.size, known.shape[1]))
        return xr.DataArray(
            laid, dims=("time", "latent"), coords={"time": clock}, attrs=latents.attrs
        )

    def _cut(self, name: str, minutes: float | None, train: TrainConfig) -> xr.Dataset:
        """A session of whose training time only the first minutes have LFP."""
        session = self.sessions[name]
        if minutes is None:
            return session
        split = split_session(
            session, scheme=train.scheme, window_s=train.window_s, seed=train.seed
        ).to_numpy()
        bins = np.flatnonzero(split == TRAIN)[round(60 * minutes / session.attrs["bin_size_s"]) :]
        kept = np.ones(len(split), bool)
        kept[bins] = False
        lfp = session["lfp"].where(xr.DataArray(kept, dims="time"))
        return session.assign(lfp=lfp)

    def models(
        self, name: str, seed: int = 0, setting: Setting = "comparison"
    ) -> dict[str, Autoencoder]:
        """All models of a setting for one held-out session, by the label they have in figures."""
        return {
            label: self.make(call(made, name, seed))
            for label, made in self.compared(setting, seed).items()
        }

    def compared(self, setting: Setting, seed: int = 0) -> dict[str, Made]:
        """Label -> model of a setting and seed; without the control of another subject where there is none."""
        alone = self.other_subject(self.held_out[0]) is None
        return {
            label: made
            for label, made in MODELS[setting].items()
            if not (alone and made.recipe.teacher == "other subject")
            if not (made.further and seed > 0 and not self.full)
        }

    def ablations(self) -> dict[str, dict[str, Recipe]]:
        """Question -> variant -> recipe: what the grid of ablations asks of this study's student."""
        layers = self.configs("distill", 0).model.layers
        return ablations(layers, len(self.having("spikes")), full=self.full)

    def make(self, job: Job) -> Autoencoder:
        """The model of a job: found, or trained now."""
        return getattr(self, job.method)(*job.arguments, **dict(job.options))

    def jobs(self, *parts: Part) -> list[list[Job]]:
        """The trainings that some notebooks of this study ask for, in rounds: a model needs only those of earlier rounds.

        "comparison" is for notebooks 01 to 06 and 08, "evidence" for 07 and 09, "ablations" for 10.
        """
        wanted: list[Job] = []
        for part, settings in PARTS.items():
            if part in parts:
                wanted += [
                    call(made, name, seed)
                    for seed, name in self.runs_of_all
                    for setting in settings
                    for made in self.compared(setting, seed).values()
                ]
        if "ablations" in parts:
            wanted += [
                call(Made("student", recipe), name, seed)
                for seed, name in self.runs_of_grids
                for variants in self.ablations().values()
                for recipe in variants.values()
            ]
        return rounds(wanted, {name: self.other_subject(name) for name in self.held_out})

    def train(self, *parts: Part) -> None:
        """Train whatever the notebooks of this study will ask for and that is not there yet.

        On a CPU each core trains one model at a time, which takes about half the time that all cores take on one after the other; on a GPU they take
        turns. Another process may train the same study in the same ``runs`` at the same time: no model is trained twice.

        Parameters
        ----------
        *parts : {"comparison", "evidence", "ablations"}
            What for, see :meth:`jobs`; all of them by default.

        Raises
        ------
        DataError
            ``runs`` cannot be written to, or its disk is full. After the cure, the same call goes on from there.

        Warns
        -----
        SpikeLFPWarning
            Another process is training in ``runs``, and which.
        """
        if others := running(self.runs):
            warnings.warn(
                f"{self.runs} is in use: {'; '.join(others)}. What that process trains is waited for and not trained twice; to keep apart from it, "
                "choose another runs folder (SPIKELFP_RUNS).",
                SpikeLFPWarning,
                stacklevel=2,
            )
        order = self.jobs(*(parts or ("comparison", "evidence", "ablations")))
        for number, wanted in enumerate(order, 1):
            in_parallel(
                self,
                _train_one,
                [(job,) for job in wanted],
                desc=f"train, round {number} of {len(order)}",
                unit="model",
            )

    def scores(self, setting: Setting = "comparison") -> pd.DataFrame:
        """Decode behavior from every model's latents, and, unless supervised, from the ridges beside them.

        Parameters
        ----------
        setting : {"comparison", "unsupervised", "supervised"}
            Which models: the first comparison, or all of either setting.

        Returns
        -------
        DataFrame
            Tidy: session, seed, model, readout, split, axis, r2.
        """
        jobs = [(seed, name, setting) for seed, name in self.runs_of_all]
        return tidy(in_parallel(self, score_one, jobs, desc="decode", unit="session")).loc[
            :, COLUMNS
        ]

    def reference_scores(self) -> pd.DataFrame:
        """Scores of supervised decoders from outside (Wiener, Kalman, GRU, PSID) on the LFP, in the rows of :meth:`scores`."""
        return tidy(
            in_parallel(self, reference_one, self.runs_of_all, desc="references", unit="session")
        ).loc[:, COLUMNS]

    def _pretrained(
        self,
        kind: str,
        modality: Modality,
        names: list[str],
        seed: int,
        *,
        supervised: bool = False,
        share: float = 1.0,
    ) -> Autoencoder:
        """A model trained from random weights, for a share of the preset's steps."""
        configs = self.configs(modality, seed, supervised=supervised)
        train = replace(configs.train, steps=round(share * configs.train.steps))

        def make(folder: Path) -> Autoencoder:
            return pretrain(
                {name: self.sessions[name] for name in names},
                modality,
                model=configs.model,
                mask=configs.mask,
                train=train,
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        return self._cached(kind, make, *names, config_hash(configs.model, train, configs.mask))  # fmt: skip

    def _finetuned(
        self,
        kind: str,
        modality: Modality,
        before: Autoencoder,
        name: str,
        seed: int,
        *,
        supervised: bool = False,
    ) -> Autoencoder:
        """A copy that is trained on one session."""
        configs = self.configs(modality, seed, supervised=supervised)

        def make(folder: Path) -> Autoencoder:
            return finetune(
                before,
                {name: self._session(name)},
                mask=configs.mask,
                train=configs.finetune,
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        key = config_hash(configs.finetune, configs.mask)
        return self._cached(f"{kind}-tuned", make, name, before.digest(), key)


def _train_one(study: Study, job: Job) -> None:
    """One job of :meth:`Study.train`; what was trained is found on disk."""
    study.make(job)
