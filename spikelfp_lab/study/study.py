"""The study: a preset and a cohort -> trained models, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.errors import SpikeLFPError
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import reference_one, score_one, tabulate
from spikelfp_lab.study.setup import Setup
from spikelfp_lab.study.specs import ModelSpec, Setting, in_order, model_specs
from spikelfp_lab.training import distill, finetune, pretrain

Done = Callable[..., object]  # called with the job that is done


@dataclass(frozen=True)
class Study(Setup):
    """One cohort under one preset, over one or more seeds: all models of the paper, and scores.

    The held-out sessions are in nobody's pre-training: teacher and MS-LFP are fine-tuned on their
    training blocks, students and SS-LFP are trained on the same blocks, and all are scored on the
    same test windows. Each model is made by a verb with ``folder=``, so that it is trained once.

    >>> Study(preset="smoke", n_seeds=2).seeds
    range(0, 2)
    """

    _loaded: dict[str, Autoencoder] = field(default_factory=dict, repr=False, compare=False)

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

    def encode(self, model: Autoencoder, session: xr.Dataset, **options: Any) -> xr.DataArray:
        """Latents, as :func:`~spikelfp_lab.encode` gives them."""
        return encode(model, session, device=self.device, progress=False, **options)

    def _make(self, spec: ModelSpec) -> Autoencoder:
        configs, folder = spec.configs(self), self.folder / spec.folder
        data = {name: self._data(spec, name) for name in spec.sessions}
        options: dict[str, Any] = {"preset": self.preset, "folder": folder, "device": self.device}
        options["progress"] = self.progress
        own = {"model": configs.model, "train": configs.train}
        if spec.start is None:
            modality = "lfp" if spec.role == "distill" else spec.role
            return pretrain(data, modality, mask=configs.mask, **own, **options)
        start = teacher = self.model(spec.start)
        if spec.verb == "finetune":
            return finetune(start, data, mask=configs.mask, train=configs.finetune, **options)
        tuned = spec.start
        if len(data) > 1 and tuned.start and not tuned.configs(self).finetune.tables_only:
            before = self.model(tuned.start)  # fine-tuning has moved what sessions share
            teacher = {name: start if name in tuned.sessions else before for name in data}
        if spec.control == "other subject":
            teacher = {name: self._latents_of_other(spec.start, start, name) for name in data}
        options["shuffle_teacher"] = spec.control == "shuffled"
        options["force"] = spec.control == "random"  # whose teacher knows nothing
        return distill(data, teacher, distill=configs.distill, **own, **options)

    def _data(self, spec: ModelSpec, name: str) -> xr.Dataset:
        """A session as a model is trained on it."""
        session = self.session(name)
        if spec.minutes is None or name not in self.held_out:
            return session
        known = self.first_minutes(name, spec.seed, spec.minutes)
        if spec.role == "spikes":
            observed = known.expand_dims(unit=session["unit"]).transpose("time", "unit")
            return session.assign_coords(observed=observed.drop_vars("unit"))
        return session.assign(lfp=session["lfp"].where(known))

    def session(self, name: str) -> xr.Dataset:
        """A session of the cohort, or the simulated one of another subject."""
        if name in self.sessions:
            return self.sessions[name]
        first = next(iter(self.sessions.values()))
        return self._simulated(name, round(first.sizes["time"] * first.attrs["bin_size_s"])).load()

    def _latents_of_other(self, spec: ModelSpec, teacher: Autoencoder, name: str) -> xr.DataArray:
        """The teacher's latents of another subject's session, repeated on the clock of ``name``."""
        subject = name.split("/")[0]
        other = next(n for n in spec.sessions if n.split("/")[0] != subject)
        latents = self.encode(teacher, self.session(other))
        clock = self.sessions[name]["time"]
        values = np.resize(latents.dropna("time"), (clock.size, latents.shape[1]))
        split = {key: latents.attrs[key] for key in ("scheme", "seed") if key in latents.attrs}
        return xr.DataArray(values, {"time": clock}, ("time", "latent"), attrs=split)

    def first_minutes(self, name: str, seed: int, minutes: float) -> xr.DataArray:
        """(time,) bool: all of a session but its training time after the first minutes."""
        session = self.sessions[name]
        train = np.flatnonzero(self.split(name, seed).to_numpy() == TRAIN)
        known = np.ones(session.sizes["time"], bool)
        known[train[round(60 * minutes / session.attrs["bin_size_s"]) :]] = False
        return xr.DataArray(known, dims="time")

    def specs(self, *parts: Setting) -> list[ModelSpec]:
        """What some notebooks need: each model after those that it starts from.

        ``parts`` are of "comparison" (notebooks 01 to 06 and 08), "unsupervised", "supervised" (07
        and 09) and "ablations" (10), by default all.
        """
        asked: Sequence[Any] = parts or get_args(Setting)
        runs: list[Any] = [(part, *run) for part in asked for run in self._runs_of(part)]
        made = [model_specs(self, part, name, seed) for part, seed, name in runs]
        return in_order(self, [spec for specs in made for spec in specs.values()])

    def _runs_of(self, part: Setting) -> list[tuple[int, str]]:
        return self.runs_of_all if part == "comparison" else self.side_runs

    def train(self, *parts: Setting, done: Done | None = None) -> None:
        """Train what some notebooks need and is not there yet, see :meth:`specs`.

        On a CPU each core trains one model at a time, which takes about half the time of all
        cores on one after the other; on a GPU they take turns. An interrupted call goes on. A
        DataError says that nothing can be written to the folder, or that the disk is full.
        """
        self.make(self.specs(*parts), done=done)

    def make(
        self, specs: Sequence[ModelSpec], *, done: Done | None = None, forgive: bool = False
    ) -> dict[str, str]:
        """Train models and what they start from; ``done`` is called after each.

        With ``forgive`` the others are trained where one cannot be; gives folder -> reason.
        """
        failed: dict[str, str] = {}
        for depth, stage in groupby(in_order(self, specs), key=lambda spec: len(spec.needs)):
            jobs = [(spec, forgive) for spec in stage]
            options = {"desc": f"train, stage {depth + 1}", "unit": "model", "done": done}
            reasons = zip(jobs, in_parallel(self, _train_one, jobs, **options), strict=True)
            failed |= {spec.folder: reason for (spec, _), reason in reasons if reason}
        return failed

    def scores(self, setting: Setting = "comparison") -> pd.DataFrame:
        """Decode behavior from every model's latents, and, unless supervised, from ridges.

        Tidy: session, seed, model, readout, split, axis, r2.
        """
        jobs = [(*run, setting) for run in self._runs_of(setting)]
        return tabulate(self, score_one, jobs, "decode")

    def reference_scores(self) -> pd.DataFrame:
        """Scores of supervised decoders of the LFP (Wiener, Kalman, GRU), as of `scores`."""
        return tabulate(self, reference_one, self.side_runs, "references")


def _train_one(study: Study, spec: ModelSpec, forgive: bool) -> str:
    """One job of :meth:`Study.make`: what was trained is found in its folder; or why it cannot."""
    try:
        study.model(spec)
    except SpikeLFPError as error:
        if not forgive:
            raise
        return str(error)
    return ""
