"""Is distillation worth it on one's own recordings? From a folder of sessions to one page."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mode
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from tqdm.auto import tqdm

from spikelfp_lab._files import check_writable, write_whole
from spikelfp_lab.analysis import bootstrap_interval, fit_readout, score_predicted
from spikelfp_lab.cohorts.open import session_paths
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError, SpikeLFPWarning
from spikelfp_lab.io.open import is_nwb, open_session
from spikelfp_lab.plots import theme
from spikelfp_lab.reporting.page import page
from spikelfp_lab.sessions import TEST, drop_bad_channels, session_name
from spikelfp_lab.study import ModelSpec, Study, frozen, model_specs, references
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.specs import of_session

Verdict = Literal["gain", "no gain", "undecided"]
MODELS = ("SS-LFP", "MS-LFP", "Distilled", "MS-Distilled", "Teacher", "Shuffled teacher")
OF_LFP = ("SS-LFP", "MS-LFP", "Raw LFP ridge", "LFP and power ridge")
OF_SPIKES = ("Teacher", "Spikes ridge")
BLOCKS = 10  # of the test time of a session
NARROW = 0.05  # R²: a difference below that is none


@dataclass(frozen=True)
class Report:
    """What :func:`report` found: a verdict, the sentence that explains it, scores, and the page."""

    verdict: Verdict
    sentence: str
    scores: pd.DataFrame = field(repr=False)
    path: Path

    def __repr__(self) -> str:
        return f"{self.verdict}: {self.sentence}\n{self.path}"


def report(
    folder: str | Path, *, behavior: str | None = None, preset: str = "demo",
    held_out: Sequence[str] = (), output: str | Path = "spikelfp_report", progress: bool = True,
) -> Report:  # fmt: skip
    """Train on the sessions of a folder, and say whether distillation pays there.

    Sessions that are held out (the last third, unless they are named) are in nobody's pre-training.
    On each of them teacher, SS-LFP, MS-LFP, students and ridges are scored on the same test time.
    The verdict is about Distilled less the best model that never saw a spike, R² of the lagged
    read-out: *gain* where its 95 % interval over sessions and blocks is above 0, *no gain* where it
    is below, or holds 0 and nothing beyond 0.05, else *undecided*.

    Parameters
    ----------
    folder : str or Path
        ``.nwb`` and ``.zarr`` sessions, in it or one level down. Those that cannot be used are left
        out, with the reason.
    behavior : str, optional
        What NWB files have as behavior, where there are several, as for :func:`open_session`.
    preset : {"demo", "smoke"}
    held_out : sequence of str, optional
        Sessions ``subject/session`` that need spikes, LFP and behavior.
    output : str or Path
        Folder of trained models and of ``report.html``; a call that was cut off goes on there.
    progress : bool

    Returns
    -------
    Report

    Raises
    ------
    DataError, ConfigError
        No sessions, none with spikes, LFP and behavior, or none of a name.

    Examples
    --------
    >>> report("missing")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    spikelfp_lab.errors.DataError: Unknown cohort 'missing': it is neither a folder nor one of ...
    """
    if preset == "paper":
        what = "the paper's split shuffles windows of 10 s, so that test time is next to what was"
        raise ConfigError(f"{what} trained on: no verdict can be had. Give preset='demo'")
    paths, output = session_paths(folder), Path(output)
    check_writable(output)
    files: Any
    sessions, files = _opened(paths, {"behavior": behavior} if behavior else {}, progress)
    files["left out"] = _left_out(sessions, files["left out"])
    used = {n: s for n, s in sessions.items() if not files.loc[n, "left out"]}
    whole = [n for n, s in used.items() if {"spikes", "lfp", "behavior"} <= {*s.data_vars}]
    if odd := [name for name in held_out if name not in whole]:
        raise ConfigError(f"{odd} cannot be held out: spikes, LFP and behavior have {whole}")
    if not whole:
        reasons = "; ".join(f"{n}: {why}" for n, why in files["left out"].items() if why)
        raise DataError(f"no session of {folder} has spikes, LFP and behavior. {reasons}")
    held = tuple(held_out) or tuple(whole[-max(1, round(len(whole) / 3)) :])
    options: dict[str, Any] = {"runs": output / "models", "held": held, "progress": progress}
    study = Study(cohort_name=str(Path(folder).resolve()), preset=preset, **options)
    vars(study)["sessions"] = used
    specs = {name: _specs(study, name) for name in held}
    labels = {spec.folder: label for own in specs.values() for label, spec in own.items()}
    found = study.make([s for own in specs.values() for s in own.values()], forgive=True)
    failed = {labels.get(folder, folder): reason for folder, reason in found.items()}
    jobs = [(0, n, {k: s for k, s in specs[n].items() if k not in failed}) for n in held]
    made = in_parallel(study, _score, jobs, desc="decode", unit="session")
    tables, blocks, predicted = zip(*made, strict=True)
    scores, errors = (pd.concat(each, ignore_index=True) for each in (tables, blocks))
    carried, reasons = _carried(study, scores)
    failed |= reasons
    verdict, sentence, gains = _verdict(scores, errors, failed)
    path = output / "report.html"
    content = page(study, files, scores, gains, carried, failed, predicted[0], verdict, sentence)
    write_whole(path, content.encode())
    return Report(verdict, sentence, scores, path)


def _opened(
    paths: list[Path], options: dict[str, Any], progress: bool
) -> tuple[dict[str, xr.Dataset], pd.DataFrame]:
    """Name -> session, and a row a file: what it holds, or why it could not be opened."""
    sessions, rows = {}, {}
    for path in tqdm(paths, "open", unit="session", disable=not progress):
        try:
            with warnings.catch_warnings():  # the page lists them
                warnings.simplefilter("ignore", SpikeLFPWarning)
                whole = open_session(path, **(options if is_nwb(path) else {}))
                one = drop_bad_channels(whole)
        except SpikeLFPError as error:
            rows[path.name] = {"file": path.name, "left out": str(error)}
            continue
        name = session_name(one)
        if name in sessions:
            rows[path.name] = {"file": path.name, "left out": f"{name} is there already"}
            continue
        sessions[name] = one
        axes = [*map(str, one["behavior_dim"].values)] if "behavior" in one else []
        rows[name] = {
            "file": path.name,
            "minutes": round(one.sizes["time"] * one.attrs["bin_size_s"] / 60, 1),
            "units": one.sizes.get("unit", 0) if "spikes" in one else 0,
            "channels": one.sizes.get("channel", 0) if "lfp" in one else 0,
            "dropped": _gone(whole, one),
            "behavior": ", ".join(axes),
            "bins (ms)": 1000 * one.attrs["bin_size_s"],
            "left out": "",
        }
    return sessions, pd.DataFrame.from_dict(rows, orient="index")


def _gone(whole: xr.Dataset, one: xr.Dataset) -> str:
    """Channels and units that tell nothing: NaN or constant throughout."""
    dims = [dim for dim in ("channel", "unit") if dim in whole.coords]
    return ", ".join(str(x) for dim in dims for x in whole[dim].values if x not in one[dim].values)


def _left_out(sessions: dict[str, xr.Dataset], known: pd.Series) -> pd.Series:
    """Why a session is not used; empty for those that are. Most of them agree on bins and axes."""
    bins = {name: round(one.attrs["bin_size_s"], 6) for name, one in sessions.items()}
    there = {name: one["behavior_dim"] for name, one in sessions.items() if "behavior" in one}
    axes = {name: tuple(map(str, dims.values)) for name, dims in there.items()}
    usual, named = (mode(each.values()) if each else None for each in (bins, axes))
    reasons = known.copy()
    for name, one in sessions.items():
        if "spikes" not in one:
            reasons[name] = "it has no spikes: no teacher can be trained for it"
        elif bins[name] != usual:
            reasons[name] = f"its bins last {bins[name]:g} s, most others' {usual:g} s"
        elif axes.get(name, named) != named:
            reasons[name] = f"its behavior is {axes[name]}, most others' {named}"
    return reasons


def _specs(study: Study, name: str) -> dict[str, ModelSpec]:
    """Label -> spec of the models of a held-out session; without others, its teacher knows it."""
    if set(study.sessions) - set(study.held_out):
        specs = model_specs(study, "unsupervised", name)
        return {label: specs[label] for label in MODELS if label in specs}
    one = partial(of_session, study, name=name, seed=0)
    teacher = one("ss_teacher")
    return {
        "SS-LFP": one("ss_lfp"),
        "Distilled": one("distilled", start=teacher),
        "Teacher": teacher,
        "Shuffled teacher": one("shuffled_teacher", control="shuffled", start=teacher),
    }


def _score(
    study: Study, seed: int, name: str, specs: dict[str, ModelSpec]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, xr.DataArray]]:
    """Tidy R² on test time; each block's part of 1 - R² of the lagged read-out, of all models on
    the same bins; and what some of them predict.
    """
    session, split = study.sessions[name], study.split(name, seed)
    inputs = {label: study.encode(study.model(spec), session) for label, spec in specs.items()}
    ridges = references(session)
    inputs |= {label: ridges[label] for label in (*OF_LFP[2:], "Spikes ridge")}
    true, tables, predicted = session["behavior"].transpose("time", "behavior_dim"), [], {}
    for model, values in inputs.items():
        for kind in ("one_frame", "lagged"):
            readout = fit_readout(values, session, kind=kind, split=split)
            made = predicted[model] = readout.predict(values, split=split)
            tables.append(score_predicted(made, session).assign(model=model))
    scores = pd.concat(tables).query("split == 'test'").assign(session=name, seed=seed)
    both = np.hstack([true, *predicted.values()])
    use = (split == TEST).values & np.isfinite(both).all(axis=1)
    wanted = true.values[use]
    moves = np.ptp(wanted, axis=0) > 0 if len(wanted) >= BLOCKS else np.zeros(0, bool)
    if not moves.any():
        cure = "hold out another session (held_out)"
        raise DataError(f"{name}: no behavior that changes is known in its test time: {cure}")
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)[moves]
    parts = []
    for model, made in predicted.items():
        error = (((made.values[use] - wanted) ** 2)[:, moves] / spread).mean(axis=1)
        for block, part in enumerate(np.array_split(error, BLOCKS)):
            parts.append((name, model, block, BLOCKS * part.sum()))
    errors = pd.DataFrame(parts, columns=["session", "model", "block", "error"])
    return scores.dropna(), errors, predicted


def _carried(study: Study, scores: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Scores of frozen read-outs on other held-out sessions, and why there are none."""
    if len(study.held_out) < 2 or "MS-Distilled" not in set(scores["model"]):
        return pd.DataFrame(), {}
    try:
        return frozen(study, models=("MS-Distilled",)), {}
    except ConfigError as error:  # other electrodes a session
        return pd.DataFrame(), {"frozen decoder": str(error)}


