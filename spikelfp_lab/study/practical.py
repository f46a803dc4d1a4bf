"""What a decoder is worth in practice: ablations, lost electrodes, few labels, cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from spikelfp_lab.analysis import decode, fit_readout
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import references, scores_of, tidy
from spikelfp_lab.study.specs import ModelSpec, ablations
from spikelfp_lab.study.study import Study

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
MINUTES = (0.25, 0.5, 1.0, 2.0, 4.0)
COMPARED = ("SS-LFP", "MS-LFP", "Distilled", "Teacher", "Shuffled teacher")


def ablation_scores(study: Study) -> pd.DataFrame:
    """Scores of the student with one thing changed at a time, over ``Study.side_runs``.

    Returns
    -------
    DataFrame
        Rows as of ``Study.scores``, with ``question``, ``variant``, and ``own``: whether the
        variant is the study's own student.
    """
    study.train("ablations")
    specs, rows = {}, []
    for seed, name in study.side_runs:
        for question, variants in ablations(study, name, seed).items():
            for variant, spec in variants.items():
                specs[spec.folder] = (seed, name, spec)
                own = spec.folder.endswith("/distilled")
                rows.append((spec.folder, question, variant, own))
    jobs = list(specs.values())
    scores = tidy(in_parallel(study, _score, jobs, desc="decode", unit="student"))
    asked = pd.DataFrame(rows, columns=["folder", "question", "variant", "own"])
    return asked.merge(scores, on="folder").drop(columns="folder")


def _score(study: Study, seed: int, name: str, spec: ModelSpec) -> pd.DataFrame:
    """One job of :func:`ablation_scores`."""
    session = study.sessions[name]
    latents = encode(study.model(spec), session, device=study.device, progress=False)
    return scores_of(study, seed, name, {"Distilled": latents}).assign(folder=spec.folder)


def channel_loss(study: Study, *, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Decoding while a share of the channels (of the units, for spike models) falls silent.

    Read-outs are fitted with all channels, and scored on validation and test time with the lost
    ones at their mean (counts at 0). The seed draws which ones, the same for all models.

    Returns
    -------
    DataFrame
        Over ``Study.side_runs``. Further column: ``lost``, the share.
    """
    jobs = [(seed, name, tuple(shares)) for seed, name in study.side_runs]
    return tidy(in_parallel(study, _lose, jobs, desc="lose channels", unit="session"))


def _lose(study: Study, seed: int, name: str, shares: tuple[float, ...]) -> pd.DataFrame:
    """One job of :func:`channel_loss`."""
    session, split = study.sessions[name], study.split(name, seed)
    options = {"split": split, "protocol": study.protocol}
    fitted = [
        (label, fit_readout(values, session, kind=kind, **options))
        for label, values in inputs_of(study, seed, session).items()
        for kind in ("one_frame", "lagged")
    ]
    tables = []
    for share in shares:
        failing = inputs_of(study, seed, silence(session, share, split=split.values, seed=seed))
        for label, readout in fitted:
            table = decode(failing[label], session, readout=readout, **options)
            table = table[table["split"] != "train"]  # all channels were there then
            tables.append(table.assign(session=name, seed=seed, model=label, lost=share))
    return pd.concat(tables, ignore_index=True)


def silence(session: xr.Dataset, share: float, *, split: np.ndarray, seed: int) -> xr.Dataset:
    """A session with a share of its channels and units lost: LFP at its training mean, counts 0.

    Parameters
    ----------
    session : Dataset
    share : float
        0 to 1.
    split : ndarray, (time,)
        As of :func:`~spikelfp_lab.split_session`.
    seed : int
        Draws which.

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
    """Decoding when behavior is known for the first minutes of training time only.

    Models are those of the comparison, which never saw behavior. Minutes that the shortest session
    does not have are left out; all that it has is added.

    Returns
    -------
    DataFrame
        Over ``Study.side_runs``. Further column: ``minutes``.
    """
    most = min(
        float((study.split(name, seed) == TRAIN).sum())
        * study.sessions[name].attrs["bin_size_s"]
        / 60
        for seed, name in study.side_runs
    )
    shown = (*(part for part in minutes if part < most), most)
    jobs = [(seed, name, shown) for seed, name in study.side_runs]
    return tidy(in_parallel(study, _label, jobs, desc="label", unit="session"))


def _label(study: Study, seed: int, name: str, minutes: tuple[float, ...]) -> pd.DataFrame:
    """One job of :func:`label_efficiency`."""
    session = study.sessions[name]
    train = np.flatnonzero(study.split(name, seed).values == TRAIN)
    inputs, tables = inputs_of(study, seed, session), []
    for part in minutes:
        known = np.ones(session.sizes["time"], bool)
        known[train[round(part * 60 / session.attrs["bin_size_s"]) :]] = False
        labeled = session["behavior"].where(xr.DataArray(known, dims="time"), np.float32(np.nan))
        table = scores_of(study, seed, name, inputs, session=session.assign(behavior=labeled))
        tables.append(table[table["split"] == "test"].assign(minutes=part))
    return pd.concat(tables, ignore_index=True)


def cost(study: Study) -> pd.DataFrame:
    """What each decoder costs, for the first seed.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``parameters``, ``mflop_per_s`` (10^6 floating-point
        operations for each second of recording), ``weights_kb``. Tables of other sessions and
        read-outs of latents are not counted. The ridges are their lagged read-outs.
    """
    rows = []
    for seed, name in study.side_runs:
        session = study.sessions[name]
        models = study.models(name, seed)
        found = {label: _cost(models[label], name) for label in COMPARED}
        lags = 1 + 2 * int(0.1 / session.attrs["bin_size_s"] + 1e-6)
        for label, inputs in references(session).items():
            weights = (inputs.shape[1] * lags + 1) * session.sizes["behavior_dim"]
            rate = 2 * weights / session.attrs["bin_size_s"] / 1e6
            found[label] = (weights, rate, 4 * weights / 1000)
        rows += [(name, seed, label, *numbers) for label, numbers in found.items()]
    columns = ["session", "seed", "model", "parameters", "mflop_per_s", "weights_kb"]
    return pd.DataFrame(rows, columns=columns)


def _cost(model: Autoencoder, name: str) -> tuple[int, float, float]:
    """Parameters that one session needs, 10^6 operations a second, kilobytes."""
    window_s = model.info["train"]["window_s"]
    values = torch.zeros(1, round(window_s / model.bin_size_s), model.n_inputs(name))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.cpu().latents(values, name)
    index = model.tokenizer.index(name)
    tables = (model.tokenizer.space, model.tokenizer.maps)
    shared = model.tokenizer.named_parameters()
    parts = [*model.transformer.parameters()]
    parts += [part for key, part in shared if not key.startswith(("space", "maps"))]
    parts += [table[index] for table in tables if len(table)]
    count = sum(part.numel() for part in parts)
    return count, counter.get_total_flops() / window_s / 1e6, 4 * count / 1000


def inputs_of(study: Study, seed: int, session: xr.Dataset) -> dict[str, xr.DataArray]:
    """Latents of the compared models of a held-out session, raw LFP and spikes."""
    name = f"{session.attrs['subject']}/{session.attrs['session']}"
    models, options = study.models(name, seed), {"device": study.device, "progress": False}
    latents = {label: encode(models[label], session, **options) for label in COMPARED}
    return latents | {"Raw LFP ridge": session["lfp"], "Spikes ridge": session["spikes"]}
