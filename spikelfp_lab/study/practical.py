"""What a decoder is worth in practice: when electrodes fail, when few labels are there, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from spikelfp_lab.analysis import decode, fit_readout
from spikelfp_lab.analysis.readout import READOUTS
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.sessions import TRAIN, split_session
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import read_out, references, scores_of, tidy

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
MINUTES = (0.25, 0.5, 1.0, 2.0, 4.0)
COMPARED = ("SS-LFP", "MS-LFP", "Distilled", "Teacher", "Shuffled teacher")


def channel_loss(study: Study, *, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Decoding while electrodes fail: a share of the channels (for the teacher and ridge on spikes, of the units) falls silent.

    For the first seed, or all of a study that is full. Read-outs are fitted with all channels and scored on test time with the lost ones at their mean (counts at 0): nobody is told which are lost.

    Parameters
    ----------
    study : Study
    shares : sequence of float
        Shares lost, 0 to 1; which ones is drawn by the seed, the same for all models.

    Returns
    -------
    DataFrame
        Of validation and test time. Further column: ``lost``.
    """
    jobs = [(seed, name, tuple(shares)) for seed, name in study.runs_of_first_seed]
    return tidy(in_parallel(study, _lose, jobs, desc="lose channels", unit="session"))


def _lose(study: Study, seed: int, name: str, shares: tuple[float, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    split = split_session(session, **_split(study, seed)).to_numpy()
    options = read_out(session, study.configs("distill", seed).train)
    applied = {
        (label, readout): fit_readout(values, session, kind=readout, **options)
        for label, values in inputs_of(study, seed, session).items()
        for readout in READOUTS
    }
    tables = []
    for share in shares:
        failing = inputs_of(study, seed, silence(session, share, split=split, seed=seed))
        for (label, _), readout in applied.items():
            table = decode(failing[label], session, readout=readout, **options)
            table = table[table["split"] != "train"]  # all channels were there then
            tables.append(table.assign(session=name, seed=seed, model=label, lost=share))
    return pd.concat(tables, ignore_index=True)


def silence(session: xr.Dataset, share: float, *, split: np.ndarray, seed: int) -> xr.Dataset:
    """A session with a share of its channels and units lost: LFP at its training mean, counts at 0.

    Parameters
    ----------
    session : Dataset
    share : float
        0 to 1, of the channels and of the units.
    split : ndarray, (time,)
        As of :func:`~spikelfp_lab.split_session`.
    seed : int
        Draws which.

    Returns
    -------
    Dataset
        A copy.

    Examples
    --------
    >>> lfp = xr.DataArray(np.arange(8.0).reshape(4, 2), dims=("time", "channel"))
    >>> lost = silence(xr.Dataset({"lfp": lfp}), 0.5, split=np.zeros(4), seed=0)
    >>> int((lost["lfp"].std("time") == 0).sum())
    1
    """
    rng = np.random.default_rng(seed)
    lost = session.copy()
    for name, dim in (("lfp", "channel"), ("spikes", "unit")):
        if name not in session:
            continue
        values = session[name].to_numpy().copy()
        size = session.sizes[dim]
        gone = rng.permutation(size)[: round(share * size)]
        rest = np.nanmean(values[split == TRAIN][:, gone], axis=0) if name == "lfp" else 0
        values[:, gone] = rest
        lost[name] = session[name].copy(data=values)
    return lost


def label_efficiency(study: Study, *, minutes: Sequence[float] = MINUTES) -> pd.DataFrame:
    """Decoding when behavior is known for a few minutes only: read-outs are fitted on the first ones of the training time.

    For the first seed, or all of a study that is full. No model here learned from behavior.

    Parameters
    ----------
    study : Study
    minutes : sequence of float
        Of labeled training time; what the shortest session does not have is left out, and all that it has is added.

    Returns
    -------
    DataFrame
        Further column: ``minutes``.
    """
    most = min(_training_minutes(study, *run) for run in study.runs_of_first_seed)
    shown = (*(part for part in minutes if part < most), most)
    jobs = [(seed, name, shown) for seed, name in study.runs_of_first_seed]
    return tidy(in_parallel(study, _label, jobs, desc="label", unit="session"))


def _training_minutes(study: Study, seed: int, name: str) -> float:
    session = study.sessions[name]
    split = split_session(session, **_split(study, seed)).to_numpy()
    return int((split == TRAIN).sum()) * session.attrs["bin_size_s"] / 60


def _label(study: Study, seed: int, name: str, minutes: tuple[float, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    split = split_session(session, **_split(study, seed)).to_numpy()
    train = np.flatnonzero(split == TRAIN)
    per_minute = 60 / session.attrs["bin_size_s"]
    inputs = inputs_of(study, seed, session)
    tables = []
    for part in minutes:
        unlabeled = np.zeros(len(split), bool)
        unlabeled[train[round(part * per_minute) :]] = True
        few = session.copy()
        few["behavior"] = session["behavior"].where(
            xr.DataArray(~unlabeled, dims="time"), np.float32(np.nan)
        )
        table = scores_of(study, seed, name, inputs, session=few)
        tables.append(table[table["split"] == "test"].assign(minutes=part))
    return pd.concat(tables, ignore_index=True)


def cost(study: Study, *, seed: int = 0) -> pd.DataFrame:
    """What each decoder costs: parameters, operations for a second of data, bytes of weights.

    Parameters
    ----------
    study : Study
    seed : int

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``parameters``, ``mflop_per_s`` (10^6 floating-point operations, a multiplication and an addition each counted,
        for each second of recording, in windows as the model was trained on), ``weights_kb``. Tables of other sessions are not counted, nor is the read-out
        of a model's latents. The ridges are their lagged read-outs.
    """
    rows = []
    for name in study.held_out:
        session = study.sessions[name]
        for label, model in study.models(name, seed).items():
            if label in COMPARED:
                rows.append({"session": name, "seed": seed, "model": label} | _cost(model, name))
        lags = 1 + 2 * int(0.1 / session.attrs["bin_size_s"] + 1e-6)
        axes = session.sizes["behavior_dim"]
        for label, inputs in references(session).items():
            weights = (inputs.shape[1] * lags + 1) * axes
            rate = 2 * weights / session.attrs["bin_size_s"] / 1e6
            own = {"parameters": weights, "mflop_per_s": rate, "weights_kb": 4 * weights / 1000}
            rows.append({"session": name, "seed": seed, "model": label} | own)
    return pd.DataFrame(rows)


def _cost(model: Autoencoder, name: str) -> dict[str, float]:
    window_s = model.info["train"]["window_s"]
    values = torch.zeros(1, round(window_s / model.bin_size_s), model.n_inputs(name))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.cpu().latents(values, name)
    index = model.tokenizer.index(name)
    tables = (model.tokenizer.space, model.tokenizer.maps)
    parts = [*model.transformer.parameters()]
    parts += [p for key, p in model.tokenizer.named_parameters() if not key.startswith(("space", "maps"))]  # fmt: skip
    parts += [table[index] for table in tables if len(table)]
    count = sum(part.numel() for part in parts)
    return {
        "parameters": count,
        "mflop_per_s": counter.get_total_flops() / window_s / 1e6,
        "weights_kb": 4 * count / 1000,
    }


def inputs_of(study: Study, seed: int, session: xr.Dataset) -> dict[str, xr.DataArray]:
    """Latents of every model of a held-out session, and the references but band power, whose many features take long to fit again and again."""
    name = f"{session.attrs['subject']}/{session.attrs['session']}"
    models = study.models(name, seed)
    return {
        label: encode(models[label], session, device=study.device, progress=False)
        for label in COMPARED
    } | {label: x for label, x in references(session).items() if label != "Band power ridge"}


def _split(study: Study, seed: int) -> dict[str, Any]:
    train = study.configs("distill", seed).train
    return {"scheme": train.scheme, "window_s": train.window_s, "seed": train.seed}
