"""References from outside: decoders that people use, fitted and scored on the splits of the models.

:func:`wiener`, :func:`kalman`, :func:`gru` and :func:`psid` each turn a (time, feature) array, such
as raw LFP, its band power or spike counts, into a prediction of the behavior; ``score`` gives it the
rows of ``decode``. All that is fitted, the choice of sizes and penalties included, is from training
bins (the network stops early by validation bins); none looks beyond a bin, unless asked to. Inputs
that were filtered with zero phase, as ``band_power`` does, look ahead themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from spikelfp_lab.analysis import _linear_gaussian
from spikelfp_lab.analysis._prepared import Prepared, best_size, prepare, principal
from spikelfp_lab.analysis._read_out import as_prediction, fit_lagged_ridge
from spikelfp_lab.analysis.decode import _split_of, reach_in_bins, split_for
from spikelfp_lab.configs import TrainConfig
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sessions.schema import as_dataset

if TYPE_CHECKING:
    import torch

GRU_TRAIN = TrainConfig(
    steps=600, batch=16, lr=3e-3, val_every=25, patience=8, drop_inputs=0.5, noise=0.5
)
# Numbers of principal components and of latent states that training folds choose among.
COMPONENTS = (5, 10, 20, 40, 80, 160)
STATES = (2, 4, 8, 16)
_KINEMATICS = ("integral", "behavior", "derivative")


def wiener(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    lag_s: float = 0.3,
    components: int | float | None = None,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> xr.DataArray:
    """Wiener filter: the behavior of a bin from this bin and those before it, linearly.

    The ridge of ``decode``, its penalty chosen over folds of training time, with lags of the past
    only. The work grows as the third power of the number of features times lags: above about 5000
    of them, reduce the features by ``components``.

    Parameters
    ----------
    inputs : xr.DataArray
        (time, any one other dim), on the clock of the session: ``session["lfp"]``, band power, counts.
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``, or a leaf of a cohort.
    lag_s : float
        How far back it sees, in seconds: all bins within it.
    components : int or float, optional
        Principal components of the (standardized) training bins that the inputs are reduced to: at
        most so many, or the least that explain this share of the variance; by default no reduction.
    scheme, window_s, seed, protocol
        The split, as in :func:`spikelfp_lab.decode`. ``protocol="paper"`` is only about the split
        here, and adds "valtest" to the scores.

    Returns
    -------
    xr.DataArray
        As :func:`predict`: (time, behavior_dim) float64 with the coordinate ``split``, in the units
        of ``behavior``; NaN where the past ``lag_s`` reaches over a gap, a trial's edge, a NaN or
        the edge of a split. ``attrs["readout"]`` is "wiener".

    Raises
    ------
    DataError
        No behavior; inputs on another clock; too few training bins.
    ConfigError
        An unknown protocol or scheme, a negative lag, or impossible ``components``.

    References
    ----------
    Carmena et al., PLoS Biology 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelfp_lab.analysis import score
    >>> time = np.arange(2000) / 100
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> inputs = session["behavior"].rename(behavior_dim="channel").shift(time=-3)
    >>> scores = score(wiener(inputs, session, lag_s=0.05, window_s=0.5), session)
    >>> scores.query("split == 'test'").round(3).to_dict("list")
    {'readout': ['wiener'], 'split': ['test'], 'axis': ['vx'], 'r2': [1.0]}
    """
    if not lag_s >= 0:
        raise ConfigError(f"lag_s is {lag_s}: give the seconds a filter looks back, 0 or more.")
    session = as_dataset(session)
    split = split_for(
        inputs, session, scheme=scheme, window_s=window_s, seed=seed, protocol=protocol
    )
    attrs = _attrs("wiener", protocol) | {"lag_s": lag_s}
    if components is not None:
        data = prepare(inputs, session, split, "wiener")
        basis = principal(data, components)
        attrs["components"] = basis.shape[1]
        inputs = xr.DataArray(
            data.inputs @ basis, dims=("time", "component"), coords={"time": session["time"]}
        )
    lags = np.arange(-reach_in_bins(lag_s, session), 1)
    fitted = fit_lagged_ridge(inputs, session, split, lags=lags, penalty=None, attrs=attrs)
    return fitted.apply(inputs, session, split)


def kalman(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    state: Sequence[str] = ("behavior", "derivative"),
    components: int | float | None = None,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> xr.DataArray:
    """Kalman filter: behavior that moves smoothly, seen through inputs that depend on it linearly.

    The state is the behavior and what is computed from it; dynamics, observation and both noises are
    Gaussian and fitted by least squares on training bins. The inputs are reduced to principal
    components first, since their noise covariance is estimated in full. The filter starts anew, at
    the mean of training time, after each gap, trial's edge or NaN of the inputs; it goes on from
    one split to the next, by inputs alone.

    Parameters
    ----------
    inputs, session, scheme, window_s, seed, protocol
        As for :func:`wiener`.
    state : sequence of {"behavior", "derivative", "integral"}
        Of what the state is made, "behavior" among it. The derivative (change from the bin before)
        of a velocity is an acceleration. The integral, of a velocity a position, is taken over each
        stretch of training time, about its mean there.
    components : int or float, optional
        As for :func:`wiener`; by default the number, of 5, 10, 20, ... 160, that predicts best over
        five folds of training time.

    Returns
    -------
    xr.DataArray
        As :func:`predict`; NaN where an input is. ``attrs``: "readout" ("kalman"), "components",
        "state".

    Raises
    ------
    DataError
        No behavior; inputs on another clock; too few training bins.
    ConfigError
        An unknown protocol, scheme or state, or impossible ``components``.

    References
    ----------
    Wu et al., NeurIPS 2002; Wu, Gao, Bienenstock, Donoghue & Black, Neural Computation 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelfp_lab.analysis import score
    >>> time, rng = np.arange(3000) / 100, np.random.default_rng(0)
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(2 * time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> noisy = session["behavior"].rename(behavior_dim="channel") + rng.normal(size=(3000, 8))
    >>> predicted = kalman(noisy, session, window_s=0.5)
    >>> bool(score(predicted, session).query("split == 'test'")["r2"].min() > 0.95)
    True
    """
    state = (state,) if isinstance(state, str) else tuple(state)
    if "behavior" not in state or len(set(state)) < len(state) or set(state) - set(_KINEMATICS):
        raise ConfigError(
            f"state is {state}: give 'behavior' and, once each, what else of "
            f"{', '.join(_KINEMATICS)} the state has."
        )
    session = as_dataset(session)
    split = split_for(
        inputs, session, scheme=scheme, window_s=window_s, seed=seed, protocol=protocol
    )
    data = prepare(inputs, session, split, "kalman")
    if components is None:
        seen = data.inputs @ principal(data, COMPONENTS[-1])
        sizes = [n for n in COMPONENTS if n < seen.shape[1]] + [seen.shape[1]]
    else:
        seen = data.inputs @ principal(data, components)
        sizes = [seen.shape[1]]

    def run(size: int, train: np.ndarray, where: np.ndarray) -> np.ndarray:
        states = _kinematics(data, train, state)
        mean = np.nanmean(states, axis=0)
        system = _linear_gaussian.fit(states - mean, seen[:, :size], data.stretches(train))
        filtered = _linear_gaussian.filtered(system, seen[:, :size], data.stretches(where))
        axes = data.behavior.shape[1]
        first = state.index("behavior") * axes
        return (filtered + mean)[:, first : first + axes]

    size = best_size(sizes, data, run)
    attrs = {"components": size, "state": ", ".join(state)}
    predicted = run(size, data.train, data.known)
    return as_prediction(predicted, session, split, _attrs("kalman", protocol) | attrs)


def gru(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    hidden: int | None = None,
    parameters: int | None = None,
    layers: int = 1,
    bidirectional: bool = False,
    train: TrainConfig | None = None,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> xr.DataArray:
    """Recurrent network (GRU) trained on the behavior: what supervision alone gets from the inputs.

    Trained by the loop of the models (AdamW, clipping, early stopping) on windows of training time
    to the least squared error, with channels silenced and noise added, the weights of the best
    validation kept. It predicts in windows that overlap by half and cross no gap, trial's edge or
    NaN; a bin counts the more, in training too, the more of its window is before it (or on both
    sides of it, when ``bidirectional``).

    Parameters
    ----------
    inputs, session, scheme, window_s, protocol
        As for :func:`wiener`; ``window_s`` is the length of the network's windows too.
    hidden : int, optional
        Units of the GRU (and direction); 64 by default.
    parameters : int, optional
        In place of ``hidden``: about so many parameters in all, as many as a model beside it.
    layers : int
        Of the GRU.
    bidirectional : bool
        See the bins ahead too. The network is then no longer causal, as the models are not.
    train : TrainConfig, optional
        How it is trained; ``GRU_TRAIN`` by default. Its split and seed give way to those above.
    seed : int, optional
        Of the split, the weights and the batches: the same numbers again on the same CPU.
    device : str
        "auto", "cpu" or "cuda".
    progress : bool
        Show a progress bar.

    Returns
    -------
    xr.DataArray
        As :func:`predict`; NaN where an input is. ``attrs``: "readout" ("gru"), "hidden",
        "parameters" (the number there is), "best_step", "seed" of weights and split.

    Raises
    ------
    DataError
        No behavior; inputs on another clock; no window in training or validation time; a loss that
        is no longer finite.
    ConfigError
        Both ``hidden`` and ``parameters``, or impossible ones; an unknown protocol or scheme.

    References
    ----------
    Cho et al., EMNLP 2014, arXiv 1406.1078.

    Examples
    --------
    >>> import numpy as np
    >>> time = np.arange(1000) / 50
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.02},
    ... )
    >>> inputs = session["behavior"].rename(behavior_dim="channel")
    >>> quick = TrainConfig(steps=2, batch=2, val_every=2)
    >>> predicted = gru(inputs, session, parameters=500, train=quick, window_s=0.5, progress=False)
    >>> predicted.sizes, predicted.attrs["hidden"], predicted.attrs["parameters"]
    (Frozen({'time': 1000, 'behavior_dim': 1}), 11, 474)
    """
    from spikelfp_lab.analysis import _gru  # torch is only imported when it is asked for

    session = as_dataset(session)
    split = split_for(
        inputs, session, scheme=scheme, window_s=window_s, seed=seed, protocol=protocol
    )
    data = prepare(inputs, session, split, "gru")
    seed = _split_of(inputs, scheme, window_s, seed)[2]
    shape = _gru.Shape(
        data.inputs.shape[1], data.behavior.shape[1], layers=layers, bidirectional=bidirectional
    )
    hidden = _gru.hidden_size(shape, hidden=hidden, parameters=parameters)
    said = split.attrs
    config = replace(
        train or GRU_TRAIN, window_s=said["window_s"], scheme=said["scheme"], seed=int(seed)
    )
    predicted, info = _gru.fit_and_predict(
        data.table, split, shape, hidden, train=config, device=device, progress=progress
    )
    made = as_prediction(predicted, session, split, _attrs("gru", protocol) | info)
    return made.assign_attrs(seed=int(seed))


def psid(
    inputs: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    states: int | None = None,
    horizon: int = 10,
    components: int | float = 30,
    scheme: str | None = None,
    window_s: float | None = None,
    seed: int | None = None,
    protocol: str | None = None,
) -> xr.DataArray:
    """Preferential subspace identification: linear latent states of the inputs, behavior's first.

    The authors' package ``PSID``, an optional dependency (``pip install "spikelfp_lab[psid]"``; its
    license is for research and education), identifies on stretches of training time a linear model
    all of whose states are relevant to behavior, and decodes with its steady-state Kalman filter,
    which starts anew after each gap, trial's edge or NaN of the inputs.

    Parameters
    ----------
    inputs, session, components, scheme, window_s, seed, protocol
        As for :func:`wiener`; the size of the problem is ``components`` times ``horizon``.
    states : int, optional
        Latent states; by default the number, of 2, 4, 8 and 16, that predicts best over five folds
        of training time.
    horizon : int
        Bins of past and of future that states are identified by; at least 2, and a stretch of
        training time must have twice as many to be used.

    Returns
    -------
    xr.DataArray
        As :func:`predict`; NaN where an input is. ``attrs``: "readout" ("psid"), "states",
        "components", "horizon".

    Raises
    ------
    ConfigError
        ``PSID`` is not installed; an impossible ``states``, ``horizon`` or ``components``; an
        unknown protocol or scheme.
    DataError
        No behavior; inputs on another clock; training stretches that are too short; no stable model.

    References
    ----------
    Sani et al., Nature Neuroscience 2021; https://github.com/ShanechiLab/PyPSID.

    Examples
    --------
    >>> import numpy as np
    >>> time, rng = np.arange(3000) / 100, np.random.default_rng(0)
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(2 * time)[:, None])},
    ...     coords={"time": time, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> noisy = session["behavior"].rename(behavior_dim="channel") + rng.normal(size=(3000, 8))
    >>> psid(noisy, session, states=2, window_s=0.5).sizes  # doctest: +SKIP
    Frozen({'time': 3000, 'behavior_dim': 1})
    """
    try:
        identify = importlib.import_module("PSID").PSID
    except ModuleNotFoundError as error:
        raise ConfigError(
            'psid needs the package PSID, which is not installed: pip install "spikelfp_lab[psid]".'
        ) from error
    session = as_dataset(session)
    split = split_for(
        inputs, session, scheme=scheme, window_s=window_s, seed=seed, protocol=protocol
    )
    data = prepare(inputs, session, split, "psid")
    seen = data.inputs @ principal(data, components)
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

    sizes = [n for n in STATES if n <= most] if states is None else [states]
    size = best_size(sizes, data, run)
    predicted = run(size, data.train, data.known)
    if not np.isfinite(predicted[data.known]).all():
        raise DataError(
            f"PSID found no stable model of {size} states: ask for fewer states or components, or "
            "another horizon."
        )
    attrs = {"states": size, "components": seen.shape[1], "horizon": horizon}
    return as_prediction(predicted, session, split, _attrs("psid", protocol) | attrs)


def _kinematics(data: Prepared, train: np.ndarray, state: Sequence[str]) -> np.ndarray:
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


def _attrs(readout: str, protocol: str | None) -> dict[str, Any]:
    return {"readout": readout} | ({"protocol": protocol} if protocol else {})
