"""The study: a preset and a cohort -> trained models, and their scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import reference_one, score_one, tidy
from spikelfp_lab.study.setup import Setup
from spikelfp_lab.study.specs import (
    OTHER,
    VERBS,
    ModelSpec,
    Setting,
    Verb,
    ablations,
    model_specs,
    runs,
    side_runs,
)
from spikelfp_lab.training import distill, finetune, pretrain

SETTINGS: tuple[Setting, ...] = ("comparison", "unsupervised", "supervised")


@dataclass(frozen=True)
class Study(Setup):
    """One cohort under one preset, over one or more seeds: all models of the paper, and scores.

    The held-out sessions are in nobody's pre-training: teacher and MS-LFP are fine-tuned on their
    training blocks, students and SS-LFP are trained on the same blocks, and all are scored on the
    same test windows. Each model is made by a verb with ``folder=``, so that it is trained once.
    Attributes are those of :class:`Setup`.

    Examples
    --------
    >>> Study(preset="smoke", n_seeds=2).seeds
    range(0, 2)
    """

    _loaded: dict[str, Autoencoder] = field(default_factory=dict, repr=False, compare=False)

    @property
    def runs_of_all(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of the comparison."""
        return runs(self)

    @property
    def side_runs(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of side questions: all of a full study, else the first."""
        return side_runs(self)

    def models(
        self, name: str, seed: int = 0, setting: Setting = "comparison"
    ) -> dict[str, Autoencoder]:
        """Label -> model of a setting for one held-out session; trained if not there yet."""
        specs = model_specs(self, setting, name, seed)
        return {label: self.model(spec) for label, spec in specs.items()}

    def model(self, spec: ModelSpec) -> Autoencoder:
        """The model of a spec: found, or trained now, by one call of a verb."""
        if spec.folder not in self._loaded:
            self._loaded[spec.folder] = self._make(spec)
        return self._loaded[spec.folder]

    def _make(self, spec: ModelSpec) -> Autoencoder:
        configs = spec.configs(self)
        data = {name: self.session(name) for name in spec.sessions}
        options: dict[str, Any] = {
            "preset": self.preset,
            "device": self.device,
            "progress": self.progress,
            "folder": self.folder / spec.folder,
        }
        if spec.verb == "pretrain":
            modality = "lfp" if spec.role == "distill" else spec.role
            own = {"model": configs.model, "mask": configs.mask, "train": configs.train}
            return pretrain(data, modality, **own, **options)
        assert spec.start is not None
        start = self.model(spec.start)
        if spec.verb == "finetune":
            return finetune(start, data, mask=configs.mask, train=configs.finetune, **options)
        teacher = start
        if spec.control == "other subject":
            teacher = {name: self._latents_of_other(spec.start, start, name) for name in data}
        elif spec.pretrained is not None:  # each session by the teacher that was trained on it
            before = self.model(spec.pretrained)
            teacher = dict.fromkeys(spec.sessions, before) | {spec.sessions[-1]: start}
        if spec.minutes is not None:
            data = {name: self._first_minutes(name, spec) for name in data}
        return distill(
            data,
            teacher,
            model=configs.model,
            distill=configs.distill,
            train=configs.train,
            shuffle_teacher=spec.control == "shuffled",
            force=spec.control == "random",  # this control's teacher knows nothing
            **options,
        )

    def session(self, name: str) -> xr.Dataset:
        """A session of the cohort, or the simulated one of another subject."""
        return self.sessions[name] if name in self.sessions else self._others[name]

    @cached_property
    def _others(self) -> dict[str, xr.Dataset]:
        first = next(iter(self.sessions.values()))
        seconds = round(first.sizes["time"] * first.attrs["bin_size_s"])
        return {OTHER: self._simulated(OTHER, seconds).load()}

    def _latents_of_other(self, spec: ModelSpec, teacher: Autoencoder, name: str) -> xr.DataArray:
        """The teacher's latents of another subject's session, repeated on the clock of ``name``."""
        other = spec.sessions[-1] if spec.verb == "finetune" else next(
            n for n in spec.sessions if n.split("/")[0] != name.split("/")[0]
        )  # fmt: skip
        latents = encode(teacher, self.session(other), device=self.device, progress=False)
        known = latents.to_numpy()[np.isfinite(latents.to_numpy()).all(axis=1)]
        clock = self.sessions[name]["time"]
        values = np.resize(known, (clock.size, known.shape[1]))
        split = {key: latents.attrs[key] for key in ("scheme", "seed") if key in latents.attrs}
        return xr.DataArray(values, {"time": clock}, ("time", "latent"), attrs=split)

    def _first_minutes(self, name: str, spec: ModelSpec) -> xr.Dataset:
        """A session of whose training time only the first minutes have LFP."""
        session = self.sessions[name]
        train = np.flatnonzero(self.split(name, spec.seed).to_numpy() == TRAIN)
        kept = np.ones(session.sizes["time"], bool)
        kept[train[round(60 * spec.minutes / session.attrs["bin_size_s"]) :]] = False  # type: ignore
        return session.assign(lfp=session["lfp"].where(xr.DataArray(kept, dims="time")))

    def ablations(self, name: str, seed: int = 0) -> dict[str, dict[str, ModelSpec]]:
        """Question -> variant -> student with one thing changed."""
        return ablations(self, name, seed)

    def stages(self, *parts: str) -> dict[Verb, list[ModelSpec]]:
        """What some notebooks need, by verb; each model needs only those of earlier stages.

        Parameters
        ----------
        *parts : {"comparison", "unsupervised", "supervised", "ablations"}
            "comparison" is for notebooks 01 to 06 and 08, "unsupervised" and "supervised" for 07
            and 09, "ablations" for 10; all of them by default.

        Returns
        -------
        dict
            "pretrain", "finetune", "distill" -> specs, the longest training first.
        """
        parts = parts or (*SETTINGS, "ablations")
        wanted: dict[str, ModelSpec] = {}

        def add(spec: ModelSpec) -> None:
            for need in spec.needs:
                add(need)
            wanted[spec.folder] = spec

        for setting in SETTINGS:
            if setting not in parts:
                continue
            for seed, name in self.side_runs if setting == "supervised" else self.runs_of_all:
                for spec in model_specs(self, setting, name, seed).values():
                    add(spec)
        for seed, name in self.side_runs if "ablations" in parts else ():
            for variants in self.ablations(name, seed).values():
                for spec in variants.values():
                    add(spec)
        return {
            verb: sorted(
                (spec for spec in wanted.values() if spec.verb == verb),
                key=lambda spec: -spec.work(self),
            )
            for verb in VERBS
        }

    def train(self, *parts: str) -> None:
        """Train what the notebooks of :meth:`stages` need and that is not there yet.

        On a CPU each core trains one model at a time, which takes about half the time of all
        cores on one after the other; on a GPU they take turns. An interrupted call goes on.

        Raises
        ------
        DataError
            Nothing can be written to the folder, or the disk is full.
        """
        for verb, specs in self.stages(*parts).items():
            jobs = [(spec,) for spec in specs]
            in_parallel(self, _train_one, jobs, desc=verb, unit="model")

    def scores(self, setting: Setting = "comparison") -> pd.DataFrame:
        """Decode behavior from every model's latents, and, unless supervised, from ridges.

        Parameters
        ----------
        setting : {"comparison", "unsupervised", "supervised"}
            The first comparison, or all models of either setting.

        Returns
        -------
        DataFrame
            Tidy: session, seed, model, readout, split, axis, r2.
        """
        asked = self.side_runs if setting == "supervised" else self.runs_of_all
        jobs = [(seed, name, setting) for seed, name in asked]
        return tidy(in_parallel(self, score_one, jobs, desc="decode", unit="session"))

    def reference_scores(self) -> pd.DataFrame:
        """Scores of supervised decoders of the LFP (Wiener, Kalman, GRU, PSID), as of `scores`."""
        jobs = self.side_runs
        return tidy(in_parallel(self, reference_one, jobs, desc="references", unit="session"))


def _train_one(study: Study, spec: ModelSpec) -> None:
    """One job of :meth:`Study.train`; what was trained is found in its folder."""
    study.model(spec)
