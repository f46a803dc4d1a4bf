"""How near the limit: where the recordings are simulated, what could be had of them at best, and the latents behind them, are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.signal import band_power
from spikelfp_lab.study.core import Study
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.practical import inputs_of
from spikelfp_lab.study.scoring import scores_of, tidy


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
    return tidy(in_parallel(study, _bound, jobs, desc="linear bound", unit="session"))


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
    return tidy(in_parallel(study, _recover, jobs, desc="recover latents", unit="session"))


def _recover(study: Study, seed: int, name: str) -> pd.DataFrame:
    session = study.sessions[name]
    asked = true_latents(session)
    return scores_of(study, seed, name, inputs_of(study, seed, session), session=asked)


def true_latents(session: xr.Dataset) -> xr.Dataset:
    """The session with its true latents in the place of behavior, so that what decodes behavior decodes them."""
    truth = session["latent_truth"].reset_coords(drop=True).rename(latent_truth_dim="behavior_dim")
    return session.drop_vars(["behavior", "behavior_dim"]).assign(behavior=truth)


def fraction_of_bound(scores: pd.DataFrame, bound: pd.DataFrame) -> pd.DataFrame:
    """Test scores as fractions of the linear bound of the same session and read-out.

    Parameters
    ----------
    scores : DataFrame
        As of ``Study.scores``.
    bound : DataFrame
        As of :func:`linear_bound`, of the same sessions.

    Returns
    -------
    DataFrame
        ``session``, ``seed``, ``model``, ``readout``, ``r2`` (mean over axes), ``bound`` and ``fraction``, their ratio.

    Examples
    --------
    >>> row = {"session": "I/s05", "seed": 0, "model": "Distilled", "readout": "lagged", "split": "test", "axis": "vx"}
    >>> scores = pd.DataFrame([row | {"r2": 0.6}])
    >>> limit = pd.DataFrame([row | {"r2": 0.5, "seed": -1, "model": "Linear bound"}])
    >>> fraction_of_bound(scores, limit)["fraction"].tolist()
    [1.2]
    """
    keys = ["session", "readout"]
    columns = ["session", "seed", "model", "readout"]
    ours, limits = (
        pd.DataFrame(table.loc[table["split"] == "test"].groupby(by, sort=False)["r2"].mean())
        for table, by in ((scores, columns), (bound, keys))
    )
    limits = limits.rename(columns={"r2": "bound"}).reset_index()
    both = ours.reset_index().merge(limits, on=keys, how="left", validate="m:1")
    return both.assign(fraction=both["r2"] / both["bound"])
