"""The questions of the notebooks, a tidy table each.

How alike latents are to the teacher's, how far a model carries, what one change does, what lost
electrodes and few labels do, what it costs, and how near the truth it comes. The columns of
``Study.scores`` come first; most are over ``Study.side_runs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from spikelfp_lab.analysis import cca, decode, fit_readout, linear_cka, procrustes, retrieval
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import TEST, TRAIN, session_name
from spikelfp_lab.study.scoring import latents_of, references, scores_of, tabulate
from spikelfp_lab.study.specs import ModelSpec, ablations, of_session, pretrained
from spikelfp_lab.study.study import Study

CANDIDATES, COMPONENTS = 50, 10
LAYERED = ("Distilled", "MS-LFP", "SS-LFP", "Untrained")
READERS = ("Distilled", "MS-LFP", "SS-LFP", "Shuffled teacher", "Untrained")
COMPARED = ("SS-LFP", "MS-LFP", "Distilled", "Teacher", "Shuffled teacher")
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
MINUTES = (0.25, 0.5, 1.0, 2.0, 4.0)


def alignment(study: Study) -> pd.DataFrame:
    """Likeness of every unsupervised model's latents to the fine-tuned teacher's, on test bins.

    CKA, CCA (of the ten leading components) and Procrustes distance do not change with a rotation.
    Retrieval does: each model's latents are first rotated, scaled and shifted onto the teacher's,
    fitted on training bins. Columns ``measure``, ``value``, ``chance`` (of retrieval: one in 50
    moments at least 100 ms apart; NaN otherwise), as Table 1 of arXiv 2512.12461.
    """
    return tabulate(study, _align, study.side_runs, "align")


def _align(study: Study, seed: int, name: str) -> pd.DataFrame:
    latents = latents_of(study, name, seed, "unsupervised")
    teacher, split = latents.pop("Teacher"), study.split(name, seed).to_numpy()
    spacing = max(1, round(0.1 / study.sessions[name].attrs["bin_size_s"]))
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
    return pd.DataFrame(rows, columns=["model", "measure", "value", "chance"])


def layers(study: Study) -> pd.DataFrame:
    """Linear CKA of the latents after each block of a model and of the teacher, on test bins.

    Columns ``model``, ``layer``, ``teacher_layer`` (0: the tokens), ``value``.
    """
    return tabulate(study, _compare_layers, study.side_runs, "compare layers")


def _compare_layers(study: Study, seed: int, name: str) -> pd.DataFrame:
    session, models = study.sessions[name], study.models(name, seed)
    test = study.split(name, seed).to_numpy() == TEST

    def outputs(model: Autoencoder) -> list[np.ndarray]:
        numbers = range(model.config.layers + 1)
        return [study.encode(model, session, layer=n).values[test] for n in numbers]

    teacher = outputs(models["Teacher"])
    rows = [
        (label, i, j, linear_cka(own, theirs))
        for label in LAYERED
        for i, own in enumerate(outputs(models[label]))
        for j, theirs in enumerate(teacher)
    ]
    return pd.DataFrame(rows, columns=["model", "layer", "teacher_layer", "value"])


def generalization(study: Study) -> pd.DataFrame:
    """Models of one session, applied to sessions they never saw (Fig. 5 of arXiv 2512.12461).

    A model of a held-out session reads another one of as many channels ``as_session`` that one.
    Only the linear read-out of behavior is fitted on the other session's training time, as for
    every model. Further columns: ``trained_on``, the session of the model, and ``seen``: "never",
    or "pre-training" where teacher and MS-LFP were pre-trained on the other session. "MS-LFP,
    trained on it" has had the session in its own training.
    """
    channels = {name: s.sizes["channel"] for name, s in study.sessions.items() if "lfp" in s}
    readers = {
        other: [name for name in study.held_out if name != other and channels.get(name) == size]
        for other, size in channels.items()
    }
    jobs = [(s, other, names) for s in study.seeds for other, names in readers.items() if names]
    if not jobs:
        raise ConfigError("no two sessions have the same number of channels: none can be paired")
    return tabulate(study, _transfer, jobs, "generalize")


def _transfer(study: Study, seed: int, other: str, names: list[str]) -> pd.DataFrame:
    """Models of each of the named sessions on another one, and what does not depend on them."""
    session, never = study.sessions[other], other in study.held_out
    spec = of_session(study, "ms_lfp", other, seed) if never else pretrained(study, "lfp", seed)
    own = {"MS-LFP, trained on it": study.encode(study.model(spec), session)}
    shared = scores_of(study, seed, other, own | {"Raw LFP ridge": session["lfp"]})
    tables = []
    for name in names:
        models = study.models(name, seed)
        latents = {r: study.encode(models[r], session, as_session=name) for r in READERS}
        table = pd.concat([scores_of(study, seed, other, latents), shared])
        tables.append(table.assign(trained_on=name, seen="never" if never else "pre-training"))
    return pd.concat(tables, ignore_index=True)


def published_generalization() -> pd.DataFrame:
    """Published scores of the paper's authors: one student on 27 sessions it never saw.

    Tidy: ``session``, ``model`` ("MS-LFP, trained on it" or "Distilled"), ``split`` ("train",
    "valtest"), ``r2`` (mean over axes), ``trained_on``. One-frame ordinary least squares. Fig. 5 of
    Erturk et al., NeurIPS 2025, from their repository ``ShanechiLab/CrossModalDistillation``.

    >>> table = published_generalization().query("split == 'valtest'")
    >>> monkey = table[table["session"].str.startswith("I/")]
    >>> monkey.groupby("model")["r2"].mean().round(3).to_dict()
    {'Distilled': 0.538, 'MS-LFP, trained on it': 0.341}
    """
    return pd.read_csv(Path(__file__).with_name("published_generalization.csv"), comment="#")


def ablation_scores(study: Study) -> pd.DataFrame:
    """Scores of the student with one thing changed at a time.

    Further columns: ``question``, ``variant``, and ``own``: whether it is the study's own student.
    """
    study.train("ablations")
    rows, jobs = [], {}
    for seed, name in study.side_runs:
        for question, variants in ablations(study, name, seed).items():
            for variant, spec in variants.items():
                rows.append((spec.folder, question, variant, spec.folder.endswith("/distilled")))
                jobs[spec.folder] = (seed, name, spec)
    asked = pd.DataFrame(rows, columns=["folder", "question", "variant", "own"])
    scores = tabulate(study, _score, list(jobs.values()), "decode")
    return asked.merge(scores, on="folder").drop(columns="folder")


def _score(study: Study, seed: int, name: str, spec: ModelSpec) -> pd.DataFrame:
    latents = {"Distilled": study.encode(study.model(spec), study.sessions[name])}
    return scores_of(study, seed, name, latents).assign(folder=spec.folder)


def inputs_of(study: Study, seed: int, session: xr.Dataset) -> dict[str, xr.DataArray]:
    """Latents of the compared models of a held-out session, raw LFP and spikes."""
    models = study.models(session_name(session), seed)
    latents = {label: study.encode(models[label], session) for label in COMPARED}
    return latents | {"Raw LFP ridge": session["lfp"], "Spikes ridge": session["spikes"]}


def channel_loss(study: Study, *, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Decoding while a share of the channels (of the units, for spike models) falls silent.

    Read-outs are fitted with all channels, and scored on validation and test time with the lost
    ones at their mean (counts at 0). The seed draws which ones, the same for all models. Further
    column: ``lost``, the share.
    """
    jobs = [(*run, tuple(shares)) for run in study.side_runs]
    return tabulate(study, _lose, jobs, "lose channels")


