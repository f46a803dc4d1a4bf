"""Setup: the cohort, the preset and the folders that the environment chooses."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import xarray as xr

from spikelfp_lab import __version__
from spikelfp_lab.cohorts import flint, makin, simulated
from spikelfp_lab.cohorts.open import open_cohort
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io.prepare import cached_session
from spikelfp_lab.models.encode import suited
from spikelfp_lab.presets import NOISED, PRESETS, Preset, Role, preset_configs
from spikelfp_lab.sessions import as_dataset, cohort_from_sessions, iterate_sessions
from spikelfp_lab.training.batches import split_of

# Subjects of the simulated cohort: I, which recipes were tried on in version 0.1.0, T, on whose
# validation time they are chosen since then, and V, which nothing is ever chosen on.
SUBJECTS = ("", "-T", "-V")
# Sessions that no pre-training sees: of the real cohorts those of the paper.
HELD_OUT = {
    **{f"simulated{of}": tuple(f"{of[1:] or 'I'}/s{i:02}" for i in (5, 6, 7)) for of in SUBJECTS},
    "cao2021": ("ratA/s1", "mouse2/s2"),
    "v1_gamma": ("alpa/gratings",),
    "v1_gamma-gamma": ("alpa/gratings",),
    "makin": tuple(name.replace("_", "/", 1) for name in makin.HELD_OUT),
    "flint": tuple(f"C/{name}" for name in flint.HELD_OUT),
}
# Of the behavior term in the supervised setting; the paper does not give its own.
BEHAVIOR_WEIGHT = 1.0
# Options of a real cohort: of cao2021 one rat and three sessions of two mice.
_OPTIONS: dict[str, dict[str, Any]] = {
    "cao2021": {"recordings": ("rat_a", "mouse1_s1", "mouse2_s1", "mouse2_s2")},
    "v1_gamma-gamma": {"lfp": "gamma"},
}
# How it is trained on: trials of 25 to 29 bins need short windows; of cao2021, whose bins last
# 100 ms, the demo preset takes many a batch, in few steps, a teacher's in more: with 400 steps its
# validation loss still falls.
_SHORT = {"cao2021": {"window_s": 2.0}, "v1_gamma": {"window_s": 1.0, "scheme": "trials"}}
_CAO2021_DEMO, _CAO2021_TEACHER_STEPS = {"steps": 400, "batch": 32, "val_every": 20}, 1200


@dataclass(frozen=True)
class Setup:
    """A cohort, a preset and the folders for models and figures: what the notebooks share.

    Held-out sessions are in nobody's pre-training. Models lie in ``folder / f"seed{seed}"``:
    those of several sessions directly (``teacher``, ``ms_lfp``), those of one session in a folder
    of its name (``I/s05/teacher``, ``I/s05/ms_lfp``, ``I/s05/ss_lfp``, ``I/s05/distilled``).

    >>> Setup(preset="smoke").folder.as_posix()
    'runs/simulated/smoke'
    """

    # A name of HELD_OUT, or a folder of sessions. "simulated" is subject I, "simulated-T" and "-V"
    # are two others; "v1_gamma-gamma" has power in place of the potential.
    cohort_name: str = "simulated"
    preset: str = "demo"  # or "smoke", "paper"
    n_seeds: int = 1  # seeds 0 ... n_seeds - 1; a seed fixes weights, batches and the split
    runs: Path = Path("runs")  # of trained models
    device: str = "auto"
    progress: bool = True
    full: bool = False  # side questions on all held-out sessions and seeds, with more values
    held: tuple[str, ...] = ()  # sessions to hold out of pre-training, in place of the cohort's

    def __post_init__(self) -> None:
        preset_configs(self.preset, "lfp")  # or it says that there is no such preset
        if self.n_seeds < 1:
            raise ConfigError("SEEDS (n_seeds) is no whole number from 1, such as 3")

    @classmethod
    def from_environment(cls) -> Self:
        """What ``COHORT``, ``PRESET``, ``SEEDS``, ``FULL`` and ``SPIKELFP_RUNS`` say.

        Relative folders start at the repository's root, also for notebooks in ``notebooks/``.
        """
        root = Path("..") if Path.cwd().name == "notebooks" else Path()
        seeds, cohort = os.environ.get("SEEDS", "1"), os.environ.get("COHORT", "simulated")
        if (root / cohort).is_dir() and cohort not in HELD_OUT:
            cohort = str((root / cohort).resolve())
        return cls(
            cohort_name=cohort,
            preset=os.environ.get("PRESET", "demo"),
            n_seeds=int(seeds) if seeds.isdigit() else 0,
            runs=root / os.environ.get("SPIKELFP_RUNS", "runs"),
            full=os.environ.get("FULL", "") not in ("", "0"),
        )

    @property
    def seeds(self) -> range:
        return range(self.n_seeds)

    @property
    def _data_set(self) -> str:
        """The cohort's name without the form of it."""
        return self.cohort_name.partition("-")[0] if self.cohort_name in HELD_OUT else ""

    @property
    def title(self) -> str:
        """Cohort and preset, for titles of figures."""
        return f"{Path(self.cohort_name).name}, {self.preset} preset"

    @property
    def folder(self) -> Path:
        """Where trained models of this cohort and preset are kept."""
        return self.runs / Path(self.cohort_name).name / self.preset

    @property
    def simulated(self) -> bool:
        """Whether sessions are simulated, so that the truth is known."""
        return self.cohort_name in [f"simulated{of}" for of in SUBJECTS]

    @cached_property
    def cohort(self) -> xr.DataTree:
        """The cohort; simulated sessions are made once and kept."""
        if self.simulated:
            n, seconds = (5, 90.0) if self.preset == "smoke" else (7, 480.0)
            subject = self.cohort_name.partition("-")[2] or "I"
            names = [f"{subject}/s{index:02d}" for index in range(1, n + 1)]
            return cohort_from_sessions([self._simulated(name, seconds) for name in names])
        return open_cohort(self._data_set or self.cohort_name, **_OPTIONS.get(self.cohort_name, {}))

    def _simulated(self, name: str, seconds: float) -> xr.Dataset:
        """A session of the simulated cohort."""
        subject, number = name.split("/s")
        return self.simulate(name, int(number), subject=subject, duration_s=seconds)

    def simulate(self, place: str, index: int, **options: Any) -> xr.Dataset:
        """A simulated session, made once and kept under the version that made it."""
        make = partial(simulated.session, index, **options)
        return cached_session(self.folder / "sessions" / __version__ / f"{place}.zarr", make)

    @cached_property
    def sessions(self) -> dict[str, xr.Dataset]:
        """Name -> session, in memory."""
        return {name: as_dataset(one).load() for name, one in iterate_sessions(self.cohort).items()}

    @cached_property
    def held_out(self) -> list[str]:
        """Sessions that no pre-training sees; the last third of a cohort that names none."""
        asked = self.held or HELD_OUT.get(self.cohort_name, ())
        known = [name for name in asked if name in self.sessions]
        return known or list(self.sessions)[-max(1, round(len(self.sessions) / 3)) :]

    @cached_property
    def pretraining(self) -> list[str]:
        """Sessions that teacher and MS-LFP are pre-trained on."""
        names = [name for name in self.sessions if name not in self.held_out]
        if not names:
            raise ConfigError(f"cohort {self.cohort_name!r} has one session: give at least two")
        return names

    @property
    def runs_of_all(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of the comparison."""
        return [(seed, name) for seed in self.seeds for name in self.held_out]

    @property
    def side_runs(self) -> list[tuple[int, str]]:
        """(seed, held-out session) of side questions: all of a full setup, else the first."""
        return self.runs_of_all if self.full else self.runs_of_all[:1]

    def having(self, *variables: str) -> list[str]:
        """Pre-training sessions with these variables: teachers need no LFP."""
        return [n for n in self.pretraining if all(v in self.sessions[n] for v in variables)]

    def configs(self, role: Role, seed: int = 0, *, supervised: bool = False) -> Preset:
        """The preset's configs for one kind of training, with the seed and what the cohort needs.

        In the demo preset students of the simulated cohort see noised input; of all others, teacher
        and MS-LFP are fine-tuned with all weights: each was chosen on validation time. Supervised
        models learn behavior beside what they learn anyway; LFP models then get the augmentation
        and early stopping of students, without which they overfit few labels.
        """
        preset, student = PRESETS[self.preset][role], PRESETS[self.preset]["distill"].train
        if self.preset == "demo" and self.simulated:
            student = replace(student, **NOISED)
        elif self.preset == "demo":
            finetune = replace(preset.finetune, tables_only=False, lr=preset.train.lr)
            preset = replace(preset, finetune=finetune)
        if role == "distill":
            preset = replace(preset, train=student)
        changes: dict[str, Any] = {"seed": seed}
        changes |= _SHORT.get(self._data_set, {})
        slow = self.cohort_name == "cao2021" and self.preset == "demo"
        changes |= _CAO2021_DEMO if slow else {}
        if supervised:  # behavior asks for more than tables
            finetune = replace(preset.finetune, tables_only=False, lr=preset.train.lr / 3)
            mask = replace(preset.mask, behavior=BEHAVIOR_WEIGHT)
            preset = replace(preset, mask=mask, finetune=finetune)
        if supervised and role != "spikes":
            changes |= {key: getattr(student, key) for key in ("drop_inputs", "noise", "patience")}
        train, finetune = (replace(each, **changes) for each in (preset.train, preset.finetune))
        if slow and role == "spikes":
            train = replace(train, steps=_CAO2021_TEACHER_STEPS)
        model, _ = suited(preset.model, self.sessions.values())
        return replace(preset, model=model, train=train, finetune=finetune)

    @property
    def protocol(self) -> str | None:
        """How :func:`~spikelfp_lab.decode` scores: "paper" where time is split as in the paper."""
        return "paper" if self.configs("distill").train.scheme == "paper" else None

    def split(self, name: str, seed: int = 0) -> xr.DataArray:
        """The split that all models of a session are scored on: that of its student."""
        return split_of(self.sessions[name], self.configs("distill", seed).train)
