"""How near the limit: simulated recordings, whose linear bound and true latents are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.signal import band_power
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.practical import inputs_of
from spikelfp_lab.study.scoring import scores_of, tidy
from spikelfp_lab.study.study import Study


def linear_bound(study: Study, *, hours: float = 1.0) -> pd.DataFrame:
    """What a linear decoder could read from LFP with hours of it.

    Lagged ridge on raw LFP and band power together, over a long simulated session with the
    electrodes and the mixing of the held-out one. Of the sessions of ``Study.side_runs``.

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
    jobs = [(name, hours) for name in dict.fromkeys(name for _, name in study.side_runs)]
    return tidy(in_parallel(study, _bound, jobs, desc="linear bound", unit="session"))


def _bound(study: Study, name: str, hours: float) -> pd.DataFrame:
    """One job of :func:`linear_bound`."""
    subject, number = name.split("/")
    long = simulated.session(int(number[1:]), subject=subject, duration_s=3600 * hours)
    assert np.allclose(long["lfp_mixing"], study.sessions[name]["lfp_mixing"])
    both = xr.concat(
        [long["lfp"].rename(channel="feature"), band_power(long["lfp"])],
        dim="feature",
        coords="minimal",
        compat="override",
    ).transpose("time", "feature")
    return decode(both, long).assign(session=name, seed=-1, model="Linear bound")


def recovery(study: Study) -> pd.DataFrame:
    """R² of linear read-outs of the true latents from each model's latents.

    Returns
    -------
    DataFrame
        Over ``Study.side_runs``; ``axis`` is the true latent's name.

    Raises
    ------
    ConfigError
        The sessions have no ``latent_truth``.
    """
    if any("latent_truth" not in study.sessions[name].coords for name in study.held_out):
        raise ConfigError("true latents are known for the simulated cohort only")
    jobs = study.side_runs
    return tidy(in_parallel(study, _recover, jobs, desc="recover latents", unit="session"))


def _recover(study: Study, seed: int, name: str) -> pd.DataFrame:
    """One job of :func:`recovery`."""
    session = study.sessions[name]
    inputs = inputs_of(study, seed, session)
    return scores_of(study, seed, name, inputs, session=true_latents(session))


def true_latents(session: xr.Dataset) -> xr.Dataset:
    """The session with its true latents in the place of behavior."""
    truth = session["latent_truth"].reset_coords(drop=True).rename(latent_truth_dim="behavior_dim")
    return session.drop_vars(["behavior", "behavior_dim"]).assign(behavior=truth)


def fraction_of_bound(scores: pd.DataFrame, bound: pd.DataFrame) -> pd.DataFrame:
    """Test scores as fractions of the linear bound of the same session and read-out.

    Parameters
    ----------
    scores, bound : DataFrame
        As of ``Study.scores`` and :func:`linear_bound`.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``readout``, ``r2`` (mean over axes), ``bound`` and
        ``fraction``, their ratio.

    Examples
    --------
    >>> row = {"session": "I/s05", "readout": "lagged", "split": "test", "axis": "vx"}
    >>> scores = pd.DataFrame([row | {"r2": 0.6, "seed": 0, "model": "Distilled"}])
    >>> limit = pd.DataFrame([row | {"r2": 0.5, "seed": -1, "model": "Linear bound"}])
    >>> fraction_of_bound(scores, limit)["fraction"].tolist()
    [1.2]
    """
    columns = ["session", "seed", "model", "readout"]

    def means(table: pd.DataFrame) -> pd.DataFrame:
        test = table.loc[table["split"] == "test"]
        return test.groupby(columns, sort=False, as_index=False).agg(r2=("r2", "mean"))

    limits = means(bound).rename(columns={"r2": "bound"})[["session", "readout", "bound"]]
    both = means(scores).merge(limits, on=["session", "readout"], how="left", validate="m:1")
    return both.assign(fraction=both["r2"] / both["bound"])
