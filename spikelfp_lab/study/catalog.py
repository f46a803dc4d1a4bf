"""What a study compares: for each label of a figure, the method of ``Study`` that makes the model; and in which order models are trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from spikelfp_lab.study.recipe import Recipe

Setting = Literal["comparison", "unsupervised", "supervised"]


class Made(NamedTuple):
    """A model: the method of ``Study`` that makes it, and what it is called with beside session and seed.

    ``further`` models are made for the first seed only, unless the study is full: they answer side questions, and all seeds of all would take hours on
    a CPU.
    """

    method: str
    recipe: Recipe = Recipe()
    supervised: bool = False
    further: bool = False


def student(*, further: bool = False, **changes: Any) -> Made:
    """A student by its recipe.

    >>> student(teacher="shuffled").recipe.teacher
    'shuffled'
    """
    return Made("student", Recipe(**changes), further=further)


# The models of the first comparison, which the others are measured beside.
COMPARISON: dict[str, Made] = {
    "SS-LFP": Made("ss_lfp"),
    "MS-LFP": Made("ms_lfp_for"),
    "Distilled": Made("student"),
    "Teacher": Made("teacher_for"),
    "Untrained": Made("untrained"),
    "Shuffled teacher": student(teacher="shuffled"),
}
MODELS: dict[Setting, dict[str, Made]] = {
    "comparison": COMPARISON,
    "unsupervised": COMPARISON
    | {
        "SS-MM": Made("ss_mm", further=True),
        "SS-Teacher": Made("ss_teacher", further=True),
        "MS-Distilled": student(beside=True, further=True),
        "MS-Distilled, centered": student(beside=True, distill={"center": "mean"}, further=True),
        "Other subject's teacher": student(teacher="other subject", further=True),
        "Random teacher": student(teacher="random", further=True),
    },
    "supervised": {
        "SS-LFP": Made("ss_lfp", supervised=True),
        "MS-LFP": Made("ms_lfp_for", supervised=True),
        "SS-MM": Made("ss_mm", supervised=True, further=True),
        "Teacher": Made("teacher_for", supervised=True),
        "Distilled": student(supervised=True),
        "Shuffled teacher": student(supervised=True, teacher="shuffled", further=True),
    },
}


def ablations(layers: int, sessions: int, *, full: bool = False) -> dict[str, dict[str, Recipe]]:
    """The questions about the student and what is varied for each, the study's own choice (``Recipe()``) among them.

    Parameters
    ----------
    layers : int
        Of the study's student.
    sessions : int
        That the study's teacher is pre-trained on.
    full : bool
        More values of each.

    Examples
    --------
    >>> list(ablations(4, 4)["Student layers"]), list(ablations(4, 4, full=True)["Student layers"])
    (['1', '2', '4'], ['1', '2', '4', '8'])
    """
    own = Recipe()

    def some(values: Iterable[Any], more: Iterable[Any]) -> list[Any]:
        return sorted({*values, *(more if full else ())})

    weights = {
        f"{w:g}": own if w == 5 else Recipe(distill={"alignment_weight": w})
        for w in some((1.0, 5.0, 25.0), (0.2,))
    }
    sizes = [n for n in some((1,), (2, 4, 8, 16)) if n < sessions]
    depths = some((1, max(1, layers // 2), layers), (2 * layers,))
    centers = {"centered": "mean", "scaled": "scale"} if full else {"centered": "mean"}
    return {
        "Loss terms": {
            "both": own,
            "alignment": Recipe(distill={"task_weight": 0.0}),
            "reconstruction": Recipe(distill={"alignment_weight": 0.0}),
        },
        "Weight of alignment": weights,
        "Teacher's latents": {
            "as they are": own,
            **{label: Recipe(distill={"center": how}) for label, how in centers.items()},
        },
        "Layers aligned": {"last": own, "all": Recipe(distill={"layers": "all"})},
        "Teacher": {"frozen": own, "trained": Recipe(distill={"frozen": False})},
        "Time steps masked": {
            "none": own,
            **{f"{r:.0%}": Recipe(distill={"mask_ratio": r}) for r in some((0.6,), (0.3,))},
        },
        "Input noised": {
            "yes": own,
            "no": Recipe(train={"drop_inputs": 0.0, "noise": 0.0}),
        },
        "Teacher's sessions": {
            "none": Recipe(pretrained_on=0),
            **{str(n): Recipe(pretrained_on=n) for n in sizes},
            str(sessions): own,
        },
        "Minutes of LFP": {
            **{f"{m:g}": Recipe(minutes=m) for m in some((1.0, 3.0), (2.0, 4.0))},
            "all": own,
        },
        "Student layers": {
            str(n): own if n == layers else Recipe(model={"layers": n}) for n in depths
        },
    }


class Job(NamedTuple):
    """One call of a method of ``Study`` that trains a model."""

    method: str
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()


def call(made: Made, name: str, seed: int) -> Job:
    """The call that makes a model for one session and seed."""
    options: dict[str, Any] = {}
    if made.method == "student":
        options["recipe"] = made.recipe
    elif made.supervised:
        options["supervised"] = True
    return Job(made.method, (name, seed), tuple(options.items()))


def needs(job: Job, stranger: str | None) -> list[Job]:
    """The models that must be there before a job; ``stranger`` is the session of another subject."""
    options = dict(job.options)
    if job.method == "ms_lfp_for":
        return [Job("ms_lfp", job.arguments[1:])]
    if job.method == "foreign_teacher":
        return [Job("teacher", job.arguments[1:])]
    if job.method == "teacher_for":
        on = options.get("pretrained_on")
        supervised = tuple(item for item in job.options if item[0] == "supervised")
        if on == 0:
            return [Job("ss_teacher", job.arguments, supervised)]
        return [Job("teacher", job.arguments[1:], () if on is None else (("pretrained_on", on),))]
    if job.method == "student":
        recipe, (name, seed) = options["recipe"], job.arguments
        if recipe.teacher == "random":
            return [Job("untrained", (name, seed), (("role", "spikes"),))]
        if recipe.teacher == "other subject":
            return [Job("foreign_teacher", (stranger, seed))]
        asked: list[tuple[str, Any]] = []
        if recipe.supervised:
            asked.append(("supervised", True))
        if recipe.pretrained_on is not None:
            asked.append(("pretrained_on", recipe.pretrained_on))
        return [Job("teacher_for", (name, seed), tuple(asked))]
    return []


def rounds(wanted: Iterable[Job], strangers: Mapping[str, str | None]) -> list[list[Job]]:
    """Jobs and all that they need, each once, in rounds: a job needs only those of earlier rounds.

    Examples
    --------
    >>> first, second = rounds([Job("ms_lfp_for", ("I/s05", 0))], {"I/s05": None})
    >>> first[0].method, second[0].method
    ('ms_lfp', 'ms_lfp_for')
    """
    level: dict[str, int] = {}
    by_key: dict[str, Job] = {}

    def place(job: Job) -> int:
        key = repr(job)  # recipes hold dicts, which have no hash
        if key not in level:
            before = [place(need) for need in needs(job, strangers.get(job.arguments[0]))]
            level[key] = 1 + max(before, default=-1)
            by_key[key] = job
        return level[key]

    for job in wanted:
        place(job)
    return [
        [by_key[key] for key, own in level.items() if own == number]
        for number in range(1 + max(level.values(), default=-1))
    ]
