"""The ground of a study: its cohort, who is held out, its configs, and the folder where each trained model is found again by the hash of its configs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from spikelfp_lab._files import made_once
from spikelfp_lab.cohorts import open_cohort
from spikelfp_lab.configs import config_hash
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.models import Autoencoder, load
from spikelfp_lab.presets import PRESETS, Preset, Role
from spikelfp_lab.sessions import as_dataset, iterate_sessions
from spikelfp_lab.study.cohorts import COHORT_TRAINING, COHORTS, held_out_of, options_of

# Of the behavior term in the supervised setting; the paper does not say its own.
BEHAVIOR_WEIGHT = 1.0
# Raise when a change in the code makes models trained before it worthless.
CACHE_VERSION = 2


@dataclass(frozen=True)
class Ground:
    """What :class:`~spikelfp_lab.study.Study` stands on; its fields are described there."""

    cohort_name: str = "simulated"
    preset: str = "demo"
    n_seeds: int = 1
    runs: Path = Path("runs")
    figures: Path = Path("figures")
    device: str = "auto"
    progress: bool = True
    full: bool = False
    _loaded: dict[str, Autoencoder] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f"there is no preset {self.preset!r}; choose one of {list(PRESETS)}")
        if self.n_seeds < 1:
            raise ConfigError(f"SEEDS is {self.n_seeds}; a study needs at least one")

    @classmethod
    def from_environment(cls) -> Self:
        """The study that ``COHORT``, ``PRESET``, ``SEEDS``, ``GRID``, ``SPIKELFP_RUNS`` and ``FIGURES`` ask for.

        Relative folders are taken from the repository's root when the notebooks run in ``notebooks/``.
        """
        root = Path("..") if Path.cwd().name == "notebooks" else Path()
        seeds = os.environ.get("SEEDS", "1")
        if not seeds.isdigit():
            raise ConfigError(f"SEEDS is {seeds!r}; give a whole number such as 3")
        cohort = os.environ.get("COHORT", "simulated")
        preset = os.environ.get("PRESET", "demo")
        grid = os.environ.get("GRID", "reduced")
        if grid not in ("reduced", "full"):
            raise ConfigError(f"GRID is {grid!r}; give 'reduced' or 'full'")
        figures = "figures" if cohort == "simulated" else f"figures/{Path(cohort).name}"
        if preset != "demo":
            figures = f"{figures}/{preset}"
        if (root / cohort).is_dir() and cohort not in COHORTS:  # a folder, named from the root
            cohort = str((root / cohort).resolve())
        return cls(
            cohort_name=cohort,
            preset=preset,
            n_seeds=int(seeds),
            runs=root / os.environ.get("SPIKELFP_RUNS", "runs"),
            figures=root / os.environ.get("FIGURES", figures),
            full=grid == "full",
        )

    @property
    def seeds(self) -> range:
        return range(self.n_seeds)

    @property
    def options(self) -> dict[str, Any]:
        """Options the cohort is opened with."""
        return options_of(self.cohort_name, self.preset)

    @cached_property
    def cohort(self) -> xr.DataTree:
        """The cohort; a simulated one is made once and kept under ``runs``."""
        if self.cohort_name != "simulated":
            return open_cohort(self.cohort_name, **self.options)
        path = self.runs / f"cohort-{config_hash(CACHE_VERSION, str(sorted(self.options.items())))}"

        def make(unfinished: Path) -> None:
            # Complete or not there: a cohort that was interrupted would pass for a smaller one.
            partial = unfinished / "cohort"
            shutil.rmtree(partial, ignore_errors=True)
            save_cohort(open_cohort("simulated", progress=self.progress, **self.options), partial)
            os.replace(partial, path)

        made_once(path, make)
        return open_cohort(path, progress=False)

    @cached_property
    def sessions(self) -> dict[str, xr.Dataset]:
        """Name -> session, in memory."""
        return {name: as_dataset(one).load() for name, one in iterate_sessions(self.cohort).items()}

    @cached_property
    def held_out(self) -> list[str]:
        """Sessions that no pre-training sees; the last third of a cohort that names none."""
        known = [name for name in held_out_of(self.cohort_name) if name in self.sessions]
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

    @property
    def runs_of_all(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of every comparison."""
        return [(seed, name) for seed in self.seeds for name in self.held_out]

    @property
    def runs_of_first_seed(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of side questions: all with ``full``, else those of the first seed."""
        return self.runs_of_all if self.full else [(0, name) for name in self.held_out]

    @property
    def runs_of_grids(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of the grids, which have many models a session: all with ``full``, else the first."""
        return self.runs_of_all if self.full else self.runs_of_all[:1]

    def configs(self, role: Role, seed: int, *, supervised: bool = False) -> Preset:
        """The preset's configs for one kind of training, with a seed and what the cohort needs.

        Supervised models learn behavior beside what they learn anyway; LFP models then get the augmentation and the early stopping that students
        have, without which they learn their few labels by heart.
        """
        preset = PRESETS[self.preset][role]
        changes = {"seed": seed} | COHORT_TRAINING.get((self.cohort_name, self.preset), {})
        if supervised:
            preset = replace(preset, mask=replace(preset.mask, behavior=BEHAVIOR_WEIGHT))
            if role in ("lfp", "both"):
                student = PRESETS[self.preset]["distill"].train
                same = ("drop_inputs", "noise", "patience")
                changes |= {name: getattr(student, name) for name in same}
        return replace(
            preset,
            train=replace(preset.train, **changes),
            finetune=replace(preset.finetune, **changes),
        )

    def having(self, *variables: str) -> list[str]:
        """Pretraining sessions with these variables: teachers learn from sessions without LFP too."""
        return [
            name
            for name in self.pretraining
            if all(variable in self.sessions[name] for variable in variables)
        ]

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

    @cached_property
    def _strangers(self) -> dict[str, xr.Dataset]:
        """A session of another subject than the simulated cohort's own."""
        if self.cohort_name != "simulated":
            return {}
        options = self.options | {"subjects": ("C",), "n_sessions": 1}
        made = open_cohort("simulated", progress=False, **options)
        return {name: as_dataset(one) for name, one in iterate_sessions(made).items()}

    def other_subject(self, name: str) -> str | None:
        """A session with spikes of another subject than that of ``name``: of the cohort, else a simulated one for a simulated cohort, else None."""
        if self.cohort_name == "simulated":
            return "C/s01"
        subject = name.split("/")[0]
        others = (one for one in self.having("spikes") if one.split("/")[0] != subject)
        return next(others, None)

    def _session(self, name: str) -> xr.Dataset:
        return self.sessions[name] if name in self.sessions else self._strangers[name]

    def _cached(self, kind: str, make: Callable[[Path], Autoencoder], *key: str) -> Autoencoder:
        """The model of this kind and key: from memory, from disk, or made now."""
        cohort = (self.cohort_name, str(sorted(self.options.items())), CACHE_VERSION)
        data = (self._data,) if self._data else ()
        name = f"{kind}-{config_hash(kind, *cohort, *data, *key)}"
        if name not in self._loaded:
            path = self.runs / name

            def train(unfinished: Path) -> None:
                try:
                    model = make(unfinished / "run")
                except CheckpointError as error:
                    if str(unfinished) not in str(error):
                        raise
                    # What was left there is of older code or other data: start anew.
                    shutil.rmtree(unfinished / "run")
                    model = make(unfinished / "run")
                model.save(path)

            made_once(path, train)
            self._loaded[name] = load(path)
        return self._loaded[name]