def _verdict(
    scores: pd.DataFrame, errors: pd.DataFrame, failed: dict[str, str]
) -> tuple[Verdict, str, pd.DataFrame]:
    """The verdict, a sentence for it, and the difference in each block of each session."""
    lagged: Any = scores.query("readout == 'lagged'").groupby("model")["r2"].mean()
    means, axes = dict(lagged), ", ".join(scores["axis"].unique())
    best = max((model for model in OF_LFP if model in means), key=lambda model: means[model])
    spikes = max(means.get(model, -np.inf) for model in OF_SPIKES)
    if "Distilled" not in means:
        why = failed.get("Distilled", "no teacher could be trained")
        tell = "nothing" if spikes < NARROW else "much"
        sentence = (
            f"No student could be made ({why}). The units tell {tell} of {axes} (R² "
            f"{theme.number(spikes)}), the best model of LFP alone, {best}, has "
            f"{theme.number(means[best])}."
        )
        return "no gain" if tell == "nothing" else "undecided", sentence, pd.DataFrame()
    wide: Any = errors.pivot_table(index=["session", "block"], columns="model", values="error")
    gains: Any = wide.assign(difference=wide[best] - wide["Distilled"]).reset_index()
    mean = float(gains["difference"].mean())
    low, high = bootstrap_interval(gains["difference"].to_numpy())
    numbers = f"{theme.number(mean)} [{theme.number(low)}, {theme.number(high)}]"
    what = (
        f"Distilled decodes {axes} with R² {theme.number(means['Distilled'])}, the best model of "
        f"LFP alone, {best}, with {theme.number(means[best])}: a difference of {numbers} (lagged "
        f"read-out; interval over {len(gains)} blocks of {gains['session'].nunique()} session(s))."
    )
    if spikes < NARROW:
        what += f" The units tell nothing of {axes} (R² {theme.number(spikes)}): what they could "
        what += "teach is not there."
    shuffled = means.get("Shuffled teacher", -np.inf)
    if low > 0 and shuffled < means["Distilled"]:
        return "gain", what, gains
    if low > 0:
        what += " A shuffled teacher does as well: it is no distillation that helps."
    if low > 0 or high < 0 or max(-low, high) <= NARROW:
        return "no gain", what, gains
    more = max(2, int(np.ceil(((high - low) / 2 / max(abs(mean), NARROW)) ** 2)))
    what += f" About {more} times as much test time (longer sessions, or more of them) would decide"
    return "undecided", f"{what} it, if the difference stays as it is.", gains
