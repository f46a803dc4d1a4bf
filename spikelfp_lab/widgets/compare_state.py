"""State of a model comparison: what is shown, what is computed, and its tidy tables; no browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

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
Say = Callable[[str], None]


class Made(NamedTuple):
    """What is computed of a pair; of a session without behavior nothing is decoded."""

    latents: xr.DataArray
    predicted: dict[str, xr.DataArray]  # by read-out
    scores: pd.DataFrame


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
        self._sessions = iterate_sessions(cohort)
        self._sources: dict[Pair, Any] = {}  # models or latents
        self._splits: dict[Pair, xr.DataArray] = {}
        self.reasons: dict[Pair, str] = {}
        self._made: dict[Any, Any] = {}  # Pair -> Made, (label, session, reference) -> layers
        self._turns: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = {}
        self.closed = False
        for (label, given), (name, session) in product(models.items(), self._sessions.items()):
            if isinstance(given, xr.DataArray) and len(self._sessions) > 1:
                raise ConfigError(f"{label!r} is of one session: give {{session: latents}}.")
            source = given.get(name) if isinstance(given, Mapping) else given
            pair = str(label), name
            try:
                self._splits[pair] = _split_of(*pair, source, session)
                self._sources[pair] = source
            except DataError as error:
                self.reasons[pair] = str(error).rstrip(".")
        if not self._sources:
            raise DataError(f"No model can read any of the sessions. {' '.join(self.notes())}")
        self.labels = tuple(in_order(label for label, _ in self._sources))
        readable = {name for _, name in self._sources}
        self.names = tuple(name for name in self._sessions if name in readable)
        super().__init__()
        if reference not in (None, *self.labels):
            raise ConfigError(f"The reference is {reference!r}: give one of {list(self.labels)}.")
        of = {m: getattr(source, "modality", "") for (m, _), source in self._sources.items()}
        first = min(self.labels, key=lambda m: (m != "Teacher", of[m] != "spikes"))
        self.reference, self.models, self.sessions = reference or first, self.labels, self.names
        self.session = self.names[0]

    @traitlets.validate("models", "sessions", "session", "reference")
    def _known(self, proposal: Any) -> Any:
        known, value = self.choices()[proposal["trait"].name], proposal["value"]
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

    def choices(self) -> dict[str, tuple[str, ...]]:
        """What the menus offer."""
        own = {"models": self.labels, "reference": self.labels, "color_by": COLORS}
        own |= {"sessions": self.names, "session": self.names}
        return own | {"readout": READOUTS[::-1], "split": tuple(SPLITS)[::-1]}

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
        names = [n for n in self.names if n in self.sessions or n == self.session]
        labels = in_order([*self.models, self.reference])
        return self._to_do([(m, n) for n in names for m in labels])

    def to_make(self) -> list[tuple]:
        """What is not computed yet: :meth:`missing`, and (label, session, reference) of layers."""
        pairs = [(m, self.session) for m in (self.reference, *self.models)]
        layered = [pair for pair in pairs if isinstance(self._sources.get(pair), Autoencoder)]
        keys = [(*pair, self.reference) for pair in layered if pair != pairs[0]]
        return self.missing() + (self._to_do(keys) if pairs[0] in layered else [])

    def _to_do(self, keys: list[tuple]) -> list[tuple]:
        there = self._sources.keys() - self.reasons.keys()
        return [key for key in keys if key not in self._made and key[:2] in there]

    def compute(self, report: Report) -> None:
        """Encode and decode what is missing, then compare layers in the session in focus.

        ``report(share, text)`` is called before each step and may raise to end the work; what is
        finished stays. What a model cannot read is noted in ``reasons``.
        """
        keys = self.to_make()
        for number, key in enumerate(keys):
            if key[:2] in self.reasons or self.closed:
                continue
            make: Any = self._encode_and_decode if len(key) == 2 else self._compare_layers
            try:
                self._made[key] = make(*key, partial(report, number / len(keys)))
            except SpikeLFPError as error:
                self.reasons[key[:2]] = str(error).rstrip(".")
            if self.closed:
                self.clear()
        report(1.0, "all is computed")

    def clear(self) -> None:
        """Free all that is computed; a computation that is under way keeps nothing."""
        self.closed = True
        self._made.clear()
        self._turns.clear()

    def scores(self) -> pd.DataFrame:
        """R² of the models and sessions shown: tidy, both read-outs and all splits."""
        made = [self._made.get(pair) for pair in product(self.models, self.sessions)]
        return _stacked([each.scores for each in made if each and each.predicted], SCORE_COLUMNS)

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
        return {m: self._made[m, self.session].predicted[self.readout] for m in self._done()}

    def latents(self) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
        """Model -> (time, latent) ``pc1`` and ``pc2``, the reference first, and what colors them.

        On the split shown and the reference's leading components, turned onto the reference's
        latents (Procrustes) as training time says. The color is (time, 1 or 2).
        """
        labels = sorted(self._done(), key=lambda label: label != self.reference)
        use = self._bins(self.session, labels, self.split)
        coords = {"time": self.dataset()["time"].values[use], "latent": ["pc1", "pc2"]}
        places = {m: self._turned(m, self.session)[1][use] for m in labels}
        return {m: xr.DataArray(v, coords) for m, v in places.items()}, self._color()[use]

    def alignment_over_time(self) -> pd.DataFrame:
        """A row a window: ``session``, ``model``, ``start_s``, ``bins``, ``alignment``.

        Mean cosine, about the reference's mean, of latents turned as in :meth:`latents`.
        """
        name = self.session
        tables = [self._windows(m, name, alignment=self._turned(m, name)[0]) for m in self._done()]
        return pd.concat(tables, ignore_index=True)

    def alignment_by_layer(self) -> pd.DataFrame:
        """Linear CKA of each layer (0: the tokens) with each of the reference, on test time."""
        made = [self._made.get((m, self.session, self.reference)) for m in self.readable()]
        return _stacked([table for table in made if table is not None], LAYER_COLUMNS)

    def errors_by_window(self) -> pd.DataFrame:
        """As :meth:`alignment_over_time` for all sessions shown, with ``error`` and ``rho``.

        ``error``: root mean square in SDs of the behavior in the split (1: what the mean would do).
        ``rho``: Spearman's over windows, negative where worse decoding goes with less alignment.
        Neighboring windows are not independent: no p value.
        """
        tables = []
        names = dict.fromkeys([self.session, *self.sessions])
        for n, m in product(names, [m for m in self.models if m != self.reference]):
            if not {(m, n), (self.reference, n)} <= self._made.keys():
                continue
            if not (predicted := self._made[m, n].predicted):
                continue
            use = self._bins(n, [m, self.reference], self.split)
            true = self._sessions[n]["behavior"].transpose("time", ...).values
            with np.errstate(invalid="ignore", divide="ignore"):
                far = (true - predicted[self.readout].values) ** 2 / np.nanvar(true[use], axis=0)
            far = far[:, np.isfinite(far).any(axis=0)].mean(axis=1)
            table = self._windows(m, n, alignment=self._turned(m, n)[0], error=far)
            ranks: Any = table[["alignment", "error"]].rank()
            rho = ranks.corr(min_periods=3).iloc[0, 1]  # NaN if either is constant
            tables.append(table.assign(error=np.sqrt(table["error"]), rho=rho))
        if not tables:
            raise DataError(
                f"No session shown has behavior and latents of {self.reference} and of another "
                "model: press Compute, or choose others."
            )
        return pd.concat(tables, ignore_index=True)

    def _done(self) -> list[str]:
        """Models shown that are computed in the session in focus."""
        done = [m for m in self.readable() if (m, self.session) in self._made]
        if not done:
            raise DataError(f"Nothing of {self.session} is computed yet: press Compute.")
        return done

    def _bins(self, name: str, labels: Sequence[str], split: str) -> np.ndarray:
        """(time,) bool: bins of a split in the training of all these models."""
        splits = [self._splits[m, name].values == SPLITS[split] for m in labels]
        return np.logical_and.reduce(splits)

    def _encode(self, m: str, n: str, *, of: Any = None, layer: int | None = None) -> xr.DataArray:
        """Latents of a session, or those of a layer and of a part of it."""
        source, session = self._sources[m, n], self._sessions[n] if of is None else of
        if isinstance(source, xr.DataArray):
            return source
        known = None if session_name(session) in source.sessions else n
        return encode(source, session, as_session=known, layer=layer, progress=False)

    def _encode_and_decode(self, m: str, n: str, say: Say) -> Made:
        session, split, predicted = self._sessions[n], self._splits[m, n], {}
        say(f"encode {n}: {m}")
        latents = self._encode(m, n)
        for kind in READOUTS if "behavior" in session else ():
            say(f"decode {n}: {m}, {kind.replace('_', ' ')}")
            readout = fit_readout(latents, session, kind=kind, split=split)
            predicted[kind] = readout.predict(latents, split=split)
        tables = [score_predicted(each, session) for each in predicted.values()]
        about = {"model": m, "session": n, "seed": split.attrs["seed"]}
        scores: Any = _stacked(tables, SCORE_COLUMNS).assign(**about)
        return Made(latents, predicted, scores[SCORE_COLUMNS])

    def _compare_layers(self, m: str, n: str, reference: str, say: Say) -> pd.DataFrame:
        """Linear CKA of all layers of a model and the reference on shared test time."""
        say(f"compare layers of {n}: {m}, {reference}")
        part, each = self._sessions[n].isel(time=self._bins(n, [m, reference], "test")), {}
        for label in (m, reference):
            depth = self._sources[label, n].config.layers + 1
            each[label] = [self._encode(label, n, of=part, layer=i).values for i in range(depth)]
        pairs = product(enumerate(each[m]), enumerate(each[reference]))
        rows = [(n, 0, m, i, j, linear_cka(a, b)) for (i, a), (j, b) in pairs]
        return pd.DataFrame(rows, columns=LAYER_COLUMNS)

    def _turned(self, m: str, n: str) -> tuple[np.ndarray, np.ndarray]:
        """(time,) cosine to the reference, and (time, 2) places on its principal components."""
        reference, pairs = self.reference, [(m, n), (self.reference, n)]
        if why := self.reasons.get(pairs[1]):
            raise DataError(f"{reference} cannot read {n} ({why}): choose another reference.")
        if not set(pairs) <= self._made.keys():
            raise DataError(f"The latents of {m} or {reference} are not there: press Compute.")
        if found := self._turns.get((m, n, reference)):
            return found
        use = self._bins(n, [m, reference], "train")
        if not use.any():
            who = f"{m} and {reference} share no training time in {n}"
            raise DataError(f"{who}: compare models of one seed.")
        both = [self._made[pair].latents.transpose("time", ...).values for pair in pairs]
        width = max(values.shape[1] for values in both)
        own, fixed = (np.pad(v.astype(float), ((0, 0), (0, width - v.shape[1]))) for v in both)
        turned = np.asarray(procrustes(own, np.where(use[:, None], fixed, np.nan)).aligned)
        known = fixed[use & np.isfinite(fixed).all(axis=1)]
        mean = known.mean(axis=0)
        axes = np.linalg.svd(known - mean, full_matrices=False)[2][:2].T
        a, b = turned - mean, fixed - mean
        with np.errstate(invalid="ignore"):
            cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        self._turns[m, n, reference] = cosine, a @ axes
        return cosine, a @ axes

    def _windows(self, m: str, n: str, **columns: np.ndarray) -> pd.DataFrame:
        """Means by window of the split's bins; windows less than half full are left out."""
        time, bin_size_s = self._sessions[n]["time"].values, self._sessions[n].attrs["bin_size_s"]
        # a hair more, or the bin at 0.3 s would fall into the window before it
        number = np.floor((time - time[0]) / self.window_s + 1e-6)
        table = pd.DataFrame({"start_s": time[0] + number * self.window_s, **columns})
        table = table[self._bins(n, [m, self.reference], self.split)].dropna()
        windows: Any = table.groupby("start_s")
        made: Any = windows.mean().assign(session=n, model=m, bins=windows.size()).reset_index()
        full = made["bins"] >= MIN_FILLED * self.window_s / bin_size_s
        return made.loc[full, ["session", "model", "start_s", "bins", *columns]]

    def _color(self) -> xr.DataArray:
        """(time, behavior_dim) velocity, speed or time of the session in focus."""
        data = self.dataset()
        if self.color_by == "time":
            time = data["time"].assign_attrs(units="s")
            return time.expand_dims(behavior_dim=["time"], axis=1)
        if "behavior" not in data:
            raise DataError(f"{self.session} has no behavior: color by time.")
        moved = data["behavior"].transpose("time", "behavior_dim")
        names = moved["behavior_dim"].values.tolist()
        there = {"vx", "vy"} <= set(names)
        moved = moved.sel(behavior_dim=["vx", "vy"] if there else names[:2])
        if "position" in str(moved.attrs.get("kind", "")).lower() or names[:2] == ["x", "y"]:
            moved = moved.differentiate("time")
        if self.color_by == "speed":
            speed = moved.reduce(np.linalg.norm, "behavior_dim", keep_attrs=True)
            return speed.expand_dims(behavior_dim=["speed"], axis=1)
        if moved.shape[1] < 2:
            raise DataError("One axis of behavior has no direction: color by speed or time.")
        return moved


