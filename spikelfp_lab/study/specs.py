"""Specs of the models of a study: what each is trained on, from which other model, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from spikelfp_lab.presets import BANDS_HZ, NOISED, SEVERAL, Preset, Role
from spikelfp_lab.study.setup import Setup

Verb = Literal["pretrain", "finetune", "distill"]
Setting = Literal["comparison", "unsupervised", "supervised", "ablations"]
Control = Literal["", "untrained", "shuffled", "random", "other subject"]
OTHER = "C/s01"  # simulated, of another subject
MULTI = {"spikes": "teacher", "lfp": "ms_lfp"}  # of several sessions
# Folder -> verb, role and control of a model of one session; all others are students.
SINGLE: dict[str, tuple[Verb, Role, Control]] = {
    "teacher": ("finetune", "spikes", ""),
    "ms_lfp": ("finetune", "lfp", ""),
    "ss_teacher": ("pretrain", "spikes", ""),
    "ss_lfp": ("pretrain", "lfp", ""),
    "ss_mm": ("pretrain", "both", ""),
    "untrained": ("pretrain", "distill", "untrained"),
    "random_teacher": ("pretrain", "spikes", "untrained"),
}


@dataclass(frozen=True)
class ModelSpec:
    """How one model of a study is made."""

    folder: str  # where it is kept, below Setup.folder; no two models share one
    verb: Verb
    role: Role  # whose configs of the preset it is trained with
    sessions: tuple[str, ...]
    seed: int = 0
    start: ModelSpec | None = None  # what is fine-tuned, or the teacher
    control: Control = ""  # no training at all, or what is wrong with the teacher
    supervised: bool = False  # behavior is learned too
    minutes: float | None = None  # of what it reads of a held-out session, the first to train on
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # part -> fields of configs

    @property
    def needs(self) -> list[ModelSpec]:
        """All models that must be trained before this one."""
        return [*self.start.needs, self.start] if self.start else []

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


def in_order(setup: Setup, specs: Iterable[ModelSpec]) -> list[ModelSpec]:
    """These models and what they start from, once: by depth, then the longest training first."""
    needed = {each.folder: each for spec in specs for each in (*spec.needs, spec)}
    return sorted(needed.values(), key=lambda spec: (len(spec.needs), -spec.work(setup)))


def pretrained(setup: Setup, role: Role, seed: int) -> ModelSpec:
    """The teacher ("spikes") or MS-LFP ("lfp"), of all pre-training sessions."""
    names = tuple(setup.having(role))
    return ModelSpec(f"seed{seed}/{MULTI[role]}", "pretrain", role, names, seed)


def of_session(setup: Setup, label: str, name: str, seed: int, **own: Any) -> ModelSpec:
    """A model of one session, by the last part of its folder; ``own`` are fields of its spec.

    A student is one of the fine-tuned teacher; a teacher of one session alone takes half the steps
    of several sessions.
    """
    verb, role, control = SINGLE.get(label, ("distill", "distill", ""))
    supervised = own.get("supervised", False)
    fields: dict[str, Any] = {"sessions": (name,), "seed": seed, "control": control}
    if verb == "finetune" and "start" not in own:
        fields["start"] = pretrained(setup, role, seed)
    elif verb == "distill" and "start" not in own:
        fields["start"] = of_session(setup, "teacher", name, seed, supervised=supervised)
    elif label == "ss_teacher":
        steps = round(0.5 * setup.configs(role).train.steps)
        fields["changes"] = {"train": {"steps": steps}}
    folder = f"seed{seed}/{name}/{'supervised/' if supervised else ''}{label}"
    return ModelSpec(folder, verb, role, **fields | own)


def model_specs(setup: Setup, setting: Setting, name: str, seed: int = 0) -> dict[str, ModelSpec]:
    """Label -> spec of the models of a setting for one held-out session.

    All but the comparison are side questions: studies ask them of ``Setup.side_runs`` only, all
    models of a setting, so that what stands side by side is of the same sessions.
    """
    if setting == "ablations":
        asked = ablations(setup, name, seed).items()
        return {f"{q}: {v}": spec for q, variants in asked for v, spec in variants.items()}
    supervised = setting == "supervised"
    one = partial(of_session, setup, name=name, seed=seed, supervised=supervised)
    labels = ["SS-LFP", "MS-LFP", "Distilled", "Teacher", "SS-MM" if supervised else "Untrained"]
    if not setup.having("lfp"):
        labels.remove("MS-LFP")
    compared = {label: one(label.lower().replace("-", "_")) for label in labels}
    compared["Shuffled teacher"] = one("shuffled_teacher", control="shuffled")
    if setting != "unsupervised":
        return compared
    random, names = one("random_teacher"), (*setup.having("spikes", "lfp"), name)
    steps = {"train": {"steps": SEVERAL * setup.configs("distill").train.steps}}
    compared |= {"SS-MM": one("ss_mm"), "SS-Teacher": one("ss_teacher")}
    compared["Random teacher"] = one("of_random_teacher", control="random", start=random)
    if len(names) > 1:
        compared["MS-Distilled"] = one("ms_distilled", sessions=names, changes=steps)
    teacher = pretrained(setup, "spikes", seed)
    if setup.simulated:  # whose pre-training is of one subject
        teacher = of_session(setup, "teacher", OTHER, seed)
    if any(each.split("/")[0] != name.split("/")[0] for each in teacher.sessions):
        other = one("of_other_subject", control="other subject", start=teacher)
        compared["Other subject's teacher"] = other
    return compared


def ablations(setup: Setup, name: str, seed: int) -> dict[str, dict[str, ModelSpec]]:
    """Question -> variant -> student with one thing changed, the study's own among them."""
    one = partial(of_session, setup, name=name, seed=seed)
    own = one("distilled")
    configs = own.configs(setup)
    paper, layers = {"center": "none", "maps": False}, configs.model.layers

    def changed(**parts: dict[str, Any]) -> dict[str, Any]:
        """Fields of the spec with other configs; none where these are its own."""
        before = {part: getattr(configs, part) for part in parts}
        same = before == {part: replace(before[part], **new) for part, new in parts.items()}
        return {} if same else {"changes": parts}

    def varied(part: str, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {variant: changed(**{part: fields}) for variant, fields in variants.items()}

    def some(values: set, more: set) -> list[Any]:
        return sorted(values | more if setup.full else values)

    distilled = partial(varied, "distill")
    all_layers, trained = paper | {"layers": "all"}, paper | {"frozen": False}
    eq_1 = changed(distill=paper | {"mask_ratio": 0.0}, model={"bands_hz": ()})
    losses = {"alignment": {"task_weight": 0.0}, "reconstruction": {"alignment_weight": 0.0}}
    inputs = {"potential": {"bands_hz": ()}, "and band power": {"bands_hz": BANDS_HZ}}
    centers = {"as they are": "none", "centered": "mean", "scaled": "scale"}
    weights, ratios = some({1.0, 5.0, 25.0}, {0.2}), some({0.0, 0.6}, {0.3})
    minutes = some({1.0, 3.0}, {2.0, 4.0})
    depths = some({1, layers}, {max(1, layers // 2), 2 * layers})
    asked = {  # question -> variant -> fields of the spec: none in the study's own student
        "Recipe": {"Eq. 1": eq_1, "own": {}},
        "Loss terms": distilled({"both": {}, **losses}),
        "Weight of alignment": distilled({f"{w:g}": {"alignment_weight": w} for w in weights}),
        "Input": varied("model", inputs),
        "Teacher's latents": distilled({v: {"center": c} for v, c in centers.items()}),
        "Map to the teacher": distilled({"none": {"maps": False}, "one a session": {"maps": True}}),
        "Layers aligned": distilled({"last, mapped": {}, "last": paper, "all": all_layers}),
        "Teacher": distilled({"frozen, mapped": {}, "frozen": paper, "trained": trained}),
        "Time steps masked": distilled({f"{r:.0%}": {"mask_ratio": r} for r in ratios}),
        "Input noised": varied("train", {"yes": NOISED, "no": {"drop_inputs": 0.0, "noise": 0.0}}),
        "Teacher's sessions": {"this alone": {"start": one("ss_teacher")}, "several": {}},
        "Minutes of LFP": {**{f"{m:g}": {"minutes": m} for m in minutes}, "all": {}},
        "Student layers": varied("model", {str(n): {"layers": n} for n in depths}),
    }
    plain = str.maketrans({" ": "_", "'": None, "%": "_percent"})
    specs: dict[str, dict[str, ModelSpec]] = {}
    for question in ("Loss terms", "Student layers") if setup.preset == "smoke" else asked:
        specs[question] = {}
        for variant, fields in asked[question].items():
            label = f"ablations/{question}/{variant}".lower().translate(plain)
            spec = one(label, **fields) if fields else own
            made = [each for of in specs.values() for each in of.values()]
            same = [each for each in made if replace(each, folder=spec.folder) == spec]
            specs[question][variant] = same[0] if same else spec  # no training twice
    return specs
