"""A decoder for scikit-learn: a student that is given, and a read-out that is fitted."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
import xarray as xr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from spikelfp_lab.analysis import fit_readout
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.models import Autoencoder, encode
from spikelfp_lab.models.encode import values_of
from spikelfp_lab.sessions import TRAIN, channel_statistics

_NAME = "sklearn/rows"
_APART = 1000  # bins that the clock jumps by between groups, so that no window crosses them


class LFPDecoder(RegressorMixin, BaseEstimator):
    """Behavior from LFP, as an estimator; ``score`` is R², mean over axes.

    Rows of ``X`` are bins in time order: a splitter that shuffles them takes away what the student
    reads. ``groups``, one a row, are sessions or blocks, over whose edges nothing reaches; pass
    them to ``fit`` and ``predict`` where rows are not one stretch (by ``set_fit_request`` and
    ``set_predict_request`` in ``cross_val_score``). LFP is z-scored by what ``fit`` was given.

    Parameters
    ----------
    student : Autoencoder
        A model of LFP; it is not trained.
    session : str, optional
        Session of its vocabulary whose tables it reads with; by default the first.
    kind : {"one_frame", "lagged", "past"}
        Of the read-out. The first and last bins of a group, where lags reach over its edge, take
        the nearest prediction.

    Examples
    --------
    >>> from spikelfp_lab import load
    >>> LFPDecoder(load("simulated/distilled"), kind="lagged").get_params()["kind"]
    'lagged'
    """

    def __init__(
        self, student: Autoencoder | None = None, *, session: str | None = None,
        kind: str = "one_frame",
    ):  # fmt: skip
        self.student, self.session, self.kind = student, session, kind

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Fit the read-out to LFP (n, channel), uV, and behavior (n,) or (n, axis)."""
        if self.student is None or self.student.modality != "lfp":
            raise ConfigError("LFPDecoder needs a model of LFP: LFPDecoder(student)")
        values: Any
        wanted: Any
        values, wanted = validate_data(self, X, y, multi_output=True, y_numeric=True)
        name = self.session or next(iter(self.student.sessions))
        channels: Any = self.student.sessions.get(name)
        if channels != values.shape[1]:
            known = self.student.sessions
            raise DataError(
                f"X has {values.shape[1]} channels; the student's sessions have {known}"
            )
        self.session_, self.student_ = name, copy.deepcopy(self.student)
        self.student_.add_session(_NAME, channels)
        data = self._data(values, groups)
        raw = values_of(data, ("lfp",), shape=self.student.config)
        found = channel_statistics(raw, np.ones(len(raw), bool))
        for own, value in zip(self.student_.statistics(_NAME), found, strict=True):
            own.copy_(torch.as_tensor(value))
        self.one_axis_ = wanted.ndim == 1
        data["behavior"] = ("time", "behavior_dim"), wanted.reshape(len(wanted), -1)
        data = data.assign_coords(behavior_dim=[f"y{i}" for i in range(wanted[:1].size)])
        split = xr.DataArray(np.full(len(values), TRAIN), {"time": data["time"]}, "time")
        self.readout_ = fit_readout(self._latents(data), data, kind=self.kind, split=split)
        return self

    def predict(self, X: Any, groups: Any = None) -> np.ndarray:
        """(n,) or (n, axis) behavior of LFP (n, channel)."""
        check_is_fitted(self)
        values: Any = validate_data(self, X, reset=False)
        data, run = self._data(values, groups), _runs(len(values), groups)
        made = pd.DataFrame(self.readout_.predict(self._latents(data)).to_numpy())
        made = made.groupby(run).ffill().groupby(run).bfill().to_numpy()
        return made[:, 0] if self.one_axis_ else made

    def _data(self, values: np.ndarray, groups: Any) -> xr.Dataset:
        size, run = self.student_.bin_size_s, _runs(len(values), groups)
        time = size * (0.5 + np.arange(len(values)) + _APART * run)
        labels = self.student_.labels.get(self.session_, {}).get("channel")
        labels = labels or [*map(str, range(values.shape[1]))]
        subject, _, session = _NAME.partition("/")
        attrs = {"subject": subject, "session": session, "bin_size_s": size}
        lfp = ("time", "channel"), values.astype(np.float32)
        return xr.Dataset({"lfp": lfp}, {"time": time, "channel": labels}, attrs)

    def _latents(self, data: xr.Dataset) -> xr.DataArray:
        return encode(self.student_, data, as_session=self.session_, progress=False)


def _runs(rows: int, groups: Any) -> np.ndarray:
    """(n,) number of the run of one group that each row is in."""
    if groups is None:
        return np.zeros(rows, int)
    changed = np.asarray(groups)[1:] != np.asarray(groups)[:-1]
    if len(changed) != rows - 1:
        raise DataError(f"there are {len(changed) + 1} groups for {rows} rows: give one each")
    return np.r_[0, np.cumsum(changed)]
