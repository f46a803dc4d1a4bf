"""LFP as the anchor of spikes: spike latents of every day in one space, without labels.

A teacher's latents of different sessions share no space, those of one student do. On each session
a linear map from the former to the latter, fitted to the moments that both have, brings the spikes
of all days to where one read-out fits all of them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab._ridge import fit_ridge
from spikelfp_lab.analysis._inputs import DEFAULT_SPLIT, check_clock, features_of, split_in
from spikelfp_lab.analysis.readout import Fitted, source_of
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import TRAIN, split_session


@dataclass(frozen=True)
class Anchor(Fitted):
    """A linear map of one session from its spike latents to its student's, by :func:`anchor`."""

    student: str | None  # its digest
    student_labels: tuple[Any, ...] = field(repr=False)

    def apply(self, latents: xr.DataArray) -> xr.DataArray:
        """Spike latents (time, latent) of the anchor's session in the student's space.

        They carry the student's digest and labels, and ``anchored_from``, the teacher's digest.
        A DataError for those of another session, model, width, size of bins, or labels.
        """
        session = latents.attrs.get("session", self.session)
        if session != (self.session or session):
            what = f"This anchor is of session {self.session}, the latents are of {session}"
            raise DataError(f"{what}, whose space is another: fit an anchor on that session.")
        values = self.values_of(latents, "anchor", "anchor(teacher_latents, student_latents)")
        rows = np.flatnonzero(np.isfinite(values).all(axis=1))
        moved = np.full((len(values), len(self.ridge.intercept)), np.nan, np.float32)
        moved[rows] = self.ridge.predict(values, rows)
        attrs = {key: value for key, value in latents.attrs.items() if key != "digest"}
        attrs |= {"digest": self.student} if self.student else {}
        attrs["anchored_from"] = self.digest or "unknown"
        coords = {"time": latents["time"], "latent": list(self.student_labels)}
        return xr.DataArray(moved, coords, ("time", "latent"), "latents", attrs)


def anchor(
    teacher_latents: xr.DataArray, student_latents: xr.DataArray, *,
    split: xr.DataArray | None = None,
) -> Anchor:  # fmt: skip
    """Fit the map of a session from spike latents to its student's space; behavior is not needed.

    Parameters
    ----------
    teacher_latents, student_latents : xr.DataArray
        (time, latent) of one session, as :func:`~spikelfp_lab.encode` gives them.
    split : xr.DataArray, optional
        (time,) of :func:`~spikelfp_lab.split_session`; its training time is used. By default the
        split that the latents' attrs name; without attrs, all time, and ``Anchor.split`` is empty.

    Raises
    ------
    DataError
        Other clocks, sessions or splits on the two sides, or too few moments that both have.

    Examples
    --------
    >>> rng, time = np.random.default_rng(0), {"time": np.arange(500) / 50}
    >>> spikes = xr.DataArray(rng.normal(size=(500, 4)), time, ("time", "latent"))
    >>> lfp = xr.DataArray(spikes.values @ rng.normal(size=(4, 4)), time, ("time", "latent"))
    >>> bool(abs(anchor(spikes, lfp).apply(spikes) - lfp).max() < 0.01)
    True
    """
    (x, observed), (y, _) = features_of(teacher_latents), features_of(student_latents)
    time = teacher_latents["time"]
    size = float(np.median(np.diff(time))) if time.size > 1 else 1.0
    clock = xr.Dataset(coords={"time": time}, attrs={"bin_size_s": size})
    check_clock(student_latents, clock)
    sides = [teacher_latents.attrs, student_latents.attrs]
    for key in ("session", *(DEFAULT_SPLIT if split is None else ())):
        ours, theirs = (side.get(key) for side in sides)
        if None not in (ours, theirs) and ours != theirs and key != "window_s":
            what = f"The teacher's latents have {key} {ours!r}, the student's {theirs!r}"
            raise DataError(f"{what}: give both of one session and one split of its time.")
    splits = [] if split is None else [split]
    for side in sides if split is None else ():
        own = split_in(side)
        if own.get("scheme") == "trials":
            cure = "give split=split_session(session, ...)"
            raise DataError(f"Time was split by trials, which latents do not know: {cure}.")
        splits += [split_session(clock, **own)] if len(own) == len(DEFAULT_SPLIT) else []
    use = np.isfinite(x).all(axis=1) & observed.all(axis=1) & np.isfinite(y).all(axis=1)
    for each in splits:  # windows, and with them guards, may be of other lengths
        check_clock(each, clock)
        use &= each.to_numpy() == TRAIN
    least = 2 * x.shape[1]
    if use.sum() < least:
        what = f"An anchor of {x.shape[1]} latents needs {least} moments without NaN on both sides"
        raise DataError(f"{what} in training time, and has {use.sum()}: give a longer session.")
    target, session = source_of(student_latents), sides[0].get("session", sides[1].get("session"))
    return Anchor(
        bin_size_s=size, session=session, student=target["digest"],
        student_labels=target["labels"] or tuple(range(y.shape[1])),
        split={key: splits[-1].attrs.get(key) for key in DEFAULT_SPLIT} if splits else {},
        ridge=fit_ridge(x, y, np.flatnonzero(use)), **source_of(teacher_latents),
    )  # fmt: skip
