"""evidence: the questions a sceptical reader asks of a study, each a tidy table computed from its trained models.

None of these trains a model of its own, but for what :class:`~spikelfp_lab.study.Study` trains when it is asked for. Every table has a row for each
session, seed, model, read-out, split and axis, as ``Study.scores`` has, and the columns that are named in its function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from spikelfp_lab.analysis import decode
from spikelfp_lab.datasets import simulated
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.sessions import TRAIN, split_session
from spikelfp_lab.signal import band_power
from spikelfp_lab.study import Study, read_out, references

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
MINUTES = (0.25, 0.5, 1.0, 2.0, 4.0)
COMPARED = ("SS-LFP", "MS-LFP", "Distilled", "Teacher", "Shuffled teacher")


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
    jobs = [
        (seed, name, other)
        for seed in study.seeds
        for name in study.held_out
        for other in study.sessions
        if other != name and "lfp" in study.sessions[other]
        if study.sessions[other].sizes["channel"] == study.sessions[name].sizes["channel"]
    ]
    if not jobs:
        raise ConfigError(
            f"no two sessions of cohort {study.cohort_name!r} have the same number of channels: "
            "a model of one cannot read another"
        )
    return _table(study.in_parallel(_transfer, jobs, desc="generalize", unit="pair"))


def _transfer(study: Study, seed: int, name: str, other: str) -> pd.DataFrame:
    session = study.sessions[other]
    models: dict[str, tuple[Autoencoder, str]] = {
        "Distilled": (study.distilled(name, seed), name),
        "MS-LFP": (study.ms_lfp_for(name, seed), name),
        "SS-LFP": (study.ss_lfp(name, seed), name),
        "Shuffled teacher": (study.shuffled(name, seed), name),
        "Untrained": (study.untrained(name, seed), name),
        "MS-LFP, trained on it": (
            study.ms_lfp_for(other, seed) if other in study.held_out else study.ms_lfp(seed),
            other,
        ),
    }
    inputs = {
        label: encode(model, session, as_session=tables, device=study.device, progress=False)
        for label, (model, tables) in models.items()
    } | {"Raw LFP ridge": session["lfp"]}
    seen = "never" if other in study.held_out else "pre-training"
    return scores_of(study, seed, other, inputs).assign(trained_on=name, seen=seen)


def channel_loss(study: Study, *, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Decoding while electrodes fail: a share of the channels (for the teacher and ridge on spikes, of the units) falls silent.

    Read-outs are fitted with all channels and scored on test time with the lost ones at their mean (counts at 0): nobody is told which are lost.

    Parameters
    ----------
    study : Study
    shares : sequence of float
        Shares lost, 0 to 1; which ones is drawn by the seed, the same for all models.

    Returns
    -------
    DataFrame
        Further column: ``lost``.
    """
    jobs = [(seed, name, tuple(shares)) for seed in study.seeds for name in study.held_out]
    return _table(study.in_parallel(_lose, jobs, desc="lose channels", unit="session"))


