"""Linear read-outs: how well latents (or raw channels, or counts) tell the behavior.

A *one-frame* read-out sees the latent of the same bin only, a *lagged* one every bin within
``lag_s`` on either side, one of the *past* those up to ``lag_s`` back. Latents that carry their own
history win in the first and not in the second.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
import xarray as xr

from spikelfp_lab._files import write_whole
from spikelfp_lab._guard import reading
from spikelfp_lab._ridge import FOLDS, Ridge, fit_ridge
from spikelfp_lab.analysis._inputs import (
    PREDICTED,
    Inputs,
    Session,
    check_clock,
    check_enough,
    features_of,
    inputs_of,
    split_in,
)
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import TEST, TRAIN, VAL, split_session, usable_runs, warn_trained

READOUTS = ("one_frame", "lagged")
KINDS = (*READOUTS, "past")
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}


@dataclass(frozen=True)
class Fitted:
    """What is fitted to latents, and knows them by their labels and their model's digest."""

    bin_size_s: float
    dim: str
    labels: tuple[Any, ...] | None = field(repr=False)
    digest: str | None
    session: str | None
    split: dict[str, Any]  # whose training time it was fitted to; empty: all time
    ridge: Ridge = field(compare=False, repr=False)

    def values_of(self, latents: xr.DataArray, what: str, cure: str) -> np.ndarray:
        """Values in the order of its columns, the mean where not observed; or a refusal."""
        values, observed = features_of(latents)
        _, labels, digest = source_of(latents).values()
        labels, wanted, size = labels or (), self.labels or (), self.bin_size_s
        lost = [label for label in wanted if label not in labels]
        more = [label for label in labels if wanted and label not in wanted]
        step = float(np.median(np.diff(latents["time"]))) if len(values) > 1 else size
        other = (digest or self.digest) != (self.digest or digest) or abs(step / size - 1) > 0.01
        if other or lost or more or values.shape[1] != len(self.ridge.mean):
            raise DataError(
                f"The {what} was fitted to {len(self.ridge.mean)} {self.dim}s of the model "
                f"{self.digest} in bins of {size:g} s, these are {values.shape[1]} of {digest} in "
                f"bins of {step:g} s, which lack {lost[:5]} and have besides {more[:5]}. Give the "
                f"same ones, labeled alike, or fit another ({cure})."
            )
        if self.digest and not digest:
            message = "The latents have lost their attrs and are matched by their labels alone."
            warnings.warn(message, SpikeLFPWarning, stacklevel=3)
        if wanted and labels != wanted:
            order = [labels.index(label) for label in wanted]
            values, observed = values[:, order], observed[:, order]
        return np.where(observed, values, self.ridge.mean)


