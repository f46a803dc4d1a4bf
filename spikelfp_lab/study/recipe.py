"""Recipe: one student of a grid, as what differs from the study's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spikelfp_lab.configs import Config
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.presets import Preset

TeacherKind = Literal["tuned", "shuffled", "random", "other subject"]


@dataclass(frozen=True)
class Recipe(Config):
    """How a student is made; the default is the Distilled of the comparison.

    Attributes
    ----------
    teacher : {"tuned", "shuffled", "random", "other subject"}
        Whose latents are reproduced: those of the teacher that was fine-tuned on the session; the same shuffled in time; those of a spike model with
        random weights; those of the teacher reading a session of another subject.
    pretrained_on : int, optional
        How many pre-training sessions the teacher has seen, the first ones; 0: it was trained on the student's session alone. All by default.
    beside : bool
        Distill on the pre-training sessions too, beside the student's own.
    minutes : float, optional
        Minutes of LFP, from the start of the training time, that the student is trained on; all by default.
    supervised : bool
        Teacher and student learn the session's behavior too (Eq. 3).
    distill, model, train : dict
        Fields of ``DistillConfig``, ``ModelConfig`` and ``TrainConfig`` in place of the preset's.

    Examples
    --------
    >>> Recipe(distill={"alignment_weight": 0.0}).to_dict()["distill"]
    {'alignment_weight': 0.0}
    """

    teacher: TeacherKind = "tuned"
    pretrained_on: int | None = None
    beside: bool = False
    minutes: float | None = None
    supervised: bool = False
    distill: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.teacher not in TeacherKind.__args__:
            raise ConfigError(
                f"Recipe: teacher is {self.teacher!r}; give one of {TeacherKind.__args__}"
            )
        if self.pretrained_on is not None and self.pretrained_on < 0:
            raise ConfigError("Recipe: pretrained_on must not be negative")
        if self.minutes is not None and self.minutes <= 0:
            raise ConfigError("Recipe: minutes must be positive")
        for name in ("model", "distill", "train"):
            if not isinstance(getattr(self, name), dict):
                raise ConfigError(f"Recipe: {name} must be a dict of fields")

    def apply(self, preset: Preset) -> Preset:
        """The preset's configs with this recipe's changes; an unknown field raises :class:`ConfigError`."""
        distill = {"target": "behavior"} if self.supervised else {}
        try:
            return replace(
                preset,
                model=replace(preset.model, **self.model),
                train=replace(preset.train, **self.train),
                distill=replace(preset.distill, **distill | self.distill),
            )
        except TypeError as error:
            raise ConfigError(f"Recipe: {error}") from error
