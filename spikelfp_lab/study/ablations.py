"""What of the method matters: the student with one thing changed at a time."""

from __future__ import annotations

import pandas as pd

from spikelfp_lab.models import encode
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.recipe import Recipe
from spikelfp_lab.study.scoring import scores_of, tidy


def ablations(study: Study) -> pd.DataFrame:
    """Scores of every student of the study's grid of ablations.

    Over all held-out sessions and seeds of a study that is ``full``, else over the first of each. Each student is trained once and found again, so that
    a run that was stopped goes on where it was.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        Rows as of ``Study.scores``, with ``question``, ``variant``, in the order of ``Study.ablations``, and ``own``: whether the variant is
        what the study does anyway.
    """
    asked = study.ablations()
    recipes = {str(r.to_dict()): r for variants in asked.values() for r in variants.values()}
    study.train("ablations")
    jobs = [
        (seed, name, recipe) for seed, name in study.runs_of_grids for recipe in recipes.values()
    ]
    table = tidy(in_parallel(study, _score, jobs, desc="decode", unit="student"))
    parts = []
    for question, variants in asked.items():
        for variant, recipe in variants.items():
            rows = table[table["recipe"] == str(recipe.to_dict())].drop(columns="recipe")
            own = recipe == Recipe()
            parts.append(rows.assign(question=question, variant=variant, own=own))
    return pd.concat(parts, ignore_index=True)


def _score(study: Study, seed: int, name: str, recipe: Recipe) -> pd.DataFrame:
    student = study.student(name, seed, recipe)
    latents = encode(student, study.sessions[name], device=study.device, progress=False)
    table = scores_of(study, seed, name, {"Distilled": latents})
    return table.assign(recipe=str(recipe.to_dict()))
