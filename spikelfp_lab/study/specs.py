"""Specs of the models of a study: what each is trained on, from which other model, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spikelfp_lab.presets import Preset, Role
from spikelfp_lab.study.setup import Setup

Verb = Literal["pretrain", "finetune", "distill"]
Setting = Literal["comparison", "unsupervised", "supervised"]
Control = Literal["", "untrained", "shuffled", "random", "other subject"]
OTHER = "C/s01"  # simulated, of another subject
VERBS: tuple[Verb, ...] = ("pretrain", "finetune", "distill")


@dataclass(frozen=True)
class ModelSpec:
    """How one model of a study is made.

    Attributes
    ----------
    folder : str
        Where it is kept, below ``Setup.folder``; no two models share one.
    verb : {"pretrain", "finetune", "distill"}
    role : {"spikes", "lfp", "both", "distill"}
        Whose configs of the preset it is trained with.
    sessions : tuple of str
        Which it is trained on.
    seed : int
    start : ModelSpec, optional
        What is fine-tuned, or the teacher of the student's own session (the last one).
    pretrained : ModelSpec, optional
        The teacher of a student's other sessions.
    control : {"", "untrained", "shuffled", "random", "other subject"}
        No training at all, or what is wrong with the teacher.
    supervised : bool
        Behavior is learned too.
    minutes : float, optional
        Minutes of LFP, from the start of the training time, that a student sees.
    changes : dict
        Fields of the preset's "model", "train" and "distill" configs that are replaced.
    """

    folder: str
    verb: Verb
    role: Role
    sessions: tuple[str, ...]
    seed: int = 0
    start: ModelSpec | None = None
    pretrained: ModelSpec | None = None
    control: Control = ""
    supervised: bool = False
    minutes: float | None = None
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def needs(self) -> list[ModelSpec]:
        """The models that must be trained before this one."""
        return [need for need in (self.start, self.pretrained) if need is not None]

    def configs(self, setup: Setup) -> Preset:
        """The configs it is trained with."""
        configs = setup.configs(self.role, self.seed, supervised=self.supervised)
        changes = self.changes
        if self.control == "untrained":
            changes = {
                "model": {"predictor_layers": 1},
                "train": {"steps": 1, "lr": 0.0, "val_every": 1},
            }
        if self.role == "distill" and self.supervised:
            changes = changes | {"distill": {"target": "behavior"}}
        return replace(
            configs,
            **{part: replace(getattr(configs, part), **own) for part, own in changes.items()},
        )

    def work(self, setup: Setup) -> float:
        """Seconds of recording that training goes through at most: longer ones start first."""
        configs = self.configs(setup)
        train = configs.finetune if self.verb == "finetune" else configs.train
        return train.steps * train.batch * train.window_s


def pretrained(setup: Setup, role: Role, seed: int) -> ModelSpec:
    """The teacher ("spikes") or MS-LFP ("lfp"), of all pre-training sessions."""
    names = tuple(setup.having(role))
    return ModelSpec(f"seed{seed}/{_MULTI[role]}", "pretrain", role, names, seed)


_MULTI = {"spikes": "teacher", "lfp": "ms_lfp"}
_SINGLE = {"spikes": "ss_teacher", "lfp": "ss_lfp", "both": "ss_mm"}


def single(
    setup: Setup, role: Role, name: str, seed: int, *, supervised: bool = False
) -> ModelSpec:
    """A model of one session alone; one of spikes takes half the steps of several sessions."""
    steps = setup.configs(role).train.steps
    changes = {"train": {"steps": round(0.5 * steps)}} if role == "spikes" else {}
    folder = _place(name, seed, _SINGLE[role], supervised)
    return ModelSpec(
        folder, "pretrain", role, (name,), seed, supervised=supervised, changes=changes
    )


def tuned(setup: Setup, role: Role, name: str, seed: int, *, supervised: bool = False) -> ModelSpec:
    """The teacher or MS-LFP, fine-tuned on a session."""
    folder = _place(name, seed, _MULTI[role], supervised)
    start = pretrained(setup, role, seed)
    return ModelSpec(folder, "finetune", role, (name,), seed, start, supervised=supervised)


def untrained(name: str, seed: int, role: Role = "distill") -> ModelSpec:
    """Control: random weights; a student's, or with role "spikes" a teacher's."""
    folder = _place(name, seed, "untrained" if role == "distill" else "random_teacher")
    return ModelSpec(folder, "pretrain", role, (name,), seed, control="untrained")


def student(
    setup: Setup,
    name: str,
    seed: int,
    label: str = "distilled",
    *,
    teacher: ModelSpec | None = None,
    multi_session: bool = False,
    supervised: bool = False,
    control: Control = "",
    minutes: float | None = None,
    **changes: dict[str, Any],
) -> ModelSpec:
    """A student of the fine-tuned teacher, or of ``teacher``.

    With ``multi_session`` on the pre-training sessions too, which are read by the teacher that
    was trained on them: the pre-trained one.
    """
    others = tuple(setup.having("spikes", "lfp")) if multi_session else ()
    return ModelSpec(
        _place(name, seed, label, supervised),
        "distill",
        "distill",
        (*others, name),
        seed,
        start=teacher or tuned(setup, "spikes", name, seed, supervised=supervised),
        pretrained=pretrained(setup, "spikes", seed) if multi_session else None,
        control=control,
        supervised=supervised,
        minutes=minutes,
        changes=changes,
    )


def _place(name: str, seed: int, label: str, supervised: bool = False) -> str:
    return f"seed{seed}/{name}/{'supervised/' if supervised else ''}{label}"


def other_subject(setup: Setup, name: str) -> str | None:
    """A session with spikes of another subject; a simulated one for the simulated cohort."""
    if setup.cohort_name == "simulated":
        return OTHER
    subject = name.split("/")[0]
    return next((n for n in setup.having("spikes") if n.split("/")[0] != subject), None)


def model_specs(setup: Setup, setting: Setting, name: str, seed: int = 0) -> dict[str, ModelSpec]:
    """Label -> spec of the models of a setting for one held-out session.

    Further models of the unsupervised setting, and all of the supervised one, are side questions:
    of ``Setup.side_runs`` only.
    """
    if setting == "supervised":
        return _supervised(setup, name, seed)
    compared = {
        "SS-LFP": single(setup, "lfp", name, seed),
        "MS-LFP": tuned(setup, "lfp", name, seed),
        "Distilled": student(setup, name, seed),
        "Teacher": tuned(setup, "spikes", name, seed),
        "Untrained": untrained(name, seed),
        "Shuffled teacher": student(setup, name, seed, "shuffled_teacher", control="shuffled"),
    }
    if setting == "unsupervised" and (seed, name) in side_runs(setup):
        compared |= _further(setup, name, seed)
    return compared


def _further(setup: Setup, name: str, seed: int) -> dict[str, ModelSpec]:
    """What only the unsupervised setting has."""
    models = {
        "SS-MM": single(setup, "both", name, seed),
        "SS-Teacher": single(setup, "spikes", name, seed),
        "MS-Distilled": student(setup, name, seed, "ms_distilled", multi_session=True),
        "MS-Distilled, centered": student(
            setup,
            name,
            seed,
            "ms_distilled_centered",
            multi_session=True,
            distill={"center": "mean"},
        ),
        "Random teacher": student(
            setup, name, seed, "of_random_teacher", control="random",
            teacher=untrained(name, seed, "spikes"),
        ),
    }  # fmt: skip
    if other := other_subject(setup, name):
        known = other in setup.pretraining
        teacher = (
            pretrained(setup, "spikes", seed) if known else tuned(setup, "spikes", other, seed)
        )
        models["Other subject's teacher"] = student(
            setup, name, seed, "of_other_subject", control="other subject", teacher=teacher
        )
    return models


def _supervised(setup: Setup, name: str, seed: int) -> dict[str, ModelSpec]:
    return {
        "SS-LFP": single(setup, "lfp", name, seed, supervised=True),
        "MS-LFP": tuned(setup, "lfp", name, seed, supervised=True),
        "SS-MM": single(setup, "both", name, seed, supervised=True),
        "Teacher": tuned(setup, "spikes", name, seed, supervised=True),
        "Distilled": student(setup, name, seed, supervised=True),
        "Shuffled teacher": student(
            setup, name, seed, "shuffled_teacher", supervised=True, control="shuffled"
        ),
    }


def runs(setup: Setup) -> list[tuple[int, str]]:
    """(seed, held-out session) of the comparison."""
    return [(seed, name) for seed in setup.seeds for name in setup.held_out]


def side_runs(setup: Setup) -> list[tuple[int, str]]:
    """(seed, held-out session) of side questions: all of a full setup, else the first."""
    return runs(setup) if setup.full else runs(setup)[:1]


def ablations(setup: Setup, name: str, seed: int) -> dict[str, dict[str, ModelSpec]]:
    """Question -> variant -> student with one thing changed, the study's own among them."""
    own = student(setup, name, seed)
    layers, full = own.configs(setup).model.layers, setup.full

    def some(values: Iterable[Any], more: Iterable[Any]) -> list[Any]:
        return sorted({*values, *(more if full else ())})

    alone = single(setup, "spikes", name, seed)
    asked: dict[str, dict[str, dict[str, Any]]] = {
        "Loss terms": {
            "both": {},
            "alignment": {"distill": {"task_weight": 0.0}},
            "reconstruction": {"distill": {"alignment_weight": 0.0}},
        },
        "Weight of alignment": {
            f"{w:g}": {} if w == 5 else {"distill": {"alignment_weight": w}}
            for w in some((1.0, 5.0, 25.0), (0.2,))
        },
        "Teacher's latents": {
            "as they are": {},
            "centered": {"distill": {"center": "mean"}},
            **({"scaled": {"distill": {"center": "scale"}}} if full else {}),
        },
        "Layers aligned": {"last": {}, "all": {"distill": {"layers": "all"}}},
        "Teacher": {"frozen": {}, "trained": {"distill": {"frozen": False}}},
        "Time steps masked": {
            "none": {},
            **{f"{r:.0%}": {"distill": {"mask_ratio": r}} for r in some((0.6,), (0.3,))},
        },
        "Input noised": {"yes": {}, "no": {"train": {"drop_inputs": 0.0, "noise": 0.0}}},
        "Teacher's sessions": {"this alone": {"teacher": alone}, "several": {}},
        "Minutes of LFP": {
            **{f"{m:g}": {"minutes": m} for m in some((1.0, 3.0), (2.0, 4.0))},
            "all": {},
        },
        "Student layers": {
            str(n): {} if n == layers else {"model": {"layers": n}}
            for n in some((1, layers), (max(1, layers // 2), 2 * layers))
        },
    }
    if setup.preset == "smoke":
        asked = {question: asked[question] for question in ("Loss terms", "Student layers")}
    return {
        question: {
            variant: student(setup, name, seed, _slug(question, variant), **changes)
            if changes
            else own
            for variant, changes in variants.items()
        }
        for question, variants in asked.items()
    }


def _slug(question: str, variant: str) -> str:
    """The folder of a variant: "ablations/loss_terms/alignment"."""
    words = [text.lower().replace(" ", "_").replace("'", "") for text in (question, variant)]
    return "ablations/" + "/".join(words).replace("%", "_percent")
