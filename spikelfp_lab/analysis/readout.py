"""Linear read-outs: how well latents (or raw channels, or counts) tell the behavior.

A *one-frame* read-out sees the latent of the same bin only, a *lagged* one every bin within
``lag_s`` on either side, one of the *past* those up to ``lag_s`` back. The first two are reported
side by side: latents that carry their own history win in the first and not in the second.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
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
    DEFAULT_SPLIT,
    as_prediction,
    behavior_of,
    check_split,
    features_of,
    filled,
    labels_of,
    name_of,
    reach_in_bins,
    some,
    split_for,
    takes_split,
    too_few,
    whole_rows,
)
from spikelfp_lab.analysis.score import SPLITS, score_predicted
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import TRAIN, as_dataset, split_session, warn_trained

__all__ = ["KINDS", "READOUTS", "SPLITS", "ReadOut", "decode", "fit_readout"]

READOUTS = ("one_frame", "lagged")
KINDS = (*READOUTS, "past")


@dataclass(frozen=True, repr=False)
class ReadOut:
    """A fitted linear read-out of the behavior, from :func:`fit_readout`.

    It knows its latents by their labels and by the digest of the model that made them, so that it
    can be applied to other latents of that model: of another day, or with electrodes lost.
    """

    kind: str
    lag_s: float
    bin_size_s: float
    behavior_dim: tuple[str, ...]
    dim: str
    labels: tuple[Any, ...] | None
    digest: str | None
    session: str | None
    split: dict[str, Any]
    ridge: Ridge = field(compare=False)

    def __repr__(self) -> str:
        return (
            f"<ReadOut {self.kind}: {len(self.ridge.mean)} {self.dim}s -> "
            f"{', '.join(self.behavior_dim)}, fitted to {self.session or 'a session'}>"
        )

    def predict(self, latents: xr.DataArray, *, split: xr.DataArray | None = None) -> xr.DataArray:
        """The behavior that these latents tell.

        Parameters
        ----------
        latents : xr.DataArray
            (time, feature); they are matched by label and reordered, or refused (DataError), as are
            latents of another model or in bins of another size.
        split : xr.DataArray, optional
            (time,) as :func:`split_session` gives it: no lag then reaches over the edge of a split,
            and the result has it as the coordinate ``split``.

        Returns
        -------
        xr.DataArray
            (time, behavior_dim) float64 in the units of ``behavior``; NaN where a lag would reach
            over a gap, a trial's edge (where latents or split have ``trial``) or a NaN.
        """
        values, observed = features_of(latents)
        values, observed = self._match(latents, values, observed)
        values = np.where(observed, values, self.ridge.mean)
        finite = np.asarray(np.isfinite(values).all(axis=1))
        codes = np.zeros(len(values)) if split is None else split.to_numpy()
        rows = whole_rows(self._clock(latents, split), codes, finite, self.ridge.lags)
        predicted = np.full((len(values), len(self.behavior_dim)), np.nan)
        predicted[rows] = self.ridge.predict(values, rows)
        attrs = {"readout": self.kind, "lag_s": self.lag_s, "relative_penalty": self.ridge.penalty}
        made = as_prediction(predicted, latents["time"], self.behavior_dim, attrs)
        if split is not None:
            made = made.assign_coords(split=("time", split.to_numpy())).assign_attrs(split.attrs)
        return made

    def save(self, path: str | Path) -> Path:
        """Write to one file of safetensors, atomically; an older one is replaced."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "ridge"}
        arrays = self.ridge._asdict()
        told |= {"format": 1, "penalty": arrays.pop("penalty")}
        arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        write_whole(Path(path), safetensors.numpy.save(arrays, {"readout": json.dumps(told)}))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "ReadOut":
        """Read what :meth:`save` wrote; CheckpointError for what is missing or damaged."""
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"{path} is not a saved read-out: give the file that save wrote.")
        with reading(path, "is damaged, or no read-out", "Save it again.", kind=CheckpointError):
            with safetensors.safe_open(path, framework="numpy") as file:
                told = json.loads(file.metadata()["readout"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told.pop("format")
            ridge = Ridge(penalty=told.pop("penalty"), **arrays)
            for name in ("behavior_dim", "labels"):
                told[name] = None if told[name] is None else tuple(told[name])
            return cls(ridge=ridge, **told)

    def _match(
        self, latents: xr.DataArray, values: np.ndarray, observed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Columns in the order of the read-out, or a refusal."""
        digest = latents.attrs.get("digest")
        if self.digest and digest and digest != self.digest:
            raise DataError(
                f"The read-out was fitted to latents of the model {self.digest[:8]}, these are of "
                f"{digest[:8]}: fit one to them (fit_readout), or encode with that model."
            )
        if self.digest and not digest:
            warnings.warn(
                "The latents do not say which model made them (their attrs are lost): they are "
                "matched with the read-out by their labels. Keep what encode returns.",
                SpikeLFPWarning,
                stacklevel=3,
            )
        labels, wanted = labels_of(latents), self.labels
        if wanted is None or labels is None or labels == wanted:
            if values.shape[1] != len(self.ridge.mean) or (wanted and labels is None):
                raise DataError(
                    f"The read-out was fitted to {len(self.ridge.mean)} {self.dim}s"
                    f"{' with labels' if wanted else ''}, these are {values.shape[1]}"
                    f"{'' if labels else ' without labels'}: give the same ones, labeled alike."
                )
            return values, observed
        place = {label: i for i, label in enumerate(labels)}
        missing, more = [x for x in wanted if x not in place], set(labels) - set(wanted)
        if missing or more or len(place) < len(labels):
            raise DataError(
                f"The read-out does not fit these {latents.dims}: of its {len(wanted)} {self.dim}s "
                f"they lack {some(missing)}, and have besides {some(sorted(more, key=str))}. "
                "Select the ones it was fitted to, or fit another (fit_readout)."
            )
        order = [place[label] for label in wanted]
        return values[:, order], observed[:, order]

    def _clock(self, latents: xr.DataArray, split: xr.DataArray | None) -> xr.Dataset:
        """Times and trials of the latents, checked against the bins that the lags count."""
        time = latents["time"].to_numpy()
        step = float(np.median(np.diff(time))) if time.size > 1 else self.bin_size_s
        if abs(step - self.bin_size_s) > 0.01 * self.bin_size_s:
            raise DataError(
                f"The read-out counts bins of {self.bin_size_s:g} s, the latents have bins of "
                f"{step:g} s: encode with bins of that size, or fit another read-out."
            )
        if split is not None:
            check_split(split, latents["time"], self.bin_size_s)
        given = [each for each in (split, latents) if each is not None and "trial" in each.coords]
        trial = {"trial": ("time", given[0]["trial"].to_numpy())} if given else {}
        return xr.Dataset(coords={"time": time, **trial}, attrs={"bin_size_s": self.bin_size_s})


def fit_readout(
    latents: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    kind: str | None = None,
    split: xr.DataArray | None = None,
    protocol: str | None = None,
    lag_s: float = 0.1,
) -> ReadOut:
    """Fit a linear read-out of the behavior to training time.

    Parameters
    ----------
    latents, session, split, protocol, lag_s
        As for :func:`decode`.
    kind : {"one_frame", "lagged", "past"}, optional
        By default "lagged", and "past" for latents whose attrs say ``causal``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), np.sin(np.arange(2000) / 9)[:, None])},
    ...     coords={"time": np.arange(2000) / 50, "behavior_dim": ["vx"]},
    ...     attrs={"bin_size_s": 0.02},
    ... )
    >>> latents = session["behavior"].rename(behavior_dim="latent") * 3
    >>> readout = fit_readout(latents, session, kind="one_frame")
    >>> readout
    <ReadOut one_frame: 1 latents -> vx, fitted to a session>
    >>> bool(abs(readout.predict(latents) - session["behavior"]).max() < 1e-3)
    True
    """
    session = as_dataset(session)
    if kind is None:
        kind = "past" if latents.attrs.get("causal") else "lagged"
    split = split_for(latents, session, split, protocol)
    return _fit(latents, session, kind, split, protocol, lag_s)


@takes_split
def decode(
    latents: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    split: xr.DataArray | None = None,
    readout: ReadOut | None = None,
    readouts: Sequence[str] | None = None,
    protocol: str | None = None,
    lag_s: float = 0.1,
) -> pd.DataFrame:
    """R² of linear read-outs of the behavior, fitted on the training split.

    Ridge regression; its penalty is the one that predicts best over five contiguous folds *of the
    training split*. R² does not depend on units. Bins where a feature or the behavior is NaN are
    left out, and so is every bin whose lags would reach over a gap, a trial's edge, a NaN or the
    edge of its split. Counts of units that were not observed (coordinate ``observed``) are at the
    unit's mean over observed training time.

    Parameters
    ----------
    latents : xr.DataArray
        (time, any one other dim), on the clock of the session. A baseline is the same call:
        ``decode(session["lfp"], session)``.
    session : xr.Dataset or xr.DataTree
        A session with ``behavior``, or a leaf of a cohort.
    split : xr.DataArray, optional
        (time,) as :func:`split_session` gives it. By default that which the latents' model was
        trained with (``encode`` keeps it in their attrs); "blocks", 2 s, seed 0 where the latents
        name none, which the result's attrs then say.
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
        Columns ``readout``, ``split``, ``axis`` (a name of ``behavior_dim``) and ``r2`` (about the
        mean of the scored split; NaN where an axis is constant). ``attrs``: ``scheme``,
        ``window_s`` and ``seed`` of the split, and ``split_from``: "given", "latents" or "default".

    Raises
    ------
    DataError
        No behavior; latents of another session or on another clock; no usable bin in a split;
        latents that the ``readout`` does not know.
    ConfigError
        An unknown read-out or protocol; an impossible lag; both ``readout`` and ``readouts``.

    Warns
    -----
    SpikeLFPWarning
        When test time of the split is time that the latents' model, or the read-out, was fitted to.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> time = np.arange(3000) / 100
    >>> velocity = np.stack([np.sin(2 * time), np.cos(3 * time)], axis=1)
    >>> session = xr.Dataset(
    ...     {"behavior": (("time", "behavior_dim"), velocity.astype("float32"))},
    ...     coords={"time": time, "behavior_dim": ["vx", "vy"]},
    ...     attrs={"bin_size_s": 0.01},
    ... )
    >>> latents = xr.DataArray(velocity @ [[1, 2], [3, 4]], dims=("time", "latent"))
    >>> latents = latents.assign_coords(time=time)
    >>> split = split_session(session, window_s=0.5)
    >>> scores = decode(latents, session, split=split, readouts=["one_frame"])
    >>> scores.query("split == 'test'").round(3).to_dict("list")["r2"]
    [1.0, 1.0]
    """
    session = as_dataset(session)
    if readout is not None and (readouts is not None or not isinstance(readout, ReadOut)):
        raise ConfigError(
            "readout= is one ReadOut, from fit_readout, to be scored as it is; readouts= names "
            "the kinds to fit. Give one of them."
        )
    if readouts is None:
        causal = getattr(latents, "attrs", {}).get("causal")
        readouts = ("one_frame", "past") if causal else READOUTS
    readouts = (readouts,) if isinstance(readouts, str) else tuple(readouts)
    if not readouts:
        raise ConfigError(f"readouts is empty: give one or more of {', '.join(KINDS)}.")
    behavior_of(session)  # these are checked first
    features_of(latents, session)
    split = split_for(latents, session, split, protocol)
    if "trial" in session.coords:
        split = split.assign_coords(trial=("time", session["trial"].values))
    if readout is None:
        fitted = [_fit(latents, session, kind, split, protocol, lag_s) for kind in readouts]
    else:
        fitted = [readout]
        if readout.session and readout.session == name_of(session) and len(readout.split) == 3:
            warn_trained(split, split_session(session, **readout.split))
    made = [each.predict(latents, split=split) for each in fitted]
    tables = [score_predicted(each, session, protocol=protocol) for each in made]
    table = pd.concat(tables, ignore_index=True)
    table.attrs = dict(split.attrs)
    return table


def _fit(
    latents: xr.DataArray,
    session: xr.Dataset,
    kind: str,
    split: xr.DataArray,
    protocol: str | None,
    lag_s: float,
) -> ReadOut:
    """Fit one kind to the training bins of a checked split."""
    if kind not in KINDS:
        raise ConfigError(f"Unknown read-out {kind!r}: give one of {', '.join(KINDS)}.")
    reach = 0 if kind == "one_frame" else reach_in_bins(lag_s, session)
    lags = np.arange(-reach, 1 + (0 if kind == "past" else reach))
    behavior = behavior_of(session)
    values, observed = features_of(latents, session)
    finite = np.asarray(np.isfinite(np.where(observed, values, 0.0)).all(axis=1))
    rows = whole_rows(session, split.to_numpy(), finite, lags)
    rows = rows[(split.values[rows] == TRAIN) & np.isfinite(behavior[rows]).all(axis=1)]
    if len(rows) < 2 * FOLDS:
        raise too_few("train", kind, lag_s, split.attrs.get("window_s"))
    values = filled(values, observed, rows)
    return ReadOut(
        kind=kind,
        lag_s=float(lag_s),
        bin_size_s=float(session.attrs["bin_size_s"]),
        behavior_dim=tuple(map(str, session["behavior_dim"].values)),
        dim=str(next(dim for dim in latents.dims if dim != "time")),
        labels=labels_of(latents),
        digest=latents.attrs.get("digest"),
        session=name_of(session),
        split={key: split.attrs[key] for key in DEFAULT_SPLIT if key in split.attrs},
        ridge=fit_ridge(
            values, behavior, rows, lags=lags, penalty=0.0 if protocol == "paper" else None
        ),
    )
