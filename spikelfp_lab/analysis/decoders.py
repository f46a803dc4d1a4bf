"""Decoders that people use, as references: fitted and scored on the splits of the models.

:func:`wiener`, :func:`kalman`, :func:`gru` and :func:`psid` turn a (time, feature) array, such as
raw LFP, its band power or counts, into a prediction of the behavior, for
:func:`~spikelfp_lab.analysis.score_predicted`. All is fitted to training bins, sizes and penalties
included (the network stops early by validation bins); none looks ahead unless asked to, but inputs
that were filtered with zero phase, as ``band_power`` does, do.

Common to all four: ``inputs`` (time, any one other dim) on the clock of ``session``, which has
``behavior``; ``split`` as for :func:`~spikelfp_lab.decode`. They return (time, behavior_dim) in the
units of ``behavior``, with the coordinate ``split``, NaN where an input is; ``attrs["readout"]``
and the sizes say what it is. They raise DataError (no behavior, another clock, too few training
bins) and ConfigError (impossible options).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS, standardization
from spikelfp_lab.analysis._inputs import (
    as_prediction,
    behavior_of,
    features_of,
    filled,
    split_for,
    takes_split,
    too_few,
)
from spikelfp_lab.analysis._kalman_filter import filtered, fit_system
from spikelfp_lab.analysis.readout import fit_readout
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions import TRAIN, as_dataset, usable_runs

if TYPE_CHECKING:
    import torch

# Numbers of principal components and of latent states that training folds choose among.
COMPONENTS = (5, 10, 20, 40, 80, 160)
STATES = (2, 4, 8, 16)
KINEMATICS = ("integral", "behavior", "derivative")


@takes_split
def wiener(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    split: xr.DataArray | None = None,
    lag_s: float = 0.3,
    components: int | float | None = None,
) -> xr.DataArray:
    """Wiener filter: a ridge from this bin and those before it, with the penalty of ``decode``.

    It sees ``lag_s`` seconds back, and NaN is also where these reach over a gap or the edge of a
    split. ``components`` reduces the inputs to principal components of the standardized training
    bins: at most so many, or the least that explain this share of the variance (a float).

    Examples
    --------
    >>> from spikelfp_lab.analysis import score_predicted
    >>> from spikelfp_lab.sessions import split_session
    >>> time = np.arange(2000) / 100
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> inputs = session["behavior"].rename(behavior_dim="channel").shift(time=-3)
    >>> split = split_session(session, window_s=0.5)
    >>> scores = score_predicted(wiener(inputs, session, lag_s=0.05, split=split), session)
    >>> scores.query("split == 'test'").round(3)["r2"].tolist()
    [1.0]
    """
    session = as_dataset(session)
    attrs: dict[str, Any] = {"readout": "wiener"}
    if components is not None:
        data = _prepare(inputs, session, split, "wiener")
        seen = data.components(components)
        attrs["components"] = seen.shape[1]
        split, time = data.split, session["time"].variable
        inputs = xr.DataArray(seen, {"time": time}, ("time", "component"), attrs=inputs.attrs)
    split = split_for(inputs, session, split)
    if "trial" in session.coords:
        split = split.assign_coords(trial=("time", session["trial"].values))
    fitted = fit_readout(inputs, session, kind="past", lag_s=lag_s, split=split)
    return fitted.predict(inputs, split=split).assign_attrs(attrs)


@takes_split
def kalman(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    split: xr.DataArray | None = None,
    state: Sequence[str] = ("behavior", "derivative"),
    components: int | float | None = None,
) -> xr.DataArray:
    """Kalman filter: behavior that moves smoothly, seen through inputs that depend on it linearly.

    Dynamics, observation and both noises are Gaussian and fitted by least squares. The filter
    starts anew, at the mean of training time, after each gap, trial's edge or NaN of the inputs; it
    goes on from one split to the next, by inputs alone.

    The ``state`` is made of "behavior" and, optionally, its "derivative" (of a velocity: an
    acceleration) and "integral" (a position, about its mean over each stretch of training time).
    ``components`` as for :func:`wiener`; by default the number, of 5, 10, 20, ... 160, that
    predicts best over five folds of training time (Wu, Gao, Bienenstock, Donoghue & Black 2006).
    """
    state = (state,) if isinstance(state, str) else tuple(state)
    if "behavior" not in state or len(set(state)) < len(state) or set(state) - set(KINEMATICS):
        raise ConfigError(
            f"state is {state}: give 'behavior' and, once each, what else of "
            f"{', '.join(KINEMATICS)} the state has."
        )
    data = _prepare(inputs, session, split, "kalman")
    seen = data.components(COMPONENTS[-1] if components is None else components)
    smaller = [n for n in COMPONENTS if n < seen.shape[1]] if components is None else []

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        states = _kinematics(data, train, state)
        mean = np.nanmean(states, axis=0)
        system = fit_system(states - mean, seen[:, :size], data.stretches(train))
        axes = data.behavior.shape[1]
        first = state.index("behavior") * axes
        found = filtered(system, seen[:, :size], data.stretches(where)) + mean
        return found[:, first : first + axes]

    size = _best_size([*smaller, seen.shape[1]], data, run)
    predicted = run(size, data.train, data.known)
    return data.prediction(predicted, readout="kalman", components=size, state=", ".join(state))


@takes_split
def gru(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    split: xr.DataArray | None = None,
    parameters: int = 20_000,
    bidirectional: bool = False,
    train: TrainConfig | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> xr.DataArray:
    """Recurrent network (GRU) trained on the behavior: what supervision alone gets from the inputs.

    Trained to the least squared error on windows of training time, with channels silenced and noise
    added; the weights of the best validation are kept. It predicts in windows that overlap by half
    and cross no gap, trial's edge or NaN.

    Parameters
    ----------
    inputs, session, split
        See the module; the split's ``window_s`` is the length of the network's windows too.
    parameters : int
        About so many in all, as many as a model beside it.
    bidirectional : bool
        See the bins ahead too, as the models do.
    train : TrainConfig, optional
        How it is trained; its window and scheme are not used, its seed is that of the weights. By
        default ``GRU_TRAIN`` with the seed of the split.
    device, progress
        As for :func:`~spikelfp_lab.pretrain`.
    """
    from spikelfp_lab.analysis._gru import GRU_TRAIN, fit_and_predict  # torch, only when asked for

    data = _prepare(inputs, session, split, "gru")
    train = train or replace(GRU_TRAIN, seed=int(data.split.attrs.get("seed", 0)))
    predicted, attrs = fit_and_predict(
        data.table,
        data.split,
        parameters=parameters,
        bidirectional=bidirectional,
        train=train,
        device=device,
        progress=progress,
    )
    return data.prediction(predicted, readout="gru", **attrs)


@takes_split
def psid(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    split: xr.DataArray | None = None,
    states: int | None = None,
    horizon: int = 10,
    components: int | float = 30,
) -> xr.DataArray:
    """Preferential subspace identification: linear latent states of the inputs, behavior's first.

    The authors' package, an optional dependency (``pip install "spikelfp_lab[psid]"``; its license
    is for research and education), identifies a linear model all of whose states are relevant to
    behavior and decodes with its steady-state Kalman filter.

    ``states`` are by default as many, of 2, 4, 8 and 16, as predict best over five folds; they are
    identified by ``horizon`` bins of past and of future, at least 2, from stretches of training
    time that have twice as many. ``components`` as for :func:`wiener` (Sani et al. 2021).
    """
    try:
        identify = importlib.import_module("PSID").PSID
    except ModuleNotFoundError as error:
        raise ConfigError(
            'psid needs the package PSID, which is not installed: pip install "spikelfp_lab[psid]".'
        ) from error
    data = _prepare(inputs, session, split, "psid")
    seen = data.components(components)
    most = horizon * min(data.behavior.shape[1], seen.shape[1])
    if horizon < 2 or (states is not None and not 1 <= states <= most):
        raise ConfigError(
            f"horizon is {horizon} and states {states}: give a horizon of at least 2 bins, and at "
            f"most {most} states, the horizon times the axes of behavior (or the components)."
        )

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        long = [(a, b) for a, b in data.stretches(train) if b - a >= 2 * horizon]
        if not long:
            raise DataError(
                f"No stretch of training time has {2 * horizon} bins without a gap, a trial's edge "
                f"or a NaN: give a horizon below {horizon}, or sessions with longer stretches."
            )
        system = identify(
            [seen[a:b] for a, b in long], [data.behavior[a:b] for a, b in long], size, size, horizon
        )
        predicted = np.full(data.behavior.shape, np.nan)
        for start, stop in data.stretches(where):
            predicted[start:stop] = system.predict(seen[start:stop], useXFilt=True)[0]
        return predicted

    size = _best_size([n for n in STATES if n <= most] if states is None else [states], data, run)
    predicted = run(size, data.train, data.known)
    if not np.isfinite(predicted[data.known]).all():
        raise DataError(f"PSID found no stable model of {size} states: ask for fewer states.")
    attrs = {"states": size, "components": seen.shape[1], "horizon": horizon}
    return data.prediction(predicted, readout="psid", **attrs)


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

    def components(self, wanted: int | float) -> np.ndarray:
        """(time, component) projections on the directions of most variance over training bins."""
        from sklearn.decomposition import PCA  # takes a second to import

        share = isinstance(wanted, float)
        if not (0 < wanted <= 1 if share else wanted >= 1):
            raise ConfigError(
                f"components is {wanted}: give a number of 1 or more, or a share of the variance "
                "as a float up to 1.0."
            )
        inputs = self.table["inputs"].values
        pca = PCA(svd_solver="covariance_eigh").fit(inputs[self.train])
        variance = np.asarray(pca.explained_variance_)
        rank = max(1, int((variance > 1e-10 * variance[0]).sum()))
        if share:
            explained = np.cumsum(variance[:rank]) / variance[:rank].sum()
            wanted = int(np.searchsorted(explained, wanted * (1 - 1e-12))) + 1
        return inputs @ np.asarray(pca.components_)[: min(int(wanted), rank)].T

    def prediction(self, values: np.ndarray, **attrs: Any) -> xr.DataArray:
        """(time, axis) values as a decoder returns them."""
        axes = list(map(str, self.table["behavior_dim"].values))
        made = as_prediction(values, self.table["time"], axes, {**self.split.attrs, **attrs})
        return made.assign_coords(split=("time", self.split.values))


def _prepare(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    split: xr.DataArray | None,
    readout: str,
) -> _Prepared:
    session = as_dataset(session)
    behavior = behavior_of(session)
    values, observed = features_of(inputs, session, what="inputs")
    split = split_for(inputs, session, split)
    in_train = split.values == TRAIN
    values = filled(values, observed, in_train)
    known = np.asarray(np.isfinite(values).all(axis=1))
    train = known & in_train & np.isfinite(behavior).all(axis=1)
    if train.sum() < 2 * FOLDS:
        raise too_few("train", readout, 0.0, split.attrs.get("window_s"))
    mean, scale = standardization(values[known & in_train])
    table = xr.Dataset(
        {
            "inputs": (("time", "input"), (values - mean) / scale),
            "behavior": (("time", "behavior_dim"), behavior),
        },
        {n: session[n] for n in ("time", "trial", "behavior_dim") if n in session.coords},
        {"bin_size_s": session.attrs["bin_size_s"]},
    )
    return _Prepared(table, split, known, train)


def _best_size(
    sizes: Sequence[int],
    data: _Prepared,
    run: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
) -> int:
    """The size with the least squared error over held-out folds of training time."""
    if len(sizes) == 1:
        return sizes[0]
    rows = np.flatnonzero(data.train)
    variance = data.behavior[rows].var(axis=0)
    error = np.zeros(len(sizes))
    for fold in np.array_split(rows, FOLDS):
        held_out = np.zeros_like(data.train)
        held_out[fold] = True
        for i, size in enumerate(sizes):
            predicted = run(size, data.train & ~held_out, held_out)[fold]
            squared = ((predicted - data.behavior[fold]) ** 2).sum(axis=0)
            error[i] += (squared / np.where(variance > 0, variance, np.inf)).sum()
    return sizes[int(np.argmin(np.where(np.isfinite(error), error, np.inf)))]


def _kinematics(data: _Prepared, train: np.ndarray, state: Sequence[str]) -> np.ndarray:
    """(time, state) over training bins; NaN elsewhere, and where a stretch has no bin before."""
    axes, bin_size_s = data.behavior.shape[1], float(data.table.attrs["bin_size_s"])
    states = np.full((len(train), axes * len(state)), np.nan)
    for start, stop in data.stretches(train):
        moved = data.behavior[start:stop]
        position = np.cumsum(moved, axis=0) * bin_size_s
        parts = {
            "behavior": moved,
            "derivative": np.diff(moved, axis=0, prepend=np.nan) / bin_size_s,
            "integral": position - position.mean(axis=0),
        }
        states[start:stop] = np.concatenate([parts[name] for name in state], axis=1)
    return states
