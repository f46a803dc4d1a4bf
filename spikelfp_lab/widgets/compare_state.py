"""State of a model comparison: what is shown, what is computed, and its tidy tables; no browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from spikelfp_lab.analysis import fit_readout, linear_cka, paired_tests, procrustes, score_predicted
from spikelfp_lab.analysis._inputs import DEFAULT_SPLIT
from spikelfp_lab.analysis.readout import READOUTS, SPLITS
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPError
from spikelfp_lab.models import encode
from spikelfp_lab.models.autoencoder import VARIABLES, Autoencoder
from spikelfp_lab.plots.theme import in_order
from spikelfp_lab.sessions import iterate_sessions, same_clock, session_name, split_session
from spikelfp_lab.widgets.base import Report

COLORS = ("direction", "speed", "time")
MIN_FILLED = 0.5  # windows with less usable time than this share are left out
SCORE_COLUMNS = ["model", "session", "seed", "readout", "split", "axis", "r2"]
LAYER_COLUMNS = ["session", "seed", "model", "layer", "teacher_layer", "value"]
Pair = tuple[str, str]  # label, session


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
    labels, names, reasons : tuple of str, dict
        All that can be shown; (label, session) -> why that model cannot be shown on that session.
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
        found = self._sessions = iterate_sessions(cohort)
        self._sources: dict[Pair, Any] = {}  # models or latents
        self.reasons: dict[Pair, str] = {}
        self._made: dict[tuple, Any] = {}
        self._lock, self._closed = threading.RLock(), False
        for label, given in models.items():
            if isinstance(given, xr.DataArray) and len(found) > 1:
                raise ConfigError(f"{label!r} is of one session: give {{session: latents}}.")
            for name, session in found.items():
                source, why = _read(str(label), given, session, name)
                kept: Any = self.reasons if why else self._sources
                kept[str(label), name] = why or source
        if not self._sources:
            raise DataError(f"No model can read any of the sessions. {' '.join(self.notes())}")
        self.labels = tuple(in_order(label for label, _ in self._sources))
        self.names = tuple(n for n in found if n in {name for _, name in self._sources})
        super().__init__()
        if reference not in (None, *self.labels):
            raise ConfigError(f"The reference is {reference!r}: give one of {list(self.labels)}.")
        of = {m: getattr(source, "modality", "") for (m, _), source in self._sources.items()}
        first = min(self.labels, key=lambda m: (m != "Teacher", of[m] != "spikes"))
        self.reference, self.models, self.sessions = reference or first, self.labels, self.names
        self.session = self.names[0]

    @traitlets.validate("models", "sessions", "session", "reference")
    def _known(self, proposal: Any) -> Any:
        trait, value = proposal["trait"].name, proposal["value"]
        known = self.labels if trait in ("models", "reference") else self.names
        wanted = (value,) if isinstance(value, str) else value
        if unknown := set(wanted) - set(known):
            raise traitlets.TraitError(f"{unknown} cannot be shown: choose from {list(known)}.")
        return value if isinstance(value, str) else tuple(n for n in known if n in value)

    @traitlets.validate("start_s")
    def _inside(self, proposal: Any) -> float:
        return float(np.clip(proposal["value"], *self.extent()))

    @traitlets.observe("session", "split")
    def _go_to_split(self, _: Any) -> None:
        """Show the first bins of the split."""
        label = next(label for label in self.labels if (label, self.session) in self._sources)
        use = self._bins(self.session, [label], self.split)
        self.start_s = float(self.dataset()["time"].values[np.argmax(use)])

    def dataset(self) -> xr.Dataset:
        """The session in focus."""
        return self._sessions[self.session]

    def extent(self) -> tuple[float, float]:
        """First and last time of the session in focus, seconds."""
        time = self.dataset()["time"].values
        return float(time[0]), float(time[-1])

    def readable(self) -> list[str]:
        """Models shown that can read the session in focus."""
        there = self._sources.keys() - self.reasons.keys()
        return [m for m in self.models if (m, self.session) in there]

    def notes(self) -> list[str]:
        """Why models are not shown on sessions, a sentence a pair."""
        return [f"{m} cannot read {name}: {why}." for (m, name), why in self.reasons.items()]

    def missing(self) -> list[Pair]:
        """(label, session) that are shown, or needed as reference, and not computed yet."""
        pairs = [(m, n) for what, m, n, *_ in self.to_make() if what != "layers"]
        return list(dict.fromkeys(pairs))

    def to_make(self) -> list[tuple]:
        """Keys of all that is not computed yet, as ("latents", label, session)."""
        keys: list[tuple] = []
        names = [n for n in self.names if n in self.sessions or n == self.session]
        for n, m in product(names, in_order([*self.models, self.reference])):
            kinds = READOUTS if "behavior" in self._sessions[n] else ()
            keys += [("latents", m, n), *(("decoded", m, n, kind) for kind in kinds)]
        of = {m: source for (m, n), source in self._sources.items() if n == self.session}
        models = {m for m in of if isinstance(of[m], Autoencoder)}
        if self.reference in models:
            others = models.intersection(self.models) - {self.reference}
            keys += [("layers", m, self.session, self.reference) for m in in_order(others)]
        there = self._sources.keys() - self.reasons.keys()
        return [key for key in keys if key not in self._made and key[1:3] in there]

    def compute(self, report: Report) -> None:
        """Encode and decode what is missing, then compare layers in the session in focus.

        ``report(share, text)`` is called before each step and may raise to end the work; each
        finished step stays. What a model cannot read is noted in ``reasons``.
        """
        keys = self.to_make()
        for number, (what, m, n, *how) in enumerate(keys):
            verb = {"latents": "encode", "decoded": "decode", "layers": "compare layers of"}[what]
            report(number / len(keys), f"{verb} {n}: {', '.join([m, *how]).replace('_', ' ')}")
            if (m, n) in self.reasons or self._closed:
                continue
            try:
                self._get(what, m, n, *how)
            except SpikeLFPError as error:
                self.reasons[m, n] = str(error).rstrip(".")
        report(1.0, "all is computed")

    def clear(self) -> None:
        """Free all that is computed; a computation that is under way keeps nothing."""
        with self._lock:
            self._closed = True
            self._made.clear()

    def scores(self, sessions: Sequence[str] | None = None) -> pd.DataFrame:
        """R² of the models and sessions shown: tidy, both read-outs and all splits."""
        names = self.sessions if sessions is None else sessions
        made = [self._made.get(("decoded", *of)) for of in product(self.models, names, READOUTS)]
        return _stacked([found[1] for found in made if found], SCORE_COLUMNS)

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
        return {m: self._get("decoded", m, self.session, self.readout)[0] for m in self._done()}

    def latents(self) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
        """Model -> (time, 2) latents, the reference first, and (time, 1 or 2) what colors them.

        On the split shown and the reference's leading components, turned onto the reference's
        latents (Procrustes) as training time says.
        """
        labels = sorted(self._done(), key=lambda label: label != self.reference)
        use = self._bins(self.session, labels, self.split)
        coords = {"time": self.dataset()["time"].values[use]}
        places = {m: self._turned(m, self.session)[1][use] for m in labels}
        made = {m: xr.DataArray(v, coords, ("time", "latent")) for m, v in places.items()}
        return made, self._color().isel(time=use)

    def alignment_over_time(self) -> pd.DataFrame:
        """A row a window: ``session``, ``model``, ``start_s``, ``bins``, ``alignment``.

        Mean cosine, about the reference's mean, of latents turned as in :meth:`latents`.
        """
        name = self.session
        own = {m: {"alignment": self._turned(m, name)[0]} for m in self._done()}
        return _stacked([self._windows(m, name, columns) for m, columns in own.items()], [])

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
        names = dict.fromkeys([self.session, *self.sessions])
        for n, m in product(names, [m for m in self.models if m != self.reference]):
            made = self._made.get(("decoded", m, n, self.readout))
            if made is None or ("latents", self.reference, n) not in self._made:
                continue
            use = self._bins(n, [m, self.reference], self.split)
            true = self._sessions[n]["behavior"].transpose("time", ...).values
            with np.errstate(invalid="ignore", divide="ignore"):
                far = (true - made[0].values) ** 2 / np.nanvar(true[use], axis=0)
            far = far[:, np.isfinite(far).any(axis=0)].mean(axis=1)
            table = self._windows(m, n, {"alignment": self._turned(m, n)[0], "error": far})
            ranks: Any = table[["alignment", "error"]].rank()
            rho = ranks.corr(min_periods=3).iloc[0, 1]  # NaN if either is constant
            tables.append(table.assign(error=np.sqrt(table["error"]), rho=rho))
        if not tables:
            raise DataError(
                f"No session shown has behavior and latents of {self.reference} and of another "
                "model: press Compute, or choose others."
            )
        return pd.concat(tables, ignore_index=True)

    def _get(self, what: str, *of: str) -> Any:
        """Something made once: latents, what is decoded of them, layers compared, ..."""
        if (found := self._made.get((what, *of))) is None:
            make: dict[str, Callable[..., Any]] = {
                "split": self._split, "latents": self._latents, "decoded": self._decoded,
                "layers": self._layers, "turned": self._turn,
            }  # fmt: skip
            found = make[what](*of)
            with self._lock:
                if not self._closed:
                    self._made[what, *of] = found
        return found

    def _done(self) -> list[str]:
        """Models shown that are computed in the session in focus."""
        left = self.missing()
        done = [m for m in self.readable() if (m, self.session) not in left]
        if not done:
            raise DataError(f"Nothing of {self.session} is computed yet: press Compute.")
        return done

    def _split(self, m: str, n: str) -> xr.DataArray:
        """How time was split in a model's training."""
        source = self._sources[m, n]
        attrs = source.attrs if isinstance(source, xr.DataArray) else source.info.get("train", {})
        keys = {key: attrs.get(key, value) for key, value in DEFAULT_SPLIT.items()}
        return split_session(self._sessions[n], **keys)

    def _bins(self, name: str, labels: Sequence[str], split: str) -> np.ndarray:
        """(time,) bool: bins of a split in the training of all these models."""
        splits = [self._get("split", m, name).values == SPLITS[split] for m in labels]
        return np.logical_and.reduce(splits)

    def _latents(
        self, m: str, n: str, part: xr.Dataset | None = None, layer: int | None = None
    ) -> xr.DataArray:
        source, session = self._sources[m, n], self._sessions[n] if part is None else part
        if isinstance(source, xr.DataArray):
            return source
        known = None if session_name(session) in source.sessions else n
        return encode(source, session, as_session=known, layer=layer, progress=False)

    def _decoded(self, m: str, n: str, kind: str) -> tuple[xr.DataArray, pd.DataFrame]:
        latents, split = self._get("latents", m, n), self._get("split", m, n)
        session = self._sessions[n]
        fitted = fit_readout(latents, session, kind=kind, split=split)
        predicted = fitted.predict(latents, split=split)
        about = {"model": m, "session": n, "seed": split.attrs["seed"]}
        scores = score_predicted(predicted, session).assign(**about)
        return predicted, scores.reindex(columns=SCORE_COLUMNS)

    def _layers(self, m: str, n: str, reference: str) -> pd.DataFrame:
        """Linear CKA of all layers of a model and the reference on shared test time."""
        part = self._sessions[n].isel(time=self._bins(n, [m, reference], "test"))
        each = {}
        for label in (m, reference):
            depth = self._sources[label, n].config.layers + 1
            each[label] = [self._latents(label, n, part, i).values for i in range(depth)]
        pairs = product(enumerate(each[m]), enumerate(each[reference]))
        rows = [(n, 0, m, i, j, linear_cka(a, b)) for (i, a), (j, b) in pairs]
        return pd.DataFrame(rows, columns=LAYER_COLUMNS)

    def _turned(self, m: str, n: str) -> tuple[np.ndarray, np.ndarray]:
        """(time,) cosine to the reference, and (time, 2) places on its principal components."""
        reference, why = self.reference, self.reasons.get((self.reference, n))
        if why:
            raise DataError(f"{reference} cannot read {n} ({why}): choose another reference.")
        if any(("latents", label, n) not in self._made for label in (m, reference)):
            raise DataError(f"The latents of {m} or {reference} are not there: press Compute.")
        return self._get("turned", m, n, reference)

    def _turn(self, m: str, n: str, reference: str) -> tuple[np.ndarray, np.ndarray]:
        use = self._bins(n, [m, reference], "train")
        if not use.any():
            who = f"{m} and {reference} share no training time in {n}"
            raise DataError(f"{who}: compare models of one seed.")
        pair = [self._get("latents", label, n).transpose("time", ...) for label in (m, reference)]
        width = max(latents.shape[1] for latents in pair)
        own, fixed = (
            np.pad(v.values.astype(float), ((0, 0), (0, width - v.shape[1]))) for v in pair
        )
        turned = np.asarray(procrustes(own, np.where(use[:, None], fixed, np.nan)).aligned)
        known = fixed[use & np.isfinite(fixed).all(axis=1)]
        axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2][:2].T
        a, b = turned - known.mean(axis=0), fixed - known.mean(axis=0)
        with np.errstate(invalid="ignore"):
            cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        return cosine, a @ axes

    def _windows(self, m: str, n: str, columns: dict[str, np.ndarray]) -> pd.DataFrame:
        """Means by window of the split's bins; windows less than half full are left out."""
        time, bin_size_s = self._sessions[n]["time"].values, self._sessions[n].attrs["bin_size_s"]
        use = self._bins(n, [m, self.reference], self.split)
        use &= np.isfinite(np.stack([*columns.values()])).all(axis=0)
        # a hair more, or the bin at 0.3 s would fall into the window before it
        number = np.floor((time - time[0]) / self.window_s + 1e-6).astype(int)[use]
        table: Any = pd.DataFrame({k: v[use] for k, v in columns.items()}).groupby(number)
        means, starts = table.mean(), time[0] + table.mean().index * self.window_s
        about = {"session": n, "model": m, "start_s": starts, "bins": table.size()}
        means = means.assign(**about)[[*about, *columns]]
        full = means["bins"] >= MIN_FILLED * self.window_s / bin_size_s
        return means.loc[full].reset_index(drop=True)

    def _color(self) -> xr.DataArray:
        """(time, behavior_dim) velocity, speed or time of the session in focus."""
        data = self.dataset()
        time, units = data["time"].values, "s"
        values = time
        if self.color_by != "time":
            if "behavior" not in data:
                raise DataError(f"{self.session} has no behavior: color by time.")
            moved = data["behavior"].transpose("time", "behavior_dim")
            names, units = moved["behavior_dim"].values.tolist(), moved.attrs.get("units", "")
            there = {"vx", "vy"} <= set(names)
            moved = moved.sel(behavior_dim=["vx", "vy"]) if there else moved[:, :2]
            if "position" in str(moved.attrs.get("kind", "")).lower() or names[:2] == ["x", "y"]:
                moved = moved.differentiate("time")
            if self.color_by == "direction":
                if moved.shape[1] > 1:
                    return moved
                raise DataError("One axis of behavior has no direction: color by speed or time.")
            values = np.linalg.norm(moved.values, axis=1)
        coords = {"time": time, "behavior_dim": [self.color_by]}
        return xr.DataArray(values[:, None], coords, [*coords], attrs={"units": units})


def _stacked(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _read(label: str, given: Any, session: xr.Dataset, name: str) -> tuple[Any, str]:
    """The model or latents given for a session, and why they cannot be of it; empty if they can."""
    source = given.get(name) if isinstance(given, Mapping) else given
    if source is None:
        return source, "no model was given for this session"
    if isinstance(source, xr.DataArray):
        bin_size_s = float(session.attrs["bin_size_s"])
        timed = source.ndim == 2 and source.dims[0] == "time" and "time" in source.coords
        good = timed and same_clock(source["time"], session["time"], bin_size_s=bin_size_s)
        why = "the latents given are not (time, latent) on the clock of the session"
        return source, "" if good else why
    if not isinstance(source, Autoencoder):
        raise ConfigError(
            f"{label!r} is a {type(source).__name__}: give a model (from pretrain, distill or "
            "load), latents (from encode), or {session name: model}."
        )
    reads = VARIABLES[source.modality]
    if not set(reads) & set(session.data_vars):
        return source, f"it reads {' or '.join(reads)}, which the session does not have"
    if not {session_name(session), name} & set(source.sessions):
        known = ", ".join(list(source.sessions)[:4])
        return source, f"the session is not in its vocabulary ({known})"
    return source, ""  # what else is wrong, encode says
