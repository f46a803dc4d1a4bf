"""Scores of a study: every model of a held-out session, and the references, as tidy rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode, gru, kalman, score_predicted, wiener
from spikelfp_lab.signal import band_power
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.specs import Setting

if TYPE_CHECKING:
    from spikelfp_lab.study.study import Study

Arrays = dict[str, xr.DataArray]
COLUMNS = ["session", "seed", "model", "readout", "split", "axis", "r2"]


def tabulate(
    study: Study, work: Callable[..., pd.DataFrame], jobs: Sequence[tuple], desc: str
) -> pd.DataFrame:
    """One tidy table of those of all jobs: ``work(study, seed, session's name, ...)``."""
    tables = in_parallel(study, work, jobs, desc=desc, unit="session")
    runs = zip(tables, jobs, strict=True)
    tables = [each.assign(seed=seed, session=name) for each, (seed, name, *_) in runs]
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values(["seed", "session"], kind="stable", ignore_index=True)
    first = [name for name in COLUMNS if name in table]
    return table.loc[:, [*first, *table.columns.difference(first, sort=False)]]


def references(session: xr.Dataset) -> Arrays:
    """What models are compared with: raw LFP, its band power, both, and counts, for ridge."""
    lfp = session["lfp"].transpose("time", "channel")
    power = band_power(lfp)
    ridges = {"Raw LFP ridge": lfp, "Band power ridge": power}
    names = [*map(str, lfp["channel"].to_numpy()), *power["feature"].to_numpy()]
    coords = {"time": lfp["time"], "feature": names}
    both = np.hstack([lfp.to_numpy(), power.to_numpy()])
    ridges["LFP and power ridge"] = xr.DataArray(both, coords, ("time", "feature"))
    return ridges | ({"Spikes ridge": session["spikes"]} if "spikes" in session else {})


def latents_of(study: Study, name: str, seed: int, setting: Setting = "comparison") -> Arrays:
    """Label -> latents of every model of a held-out session.

    SS-MM reads both modalities; "SS-MM (LFP only)" is the same model without the spikes.
    """
    session, latents = study.sessions[name], {}
    for label, model in study.models(name, seed, setting).items():
        latents[label] = study.encode(model, session)
        if model.modality == "both":
            latents[f"{label} (LFP only)"] = study.encode(model, session.drop_vars(["spikes"]))
    return latents


def scores_of(
    study: Study, seed: int, name: str, inputs: Arrays, *, session: xr.Dataset | None = None
) -> pd.DataFrame:
    """Tidy scores of named (time, feature) arrays; of ``session`` in place of the study's."""
    session = study.sessions[name] if session is None else session
    options = {"split": study.split(name, seed), "protocol": study.protocol}
    tables = [decode(v, session, **options).assign(model=label) for label, v in inputs.items()]
    return pd.concat(tables, ignore_index=True).assign(session=name, seed=seed)


def score_one(study: Study, seed: int, name: str, setting: Setting) -> pd.DataFrame:
    """All models of a held-out session, and the ridges, which are the same in either setting."""
    inputs = latents_of(study, name, seed, setting)
    ridges = {} if setting == "supervised" else references(study.sessions[name])
    return scores_of(study, seed, name, inputs | ridges)


def reference_one(study: Study, seed: int, name: str) -> pd.DataFrame:
    """Decoders of the LFP, fitted to the behavior; the GRU is as large as the student.

    Each is a read-out itself: its rows are the same for both read-outs.
    """
    session, student = study.sessions[name], study.models(name, seed)["Distilled"]
    size = sum(weights.numel() for weights in student.parameters())
    own = {"parameters": size, "bidirectional": True, "device": study.device, "progress": False}
    decoders = {"Wiener": wiener, "Kalman": kalman, "GRU": partial(gru, **own)}
    split = study.split(name, seed)
    predicted = {m: fit(session["lfp"], session, split=split) for m, fit in decoders.items()}
    tables = [
        score_predicted(values, session, readout=readout, protocol=study.protocol).assign(model=m)
        for m, values in predicted.items()
        for readout in ("one_frame", "lagged")
    ]
    return pd.concat(tables, ignore_index=True)