def _lose(study: Study, seed: int, name: str, shares: tuple[float, ...]) -> pd.DataFrame:
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
            tables.append(table.assign(model=label, lost=share))
    return pd.concat(tables, ignore_index=True)


def silence(session: xr.Dataset, share: float, *, split: np.ndarray, seed: int) -> xr.Dataset:
    """A session with a share of its channels and units lost: LFP at its training mean, counts 0.

    ``share`` is from 0 to 1, ``split`` (time,) of :func:`~spikelfp_lab.split_session`; the seed
    draws which.

    >>> lfp = xr.DataArray(np.arange(8.0).reshape(4, 2), dims=("time", "channel"))
    >>> lost = silence(xr.Dataset({"lfp": lfp}), 0.5, split=np.zeros(4), seed=0)
    >>> int((lost["lfp"].std("time") == 0).sum())
    1
    """
    rng, lost = np.random.default_rng(seed), session.copy()
    for name in ("lfp", "spikes"):
        if name in session:
            values = session[name].to_numpy().copy()
            gone = rng.permutation(values.shape[1])[: round(share * values.shape[1])]
            mean = np.nanmean(values[split == TRAIN][:, gone], axis=0)
            values[:, gone] = mean if name == "lfp" else 0
            lost[name] = session[name].copy(data=values)
    return lost


def label_efficiency(study: Study, *, minutes: Sequence[float] = MINUTES) -> pd.DataFrame:
    """Decoding when behavior is known for the first minutes of training time only.

    Models are those of the comparison, which never saw behavior. Minutes that the shortest session
    does not have are left out; all that it has is added. Further column: ``minutes``.
    """
    sizes = [
        (study.split(name, seed) == TRAIN).sum() * study.sessions[name].attrs["bin_size_s"]
        for seed, name in study.side_runs
    ]
    most = float(min(sizes)) / 60
    shown = (*(part for part in minutes if part < most), most)
    return tabulate(study, _label, [(*run, shown) for run in study.side_runs], "label")


def _label(study: Study, seed: int, name: str, minutes: tuple[float, ...]) -> pd.DataFrame:
    session = study.sessions[name]
    inputs, tables = inputs_of(study, seed, session), []
    for part in minutes:
        behavior = session["behavior"].where(study.first_minutes(name, seed, part))
        table = scores_of(study, seed, name, inputs, session=session.assign(behavior=behavior))
        tables.append(table[table["split"] == "test"].assign(minutes=part))
    return pd.concat(tables, ignore_index=True)


