"""study: what the notebooks share. A preset and a cohort -> trained models, each trained once and found again by the hash of its configs.

``python -m spikelfp_lab.study`` trains all that the notebooks of a study ask for, with progress bars; environment variables choose the study:
``COHORT``, ``PRESET``, ``SEEDS`` (how many), ``SPIKELFP_RUNS`` (where models are kept) and ``FIGURES``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, cpu_count, delayed, parallel_config
from tqdm.auto import tqdm

from spikelfp_lab.analysis import decode
from spikelfp_lab.configs import TrainConfig, config_hash
from spikelfp_lab.datasets import flint, makin
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models import Autoencoder, encode, load
from spikelfp_lab.models.autoencoder import Modality
from spikelfp_lab.models.device import pick_device
from spikelfp_lab.presets import PRESETS, Preset, Role
from spikelfp_lab.sessions import (
    as_dataset,
    iterate_sessions,
    open_cohort,
    save_cohort,
)
from spikelfp_lab.signal import band_power
from spikelfp_lab.training import distill, finetune, pretrain

# Raise when a change in the code makes models trained before it worthless.
CACHE_VERSION = 2

COHORT_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("simulated", "smoke"): {"n_sessions": 5, "duration_s": 90.0},
    # One rat and three sessions of two mice.
    ("cao2021", "any"): {"recordings": ("rat_a", "mouse1_s1", "mouse2_s1", "mouse2_s2")},
}
# What a cohort needs otherwise than the preset says.
COHORT_TRAINING: dict[tuple[str, str], dict[str, Any]] = {
    # Bins of 100 ms, few of them: a mouse's trial is 25 bins, so that windows must be shorter, and more of them make a batch.
    ("cao2021", "demo"): {"steps": 400, "window_s": 2.0, "batch": 32, "val_every": 20},
    ("cao2021", "smoke"): {"window_s": 2.0},
    ("cao2021", "paper"): {"window_s": 2.0},
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "simulated": ("I/s05", "I/s06", "I/s07"),
    "cao2021": ("ratA/s1", "mouse2/s2"),
    # Those of the paper.
    "makin": tuple(name.replace("_", "/", 1) for name in makin.HELD_OUT),
    "flint": tuple(f"C/{name}" for name in flint.HELD_OUT),
}


@dataclass(frozen=True)
class Study:
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

    Examples
    --------
    >>> Study(preset="smoke", n_seeds=2).seeds
    range(0, 2)
    """

    cohort_name: str = "simulated"
    preset: str = "demo"
    n_seeds: int = 1
    runs: Path = Path("runs")
    figures: Path = Path("figures")
    device: str = "auto"
    progress: bool = True
    _loaded: dict[str, Autoencoder] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"there is no preset {self.preset!r}; choose one of {list(PRESETS)}")
        if self.n_seeds < 1:
            raise ConfigError(f"SEEDS is {self.n_seeds}; a study needs at least one")

    @classmethod
    def from_environment(cls) -> Study:
        """The study that ``COHORT``, ``PRESET``, ``SEEDS``, ``SPIKELFP_RUNS`` and ``FIGURES`` ask for.

        Relative folders are taken from the repository's root when the notebooks run in ``notebooks/``.
        """
        root = Path("..") if Path.cwd().name == "notebooks" else Path()
        seeds = os.environ.get("SEEDS", "1")
        if not seeds.isdigit():
            raise ConfigError(f"SEEDS is {seeds!r}; give a whole number such as 3")
        cohort = os.environ.get("COHORT", "simulated")
        preset = os.environ.get("PRESET", "demo")
        figures = "figures" if cohort == "simulated" else f"figures/{Path(cohort).name}"
        if preset != "demo":
            figures = f"{figures}/{preset}"
        if (root / cohort).is_dir() and cohort not in HELD_OUT:  # a folder, named from the root
            cohort = str((root / cohort).resolve())
        return cls(
            cohort_name=cohort,
            preset=preset,
            n_seeds=int(seeds),
            runs=root / os.environ.get("SPIKELFP_RUNS", "runs"),
            figures=root / os.environ.get("FIGURES", figures),
        )

    @property
    def seeds(self) -> range:
        return range(self.n_seeds)

    @property
    def options(self) -> dict[str, Any]:
        """Options the cohort is opened with."""
        exact = COHORT_OPTIONS.get((self.cohort_name, self.preset))
        return exact if exact is not None else COHORT_OPTIONS.get((self.cohort_name, "any"), {})

    @cached_property
    def cohort(self) -> xr.DataTree:
        """The cohort; a simulated one is made once and kept under ``runs``."""
        if self.cohort_name != "simulated":
            return open_cohort(self.cohort_name, **self.options)
        path = self.runs / f"cohort-{config_hash(CACHE_VERSION, str(sorted(self.options.items())))}"
        if not path.exists():
            # Complete or not there: a cohort that was interrupted would pass for a smaller one.
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
            save_cohort(open_cohort("simulated", progress=self.progress, **self.options), partial)
            try:
                os.replace(partial, path)
            except OSError:
                if not path.exists():  # else another process was first, with the same cohort
                    raise
                shutil.rmtree(partial)
        return open_cohort(path, progress=False)

    @cached_property
    def sessions(self) -> dict[str, xr.Dataset]:
        """Name -> session, in memory."""
        return {name: as_dataset(one).load() for name, one in iterate_sessions(self.cohort).items()}

    @cached_property
    def held_out(self) -> list[str]:
        """Sessions that no pre-training sees; the last third of a cohort that names none."""
        known = [name for name in HELD_OUT.get(self.cohort_name, ()) if name in self.sessions]
        return known or list(self.sessions)[-max(1, round(len(self.sessions) / 3)) :]

    @cached_property
    def pretraining(self) -> list[str]:
        """Sessions that teacher and MS-LFP are pre-trained on."""
        names = [name for name in self.sessions if name not in self.held_out]
        if not names:
            raise ConfigError(
                f"cohort {self.cohort_name!r} has {len(self.sessions)} session(s): none is left for pre-training. Give at least two."
            )
        return names

    def configs(self, role: Role, seed: int) -> Preset:
        """The preset's configs for one kind of training, with a seed and what the cohort needs."""
        preset = PRESETS[self.preset][role]
        changes = {"seed": seed} | COHORT_TRAINING.get((self.cohort_name, self.preset), {})
        return replace(
            preset,
            train=replace(preset.train, **changes),
            finetune=replace(preset.finetune, **changes),
        )

    # Models. Each is trained once: a second call, or another notebook, finds it under `runs`.

    def teacher(self, seed: int = 0) -> Autoencoder:
        """Multi-session spike model, pre-trained on the pretraining sessions."""
        return self._pretrained("teacher", "spikes", self._having("spikes"), seed)

    def ms_lfp(self, seed: int = 0) -> Autoencoder:
        """Multi-session LFP model, pre-trained on the pretraining sessions."""
        return self._pretrained("ms-lfp", "lfp", self._having("lfp"), seed)

    def ss_lfp(self, name: str, seed: int = 0) -> Autoencoder:
        """LFP model of one session alone."""
        return self._pretrained("ss-lfp", "lfp", [name], seed)

    def teacher_for(self, name: str, seed: int = 0) -> Autoencoder:
        """The teacher, fine-tuned on a held-out session."""
        return self._finetuned("teacher", "spikes", self.teacher, name, seed)

    def ms_lfp_for(self, name: str, seed: int = 0) -> Autoencoder:
        """MS-LFP, fine-tuned on a held-out session."""
        return self._finetuned("ms-lfp", "lfp", self.ms_lfp, name, seed)

    def distilled(self, name: str, seed: int = 0, *, shuffle_teacher: bool = False) -> Autoencoder:
        """Student of the fine-tuned teacher, trained on one session."""
        configs = self.configs("distill", seed)
        kind = "shuffled" if shuffle_teacher else "distilled"

        def make(folder: Path) -> Autoencoder:
            return distill(
                {name: self.sessions[name]},
                self.teacher_for(name, seed),
                model=configs.model,
                distill=configs.distill,
                train=configs.train,
                shuffle_teacher=shuffle_teacher,
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        return self._cached(kind, make, name, self._key("spikes", seed), self._key("distill", seed))

    def shuffled(self, name: str, seed: int = 0) -> Autoencoder:
        """Control: student of a teacher whose latents are shuffled in time."""
        return self.distilled(name, seed, shuffle_teacher=True)

    def untrained(self, name: str, seed: int = 0) -> Autoencoder:
        """Control: a student with random weights, its statistics set and nothing learned."""
        configs = self.configs("distill", seed)
        still = replace(configs.train, steps=1, lr=0.0, val_every=1)

        def make(folder: Path) -> Autoencoder:
            del folder  # nothing to resume
            return pretrain(
                {name: self.sessions[name]},
                "lfp",
                model=replace(configs.model, predictor_layers=1),
                train=still,
                device=self.device,
                progress=False,
            )

        return self._cached("untrained", make, name, config_hash(configs.model, still))

    def models(self, name: str, seed: int = 0) -> dict[str, Autoencoder]:
        """All models of the comparison for one held-out session, by the label they have in figures."""
        return {label: make(self, name, seed) for label, make in MODELS.items()}

    def train(self) -> None:
        """Train whatever the notebooks of this study will ask for and that is not there yet.

        On a CPU each core trains one model at a time, which takes about half the time that all cores take on one after the other; on a GPU they take
        turns. Three rounds, since a model may need those of the round before.
        """
        held_out = [
            (seed, name) for seed in self.seeds for name in self.held_out
        ]  # makes the cohort
        rounds: list[list[tuple[Callable[..., Autoencoder], tuple[Any, ...]]]] = [
            [(make, (seed,)) for make in (Study.teacher, Study.ms_lfp) for seed in self.seeds]
            + [(make, (name, seed)) for make in (Study.ss_lfp, Study.untrained) for seed, name in held_out],
            [(make, (name, seed)) for make in (Study.teacher_for, Study.ms_lfp_for) for seed, name in held_out],
            [(make, (name, seed)) for make in (Study.distilled, Study.shuffled) for seed, name in held_out],
        ]  # fmt: skip
        for number, jobs in enumerate(rounds, 1):
            names = [(make.__name__, *arguments) for make, arguments in jobs]
            self.in_parallel(
                _train_one, names, desc=f"train, round {number} of {len(rounds)}", unit="model"
            )

    def in_parallel(
        self,
        work: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        *,
        desc: str,
        unit: str,
    ) -> list[Any]:
        """``work(study, *job)`` for every job, in whatever order they end: one a core at a time, or by turns on a GPU."""
        workers = 1 if pick_device(self.device).type == "cuda" else min(cpu_count(), len(jobs))
        each = replace(self, progress=self.progress and workers == 1, _loaded={})
        with (
            tqdm(total=len(jobs), desc=desc, unit=unit, disable=not self.progress) as bar,
            parallel_config(backend="loky", inner_max_num_threads=1),
        ):
            done = []
            for result in Parallel(n_jobs=workers, return_as="generator_unordered")(
                delayed(work)(each, *job) for job in jobs
            ):
                done.append(result)
                bar.update()
        return done

    def scores(self) -> pd.DataFrame:
        """Decode behavior from every model's latents, and from the references beside them.

        Returns
        -------
        DataFrame
            Tidy: session, seed, model, readout, split, axis, r2.
        """
        jobs = [(seed, name) for seed in self.seeds for name in self.held_out]
        tables = self.in_parallel(_score_one, jobs, desc="decode", unit="session")
        columns = ["session", "seed", "model", "readout", "split", "axis", "r2"]
        table = pd.concat(tables, ignore_index=True).loc[:, columns]
        return table.sort_values(["seed", "session"], kind="stable", ignore_index=True)

    def _having(self, modality: Modality) -> list[str]:
        """Pretraining sessions with a modality: teachers learn from sessions without LFP too."""
        return [name for name in self.pretraining if modality in self.sessions[name]]

    @cached_property
    def _data(self) -> str:
        """Hash of what a user's folder holds, which may change under the same name; empty for the cohorts that do not."""
        if self.cohort_name in ("simulated", "cao2021"):
            return ""
        total = hashlib.sha256()
        for name, session in self.sessions.items():
            total.update(name.encode())
            for variable in sorted(map(str, session.data_vars)):
                total.update(np.ascontiguousarray(session[variable].to_numpy()).tobytes())
        return total.hexdigest()[:12]

    def _key(self, role: Role, seed: int) -> str:
        configs = self.configs(role, seed)
        parts = (configs.model, configs.train, configs.finetune, configs.mask, configs.distill)
        return config_hash(*parts, *self.pretraining)

    def _pretrained(
        self, kind: str, modality: Modality, names: list[str], seed: int
    ) -> Autoencoder:
        configs = self.configs(modality, seed)

        def make(folder: Path) -> Autoencoder:
            return pretrain(
                {name: self.sessions[name] for name in names},
                modality,
                model=configs.model,
                mask=configs.mask,
                train=configs.train,
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        return self._cached(kind, make, *names, config_hash(configs.model, configs.train, configs.mask))  # fmt: skip

    def _finetuned(
        self,
        kind: str,
        modality: Modality,
        before: Callable[[int], Autoencoder],
        name: str,
        seed: int,
    ) -> Autoencoder:
        configs = self.configs(modality, seed)

        def make(folder: Path) -> Autoencoder:
            return finetune(
                before(seed),
                {name: self.sessions[name]},
                mask=configs.mask,
                train=configs.finetune,
                device=self.device,
                progress=self.progress,
                folder=folder,
            )

        return self._cached(f"{kind}-tuned", make, name, self._key(modality, seed))

    def _cached(self, kind: str, make: Callable[[Path], Autoencoder], *key: str) -> Autoencoder:
        """The model of this kind and key: from memory, from disk, or made now."""
        cohort = (self.cohort_name, str(sorted(self.options.items())), CACHE_VERSION)
        data = (self._data,) if self._data else ()
        name = f"{kind}-{config_hash(kind, *cohort, *data, *key)}"
        if name not in self._loaded:
            path, unfinished = self.runs / name, self.runs / f"{name}.unfinished"
            if not path.exists():
                try:
                    model = make(unfinished)
                except CheckpointError as error:
                    if str(unfinished) not in str(error):
                        raise
                    # What was left there is of older code or other data: start anew.
                    shutil.rmtree(unfinished)
                    model = make(unfinished)
                model.save(path)
                shutil.rmtree(unfinished, ignore_errors=True)
            self._loaded[name] = load(path)
        return self._loaded[name]


def _train_one(study: Study, make: str, *arguments: Any) -> None:
    """One job of :meth:`Study.train`; what was trained is found on disk."""
    getattr(study, make)(*arguments)


def _score_one(study: Study, seed: int, name: str) -> pd.DataFrame:
    """One job of :meth:`Study.scores`: all models and references of a held-out session."""
    session = study.sessions[name]
    options = read_out(study.configs("distill", seed).train)
    inputs = {
        label: encode(model, session, device=study.device, progress=False)
        for label, model in study.models(name, seed).items()
    } | references(session)
    tables = [
        decode(latents, session, **options).assign(session=name, seed=seed, model=label)
        for label, latents in inputs.items()
    ]
    return pd.concat(tables, ignore_index=True)


MODELS: dict[str, Callable[[Study, str, int], Autoencoder]] = {
    "SS-LFP": Study.ss_lfp,
    "MS-LFP": Study.ms_lfp_for,
    "Distilled": Study.distilled,
    "Teacher": Study.teacher_for,
    "Untrained": Study.untrained,
    "Shuffled teacher": Study.shuffled,
}


def read_out(train: TrainConfig) -> dict[str, Any]:
    """Options of :func:`~spikelfp_lab.decode` that score a model on the split it was trained with."""
    protocol = "paper" if train.scheme == "paper" else None
    return {
        "scheme": train.scheme,
        "window_s": train.window_s,
        "seed": train.seed,
        "protocol": protocol,
    }


def references(session: xr.Dataset) -> dict[str, xr.DataArray]:
    """What models are held against: raw LFP, its band power, and binned spikes, to be decoded by the same ridges."""
    return {
        "Raw LFP ridge": session["lfp"],
        "Band power ridge": band_power(session["lfp"]),
        "Spikes ridge": session["spikes"],
    }


if __name__ == "__main__":
    # By its full name: worker processes can import that, and cannot import "__main__".
    from spikelfp_lab import study

    study.Study.from_environment().train()
