"""Decoders that last: read-outs fitted on one session and frozen, on sessions that nobody saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import ReadOut, anchor, decode, fit_readout
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.sessions import TRAIN, channel_statistics, session_name
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import Arrays, references, tabulate
from spikelfp_lab.study.specs import model_specs, of_session, pretrained
from spikelfp_lab.study.study import Study
from spikelfp_lab.training.batches import split_of

CARRIED = ("MS-Distilled", "Distilled", "MS-LFP", "Shuffled teacher", "Other subject's teacher")
THROUGH = "Spikes through LFP"
RIDGES = ("Raw LFP ridge", "LFP and power ridge", "Spikes ridge")
ANEW = ("MS-Distilled", THROUGH, *RIDGES)  # fitted on the session that is read too
OF_DAYS = ("MS-Distilled", "Spikes ridge")  # and on a day
KINDS = ("one_frame", "lagged")
# Days of a simulated array: from the mixing of day 0 down to a correlation of a quarter with it.
DAYS = {"milekovic": (0, 138), "perge": (0, 30, 60, 120, 240)}
ReadOuts = dict[tuple[str, str], ReadOut]  # (model, kind)


def frozen(study: Study, models: Sequence[str] = CARRIED) -> pd.DataFrame:
    """Read-outs of a held-out session, frozen, on the other held-out sessions with the same
    channels (with ``Setup.full`` on those of the pre-training too).

    Nothing is trained or fitted on these: LFP is z-scored by its own training time, and models read
    it with the tables of the held-out session. ``THROUGH`` are the latents of each session's
    own spike teacher, brought to the space of MS-Distilled by :func:`~spikelfp_lab.anchor`, without
    behavior. ``models`` are those that are carried over, MS-Distilled among them. Columns
    ``trained_on``, ``seen`` ("never", "pre-training") and ``fitted``: "frozen", or "same session",
    the reference in which the read-out is fitted on the session it reads.
    """
    own = [(seed, name, study.sessions[name], models) for seed, name in study.side_runs]
    readouts = _fitted(study, own)
    jobs, first = [], {}  # a session's own ridges are the same for whoever's read-outs come there
    for seed, name in study.side_runs:
        for other, session in study.sessions.items():
            asked = study.full or len(study.held_out) < 2 or other in study.held_out
            channels = {*session["channel"].values} if "lfp" in session else set()
            same = channels == {*study.sessions[name]["channel"].values}
            if asked and same and other != name:
                anew = ANEW if first.setdefault((seed, other), name) == name else ANEW[:2]
                jobs.append((seed, other, name, session, readouts[seed, name], anew))
    if not jobs:
        raise ConfigError("no two sessions have the same channels: none can be paired")
    table = tabulate(study, _carry, jobs, "carry over")
    never = table["session"].isin(study.held_out)
    return table.assign(seen=np.where(never, "never", "pre-training"))


def lasting(study: Study, drift: str, *, days: Sequence[int] | None = None) -> pd.DataFrame:
    """The same on later days of a simulated array that ages by one of ``generative.DRIFTS``.

    Read-outs are fitted on the first day and frozen. Further columns: ``day``, ``mixing``, the
    correlation of the LFP's mixing with the first day's, and ``units``, the share of the first
    day's that are left. ``THROUGH`` is not there: the teacher has no tables for these days.
    """
    if not study.simulated:
        raise ConfigError("days of an array are known for the simulated cohort only")
    days = sorted(days or DAYS[drift])
    subject = study.held_out[0].split("/")[0]
    sessions = {day: session_of_day(study, subject, drift, day) for day in days}
    first = sessions[days[0]]
    readouts = _fitted(study, [(seed, name, first, CARRIED) for seed, name in study.side_runs])
    jobs = [
        (seed, f"{subject}/d{day:03}", name, sessions[day], readouts[seed, name], OF_DAYS)
        for seed, name in study.side_runs
        for day in days
    ]
    table = tabulate(study, _carry, jobs, f"days of {drift}")
    rows = [(session_name(one), day, *_left(first, one)) for day, one in sessions.items()]
    left = pd.DataFrame(rows, columns=["session", "day", "mixing", "units"])
    return table.merge(left, on="session").assign(drift=drift)


def session_of_day(study: Study, subject: str, drift: str, day: int) -> xr.Dataset:
    """A session of a simulated array on a day."""
    options = {"subject": subject, "duration_s": 90.0 if study.preset == "smoke" else 240.0}
    made = study.simulate(f"{drift}/{subject}/d{day:03}", day, drift=drift, **options)
    return made.load().assign_attrs(drift=drift)


def _left(first: xr.Dataset, other: xr.Dataset) -> tuple[float, float]:
    """Correlation of the mixing, and share of the units of the first that the other has."""
    names = ("lfp_mixing", "beta_weight", "gamma_weight")
    own, theirs = (np.concatenate([s[n].values.ravel() for n in names]) for s in (first, other))
    had, has = (set(each.indexes.get("unit", ())) for each in (first, other))
    return float(np.corrcoef(own, theirs)[0, 1]), len(had & has) / max(1, len(had))


def _fitted(
    study: Study, jobs: list[tuple[int, str, xr.Dataset, Sequence[str]]]
) -> dict[tuple[int, str], ReadOuts]:
    """(seed, session of the models) -> read-outs."""
    made = in_parallel(study, _fit, jobs, desc="fit read-outs", unit="session")
    return {(seed, name): each for (seed, name, *_), each in zip(jobs, made, strict=True)}


def _fit(
    study: Study, seed: int, name: str, session: xr.Dataset, models: Sequence[str]
) -> ReadOuts:
    """Read-outs of everything, fitted on the training time of one session."""
    split = split_of(session, study.configs("distill", seed).train)
    return {
        (model, kind): fit_readout(values, session, kind=kind, split=split, protocol=study.protocol)
        for model, values in _inputs(study, seed, name, session, models).items()
        for kind in KINDS
    }


def _carry(
    study: Study, seed: int, _: str, name: str, session: xr.Dataset, readouts: ReadOuts,
    anew: tuple[str, ...] = ANEW,
) -> pd.DataFrame:  # fmt: skip
    """Scores on a session of what was fitted elsewhere, and of some of it fitted anew."""
    options: dict[str, Any] = {"split": split_of(session, study.configs("distill", seed).train)}
    options["protocol"] = study.protocol
    tables = []
    for model, values in _inputs(study, seed, name, session, [m for m, _ in readouts]).items():
        for kind in KINDS:
            readout = readouts[model, kind]
            kept = _of_units(values, readout) if "unit" in values.dims else values
            made = {"frozen": decode(kept, session, readout=readout, **options)}
            if model in anew:
                made["same session"] = decode(values, session, readouts=[kind], **options)
            tables += [table.assign(model=model, fitted=how) for how, table in made.items()]
    return pd.concat(tables, ignore_index=True).assign(trained_on=name)


def _of_units(spikes: xr.DataArray, readout: ReadOut) -> xr.DataArray:
    """Counts of the units that a read-out knows; at their mean where they are gone, or were not
    observed.
    """
    mean = xr.DataArray(readout.ridge.mean, {"unit": list(readout.labels or ())}, "unit")
    known = spikes.where(spikes.coords["observed"]) if "observed" in spikes.coords else spikes
    known = known.drop_vars([n for n in spikes.coords if n not in ("time", "unit")])
    return known.reindex(unit=mean["unit"]).astype(float).fillna(mean)


def _inputs(
    study: Study, seed: int, name: str, session: xr.Dataset, models: Sequence[str]
) -> Arrays:
    """What is read out of a session with the models of ``name``: latents, ridges' inputs z-scored
    by training time, and, of a session of the cohort, spikes through LFP.
    """
    specs = model_specs(study, "unsupervised", name, seed)
    labels = [label for label in CARRIED if label in specs and label in models]
    found = {m: study.encode(study.model(specs[m]), session, as_session=name) for m in labels}
    train = split_of(session, study.configs("distill", seed).train).to_numpy() == TRAIN
    ridges, own = references(session), session_name(session)
    for label in RIDGES[: 2 + ("spikes" in session)]:
        found[label] = values = ridges[label]
        if label != "Spikes ridge":
            mean, std = channel_statistics(values.to_numpy(), train)
            found[label] = (values - mean) / std
    if own in study.sessions and "spikes" in session:
        known = of_session(study, "teacher", own, seed), pretrained(study, "spikes", seed)
        spikes = study.encode(study.model(known[own not in study.held_out]), session)
        found[THROUGH] = anchor(spikes, found["MS-Distilled"]).apply(spikes)
    return found
