"""What every reference starts from: standardized inputs, training bins, components, a size chosen."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import FOLDS, deviation
from spikelfp_lab.analysis._read_out import behavior_of, features_of, too_few
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.sessions.windows import TRAIN, usable_runs


class Prepared(NamedTuple):
    """What a reference may see of a session."""

    table: xr.Dataset
    """``inputs``, standardized by training time, and ``behavior``; clock and trials."""
    known: np.ndarray
    """(time,) bool: no input is NaN."""
    train: np.ndarray
    """(time,) bool: training bins where neither inputs nor behavior is NaN."""

    @property
    def inputs(self) -> np.ndarray:
        return self.table["inputs"].values

    @property
    def behavior(self) -> np.ndarray:
        return self.table["behavior"].values

    def stretches(self, use: np.ndarray) -> np.ndarray:
        """(n, 2) start and stop of the bins to use, without a gap or a trial's edge inside."""
        marks = ("time", "mark"), np.where(use, 0.0, np.nan)[:, None]
        return usable_runs(self.table.assign(marks=marks), variables=("marks",))


def prepare(
    inputs: xr.DataArray, session: xr.Dataset, split: xr.DataArray, readout: str
) -> Prepared:
    behavior = behavior_of(session)
    values = features_of(inputs, session, what="inputs")
    known = np.asarray(np.isfinite(values).all(axis=1))
    in_train = split.values == TRAIN
    train = known & in_train & np.isfinite(behavior).all(axis=1)
    if train.sum() < 2 * FOLDS:
        raise too_few("train", readout, 0.0, split.attrs["window_s"])
    fitted = values[known & in_train]
    values = (values - fitted.mean(axis=0)) / deviation(fitted.var(axis=0))
    table = xr.Dataset(
        {
            "inputs": (("time", "input"), values),
            "behavior": (("time", "behavior_dim"), behavior),
        },
        coords={name: session[name] for name in ("time", "trial") if name in session.coords},
        attrs={"bin_size_s": session.attrs["bin_size_s"]},
    )
    return Prepared(table, known, train)


def principal(data: Prepared, components: int | float) -> np.ndarray:
    """(input, component) directions of most variance over training bins, by falling variance."""
    share = isinstance(components, float)
    if not (0 < components <= 1 if share else components >= 1):
        raise ConfigError(
            f"components is {components}: give a number of 1 or more, or a share of the variance "
            "as a float up to 1.0."
        )
    variance, vectors = np.linalg.eigh(np.atleast_2d(np.cov(data.inputs[data.train], rowvar=False)))
    variance, vectors = variance[::-1], vectors[:, ::-1]
    rank = max(1, int((variance > 1e-10 * variance[0]).sum()))
    if share:
        explained = np.cumsum(variance[:rank]) / variance[:rank].sum()
        components = int(np.searchsorted(explained, components * (1 - 1e-12))) + 1
    return vectors[:, : min(int(components), rank)]


def best_size(
    sizes: Sequence[int],
    data: Prepared,
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
