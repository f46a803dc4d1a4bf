"""Scores of a study: every model of a held-out session, and the references, as tidy rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode, gru, kalman, psid, score_predicted, wiener
from spikelfp_lab.models import encode
from spikelfp_lab.signal import band_power
from spikelfp_lab.study.specs import Setting

if TYPE_CHECKING:
    from spikelfp_lab.study.study import Study

COLUMNS = ["session", "seed", "model", "readout", "split", "axis", "r2"]


def references(session: xr.Dataset) -> dict[str, xr.DataArray]:
    """What models are compared with: raw LFP, its band power, and counts, for the same ridges."""
    return {
        "Raw LFP ridge": session["lfp"],
        "Band power ridge": band_power(session["lfp"]),
        "Spikes ridge": session["spikes"],
    }


def latents_of(
    study: Study, name: str, seed: int, setting: Setting = "comparison"
) -> dict[str, xr.DataArray]:
    """Label -> latents of every model of a held-out session.

    SS-MM reads both modalities; "SS-MM (LFP only)" is the same model without the spikes.
    """
    session = study.sessions[name]
    latents = {}
    for label, model in study.models(name, seed, setting).items():
        latents[label] = encode(model, session, device=study.device, progress=False)
        if model.modality == "both":
            lfp = session.drop_vars(["spikes"])
            latents[f"{label} (LFP only)"] = encode(model, lfp, device=study.device, progress=False)
    return latents


def scores_of(
    study: Study,
    seed: int,
    name: str,
    inputs: Mapping[str, xr.DataArray],
    *,
    session: xr.Dataset | None = None,
) -> pd.DataFrame:
    """Tidy scores of named (time, feature) arrays; of ``session`` in place of the study's."""
    split = study.split(name, seed)
    session = study.sessions[name] if session is None else session
    tables = [
        decode(values, session, split=split, protocol=study.protocol).assign(model=label)
        for label, values in inputs.items()
    ]
    return pd.concat(tables, ignore_index=True).assign(session=name, seed=seed)


def score_one(study: Study, seed: int, name: str, setting: Setting) -> pd.DataFrame:
    """One job of ``Study.scores``: all models of a held-out session, and the ridges."""
    inputs = latents_of(study, name, seed, setting)
    if setting != "supervised":  # ridges are the same in either setting
        inputs |= references(study.sessions[name])
    return scores_of(study, seed, name, inputs)


def reference_one(study: Study, seed: int, name: str) -> pd.DataFrame:
    """One job of ``Study.reference_scores``: decoders of the LFP, fitted to the behavior.

    Each is a read-out itself: its rows are the same for both read-outs. The GRU is as large as
    the student.
    """
    session, split = study.sessions[name], study.split(name, seed)
    lfp, student = session["lfp"], study.models(name, seed)["Distilled"]
    size = sum(weights.numel() for weights in student.parameters())
    own = {"parameters": size, "bidirectional": True, "device": study.device, "progress": False}
    predicted = {
        "Wiener": wiener(lfp, session, split=split),
        "Kalman": kalman(lfp, session, split=split),
        "GRU": gru(lfp, session, split=split, **own),
    }
    if importlib.util.find_spec("PSID"):
        predicted["PSID"] = psid(lfp, session, split=split)
    tables = [
        score_predicted(values, session, readout=readout, protocol=study.protocol).assign(
            session=name, seed=seed, model=label
        )
        for label, values in predicted.items()
        for readout in ("one_frame", "lagged")
    ]
    return pd.concat(tables, ignore_index=True)


def tidy(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of jobs, in whatever order they ended, as one."""
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values(["seed", "session"], kind="stable", ignore_index=True)
    first = [name for name in COLUMNS if name in table]
    return table.loc[:, [*first, *table.columns.difference(first, sort=False)]]
