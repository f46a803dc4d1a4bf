"""Specs of the models of a study: what each is trained on, from which other model, and where."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spikelfp_lab.presets import Preset, Role
from spikelfp_lab.study.setup import Setup

Verb = Literal["pretrain", "finetune", "distill"]
Setting = Literal["comparison", "unsupervised", "supervised", "ablations"]
Control = Literal["", "untrained", "shuffled", "random", "other subject"]
OTHER = "C/s01"  # simulated, of another subject
VERBS: tuple[Verb, ...] = ("pretrain", "finetune", "distill")
_MULTI = {"spikes": "teacher", "lfp": "ms_lfp"}
_SINGLE = {"spikes": "ss_teacher", "lfp": "ss_lfp", "both": "ss_mm"}


@dataclass(frozen=True)
class ModelSpec:
    """How one model of a study is made."""

    folder: str  # where it is kept, below Setup.folder; no two models share one
    verb: Verb
    role: Role  # whose configs of the preset it is trained with
    sessions: tuple[str, ...]
    seed: int = 0
    start: ModelSpec | None = None  # what is fine-tuned, or the teacher of the (last) session
    pretrained: ModelSpec | None = None  # the teacher of a student's other sessions
    control: Control = ""  # no training at all, or what is wrong with the teacher
    supervised: bool = False  # behavior is learned too
    minutes: float | None = None  # of LFP, the first of its training time, that a student sees
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # part -> fields of configs

    @property
    def needs(self) -> list[ModelSpec]:
        """All models that must be trained before this one."""
        own = [need for need in (self.start, self.pretrained) if need is not None]
        return [each for need in own for each in (*need.needs, need)]

    def configs(self, setup: Setup) -> Preset:
        """The configs it is trained with."""
        configs = setup.configs(self.role, self.seed, supervised=self.supervised)
        changes = self.changes
        if self.control == "untrained":
            still = {"steps": 1, "lr": 0.0, "val_every": 1}
            changes = {"model": {"predictor_layers": 1}, "train": still}
        if self.role == "distill" and self.supervised:
            changes = changes | {"distill": {"target": "behavior"}}
        parts = {part: replace(getattr(configs, part), **own) for part, own in changes.items()}
        return replace(configs, **parts)

    def work(self, setup: Setup) -> float:
        """Seconds of recording that training goes through at most: longer ones start first."""
        configs = self.configs(setup)
        train = configs.finetune if self.verb == "finetune" else configs.train
        return train.steps * train.batch * train.window_s


def pretrained(setup: Setup, role: Role, seed: int) -> ModelSpec:
    """The teacher ("spikes") or MS-LFP ("lfp"), of all pre-training sessions."""
    names = tuple(setup.having(role))
    return ModelSpec(f"seed{seed}/{_MULTI[role]}", "pretrain", role, names, seed)


def single(
    setup: Setup, role: Role, name: str, seed: int, *, supervised: bool = False
) -> ModelSpec:
    """A model of one session alone; one of spikes takes half the steps of several sessions."""
    steps = {"train": {"steps": round(0.5 * setup.configs(role).train.steps)}}
    own: dict[str, Any] = {"supervised": supervised, "changes": steps if role == "spikes" else {}}
    folder = _folder(name, seed, _SINGLE[role], supervised)
    return ModelSpec(folder, "pretrain", role, (name,), seed, **own)


def tuned(setup: Setup, role: Role, name: str, seed: int, *, supervised: bool = False) -> ModelSpec:
    """The teacher or MS-LFP, fine-tuned on a session."""
    folder, start = _folder(name, seed, _MULTI[role], supervised), pretrained(setup, role, seed)
    return ModelSpec(folder, "finetune", role, (name,), seed, start, supervised=supervised)


def untrained(name: str, seed: int, role: Role = "distill") -> ModelSpec:
    """Control: random weights; a student's, or with role "spikes" a teacher's."""
    folder = _folder(name, seed, "untrained" if role == "distill" else "random_teacher")
    return ModelSpec(folder, "pretrain", role, (name,), seed, control="untrained")


def student(setup: Setup, name: str, seed: int, label: str = "distilled", **own: Any) -> ModelSpec:
    """A student of the fine-tuned teacher, unless ``own`` fields of the spec say otherwise."""
    supervised = own.get("supervised", False)
    folder = _folder(name, seed, label, supervised)
    start = tuned(setup, "spikes", name, seed, supervised=supervised)
    fields = {"sessions": (name,), "start": start} | own
    return ModelSpec(folder, "distill", "distill", seed=seed, **fields)


def _folder(name: str, seed: int, label: str, supervised: bool = False) -> str:
    return f"seed{seed}/{name}/{'supervised/' if supervised else ''}{label}"


def model_specs(setup: Setup, setting: Setting, name: str, seed: int = 0) -> dict[str, ModelSpec]:
    """Label -> spec of the models of a setting for one held-out session.

    Further models of the unsupervised setting, and all of the supervised one and of the ablations,
    are side questions: of ``Setup.side_runs`` only.
    """
    if setting == "ablations":
        asked = ablations(setup, name, seed).items()
        return {f"{q}: {v}": spec for q, variants in asked for v, spec in variants.items()}
    supervised = setting == "supervised"
    at: dict[str, Any] = {"name": name, "seed": seed, "supervised": supervised}
    mixed = {"SS-MM": single(setup, "both", **at)}
    compared = {
        "SS-LFP": single(setup, "lfp", **at),
        "MS-LFP": tuned(setup, "lfp", **at),
        "Distilled": student(setup, **at),
        "Teacher": tuned(setup, "spikes", **at),
        **(mixed if supervised else {"Untrained": untrained(name, seed)}),
        "Shuffled teacher": student(setup, label="shuffled_teacher", control="shuffled", **at),
    }
    if setting != "unsupervised" or (seed, name) not in setup.side_runs:
        return compared
    teacher, random = pretrained(setup, "spikes", seed), untrained(name, seed, "spikes")
    # several sessions, each read by the teacher that was trained on it
    several = at | {"sessions": (*setup.having("spikes", "lfp"), name), "pretrained": teacher}
    centered = {"label": "ms_distilled_centered", "changes": {"distill": {"center": "mean"}}}
    compared |= mixed | {
        "SS-Teacher": single(setup, "spikes", **at),
        "MS-Distilled": student(setup, label="ms_distilled", **several),
        "MS-Distilled, centered": student(setup, **centered, **several),
        "Random teacher": student(
            setup, label="of_random_teacher", control="random", start=random, **at
        ),
    }
    subjects = {each.split("/")[0] for each in setup.having("spikes")}
    if setup.cohort_name == "simulated":
        teacher = tuned(setup, "spikes", OTHER, seed)
    elif subjects <= {name.split("/")[0]}:
        return compared
    other = {"label": "of_other_subject", "control": "other subject", "start": teacher}
    return compared | {"Other subject's teacher": student(setup, **other, **at)}


def ablations(setup: Setup, name: str, seed: int) -> dict[str, dict[str, ModelSpec]]:
    """Question -> variant -> student with one thing changed, the study's own among them."""
    own = student(setup, name, seed)
    layers, full = own.configs(setup).model.layers, setup.full

    def some(values: set, more: set) -> list[Any]:
        return sorted(values | more if full else values)

    def changed(part: str = "distill", **fields: Any) -> dict[str, Any]:
        return {"changes": {part: fields}}

    # question -> variant -> fields of the spec: none in the study's own student
    asked: dict[str, dict[str, dict[str, Any]]] = {
        "Loss terms": {
            "both": {},
            "alignment": changed(task_weight=0.0),
            "reconstruction": changed(alignment_weight=0.0),
        },
        "Weight of alignment": {
            f"{w:g}": {} if w == 5 else changed(alignment_weight=w)
            for w in some({1.0, 5.0, 25.0}, {0.2})
        },
        "Teacher's latents": {"as they are": {}, "centered": changed(center="mean")}
        | ({"scaled": changed(center="scale")} if full else {}),
        "Layers aligned": {"last": {}, "all": changed(layers="all")},
        "Teacher": {"frozen": {}, "trained": changed(frozen=False)},
        "Time steps masked": {"none": {}}
        | {f"{r:.0%}": changed(mask_ratio=r) for r in some({0.6}, {0.3})},
        "Input noised": {"yes": {}, "no": changed("train", drop_inputs=0.0, noise=0.0)},
        "Teacher's sessions": {
            "this alone": {"start": single(setup, "spikes", name, seed)},
            "several": {},
        },
        "Minutes of LFP": {f"{m:g}": {"minutes": m} for m in some({1.0, 3.0}, {2.0, 4.0})}
        | {"all": {}},
        "Student layers": {
            str(n): {} if n == layers else changed("model", layers=n)
            for n in some({1, layers}, {max(1, layers // 2), 2 * layers})
        },
    }
    if setup.preset == "smoke":
        asked = {question: asked[question] for question in ("Loss terms", "Student layers")}

    def variant(question: str, answer: str, fields: dict[str, Any]) -> ModelSpec:
        label = f"ablations/{question}/{answer}".lower().replace(" ", "_").replace("'", "")
        return student(setup, name, seed, label.replace("%", "_percent"), **fields)

    return {
        question: {v: variant(question, v, fields) if fields else own for v, fields in each.items()}
        for question, each in asked.items()
    }