def cost(study: Study) -> pd.DataFrame:
    """What each decoder costs.

    Columns ``session``, ``seed``, ``model``, ``parameters``, ``mflop_per_s`` (10^6 floating-point
    operations for each second of recording), ``weights_kb``. Tables of other sessions and read-outs
    of latents are not counted. The ridges are their lagged read-outs.
    """
    rows = []
    for seed, name in study.side_runs:
        session, models = study.sessions[name], study.models(name, seed)
        rows += [(name, seed, label, *_cost(models[label], name)) for label in COMPARED]
        bin_size_s = session.attrs["bin_size_s"]
        lags = 1 + 2 * int(0.1 / bin_size_s + 1e-6)
        for label, inputs in references(session).items():
            weights = (inputs.shape[1] * lags + 1) * session.sizes["behavior_dim"]
            rows.append((name, seed, label, weights, 2 * weights / bin_size_s / 1e6))
    table = pd.DataFrame(rows, columns=["session", "seed", "model", "parameters", "mflop_per_s"])
    return table.assign(weights_kb=4 * table["parameters"] / 1000)


def _cost(model: Autoencoder, name: str) -> tuple[int, float]:
    """Parameters that one session needs, and 10^6 operations a second."""
    window_s, tokenizer = model.info["train"]["window_s"], model.tokenizer
    values = torch.zeros(1, round(window_s / model.bin_size_s), len(model.statistics(name)[0]))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.cpu().latents(values, name)
    shared = [p for k, p in tokenizer.named_parameters() if not k.startswith(("space", "maps"))]
    own = [t[tokenizer.index(name)] for t in (tokenizer.space, tokenizer.maps) if len(t)]
    count = sum(part.numel() for part in [*model.transformer.parameters(), *shared, *own])
    return count, counter.get_total_flops() / window_s / 1e6


def linear_bound(study: Study, *, hours: float = 1.0) -> pd.DataFrame:
    """What a linear decoder could read from LFP with hours of it (simulated cohort only).

    Lagged ridge on raw LFP and band power together, over a long simulated session with the
    electrodes and the mixing of the held-out one. Model "Linear bound", seed -1.
    """
    if not study.simulated:
        raise ConfigError("the linear bound is known for the simulated cohort only")
    jobs = [(-1, name, hours) for name in dict.fromkeys(name for _, name in study.side_runs)]
    return tabulate(study, _bound, jobs, "linear bound")


def _bound(study: Study, _: int, name: str, hours: float) -> pd.DataFrame:
    subject, number = name.split("/")
    long = simulated.session(int(number[1:]), subject=subject, duration_s=3600 * hours)
    assert np.allclose(long["lfp_mixing"], study.sessions[name]["lfp_mixing"])
    return decode(references(long)["LFP and power ridge"], long).assign(model="Linear bound")


def recovery(study: Study) -> pd.DataFrame:
    """R² of read-outs of the true latents, named in ``axis`` (simulated cohort only)."""
    if any("latent_truth" not in study.sessions[name].coords for name in study.held_out):
        raise ConfigError("true latents are known for the simulated cohort only")
    return tabulate(study, _recover, study.side_runs, "recover latents")


def _recover(study: Study, seed: int, name: str) -> pd.DataFrame:
    session = study.sessions[name]
    inputs = inputs_of(study, seed, session)
    return scores_of(study, seed, name, inputs, session=true_latents(session))


def true_latents(session: xr.Dataset) -> xr.Dataset:
    """The session with its true latents in the place of behavior."""
    truth = session["latent_truth"].reset_coords(drop=True).rename(latent_truth_dim="behavior_dim")
    return session.drop_vars(["behavior", "behavior_dim"]).assign(behavior=truth)


def fraction_of_bound(scores: pd.DataFrame, bound: pd.DataFrame) -> pd.DataFrame:
    """Test scores as fractions of the linear bound of the same session and read-out.

    From tables of ``Study.scores`` and :func:`linear_bound`: ``session``, ``seed``, ``model``,
    ``readout``, ``r2`` (mean over axes), ``bound`` and ``fraction``, their ratio.

    >>> row = {"session": "I/s05", "readout": "lagged", "split": "test", "axis": "vx"}
    >>> scores = pd.DataFrame([row | {"r2": 0.6, "seed": 0, "model": "Distilled"}])
    >>> limit = pd.DataFrame([row | {"r2": 0.5, "seed": -1, "model": "Linear bound"}])
    >>> fraction_of_bound(scores, limit)["fraction"].tolist()
    [1.2]
    """
    keys, on = ["session", "seed", "model", "readout"], ["session", "readout"]

    def mean_r2(table: Any) -> Any:
        return table[table["split"] == "test"].groupby(keys, sort=False)["r2"].mean().reset_index()

    limits = mean_r2(bound).rename(columns={"r2": "bound"})[[*on, "bound"]]
    both = mean_r2(scores).merge(limits, on=on, how="left", validate="m:1")
    return both.assign(fraction=both["r2"] / both["bound"])
