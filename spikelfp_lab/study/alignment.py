"""How alike the latents of each model are to the teacher's (Table 1 of arXiv 2512.12461)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.models import encode
from spikelfp_lab.sessions import TEST, TRAIN
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import latents_of, tidy
from spikelfp_lab.study.study import Study

CANDIDATES = 50
COMPONENTS = 10
LAYERED = ("Distilled", "MS-LFP", "SS-LFP", "Untrained")


def alignment(study: Study) -> pd.DataFrame:
    """Likeness of every unsupervised model's latents to the fine-tuned teacher's, on test bins.

    CKA, CCA (of the ten leading components) and Procrustes distance do not change with a rotation.
    Retrieval does: each model's latents are first rotated, scaled and shifted onto the teacher's,
    fitted on training bins.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``measure``, ``value``, ``chance`` (of retrieval: one in
        50 moments at least 100 ms apart; NaN otherwise).
    """
    table = tidy(in_parallel(study, _align, study.runs_of_all, desc="align", unit="session"))
    return table.loc[:, ["session", "seed", "model", "measure", "value", "chance"]]


def _align(study: Study, seed: int, name: str) -> pd.DataFrame:
    """One job of :func:`alignment`."""
    session = study.sessions[name]
    latents = latents_of(study, name, seed, "unsupervised")
    teacher = latents.pop("Teacher")
    split = study.split(name, seed).to_numpy()
    spacing = max(1, round(0.1 / session.attrs["bin_size_s"]))
    taught = teacher.where(xr.DataArray(split == TRAIN, dims="time"))
    target = teacher[split == TEST]
    rows = []
    for label, values in latents.items():
        own = values[split == TEST]
        rotated = procrustes(values, taught).aligned[split == TEST]
        found = retrieval(rotated, target, n_candidates=CANDIDATES, spacing=spacing)
        rows += [
            (label, "CKA", linear_cka(own, target), np.nan),
            (label, "CCA", cca(own, target, n_components=COMPONENTS), np.nan),
            (label, "Retrieval", found.accuracy, found.chance),
            (label, "Procrustes distance", procrustes(own, target).distance, np.nan),
        ]
    table = pd.DataFrame(rows, columns=["model", "measure", "value", "chance"])
    return table.assign(session=name, seed=seed)


def layers(study: Study) -> pd.DataFrame:
    """Linear CKA of the latents after each block of a model and of the teacher, on test bins.

    Of ``Study.side_runs``.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``layer``, ``teacher_layer`` (0: the tokens), ``value``.
    """
    jobs = study.side_runs
    return tidy(in_parallel(study, _compare_layers, jobs, desc="compare layers", unit="session"))


def _compare_layers(study: Study, seed: int, name: str) -> pd.DataFrame:
    """One job of :func:`layers`."""
    session, made = study.sessions[name], study.models(name, seed)
    test = study.split(name, seed).to_numpy() == TEST

    def by_layer(label: str) -> list[np.ndarray]:
        options = {"device": study.device, "progress": False}
        numbers = range(made[label].config.layers + 1)
        return [encode(made[label], session, layer=n, **options).values[test] for n in numbers]

    teacher = by_layer("Teacher")
    rows = [
        (label, i, j, linear_cka(own, theirs))
        for label in LAYERED
        for i, own in enumerate(by_layer(label))
        for j, theirs in enumerate(teacher)
    ]
    table = pd.DataFrame(rows, columns=["model", "layer", "teacher_layer", "value"])
    return table.assign(session=name, seed=seed)
