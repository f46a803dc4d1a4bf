"""How far a model carries: applied to sessions it never saw, with no training."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models import encode
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import scores_of, tidy
from spikelfp_lab.study.specs import pretrained
from spikelfp_lab.study.study import Study

READERS = ("Distilled", "MS-LFP", "SS-LFP", "Shuffled teacher", "Untrained")


def generalization(study: Study) -> pd.DataFrame:
    """Models of one session, applied to sessions they never saw (Fig. 5 of arXiv 2512.12461).

    A model of a held-out session reads another session ``as_session`` that one. Only the linear
    read-out of behavior is fitted on the other session's training time, as for every model.

    Returns
    -------
    DataFrame
        Further columns: ``trained_on``, the session of the model, and ``seen``: "never", or
        "pre-training" where teacher and MS-LFP were pre-trained on the other session. "MS-LFP,
        trained on it" has had the session in its own training.

    Raises
    ------
    ConfigError
        No two sessions have the same number of channels.
    """
    readers = {
        other: [
            name
            for name in study.held_out
            if name != other
            if study.sessions[name].sizes["channel"] == session.sizes["channel"]
        ]
        for other, session in study.sessions.items()
        if "lfp" in session
    }
    jobs = [(seed, other, names) for seed in study.seeds for other, names in readers.items()]
    jobs = [job for job in jobs if job[2]]
    if not jobs:
        raise ConfigError(
            f"no two sessions of cohort {study.cohort_name!r} have the same number of channels: "
            "a model of one cannot read another"
        )
    return tidy(in_parallel(study, _transfer, jobs, desc="generalize", unit="session"))


def _transfer(study: Study, seed: int, other: str, names: list[str]) -> pd.DataFrame:
    """Models of each of the named sessions on another one, and what does not depend on them."""
    session, options = study.sessions[other], {"device": study.device, "progress": False}
    if other in study.held_out:
        trained = study.models(other, seed)["MS-LFP"]
    else:
        trained = study.model(pretrained(study, "lfp", seed))
    own = {"MS-LFP, trained on it": encode(trained, session, **options)}
    shared = scores_of(study, seed, other, own | {"Raw LFP ridge": session["lfp"]})
    tables = []
    for name in names:
        models = study.models(name, seed)
        latents = {r: encode(models[r], session, as_session=name, **options) for r in READERS}
        table = pd.concat([scores_of(study, seed, other, latents), shared], ignore_index=True)
        tables.append(table.assign(trained_on=name))
    seen = "never" if other in study.held_out else "pre-training"
    return pd.concat(tables, ignore_index=True).assign(seen=seen)


def published_generalization() -> pd.DataFrame:
    """Published scores of the paper's authors: one student on 27 sessions it never saw.

    Returns
    -------
    DataFrame
        Tidy: ``session``, ``model`` ("MS-LFP, trained on it" or "Distilled"), ``split`` ("train",
        "valtest"), ``r2`` (mean over axes), ``trained_on``. One-frame ordinary least squares.

    References
    ----------
    Fig. 5 of Erturk et al., NeurIPS 2025, arXiv 2512.12461; the table is in the authors' public
    repository, ``ShanechiLab/CrossModalDistillation``.

    Examples
    --------
    >>> table = published_generalization().query("split == 'valtest'")
    >>> monkey = table[table["session"].str.startswith("I/")]
    >>> monkey.groupby("model")["r2"].mean().round(3).to_dict()
    {'Distilled': 0.538, 'MS-LFP, trained on it': 0.341}
    """
    source = files("spikelfp_lab.study") / "published_generalization.csv"
    with source.open() as file:
        wide = pd.read_csv(file, comment="#")
    long = wide.melt(["monkey", "subject_session", "distilled_on"], value_name="r2")
    names = {True: "MS-LFP, trained on it", False: "Distilled"}

    def short(column: str) -> pd.Series:
        return long[column].str.removeprefix("Monkey").str.replace("_", "/", n=1)

    return pd.DataFrame(
        {
            "session": short("subject_session"),
            "model": long["variable"].str.startswith("ms_lfp").map(names),
            "split": long["variable"].str.extract("_(train|valtest)_")[0],
            "readout": "one_frame",
            "r2": long["r2"],
            "trained_on": short("distilled_on"),
        }
    )