def _stacked(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _split_of(label: str, name: str, source: Any, session: xr.Dataset) -> xr.DataArray:
    """How time was split in training; a DataError where a model cannot be of a session."""
    if source is None:
        raise DataError("no model was given for this session")
    if isinstance(source, xr.DataArray):
        bin_size_s = float(session.attrs["bin_size_s"])
        timed = source.ndim == 2 and source.dims[0] == "time" and "time" in source.coords
        if not timed or not same_clock(source["time"], session["time"], bin_size_s=bin_size_s):
            raise DataError("the latents given are not (time, latent) on the clock of the session")
        trained = source.attrs
    elif isinstance(source, Autoencoder):
        trained, reads = source.info.get("train", {}), VARIABLES[source.modality]
        if not set(reads) & set(session.data_vars):
            raise DataError(f"it reads {' or '.join(reads)}, which the session does not have")
        if not {session_name(session), name} & set(source.sessions):
            known = ", ".join([*source.sessions][:4])
            raise DataError(f"the session is not in its vocabulary ({known})")
    else:
        raise ConfigError(
            f"{label!r} is a {type(source).__name__}: give a model (from pretrain, distill or "
            "load), latents (from encode), or {session name: model}."
        )
    return split_session(session, **{k: trained.get(k, v) for k, v in DEFAULT_SPLIT.items()})
