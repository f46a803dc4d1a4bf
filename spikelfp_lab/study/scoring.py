"""Scores of a study: every model of a held-out session, and the references, as tidy rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode, gru, kalman, psid, score_predicted, wiener
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.models import encode
from spikelfp_lab.sessions import split_session
from spikelfp_lab.signal import band_power
from spikelfp_lab.study.catalog import Setting

if TYPE_CHECKING:
    from spikelfp_lab.study.core import Study

COLUMNS = ["session", "seed", "model", "readout", "split", "axis", "r2"]


def read_out(session: xr.Dataset, train: TrainConfig) -> dict[str, Any]:
    """Options of :func:`~spikelfp_lab.decode` that score a model on the split it was trained with."""
    split = split_session(session, scheme=train.scheme, window_s=train.window_s, seed=train.seed)
    return {"split": split, "protocol": "paper" if train.scheme == "paper" else None}


def references(session: xr.Dataset) -> dict[str, xr.DataArray]:
    """What models are held against: raw LFP, its band power, and binned spikes, to be decoded by the same ridges."""
    return {
        "Raw LFP ridge": session["lfp"],
        "Band power ridge": band_power(session["lfp"]),
        "Spikes ridge": session["spikes"],
    }


def latents_of(
    study: Study, name: str, seed: int, setting: Setting = "comparison"
) -> dict[str, xr.DataArray]:
    """Latents of every model of a held-out session, by label. SS-MM reads both modalities; "SS-MM (LFP only)" is the same model without the spikes."""
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
    """Tidy scores of named (time, feature) arrays on the split of a seed; of ``session`` in place of the study's, if given."""
    session = study.sessions[name] if session is None else session
    options = read_out(session, study.configs("distill", seed).train)
    tables = [
        decode(values, session, **options).assign(session=name, seed=seed, model=label)
        for label, values in inputs.items()
    ]
    return pd.concat(tables, ignore_index=True)


def score_one(study: Study, seed: int, name: str, setting: Setting) -> pd.DataFrame:
    """One job of ``Study.scores``: all models of a held-out session, and the ridges beside them."""
    inputs = latents_of(study, name, seed, setting)
    if setting != "supervised":  # ridges are what they are in either setting
        inputs |= references(study.sessions[name])
    return scores_of(study, seed, name, inputs)


def reference_one(study: Study, seed: int, name: str) -> pd.DataFrame:
    """Decoders from outside, of the LFP of a held-out session, fitted to its behavior: Wiener, Kalman, a GRU as large as the student, PSID if installed.

    What they predict is scored once, as the read-out that each of them is; the rows stand for both read-outs.
    """
    session = study.sessions[name]
    lfp, options = session["lfp"], read_out(session, study.configs("distill", seed).train)
    split = options["split"]
    student = study.distilled(name, seed)
    size = sum(weights.numel() for weights in student.parameters())
    predicted = {
        "Wiener": wiener(lfp, session, split=split),
        "Kalman": kalman(lfp, session, split=split),
        "GRU": gru(
            lfp,
            session,
            parameters=size,
            bidirectional=True,
            device=study.device,
            progress=False,
            split=split,
        ),
    }
    if importlib.util.find_spec("PSID"):
        predicted["PSID"] = psid(lfp, session, split=split)
    tables = [
        score_predicted(values, session, readout=readout, protocol=options["protocol"]).assign(
            session=name, seed=seed, model=label
        )
        for label, values in predicted.items()
        for readout in ("one_frame", "lagged")
    ]
    return pd.concat(tables, ignore_index=True)


def tidy(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables of jobs, in whatever order they ended, as one."""
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["seed", "session"], kind="stable", ignore_index=True)
