"""How far a model carries: applied to sessions it never saw, with no training."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models import encode
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import scores_of, tidy


def generalization(study: Study) -> pd.DataFrame:
    """Models of one session, applied to sessions they never saw, with no training (Fig. 5 of arXiv 2512.12461).

    A model that was trained on the LFP of a held-out session reads another session ``as_session`` that one: with its tables. Only the linear read-out
    of behavior is fitted on the other session's training time, as for every model. Beside it stand MS-LFP with the other session in its
    training, and ridge on the raw LFP.

    Parameters
    ----------
    study : Study

    Returns
    -------
    DataFrame
        Further columns: ``trained_on``, the session the model is of, and ``seen``: "never", or "pre-training" where the other session is one that
        teacher and MS-LFP were pre-trained on (the student still never saw its LFP). Model "MS-LFP, trained on it" has had the session in its own
        training, which the others have not. Sessions with another number of channels are left out.

    Raises
    ------
    ConfigError
        No pair of sessions has the same number of channels.
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
    jobs = [
        (seed, other, names) for seed in study.seeds for other, names in readers.items() if names
    ]
    if not jobs:
        raise ConfigError(
            f"no two sessions of cohort {study.cohort_name!r} have the same number of channels: "
            "a model of one cannot read another"
        )
    return tidy(in_parallel(study, _transfer, jobs, desc="generalize", unit="session"))


def _transfer(study: Study, seed: int, other: str, names: list[str]) -> pd.DataFrame:
    """Models of each of the named sessions on another one, and, once, what does not depend on whose they are."""
    session = study.sessions[other]
    trained = study.ms_lfp_for(other, seed) if other in study.held_out else study.ms_lfp(seed)
    own = {
        "MS-LFP, trained on it": encode(trained, session, device=study.device, progress=False),
        "Raw LFP ridge": session["lfp"],
    }
    shared = scores_of(study, seed, other, own)
    tables = []
    for name in names:
        models = {
            "Distilled": study.distilled(name, seed),
            "MS-LFP": study.ms_lfp_for(name, seed),
            "SS-LFP": study.ss_lfp(name, seed),
            "Shuffled teacher": study.shuffled(name, seed),
            "Untrained": study.untrained(name, seed),
        }
        latents = {
            label: encode(model, session, as_session=name, device=study.device, progress=False)
            for label, model in models.items()
        }
        table = pd.concat([scores_of(study, seed, other, latents), shared], ignore_index=True)
        tables.append(table.assign(trained_on=name))
    seen = "never" if other in study.held_out else "pre-training"
    return pd.concat(tables, ignore_index=True).assign(seen=seen)


def published_generalization(monkey: str | None = None) -> pd.DataFrame:
    """The scores that the paper's authors published of their own models: one distilled student on 27 sessions it never saw, beside MS-LFP trained on them.

    Parameters
    ----------
    monkey : {"I", "C"}, optional
        Of Makin's or Flint's data set; both by default.

    Returns
    -------
    DataFrame
        Tidy: ``session``, ``model`` ("MS-LFP, trained on it" or "Distilled"), ``split`` ("train", "valtest"), ``r2`` (mean over axes), ``trained_on``.
        One-frame read-out by ordinary least squares.

    References
    ----------
    Fig. 5 of Erturk et al., NeurIPS 2025, arXiv 2512.12461; the table is in the authors' public repository, ``ShanechiLab/CrossModalDistillation``.

    Examples
    --------
    >>> table = published_generalization("I").query("split == 'valtest'")
    >>> table.groupby("model")["r2"].mean().round(3).to_dict()
    {'Distilled': 0.538, 'MS-LFP, trained on it': 0.341}
    """
    source = files("spikelfp_lab.study") / "published_generalization.csv"
    with source.open() as file:
        wide = pd.read_csv(file, comment="#")
    long = wide.melt(["monkey", "subject_session", "distilled_on"], value_name="r2")
    short = long["subject_session"].str.removeprefix("Monkey").str.replace("_", "/", n=1)
    table = pd.DataFrame(
        {
            "session": short,
            "model": long["variable"].str.startswith("ms_lfp").map({True: "MS-LFP, trained on it", False: "Distilled"}),
            "split": long["variable"].str.extract("_(train|valtest)_")[0],
            "readout": "one_frame",
            "r2": long["r2"],
            "trained_on": long["distilled_on"].str.removeprefix("Monkey").str.replace("_", "/", n=1),
        }
    )  # fmt: skip
    if monkey is None:
        return table
    return table.loc[table["session"].str.startswith(f"{monkey}/")].reset_index(drop=True)
