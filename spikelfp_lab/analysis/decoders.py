"""Decoders that people use, as references: fitted and scored on the splits of the models.

All take ``inputs`` (time, any one other dim: raw LFP, band power, counts) on the clock of
``session``, which has ``behavior``, and ``split`` as :func:`~spikelfp_lab.decode`. They return
(time, behavior_dim) in the units of ``behavior``, with the coordinate ``split``, NaN where an input
is. All is fitted to training bins, sizes and penalties included (the network stops early by
validation bins); none looks ahead unless asked to, but zero-phase inputs (``band_power``) do.
DataError: no behavior, another clock, too few training bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS, standardization
from spikelfp_lab.analysis._inputs import Inputs, Session, check_enough, inputs_of
from spikelfp_lab.analysis._kalman_filter import filtered, fit_system
from spikelfp_lab.analysis.readout import fit_inputs
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.sessions import TRAIN, usable_runs

COMPONENTS = 5, 10, 20, 40, 80, 160  # principal ones, how many: training folds choose
Run = Callable[[int, np.ndarray, np.ndarray], np.ndarray]  # size, bins to fit to, bins to predict


def wiener(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None, lag_s: float = 0.3
) -> xr.DataArray:
    """Wiener filter: a ridge from this bin and those up to ``lag_s`` (seconds) before it.

    NaN is also where these reach over a gap or the edge of a split.

    >>> from spikelfp_lab.analysis import score_predicted
    >>> time, moved = np.arange(6000) / 100, np.sin(np.arange(6000) / 100)[:, None]
    >>> session = xr.Dataset({"behavior": (("time", "behavior_dim"), moved)},
    ...     {"time": time, "behavior_dim": ["vx"]}, {"bin_size_s": 0.01})
    >>> inputs = session["behavior"].rename(behavior_dim="channel").shift(time=-3)
    >>> scores = score_predicted(wiener(inputs, session, lag_s=0.05), session)
    >>> scores.query("split == 'test'").round(3)["r2"].tolist()
    [1.0]
    """
    data = inputs_of(inputs, session, split)
    predicted = fit_inputs(data, "past", lag_s).predict(inputs, split=data.split)
    return predicted.assign_attrs(readout="wiener")


def kalman(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None
) -> xr.DataArray:
    """Kalman filter: behavior that moves smoothly, seen through inputs that depend on it linearly.

    The state is the behavior and its derivative (of a velocity: an acceleration). Dynamics,
    observation and both noises are fitted by least squares, to as many principal components of the
    inputs, of 5, 10, 20, ... 160, as predict best over five folds of training time. The filter
    starts anew, at the mean of training time, after each gap, trial's edge or NaN of the inputs; it
    goes on from one split to the next, by inputs alone (Wu et al. 2006).
    """
    data, known, train = _prepare(inputs, session, split, "kalman")
    seen, behavior = _components(data, train), data.behavior
    speed = np.diff(behavior, axis=0, prepend=np.nan) / float(data.session.attrs["bin_size_s"])

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        stretches = usable_runs(data.session, variables=(), within=train)
        states = np.where(train[:, None], np.hstack([behavior, speed]), np.nan)
        states[stretches[:, 0], behavior.shape[1] :] = np.nan  # no speed across an edge
        mean = np.nanmean(states, axis=0)
        system = fit_system(states - mean, seen[:, :size], stretches)
        where = usable_runs(data.session, variables=(), within=where)
        states = filtered(system, seen[:, :size], where) + mean
        return states[:, : behavior.shape[1]]

    sizes = [n for n in COMPONENTS if n < seen.shape[1]] + [seen.shape[1]]
    size = _best(sizes, run, train, behavior)
    return data.predicted(run(size, train, known), readout="kalman", components=size)


def gru(
    inputs: xr.DataArray, session: Session, *, split: xr.DataArray | None = None,
    parameters: int = 20_000, bidirectional: bool = False, train: TrainConfig | None = None,
    device: str = "auto", progress: bool = True,
) -> xr.DataArray:  # fmt: skip
    """Recurrent network (GRU) trained on the behavior: what supervision alone gets from the inputs.

    Trained on windows of training time (of the split's ``window_s``) with channels silenced and
    noise added; the weights of the best validation are kept. It predicts in windows that overlap by
    half and cross no gap, trial's edge or NaN.

    Parameters
    ----------
    parameters : int
        About so many in all, as many as a model beside it.
    bidirectional : bool
        See the bins ahead too, as the models do.
    train : TrainConfig, optional
        How, but for window and scheme; by default ``GRU_TRAIN`` with the split's seed.
    inputs, session, split, device, progress
        See the module, and :func:`~spikelfp_lab.pretrain`.
    """
    from spikelfp_lab.analysis import _gru  # torch, only when asked for

    data, _, _ = _prepare(inputs, session, split, "gru")
    train = train or replace(_gru.GRU_TRAIN, seed=int(data.split.attrs.get("seed", 0)))
    fitted = _gru.fit_and_predict(data, train, parameters, bidirectional, device, progress)
    return data.predicted(fitted[0], readout="gru", **fitted[1])


def _prepare(
    inputs: xr.DataArray, session: Session, split: xr.DataArray | None, readout: str
) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """Standardized by training time; bins without NaN, and those of training with behavior."""
    data = inputs_of(inputs, session, split)
    in_train = data.split.values == TRAIN
    values = data.filled(in_train)
    known = np.isfinite(values.sum(axis=1))
    train = known & in_train & np.isfinite(data.behavior.sum(axis=1))
    check_enough(train.sum(), 2 * FOLDS, "train", readout)
    mean, scale = standardization(values[known & in_train])
    return data._replace(values=(values - mean) / scale), known, train


def _components(data: Inputs, train: np.ndarray) -> np.ndarray:
    """(time, component) projections on the directions of most variance over training bins."""
    from sklearn.decomposition import PCA  # takes a second to import

    pca = PCA(svd_solver="covariance_eigh").fit(data.values[train])
    variance = np.asarray(pca.explained_variance_)
    rank = max(1, np.count_nonzero(variance > 1e-10 * variance[0]))
    return data.values @ np.asarray(pca.components_)[: min(COMPONENTS[-1], rank)].T


def _best(sizes: list[int], run: Run, train: np.ndarray, behavior: np.ndarray) -> int:
    """The size with the least squared error over held-out folds of training time."""
    variance = behavior[train].var(axis=0)

    def error(size: int) -> float:
        squared = np.zeros_like(variance)
        for fold in np.array_split(np.flatnonzero(train), FOLDS):
            held_out = np.isin(np.arange(train.size), fold)
            predicted = run(size, train & ~held_out, held_out)[fold]
            squared += ((predicted - behavior[fold]) ** 2).sum(axis=0)
        total = float((squared / np.where(variance > 0, variance, np.inf)).sum())
        return total if np.isfinite(total) else np.inf

    return min(sizes, key=error) if len(sizes) > 1 else sizes[0]
