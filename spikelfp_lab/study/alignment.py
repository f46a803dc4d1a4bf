"""How alike the latents of each model are to the teacher's, on test time (Table 1 of arXiv 2512.12461)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.models import encode
from spikelfp_lab.sessions import TEST, TRAIN, split_session
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import latents_of, tidy

CANDIDATES = 50
COMPONENTS = 10


def alignment(study: Study) -> pd.DataFrame:
    """Likeness of every model's latents to those of the fine-tuned teacher, in the unsupervised setting.

    On test bins. CKA, CCA (of the ten leading components) and Procrustes distance do not mind how the latents are turned. Retrieval does, so that
    every model's latents are first turned, scaled and shifted onto the teacher's, as training bins say: a model that was never asked to share the
    teacher's axes is not blamed for it.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``measure``, ``value``, ``chance`` (of retrieval: one in 50 moments at least 100 ms apart; NaN otherwise).
    """
    table = tidy(in_parallel(study, _align, study.runs_of_all, desc="align", unit="session"))
    return table.loc[:, ["session", "seed", "model", "measure", "value", "chance"]]


def _align(study: Study, seed: int, name: str) -> pd.DataFrame:
    session = study.sessions[name]
    latents = latents_of(study, name, seed, "unsupervised")
    teacher = latents.pop("Teacher")
    split = _split(study, session, seed)
    spacing = max(1, round(0.1 / session.attrs["bin_size_s"]))
    taught = teacher.where(xr.DataArray(split == TRAIN, dims="time"))
    target = teacher[split == TEST]
    rows = []
    for label, values in latents.items():
        own = values[split == TEST]
        turned = procrustes(values, taught).aligned[split == TEST]
        found = retrieval(turned, target, n_candidates=CANDIDATES, spacing=spacing)
        rows += [
            (label, "CKA", linear_cka(own, target), np.nan),
            (label, "CCA", cca(own, target, n_components=COMPONENTS), np.nan),
            (label, "Retrieval", found.accuracy, found.chance),
            (label, "Procrustes distance", procrustes(own, target).distance, np.nan),
        ]
    table = pd.DataFrame(rows, columns=["model", "measure", "value", "chance"])
    return table.assign(session=name, seed=seed)


def layers(
    study: Study, *, models: tuple[str, ...] = ("Distilled", "MS-LFP", "SS-LFP", "Untrained")
) -> pd.DataFrame:
    """Linear CKA of the latents after each block of a model with those after each block of the teacher, on test bins.

    For the first seed, or all of a study that is full.

    Parameters
    ----------
    study : Study
    models : tuple of str
        Labels of the comparison.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``layer``, ``teacher_layer`` (0: the tokens), ``value``.
    """
    jobs = [(seed, name, models) for seed, name in study.runs_of_first_seed]
    return tidy(in_parallel(study, _compare_layers, jobs, desc="compare layers", unit="session"))


def _compare_layers(study: Study, seed: int, name: str, models: tuple[str, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    test = _split(study, session, seed) == TEST
    made = study.models(name, seed)

    def by_layer(label: str) -> list[np.ndarray]:
        model = made[label]
        return [
            encode(model, session, layer=layer, device=study.device, progress=False).to_numpy()[
                test
            ]
            for layer in range(model.config.layers + 1)
        ]

    teacher = by_layer("Teacher")
    rows = [
        (label, i, j, linear_cka(own, theirs))
        for label in models
        for i, own in enumerate(by_layer(label))
        for j, theirs in enumerate(teacher)
    ]
    table = pd.DataFrame(rows, columns=["model", "layer", "teacher_layer", "value"])
    return table.assign(session=name, seed=seed)


def _split(study: Study, session: xr.Dataset, seed: int) -> np.ndarray:
    train = study.configs("distill", seed).train
    split = split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)
    return split.to_numpy()