def _lose(study: Study, seed: int, name: str, shares: tuple[float, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    split = split_session(session, **_split(study, seed)).to_numpy()
    whole = _inputs(study, seed, session)
    tables = []
    for share in shares:
        failing = _inputs(study, seed, silence(session, share, split=split, seed=seed))
        mixed = {
            label: values.copy(data=_where(split == TRAIN, values, failing[label]))
            for label, values in whole.items()
        }
        tables.append(scores_of(study, seed, name, mixed).assign(lost=share))
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

    Parameters
    ----------
    study : Study
    minutes : sequence of float
        Of labeled training time; what a session does not have is left out, and all of it is added.

    Returns
    -------
    DataFrame
        Further column: ``minutes``.
    """
    jobs = [(seed, name, tuple(minutes)) for seed in study.seeds for name in study.held_out]
    return _table(study.in_parallel(_label, jobs, desc="label", unit="session"))


def _label(study: Study, seed: int, name: str, minutes: tuple[float, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    split = split_session(session, **_split(study, seed)).to_numpy()
    train = np.flatnonzero(split == TRAIN)
    per_minute = 60 / session.attrs["bin_size_s"]
    inputs = _inputs(study, seed, session)
    tables = []
    for part in [m for m in minutes if m * per_minute < len(train)] + [len(train) / per_minute]:
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
        ``session``, ``model``, ``parameters``, ``mflop_per_s`` (10^6 floating-point operations, a multiplication and an addition each counted, for each
        second of recording, in windows as the model was trained on), ``weights_kb``. Tables of other sessions are not counted.
    """
    rows = []
    for name in study.held_out:
        for label, model in study.models(name, seed).items():
            if label in COMPARED:
                rows.append({"session": name, "model": label} | _cost(model, name))
    return pd.DataFrame(rows)


def _cost(model: Autoencoder, name: str) -> dict[str, float]:
    window_s = model.info["train"]["window_s"]
    values = torch.zeros(1, round(window_s / model.bin_size_s), model.sessions[name])
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


def linear_bound(study: Study, *, hours: float = 1.0) -> pd.DataFrame:
    """What a linear decoder could read from LFP with hours of it: ridge on raw LFP and band power together, lagged, over a long simulated session.

    The long session has the electrodes and the mixing of the held-out one and a behavior of its own, of which a fifth is kept for the test.

    Parameters
    ----------
    study : Study
        Of the simulated cohort: of no other is more to be had.
    hours : float
        Length of the long session.

    Returns
    -------
    DataFrame
        Model "Linear bound", read-outs as in ``Study.scores``; seed -1.

    Raises
    ------
    ConfigError
        The cohort is not the simulated one.
    """
    if study.cohort_name != "simulated":
        raise ConfigError("the linear bound is known for the simulated cohort only")
    jobs = [(name, hours) for name in study.held_out]
    return _table(study.in_parallel(_bound, jobs, desc="linear bound", unit="session"))


def _bound(study: Study, name: str, hours: float) -> pd.DataFrame:
    subject, number = name.split("/")
    long = simulated.session(int(number[1:]), subject=subject, duration_s=3600 * hours)
    same = study.sessions[name]
    assert np.allclose(long["lfp_mixing"], same["lfp_mixing"])  # else it is a bound of nothing
    both = xr.concat(
        [long["lfp"].rename(channel="feature"), band_power(long["lfp"])],
        dim="feature",
        coords="minimal",
        compat="override",
    ).transpose("time", "feature")
    table = decode(both, long)
    return table.assign(session=name, seed=-1, model="Linear bound")


def recovery(study: Study) -> pd.DataFrame:
    """How much of the true latents each model's latents hold, on the simulated cohort: R² of linear read-outs of them.

    Parameters
    ----------
    study : Study
        Whose sessions have ``latent_truth``.

    Returns
    -------
    DataFrame
        ``axis`` is the true latent's name.

    Raises
    ------
    ConfigError
        The sessions have no ``latent_truth``.
    """
    if any("latent_truth" not in study.sessions[name].coords for name in study.held_out):
        raise ConfigError("true latents are known for the simulated cohort only")
    jobs = [(seed, name) for seed in study.seeds for name in study.held_out]
    return _table(study.in_parallel(_recover, jobs, desc="recover latents", unit="session"))


def _recover(study: Study, seed: int, name: str) -> pd.DataFrame:
    session = study.sessions[name]
    asked = true_latents(session)
    return scores_of(study, seed, name, _inputs(study, seed, session), session=asked)


def true_latents(session: xr.Dataset) -> xr.Dataset:
    """The session with its true latents in the place of behavior, so that what decodes behavior decodes them."""
    truth = session["latent_truth"].reset_coords(drop=True).rename(latent_truth_dim="behavior_dim")
    return session.drop_vars(["behavior", "behavior_dim"]).assign(behavior=truth)


def _inputs(study: Study, seed: int, session: xr.Dataset) -> dict[str, xr.DataArray]:
    """Latents of every model of a held-out session, and the references but band power, whose many features take long to fit again and again."""
    name = f"{session.attrs['subject']}/{session.attrs['session']}"
    models = study.models(name, seed)
    return {
        label: encode(models[label], session, device=study.device, progress=False)
        for label in COMPARED
    } | {label: x for label, x in references(session).items() if label != "Band power ridge"}


def scores_of(
    study: Study,
    seed: int,
    name: str,
    inputs: dict[str, xr.DataArray],
    *,
    session: xr.Dataset | None = None,
) -> pd.DataFrame:
    """Tidy scores of named (time, feature) arrays on the split of a seed; of ``session`` in place of the study's, if given."""
    session = study.sessions[name] if session is None else session
    options = read_out(study.configs("distill", seed).train)
    tables = [
        decode(values, session, **options).assign(session=name, seed=seed, model=label)
        for label, values in inputs.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _split(study: Study, seed: int) -> dict[str, Any]:
    train = study.configs("distill", seed).train
    return {"scheme": train.scheme, "window_s": train.window_s, "seed": train.seed}


def _where(use: np.ndarray, a: xr.DataArray, b: xr.DataArray) -> np.ndarray:
    return np.where(use[:, None], a.to_numpy(), b.to_numpy())


def _table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(["seed", "session"], kind="stable", ignore_index=True)
