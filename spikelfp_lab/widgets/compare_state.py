"""State of a model comparison: what is shown, what is computed, and its tidy tables; no browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import traitlets
import xarray as xr
from scipy.stats import spearmanr

from spikelfp_lab.analysis import fit_readout, linear_cka, paired_tests, procrustes, score_predicted
from spikelfp_lab.analysis._inputs import DEFAULT_SPLIT
from spikelfp_lab.analysis.readout import READOUTS, SPLITS
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError
from spikelfp_lab.models import encode
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.plots.palette import in_order
from spikelfp_lab.sessions import TEST, TRAIN, iterate_sessions, session_name, split_session
from spikelfp_lab.widgets._compare_inputs import one_axis, source_of, unreadable, velocity
from spikelfp_lab.widgets.base import Report

COLORS = ("direction", "speed", "time")
MIN_FILLED = 0.5  # windows with less usable time than this share are left out
SCORE_COLUMNS = ["model", "session", "seed", "readout", "split", "axis", "r2"]
LAYER_COLUMNS = ["session", "seed", "model", "layer", "teacher_layer", "value"]


class CompareState(traitlets.HasTraits):
    """What a comparison shows, and the numbers behind it; made by :func:`spikelfp_lab.compare`.

    Nothing is encoded before :meth:`compute`, and nothing twice; tables are of what is computed.

    Attributes
    ----------
    models, sessions, session, reference : tuple of str, str
        Models and sessions shown, the session in focus, the model others are compared with.
    readout, split, color_by : str
        "lagged" or "one_frame"; "test", "val" or "train"; "direction", "speed" or "time".
    start_s, span_s, window_s : float
        Stretch of time shown, and windows that errors and alignment are computed for, seconds.
    labels, names : tuple of str
        All models and sessions that can be shown.
    reasons : dict
        (label, session) -> why that model cannot be shown on that session.
    """

    models = traitlets.Tuple()
    sessions = traitlets.Tuple()
    session = traitlets.Unicode()
    readout = traitlets.Enum(READOUTS, "lagged")
    reference = traitlets.Unicode()
    color_by = traitlets.Enum(COLORS, "direction")
    split = traitlets.Enum(tuple(SPLITS), "test")
    start_s = traitlets.Float()
    span_s = traitlets.Float(10.0, min=0.1, max=120.0)
    window_s = traitlets.Float(2.0, min=0.1, max=60.0)

    def __init__(self, models: Mapping[str, Any], cohort: Any, *, reference: str | None = None):
        if not isinstance(models, Mapping) or not models:
            raise ConfigError("There are no models to compare: give a dict of label -> model.")
        found = iterate_sessions(cohort)
        self._sources: dict[tuple[str, str], Any] = {}  # models or latents
        self.reasons: dict[tuple[str, str], str] = {}
        self._made: dict[tuple, Any] = {}
        self._lock, self._closed = threading.RLock(), False
        for label, given in models.items():
            for name, session in found.items():
                source = source_of(str(label), given, name, only=len(found) == 1)
                if why := unreadable(source, session, name):
                    self.reasons[str(label), name] = why
                elif source is not None:
                    self._sources[str(label), name] = source
        if not self._sources:
            raise DataError(f"No model can read any of the sessions. {' '.join(self.notes())}")
        self.labels = tuple(in_order([str(m) for m in models if self._of(0, str(m))]))
        self.names = tuple(name for name in found if self._of(1, name))
        self._sessions = {name: found[name] for name in self.names}
        super().__init__()
        if reference is None:
            reads = {m: [getattr(s, "modality", "") for s in self._of(0, m)] for m in self.labels}
            spikes = [m for m in self.labels if "spikes" in reads[m]]
            reference = "Teacher" if "Teacher" in self.labels else [*spikes, *self.labels][0]
        elif reference not in self.labels:
            raise ConfigError(f"The reference is {reference!r}: give one of {list(self.labels)}.")
        self.reference, self.models, self.sessions = reference, self.labels, self.names
        self.session = self.names[0]

    @traitlets.validate("models", "sessions", "session", "reference")
    def _known(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        known = self.labels if trait in ("models", "reference") else self.names
        for name in [value] if isinstance(value, str) else value:
            if name not in known:
                raise traitlets.TraitError(f"{name!r} cannot be shown: choose from {list(known)}.")
        return value if isinstance(value, str) else tuple(n for n in known if n in value)

    @traitlets.validate("start_s")
    def _inside(self, proposal: Any) -> float:
        first, last = self.extent()
        if not first <= proposal["value"] <= last:
            where = f"{self.session} runs from {first:g} to {last:g} s"
            raise traitlets.TraitError(f"start_s is {proposal['value']:g}: {where}.")
        return proposal["value"]

    @traitlets.observe("session", "split")
    def _go_to_split(self, _: Any) -> None:
        """Show the first bins of the split."""
        label = next(label for label in self.labels if (label, self.session) in self._sources)
        use = self._bins(self.session, [label], SPLITS[self.split])
        self.start_s = float(self.dataset()["time"].values[np.argmax(use)])

    def dataset(self) -> xr.Dataset:
        """The session in focus."""
        return self._sessions[self.session]

    def extent(self) -> tuple[float, float]:
        """First and last time of the session in focus, seconds."""
        time = self.dataset()["time"].values
        return float(time[0]), float(time[-1])

    def readable(self, name: str | None = None) -> list[str]:
        """Models shown that can read a session, by default that in focus."""
        name = name or self.session
        return [m for m in self.models if (m, name) in self._sources.keys() - self.reasons.keys()]

    def notes(self) -> list[str]:
        """Why models are not shown on sessions, a sentence a pair."""
        return [f"{m} cannot read {name}: {why}." for (m, name), why in self.reasons.items()]

    def missing(self) -> list[tuple[str, str]]:
        """(label, session) that are shown, or needed as reference, and not computed yet."""
        labels = in_order([*self.models, self.reference])
        names = [n for n in self.names if n in self.sessions or n == self.session]
        pairs = [(m, n) for n in names for m in labels if (m, n) in self._sources]
        return [p for p in pairs if p not in self.reasons and not self._complete(p)]

    def missing_layers(self) -> list[str]:
        """Models shown whose layers are still to be compared in the session in focus."""
        name, reference = self.session, self.reference
        models = {m: self._sources.get((m, name)) for m in [reference, *self.readable()]}
        layered = [m for m, source in models.items() if isinstance(source, Autoencoder)]
        others = [m for m in layered if ("layers", m, name, reference) not in self._made]
        return [m for m in others if m != reference] if reference in layered else []

    def compute(self, report: Report) -> None:
        """Encode and decode what is missing, then compare layers in the session in focus.

        ``report(share, text)`` is called before each step and may raise to end the work; each
        finished step stays. What a model cannot read is noted in ``reasons``.
        """
        steps: list[tuple[str, tuple[str, str], Callable[[], Any]]] = []
        for m, n in self.missing():
            steps.append((f"encode {n} by {m}", (m, n), lambda m=m, n=n: self._latents(m, n)))
            for kind in READOUTS if "behavior" in self._sessions[n] else ():
                work = lambda m=m, n=n, kind=kind: self._decoded(m, n, kind)  # noqa: E731
                steps.append((f"decode {n} from {m}, {kind.replace('_', ' ')}", (m, n), work))
        name, theirs = self.session, self.reference
        for m in self.missing_layers():
            work = lambda m=m: self._layers(m, name, theirs)  # noqa: E731
            steps.append((f"compare layers of {m} on {name}", (m, name), work))
        for number, (text, pair, work) in enumerate(steps):
            report(number / len(steps), text)
            if pair in self.reasons or self._closed:
                continue
            try:
                work()
            except SpikeLFPError as error:
                self.reasons[pair] = str(error).rstrip(".")
        report(1.0, "all is computed")

    def clear(self) -> None:
        """Free all that is computed; a computation that is under way keeps nothing."""
        with self._lock:
            self._closed = True
            self._made.clear()

    def scores(self, sessions: Sequence[str] | None = None) -> pd.DataFrame:
        """R² of the models and sessions shown: tidy, both read-outs and all splits."""
        names = self.sessions if sessions is None else sessions
        keys = [("decoded", m, n, k) for m in self.models for n in names for k in READOUTS]
        return _stacked([self._made[key][1] for key in keys if key in self._made], SCORE_COLUMNS)

    def tests(self) -> pd.DataFrame:
        """Paired tests of the reference against the others, on the split shown; may be empty."""
        table = self.scores()
        table = table.loc[table["split"] == self.split]
        shared = table.groupby("model")["session"].nunique()
        others = [m for m in shared.index[shared > 1] if m != self.reference]
        if not others or shared.get(self.reference, 0) < 2:
            return pd.DataFrame()
        return paired_tests(table, reference=self.reference, against=others)

    def predictions(self) -> dict[str, xr.DataArray]:
        """Model -> decoded behavior (time, behavior_dim) of the session in focus."""
        if "behavior" not in self.dataset():
            raise DataError(f"{self.session} has no behavior: put another session in focus.")
        return {m: self._made["decoded", m, self.session, self.readout][0] for m in self._done()}

    def latents(self) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
        """Model -> (time, 2) latents, the reference first, and (time, 1 or 2) what colors them.

        On the split shown and the reference's leading components, turned onto the reference's
        latents (Procrustes) as training time says.
        """
        labels = sorted(self._done(), key=lambda label: label != self.reference)
        use = self._bins(self.session, labels, SPLITS[self.split])
        time = self.dataset()["time"].values[use]
        places = {m: self._turned(m, self.session)[1][use] for m in labels}
        made = {m: xr.DataArray(v, {"time": time}, ("time", "latent")) for m, v in places.items()}
        return made, self._color().isel(time=use)

    def alignment_over_time(self) -> pd.DataFrame:
        """A row a window: ``session``, ``model``, ``start_s``, ``bins``, ``alignment``.

        Mean cosine, about the reference's mean, of latents turned as in :meth:`latents`.
        """
        name = self.session
        cosines = {m: {"alignment": self._turned(m, name)[0]} for m in self._done()}
        return _stacked([self._windows(m, name, own) for m, own in cosines.items()], [])

    def alignment_by_layer(self) -> pd.DataFrame:
        """Linear CKA of each layer (0: the tokens) with each of the reference, on test time."""
        keys = [("layers", m, self.session, self.reference) for m in self.readable()]
        return _stacked([self._made[key] for key in keys if key in self._made], LAYER_COLUMNS)

    def errors_by_window(self) -> pd.DataFrame:
        """As :meth:`alignment_over_time` for all sessions shown, with ``error`` and ``rho``.

        ``error``: root mean square in SDs of the behavior in the split (1: what the mean would do).
        ``rho``: Spearman's over windows, negative where worse decoding goes with less alignment.
        Neighboring windows are not independent: no p value.
        """
        tables = []
        for name in dict.fromkeys([self.session, *self.sessions]):
            for m in self.readable(name):
                made = self._made.get(("decoded", m, name, self.readout))
                theirs = ("latents", self.reference, name) in self._made
                if m == self.reference or made is None or not theirs:
                    continue
                use = self._bins(name, [m, self.reference], SPLITS[self.split])
                true = self._sessions[name]["behavior"].transpose("time", ...).values
                with np.errstate(invalid="ignore", divide="ignore"):
                    far = (true - made[0].values) ** 2 / np.nanvar(true[use], axis=0)
                far = far[:, np.isfinite(far).any(axis=0)].mean(axis=1)
                columns = {"alignment": self._turned(m, name)[0], "error": far}
                table = self._windows(m, name, columns)
                known = len(table) > 2 and all(np.ptp(table[c]) > 0 for c in ("alignment", "error"))
                found: Any = spearmanr(table["alignment"], table["error"]) if known else None
                rho = found.statistic if known else np.nan
                tables.append(table.assign(error=np.sqrt(table["error"]), rho=rho))
        if not tables:
            raise DataError(
                f"No session shown has behavior and latents of {self.reference} and of another "
                "model: press Compute, or choose others."
            )
        return pd.concat(tables, ignore_index=True)

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        if (found := self._made.get(key)) is None:
            found = make()
            with self._lock:
                if not self._closed:
                    self._made[key] = found
        return found

    def _complete(self, pair: tuple[str, str]) -> bool:
        if "behavior" not in self._sessions[pair[1]]:
            return ("latents", *pair) in self._made
        return all(("decoded", *pair, kind) in self._made for kind in READOUTS)

    def _done(self) -> list[str]:
        """Models shown that are computed in the session in focus."""
        done = [m for m in self.readable() if self._complete((m, self.session))]
        if not done:
            raise DataError(f"Nothing of {self.session} is computed yet: press Compute.")
        return done

    def _of(self, side: int, key: str) -> list:
        return [source for pair, source in self._sources.items() if pair[side] == key]

    def _split(self, label: str, name: str) -> xr.DataArray:
        """How time was split in a model's training."""
        source = self._sources[label, name]
        attrs = source.attrs if isinstance(source, xr.DataArray) else source.info.get("train", {})
        keys = {key: attrs.get(key, value) for key, value in DEFAULT_SPLIT.items()}
        key, session = ("split", label, name), self._sessions[name]
        return self._once(key, lambda: split_session(session, **keys))

    def _bins(self, name: str, labels: Sequence[str], code: int) -> np.ndarray:
        """(time,) bool: bins of a split in the training of all these models."""
        return np.logical_and.reduce([self._split(m, name).values == code for m in labels])

    def _encode(self, m: str, name: str, session: xr.Dataset, layer: int | None) -> xr.DataArray:
        source = self._sources[m, name]
        if isinstance(source, xr.DataArray):
            return source
        known = None if session_name(session) in source.sessions else name
        return encode(source, session, as_session=known, layer=layer, progress=False)

    def _latents(self, m: str, n: str) -> xr.DataArray:
        return self._once(("latents", m, n), lambda: self._encode(m, n, self._sessions[n], None))

    def _decoded(self, m: str, n: str, kind: str) -> tuple[xr.DataArray, pd.DataFrame]:
        def make() -> tuple[xr.DataArray, pd.DataFrame]:
            session, latents, split = self._sessions[n], self._latents(m, n), self._split(m, n)
            fitted = fit_readout(latents, session, kind=kind, split=split)
            predicted = fitted.predict(latents, split=split)
            about = {"model": m, "session": n, "seed": split.attrs["seed"]}
            scores = score_predicted(predicted, session).assign(**about)
            return predicted, scores.reindex(columns=SCORE_COLUMNS)

        return self._once(("decoded", m, n, kind), make)

    def _layers(self, m: str, name: str, reference: str) -> pd.DataFrame:
        """Linear CKA of all layers of a model and the reference on shared test time."""
        use = self._bins(name, [m, reference], TEST)
        session = self._sessions[name].isel(time=use)
        own, theirs = (
            [self._encode(label, name, session, i).values for i in range(depth)]
            for label in (m, reference)
            for depth in [self._sources[label, name].config.layers + 1]
        )
        rows = [
            (name, 0, m, i, j, linear_cka(a, b))
            for i, a in enumerate(own)
            for j, b in enumerate(theirs)
        ]
        key = ("layers", m, name, reference)
        return self._once(key, lambda: pd.DataFrame(rows, columns=LAYER_COLUMNS))

    def _turned(self, label: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(time,) cosine to the reference, and (time, 2) places on its principal components."""
        reference = self.reference
        if (reference, name) not in self._sources or (reference, name) in self.reasons:
            why = self.reasons.get((reference, name), "not given")
            raise DataError(f"{reference} cannot read {name} ({why}): choose another reference.")
        pair: Any = [self._made.get(("latents", m, name)) for m in (label, reference)]
        if pair[0] is None or pair[1] is None:
            raise DataError(f"The latents of {label} or {reference} are not there: press Compute.")
        use = self._bins(name, [label, reference], TRAIN)
        if not use.any():
            who = f"{label} and {reference} share no training time in {name}"
            raise DataError(f"{who}: compare models of one seed.")

        def make() -> tuple[np.ndarray, np.ndarray]:
            width = max(latents.shape[1] for latents in pair)
            own, fixed = (
                np.pad(v.transpose("time", ...).astype(float), ((0, 0), (0, width - v.shape[1])))
                for v in pair
            )
            turned = np.asarray(procrustes(own, np.where(use[:, None], fixed, np.nan)).aligned)
            known = fixed[use & np.isfinite(fixed).all(axis=1)]
            axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][:2].T
            a, b = turned - known.mean(axis=0), fixed - known.mean(axis=0)
            length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            product, none = np.einsum("td,td->t", a, b), np.full(len(a), np.nan)
            return np.divide(product, length, out=none, where=length > 0), a @ axes

        return self._once(("turned", label, name, reference), make)

    def _windows(self, label: str, name: str, columns: dict[str, np.ndarray]) -> pd.DataFrame:
        """Means by window of the split's bins; windows less than half full are left out."""
        session = self._sessions[name]
        time, bin_size_s = session["time"].values, float(session.attrs["bin_size_s"])
        use = self._bins(name, [label, self.reference], SPLITS[self.split])
        use &= np.isfinite(np.stack([*columns.values()])).all(axis=0)
        # a hair more, or the bin at 0.3 s would fall into the window before it
        number = np.floor((time - time[0]) / self.window_s + 1e-6).astype(int)[use]
        table: Any = pd.DataFrame({k: v[use] for k, v in columns.items()}).groupby(number)
        means = table.mean()
        means.insert(0, "bins", table.size())
        means.insert(0, "start_s", time[0] + means.index * self.window_s)
        means.insert(0, "model", label)
        means.insert(0, "session", name)
        full = means["bins"] >= MIN_FILLED * self.window_s / bin_size_s
        return means.loc[full].reset_index(drop=True)

    def _color(self) -> xr.DataArray:
        """(time, behavior_dim) velocity, speed or time of the session in focus."""
        data = self.dataset()
        if self.color_by == "time":
            return one_axis(data["time"].values, data, "time", "s")
        if "behavior" not in data:
            raise DataError(f"{self.session} has no behavior: color by time.")
        moved = velocity(data)
        if self.color_by == "speed":
            units = str(data["behavior"].attrs.get("units", ""))
            return one_axis(np.linalg.norm(moved.values, axis=1), data, "speed", units)
        if moved.shape[1] < 2:
            raise DataError("One axis of behavior has no direction: color by speed or time.")
        return moved


def _stacked(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