@dataclass(frozen=True)
class ReadOut(Fitted):
    """A fitted linear read-out of the behavior, from :func:`fit_readout`.

    It reads out other latents of its model too, of another day or with electrodes lost.
    """

    kind: str
    lag_s: float
    behavior_dim: tuple[str, ...]

    def predict(self, latents: xr.DataArray, *, split: xr.DataArray | None = None) -> xr.DataArray:
        """The behavior that latents (time, feature) tell: (time, behavior_dim), in its units.

        NaN where a lag would reach over a gap, a trial's edge, a NaN, or the edge of a ``split``
        (time,), which becomes a coordinate. DataError: other labels, model, or size of bins.
        """
        values = self.values_of(latents, "read-out", "fit_readout")
        clock = xr.Dataset(coords=latents.coords, attrs={"bin_size_s": self.bin_size_s})
        codes, time, axes = np.zeros(len(values)), latents["time"].variable, list(self.behavior_dim)
        coords: dict[str, Any] = {"time": time, "behavior_dim": axes}
        attrs = {"readout": self.kind, "lag_s": self.lag_s, "relative_penalty": self.ridge.penalty}
        if split is not None:
            check_clock(split, clock)
            codes, attrs = split.to_numpy(), attrs | split.attrs
            coords["split"] = "time", codes
            if "trial" in split.coords:
                clock = clock.assign_coords(trial=("time", split["trial"].to_numpy()))
        rows = _whole_rows(clock, codes, np.isfinite(values.sum(axis=1)), self.ridge.lags)
        predicted = np.full((len(values), len(axes)), np.nan)
        predicted[rows] = self.ridge.predict(values, rows)
        return xr.DataArray(predicted, coords, PREDICTED, "predicted_behavior", attrs)

    def save(self, path: str | Path) -> Path:
        """Write to one file of safetensors, atomically; an older one is replaced."""
        about = dict(vars(self))
        arrays = about.pop("ridge")._asdict()
        about |= {"format": 1, "penalty": arrays.pop("penalty")}
        arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        write_whole(Path(path), safetensors.numpy.save(arrays, {"readout": json.dumps(about)}))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "ReadOut":
        """Read what :meth:`save` wrote; CheckpointError for what is missing or damaged."""
        with reading(path, "is no saved read-out", "Save it again.", kind=CheckpointError):
            with safetensors.safe_open(path, framework="numpy") as file:
                about = json.loads(file.metadata()["readout"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about["ridge"] = Ridge(penalty=about.pop("penalty"), **arrays)
            lists = {n: about[n] and tuple(about[n]) for n in ("behavior_dim", "labels")}
            del about["format"]
            return cls(**about | lists)


def fit_readout(
    latents: xr.DataArray, session: Session, *, kind: str | None = None,
    split: xr.DataArray | None = None, protocol: str | None = None, lag_s: float = 0.1,
) -> ReadOut:  # fmt: skip
    """Fit a linear read-out of the behavior to training time.

    All as for :func:`decode`; ``kind`` is "one_frame", "lagged" (the default) or "past" (that of
    latents whose attrs say ``causal``).

    >>> time, moved = np.arange(2000) / 50, np.sin(np.arange(2000) / 9)[:, None]
    >>> session = xr.Dataset({"behavior": (("time", "behavior_dim"), moved)},
    ...     {"time": time, "behavior_dim": ["vx"]}, {"bin_size_s": 0.02})
    >>> latents = session["behavior"].rename(behavior_dim="latent") * 3
    >>> readout = fit_readout(latents, session, kind="one_frame")
    >>> bool(abs(readout.predict(latents) - session["behavior"]).max() < 1e-3)
    True
    """
    kind = kind or ("past" if latents.attrs.get("causal") else "lagged")
    return fit_inputs(inputs_of(latents, session, split, protocol), kind, lag_s, protocol)


def fit_inputs(data: Inputs, kind: str, lag_s: float, protocol: str | None = None) -> ReadOut:
    """Fit one kind of read-out to inputs that are checked."""
    if kind not in KINDS:
        raise ConfigError(f"Unknown read-out {kind!r}: give one of {', '.join(KINDS)}.")
    if not (np.isfinite(lag_s) and lag_s >= 0):
        raise ConfigError(f"lag_s is {lag_s}: give the seconds that lags reach, 0 or more.")
    bin_size_s = float(data.session.attrs["bin_size_s"])
    # a hair more than lag_s, or 0.3 s of 0.1 s bins would be two bins
    reach = 0 if kind == "one_frame" else int(lag_s / bin_size_s + 1e-6)
    lags = np.arange(-reach, 1 + (0 if kind == "past" else reach))
    finite = np.isfinite(np.where(data.observed, data.values, 0.0).sum(axis=1))
    rows = _whole_rows(data.session, data.split.to_numpy(), finite, lags)
    train = (data.split.values == TRAIN) & np.isfinite(data.behavior.sum(axis=1))
    rows = rows[train[rows]]
    check_enough(len(rows), 2 * FOLDS, "train", kind)
    penalty = 0.0 if protocol == "paper" else None
    ridge = fit_ridge(data.filled(rows), data.behavior, rows, lags=lags, penalty=penalty)
    return ReadOut(
        kind=kind, lag_s=float(lag_s), bin_size_s=bin_size_s, behavior_dim=tuple(data.axes),
        session=data.name, split=split_in(data.split.attrs), ridge=ridge, **source_of(data.latents),
    )  # fmt: skip


def decode(
    latents: xr.DataArray, session: Session, *, split: xr.DataArray | None = None,
    readout: ReadOut | None = None, readouts: Sequence[str] | None = None,
    protocol: str | None = None, lag_s: float = 0.1,
) -> pd.DataFrame:  # fmt: skip
    """R² of linear read-outs of the behavior, fitted on the training split.

    Ridge regression; its penalty is the one that predicts best over five contiguous folds *of the
    training split*. R² does not depend on units. Bins where a feature or the behavior is NaN are
    left out, as are those whose lags reach over a gap, a trial's edge, a NaN or the edge of a
    split. Counts of units that were not ``observed`` are at the mean of their training time.

    Parameters
    ----------
    latents : xr.DataArray
        (time, any one other dim), on the clock of the session: ``session["lfp"]`` is a baseline.
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``, or a leaf of a cohort.
    split : xr.DataArray, optional
        (time,) of :func:`split_session`; by default that which the latents' attrs name, else
        "blocks", 2 s, seed 0. A SpikeLFPWarning says when its test time is time that the latents'
        model, or the read-out, was fitted to.
    readout : ReadOut, optional
        One that is fitted already: it is scored, and nothing is fitted.
    readouts : sequence of {"one_frame", "lagged", "past"}, optional
        By default the first two; for latents that say ``causal``, "one_frame" and "past".
    protocol : {None, "paper"}
        "paper" for that of Erturk et al.: ordinary least squares, their shuffled 10 s windows
        (unless ``split`` is given), and one more split, "valtest": both pooled.
    lag_s : float
        Reach of the lagged read-outs, in seconds: all bins within it are used.

    Returns
    -------
    pd.DataFrame
        ``readout``, ``split``, ``axis`` (a name of ``behavior_dim``) and ``r2`` (about the mean of
        the split; NaN for a constant axis). ``attrs``: ``scheme``, ``window_s`` and ``seed`` of the
        split, and ``split_from``: "given", "latents" or "default".

    Examples
    --------
    >>> time, moved = np.arange(6000) / 100, np.sin(np.arange(6000) / 50)[:, None]
    >>> session = xr.Dataset({"behavior": (("time", "behavior_dim"), moved)},
    ...     {"time": time, "behavior_dim": ["vx"]}, {"bin_size_s": 0.01})
    >>> scores = decode(session["behavior"].rename(behavior_dim="latent") * 3, session)
    >>> scores.query("split == 'test'").round(3).to_dict("list")["r2"]
    [1.0, 1.0]
    """
    if readout is not None and (readouts is not None or not isinstance(readout, ReadOut)):
        raise ConfigError("readout= is a ReadOut, readouts= kinds to fit. Give one of them.")
    data = inputs_of(latents, session, split, protocol)
    usual = ("one_frame", "past") if latents.attrs.get("causal") else READOUTS
    kinds = np.atleast_1d(usual if readouts is None else readouts).tolist()
    if not kinds:
        raise ConfigError(f"readouts is empty: give one or more of {', '.join(KINDS)}.")
    fitted = [readout] if readout else [fit_inputs(data, k, lag_s, protocol) for k in kinds]
    if readout and data.name and readout.session == data.name and len(readout.split) == 3:
        warn_trained(data.split, split_session(data.session, **readout.split))
    made = [each.predict(latents, split=data.split) for each in fitted]
    tables = [score_predicted(each, data.session, protocol=protocol) for each in made]
    table = pd.concat(tables, ignore_index=True)
    table.attrs = dict(data.split.attrs)
    return table


def score_predicted(
    predicted: xr.DataArray, session: Session, *, readout: str | None = None,
    protocol: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """R² of any prediction of the behavior on each split: the rows that :func:`decode` gives.

    ``predicted`` is (time, behavior_dim) with the coordinate ``split``, as decoders return it; NaN,
    here or in the behavior, are left out. ``readout`` is its name, by default that in its attrs.
    """
    if set(predicted.dims) != {"time", "behavior_dim"} or "split" not in predicted.coords:
        raise DataError(
            "Give a prediction of dims 'time', 'behavior_dim', with coordinate 'split'."
        )
    data = inputs_of(predicted, session, predicted["split"], protocol)
    axes = list(map(str, predicted["behavior_dim"].values))
    if axes != data.axes:
        raise DataError(f"The prediction is of {axes}, the session's behavior is {data.axes}.")
    readout = readout or str(predicted.attrs.get("readout", "predicted"))
    scored = np.isfinite(np.hstack([data.behavior, data.values]).sum(axis=1))
    parts: dict[str, Any] = SPLITS | ({"valtest": (VAL, TEST)} if protocol == "paper" else {})
    rows = []
    for part, codes in parts.items():
        use = scored & np.isin(data.split.values, codes)
        check_enough(use.sum(), 1, part, readout)
        r2 = r2_by_axis(data.behavior[use], data.values[use])
        rows += [(readout, part, axis, float(value)) for axis, value in zip(axes, r2, strict=True)]
    return pd.DataFrame(rows, columns=["readout", "split", "axis", "r2"])


def r2_by_axis(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """R² of each column (n, axis) -> (axis,), about the mean of ``true``; NaN for a constant one.

    >>> r2_by_axis(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [1.0]])).tolist()
    [0.5]
    """
    if len(true) < 2:
        return np.full(true.shape[1], np.nan)
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    spread = np.where(np.ptp(true, axis=0) > 0, spread, np.nan)
    return 1 - ((true - predicted) ** 2).sum(axis=0) / spread


def source_of(latents: xr.DataArray) -> dict[str, Any]:
    """The dim that is not time, its labels where there are any, and the digest of the model."""
    dim = next(dim for dim in latents.dims if dim != "time")
    labels = tuple(latents[dim].values.tolist()) if dim in latents.coords else None
    return {"dim": str(dim), "labels": labels, "digest": latents.attrs.get("digest")}


def _whole_rows(
    clock: xr.Dataset, split: np.ndarray, finite: np.ndarray, lags: np.ndarray
) -> np.ndarray:
    """(n,) bins that, with those at all lags from them, are finite and of one run and one split."""
    runs = usable_runs(clock, variables=())
    run = np.repeat(np.arange(len(runs)), runs[:, 1] - runs[:, 0])
    stretch = np.cumsum(np.r_[0, (np.diff(run) != 0) | (np.diff(split) != 0) | np.diff(finite)])
    center = np.arange(-lags[0], finite.size - lags[-1])
    # Stretches are numbered in order, so equal ends mean that everything between them is the same.
    whole = (stretch[center + lags[0]] == stretch[center + lags[-1]]) & finite[center]
    return center[whole]
