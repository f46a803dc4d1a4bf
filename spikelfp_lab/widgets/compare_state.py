"""The state of a model comparison: what is shown, what has been computed, and tidy tables for every panel; no browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from spikelfp_lab.analysis.readout import READOUTS, SPLITS
from spikelfp_lab.errors import DataError
from spikelfp_lab.widgets import _compare_numbers as numbers
from spikelfp_lab.widgets._compare_results import LAYER_COLUMNS, SCORE_COLUMNS
from spikelfp_lab.widgets._compare_shown import COLORS, Shown

__all__ = ["COLORS", "CompareState"]

MAX_POINTS = 3000  # of a model's latents in a picture


class CompareState(Shown):
    """What a comparison of models shows, and the numbers behind it.

    Nothing is encoded before :meth:`compute`, and nothing twice. All tables are of what has been computed: :meth:`missing` tells the rest.

    Parameters
    ----------
    models : mapping
        Label -> model, or session name -> model, since a student is of one session. In place of a model: its latents, a DataArray (time, latent).
    cohort : Dataset, DataTree or mapping
        A session, a cohort, or name -> session.
    reference : str, optional
        Label of the model that the others are compared with; by default "Teacher", or else the first that reads spikes, or else the first.

    Attributes
    ----------
    models, sessions : tuple of str
        Shown.
    session : str
        In focus: the one of the panels that show only one.
    readout : {"lagged", "one_frame"}
    reference : str
    color_by : {"direction", "speed", "time"}
    dimensions : {2, 3}
        Principal components shown.
    split : {"test", "val", "train"}
    start_s, span_s : float
        Stretch of time shown, seconds.
    window_s : float
        Windows that error and alignment are told for, seconds.
    labels, names : tuple of str
        All models and sessions that can be shown.
    reasons : dict
        (label, session) -> why that model cannot read that session.

    Raises
    ------
    ConfigError
        No models, something that is no model, or an unknown reference.
    DataError
        No sessions, or none that any model can read.

    Examples
    --------
    >>> from spikelfp_lab.sessions import build_session, session_clock
    >>> clock = session_clock(0.0, 20.0, bin_size_s=0.01)
    >>> moved = np.stack([np.sin(2 * clock), np.cos(3 * clock)], axis=1)
    >>> session = build_session(
    ...     clock, bin_size_s=0.01, subject="I", session="s01", source="example",
    ...     lfp=(moved, clock), behavior=(moved, clock), behavior_names=("vx", "vy"),
    ... )
    >>> latents = session["lfp"].rename(channel="latent").assign_attrs(window_s=0.5)
    >>> state = CompareState({"Teacher": latents, "Mine": latents.copy(data=2 * latents)}, session)
    >>> state.compute(lambda share, text: None)
    >>> state.scores().groupby(["model", "readout"])["r2"].min().round(3).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def scores(self) -> pd.DataFrame:
        """R² of the models and sessions shown.

        Returns
        -------
        DataFrame
            ``model``, ``session``, ``seed``, ``readout``, ``split``, ``axis``, ``r2``: of both read-outs and all splits; empty before
            :meth:`compute`.
        """
        return self._scores(self.sessions)

    def scores_of(self, name: str) -> pd.DataFrame:
        """As :meth:`scores`, of one session, whether it is shown or not."""
        return self._scores([name])

    def decoded(self) -> pd.DataFrame:
        """Behavior of the session in focus, true and as decoded from each model, in the stretch shown.

        Returns
        -------
        DataFrame
            ``time`` (s), ``axis``, ``model`` ("True" for the behavior itself), ``value`` (units of the behavior), ``in_split`` (whether the bin is of
            the split shown).

        Raises
        ------
        DataError
            No behavior, nothing computed, or no bin in the stretch.
        """
        dataset, name = self.dataset(), self.session
        if "behavior" not in dataset:
            raise DataError(f"{name} has no behavior to decode: put another session in focus.")
        time = dataset["time"].values
        shown = (time >= self.start_s) & (time < self.start_s + self.span_s)
        if not shown.any():
            raise DataError(
                f"No bin of {name} from {self.start_s:g} to {self.start_s + self.span_s:g} s: "
                "there is a gap; move the start."
            )
        predicted = self._results.predicted
        made = {label: predicted[label, name, self.readout] for label in self._done()}
        in_split = self._bins(list(made))[shown]
        tables = []
        for label, values in {"True": dataset["behavior"], **made}.items():
            values = values.transpose("time", "behavior_dim").values[shown]
            for i, axis in enumerate(dataset["behavior_dim"].values):
                columns = {"time": time[shown], "axis": str(axis), "model": label}
                tables.append(pd.DataFrame(columns | {"value": values[:, i], "in_split": in_split}))
        return pd.concat(tables, ignore_index=True)

    def latents(self, *, max_points: int = MAX_POINTS) -> pd.DataFrame:
        """Latents of the session in focus on the reference's principal components.

        Each model's latents are turned, mirrored, scaled and shifted onto the reference's (Procrustes) as training time says, and then seen on
        the components that are leading in the reference's training time.

        Parameters
        ----------
        max_points : int
            At most so many evenly spaced bins of the split shown.

        Returns
        -------
        DataFrame
            ``model``, ``time`` (s), ``pc1``, ``pc2`` (and ``pc3``), ``color`` (direction in radians, speed in the behavior's units, or time in s),
            ``rest`` (too slow for a direction).

        Raises
        ------
        DataError
            The reference cannot read the session, nothing is computed, or the behavior has no such color.
        """
        labels, name = self._done(), self.session
        turned = {label: self._turn(label, name)[1] for label in labels}
        color, rest = numbers.color_by(self.dataset(), self.color_by)
        use = self._bins(labels) & np.isfinite(color)
        for values in turned.values():
            use &= np.isfinite(values).all(axis=1)
        bins = np.flatnonzero(use)
        if not bins.size:
            raise DataError(
                f"No bin of the split {self.split!r} has latents of all models: show another."
            )
        bins = bins[:: -(-bins.size // max_points)]
        columns = {
            "time": self.dataset()["time"].values[bins],
            "color": color[bins],
            "rest": rest[bins],
        }
        tables = []
        for label, values in turned.items():
            places = {f"pc{i + 1}": values[bins, i] for i in range(self.dimensions)}
            tables.append(pd.DataFrame({"model": label} | places | columns))
        return pd.concat(tables, ignore_index=True)

    def alignment_over_time(self) -> pd.DataFrame:
        """How close the latents of each model are to the reference's, window by window of the split shown.

        Returns
        -------
        DataFrame
            ``session`` (that in focus), ``model``, ``start_s`` (s), ``bins``, ``alignment``: mean cosine, about the reference's mean, of latents that
            were turned onto the reference's (Procrustes) as training time says.

        Raises
        ------
        DataError
            The reference cannot read the session, or nothing is computed.
        """
        name = self.session
        code, window_s = SPLITS[self.split], self.window_s
        tables = [
            self._results.windows(
                name,
                label,
                self.reference,
                {"alignment": self._turn(label, name)[0]},
                code=code,
                window_s=window_s,
            )
            for label in self._done()
        ]
        return pd.concat(tables, ignore_index=True)

    def alignment_by_layer(self) -> pd.DataFrame:
        """Linear CKA of each layer of the models with each of the reference, on test time of the session in focus.

        Returns
        -------
        DataFrame
            ``session``, ``model``, ``layer``, ``reference_layer`` (0: the tokens), ``value``; empty before :meth:`compute`.
        """
        keys = [(label, self.session, self.reference) for label in self.readable()]
        return self._results.table(self._results.layers, keys, LAYER_COLUMNS)

    def errors_by_window(self, sessions: Sequence[str] | None = None) -> pd.DataFrame:
        """Error of decoding against alignment with the reference, window by window: where a model fails, does it leave the reference?

        Parameters
        ----------
        sessions : sequence of str, optional
            By default those shown and the one in focus, as far as they are computed and have behavior.

        Returns
        -------
        DataFrame
            ``session``, ``model``, ``start_s`` (s), ``bins``, ``alignment`` as in :meth:`alignment_over_time`, ``error`` (root mean square, in standard
            deviations of the behavior in the split; 1 is what the mean would do), ``speed`` (mean length of the first two axes of velocity).

        Raises
        ------
        DataError
            Nothing of it is computed, or no session has both a reference and behavior.
        """
        wanted = dict.fromkeys([self.session, *(self.sessions if sessions is None else sessions)])
        tables = [
            self._results.errors(
                label,
                name,
                self.reference,
                self.readout,
                code=SPLITS[self.split],
                window_s=self.window_s,
            )
            for name in map(self._one(self.names), wanted)
            if "behavior" in self._sessions[name]
            and (self.reference, name) in self._results.latents
            for label in self.readable(name)
            if label != self.reference and self._results.complete((label, name))
        ]
        if not tables:
            raise DataError(
                f"No session shown has behavior and latents of {self.reference} and another model: press Compute, or choose others."
            )
        return pd.concat(tables, ignore_index=True)

    def rank_correlations(self, table: pd.DataFrame | None = None) -> pd.DataFrame:
        """Spearman's rho between error and alignment over windows, for each session and model.

        Parameters
        ----------
        table : DataFrame, optional
            What :meth:`errors_by_window` gave.

        Returns
        -------
        DataFrame
            ``session``, ``model``, ``rho`` (negative: worse where less aligned), ``n`` (windows). Neighboring windows are not independent, so there is
            no p value.
        """
        table = self.errors_by_window() if table is None else table
        groups: Any = table.groupby(["session", "model"], sort=False)
        rows = []
        for key, own in groups:
            aligned, error = own["alignment"].to_numpy(), own["error"].to_numpy()
            rows.append((*key, numbers.rank_correlation(aligned, error), len(own)))
        return pd.DataFrame(rows, columns=["session", "model", "rho", "n"])

    def _scores(self, names: Sequence[str]) -> pd.DataFrame:
        keys = [(label, n, readout) for label in self.models for n in names for readout in READOUTS]
        return self._results.table(self._results.scores, keys, SCORE_COLUMNS)

    def _bins(self, labels: Sequence[str]) -> np.ndarray:
        """(time,) bool: bins of the split shown, of the session in focus."""
        return self._results.bins(self.session, labels, SPLITS[self.split])

    def _done(self) -> list[str]:
        """Models shown that are computed in the session in focus."""
        done = [label for label in self.readable() if self._results.complete((label, self.session))]
        if not done:
            raise DataError(
                f"Nothing of {self.session} is computed for the models chosen: press Compute."
            )
        return done

    def _turn(self, label: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._results.turned(label, name, self.reference)
