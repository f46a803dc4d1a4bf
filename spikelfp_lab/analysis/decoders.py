"""Decoders that people use, as references: fitted and scored on the splits of the models.

:func:`wiener`, :func:`kalman`, :func:`gru` and :func:`psid` turn a (time, feature) array, such as
raw LFP, its band power or counts, into a prediction of the behavior, for
:func:`~spikelfp_lab.analysis.score_predicted`. All is fitted to training bins, sizes and penalties
included (the network stops early by validation bins); none looks ahead unless asked to, but inputs
that were filtered with zero phase, as ``band_power`` does, do.

All take ``inputs`` (time, any one other dim) on the clock of ``session``, which has ``behavior``,
and ``split`` as :func:`~spikelfp_lab.decode`. They return (time, behavior_dim) in the units of
``behavior``, with the coordinate ``split``, NaN where an input is. They raise DataError: no
behavior, another clock, too few training bins.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS, standardization
from spikelfp_lab.analysis._inputs import Session, filled, inputs_of, too_few
from spikelfp_lab.analysis._kalman_filter import filtered, fit_system
from spikelfp_lab.analysis.readout import fit_inputs
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import TRAIN, usable_runs

# Numbers of principal components and of latent states that training folds choose among.
COMPONENTS = (5, 10, 20, 40, 80, 160)
STATES = (2, 4, 8, 16)
PSID_COMPONENTS, PSID_HORIZON = 30, 10


def wiener(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None, lag_s: float = 0.3
) -> xr.DataArray:
    """Wiener filter: a ridge from this bin and those up to ``lag_s`` (seconds) before it.

    NaN is also where these reach over a gap or the edge of a split.

    >>> from spikelfp_lab.analysis import score_predicted
    >>> time, moved = np.arange(6000) / 100, np.sin(np.arange(6000) / 100)[:, None]
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), moved)}, {"time": time, "behavior_dim": ["vx"]},
    ...     {"bin_size_s": 0.01})
    >>> inputs = session["behavior"].rename(behavior_dim="channel").shift(time=-3)
    >>> scores = score_predicted(wiener(inputs, session, lag_s=0.05), session)
    >>> scores.query("split == 'test'").round(3)["r2"].tolist()
    [1.0]
    """
    data = inputs_of(inputs, session, split)
    fitted = fit_inputs(inputs, data, "past", lag_s)
    return fitted.predict(inputs, split=data.split).assign_attrs(readout="wiener")


def kalman(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None
) -> xr.DataArray:
    """Kalman filter: behavior that moves smoothly, seen through inputs that depend on it linearly.

    The state is the behavior and its derivative (of a velocity: an acceleration). Dynamics,
    observation and both noises are Gaussian and fitted by least squares, to as many principal
    components of the inputs, of 5, 10, 20, ... 160, as predict best over five folds of training
    time. The filter starts anew, at the mean of training time, after each gap, trial's edge or NaN
    of the inputs; it goes on from one split to the next, by inputs alone (Wu et al. 2006).
    """
    data = _prepare(inputs, session, split, "kalman")
    seen, behavior = data.components(COMPONENTS[-1]), data.behavior

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        states = np.full((len(train), 2 * behavior.shape[1]), np.nan)
        for start, stop in data.stretches(train):
            moved = behavior[start:stop]
            speed = np.diff(moved, axis=0, prepend=np.nan) / data.table.attrs["bin_size_s"]
            states[start:stop] = np.hstack([moved, speed])
        mean = np.nanmean(states, axis=0)
        system = fit_system(states - mean, seen[:, :size], data.stretches(train))
        states = filtered(system, seen[:, :size], data.stretches(where)) + mean
        return states[:, : behavior.shape[1]]

    size = data.best([n for n in COMPONENTS if n < seen.shape[1]] + [seen.shape[1]], run)
    predicted = run(size, data.train, data.known)
    return data.prediction(predicted, {"readout": "kalman", "components": size})


def gru(
    inputs: xr.DataArray,
    session: Session,
    *,
    split: xr.DataArray | None = None,
    parameters: int = 20_000,
    bidirectional: bool = False,
    train: TrainConfig | None = None,
    device: str = "auto",
    progress: bool = True,
) -> xr.DataArray:
    """Recurrent network (GRU) trained on the behavior: what supervision alone gets from the inputs.

    Trained to the least squared error on windows of training time (of the split's ``window_s``),
    with channels silenced and noise added; the weights of the best validation are kept. It predicts
    in windows that overlap by half and cross no gap, trial's edge or NaN.

    Parameters
    ----------
    inputs, session, split
        See the module.
    parameters : int
        About so many in all, as many as a model beside it.
    bidirectional : bool
        See the bins ahead too, as the models do.
    train : TrainConfig, optional
        How it is trained, but for window and scheme; by default ``GRU_TRAIN``, the split's seed.
    device, progress
        As for :func:`~spikelfp_lab.pretrain`.
    """
    from spikelfp_lab.analysis import _gru  # torch, only when asked for

    data = _prepare(inputs, session, split, "gru")
    train = train or replace(_gru.GRU_TRAIN, seed=int(data.split.attrs.get("seed", 0)))
    options = (parameters, bidirectional, train, device, progress)
    return data.prediction(*_gru.fit_and_predict(data.table, data.split, *options))


def psid(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None
) -> xr.DataArray:
    """Preferential subspace identification: linear latent states of the inputs, behavior's first.

    The authors' package, an optional dependency (``pip install "spikelfp_lab[psid]"``; its license
    is for research and education), identifies a linear model of the inputs' 30 leading principal
    components, all of whose states (the best number of 2, 4, 8 and 16 over five folds) are relevant
    to behavior, by ten bins of past and of future (Sani et al. 2021).
    """
    try:
        identify = importlib.import_module("PSID").PSID
    except ModuleNotFoundError as error:
        raise ConfigError(
            'psid needs the package PSID, which is not installed: pip install "spikelfp_lab[psid]".'
        ) from error
    data = _prepare(inputs, session, split, "psid")
    seen, behavior = data.components(PSID_COMPONENTS), data.behavior
    most = PSID_HORIZON * min(behavior.shape[1], seen.shape[1])

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        parts = [slice(*each) for each in data.stretches(train) if np.ptp(each) >= 2 * PSID_HORIZON]
        if not parts:
            raise DataError(f"No stretch of training time has {2 * PSID_HORIZON} whole bins.")
        pairs = [seen[part] for part in parts], [behavior[part] for part in parts]
        system = identify(*pairs, size, size, PSID_HORIZON)
        predicted = np.full(behavior.shape, np.nan)
        for start, stop in data.stretches(where):
            predicted[start:stop] = system.predict(seen[start:stop], useXFilt=True)[0]
        return predicted

    size = data.best([n for n in STATES if n <= most], run)
    predicted = run(size, data.train, data.known)
    if not np.isfinite(predicted[data.known]).all():
        raise DataError(f"PSID found no stable model, the best of {size} states: take more data.")
    attrs = {"readout": "psid", "states": size, "components": seen.shape[1]}
    return data.prediction(predicted, attrs)


class _Prepared(NamedTuple):
    """What a decoder may see of a session."""

    table: xr.Dataset  # "inputs", standardized by training time, and "behavior"; clock and trials
    split: xr.DataArray
    known: np.ndarray  # (time,) no input is NaN
    train: np.ndarray  # (time,) training bins where neither inputs nor behavior is NaN

    @property
    def behavior(self) -> np.ndarray:
        return self.table["behavior"].values

    def stretches(self, use: np.ndarray) -> np.ndarray:
        """(n, 2) start and stop of the bins to use, without a gap or a trial's edge inside."""
        marks = ("time", "mark"), np.where(use, 0.0, np.nan)[:, None]
        return usable_runs(self.table.assign(marks=marks), variables=("marks",))

    def components(self, most: int) -> np.ndarray:
        """(time, component) projections on the directions of most variance over training bins."""
        from sklearn.decomposition import PCA  # takes a second to import

        inputs = self.table["inputs"].values
        pca = PCA(svd_solver="covariance_eigh").fit(inputs[self.train])
        rank = np.count_nonzero(pca.explained_variance_ > 1e-10 * pca.explained_variance_[0])
        return inputs @ pca.components_[: min(most, max(1, rank))].T

    def best(
        self, sizes: Sequence[int], run: Callable[[int, np.ndarray, np.ndarray], np.ndarray]
    ) -> int:
        """The size with the least squared error over held-out folds of training time."""
        folds = np.array_split(np.flatnonzero(self.train), FOLDS)
        variance = self.behavior[self.train].var(axis=0)

        def error(size: int) -> float:
            squared = np.zeros_like(variance)
            for fold in folds:
                held_out = np.isin(np.arange(self.train.size), fold)
                predicted = run(size, self.train & ~held_out, held_out)[fold]
                squared += ((predicted - self.behavior[fold]) ** 2).sum(axis=0)
            total = float((squared / np.where(variance > 0, variance, np.inf)).sum())
            return total if np.isfinite(total) else np.inf

        return min(sizes, key=error) if len(sizes) > 1 else sizes[0]

    def prediction(self, values: np.ndarray, attrs: dict[str, Any]) -> xr.DataArray:
        """(time, axis) values as a decoder returns them."""
        made = self.table["behavior"].copy(data=values).rename("predicted_behavior")
        made = made.drop_vars("trial", errors="ignore").assign_attrs(self.split.attrs | attrs)
        return made.assign_coords(split=("time", self.split.values))


def _prepare(
    inputs: xr.DataArray, session: Session, split: xr.DataArray | None, readout: str
) -> _Prepared:
    session, _, axes, behavior, values, observed, split = inputs_of(inputs, session, split)
    in_train = split.values == TRAIN
    values = filled(values, observed, in_train)
    known = np.isfinite(values).all(axis=1)
    train = known & in_train & np.isfinite(behavior).all(axis=1)
    if train.sum() < 2 * FOLDS:
        raise too_few("train", readout)
    mean, scale = standardization(values[known & in_train])
    table = xr.Dataset(
        {
            "inputs": (("time", "input"), (values - mean) / scale),
            "behavior": (("time", "behavior_dim"), behavior),
        },
        {"time": session["time"], "behavior_dim": axes},
        {"bin_size_s": float(session.attrs["bin_size_s"])},
    )
    if "trial" in session.coords:
        table = table.assign_coords(trial=session["trial"])
    return _Prepared(table, split, known, train)
