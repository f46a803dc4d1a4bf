"""What a comparison has computed: latents, predictions and layers of pairs of model and session, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis import decode, fit_readout, linear_cka
from spikelfp_lab.analysis.readout import READOUTS
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.sessions import TEST, TRAIN
from spikelfp_lab.widgets import _compare_numbers as numbers
from spikelfp_lab.widgets._compare_sources import Pair, Source, latents_from, split_of

Step = tuple[str, Callable[[], None]]  # what it does, in words, and the work
LAYER_COLUMNS = ["session", "model", "layer", "reference_layer", "value"]
SCORE_COLUMNS = ["model", "session", "seed", "readout", "split", "axis", "r2"]


class Results:
    """A cache that a thread fills and others read; after :meth:`clear` it keeps nothing more.

    Parameters
    ----------
    sources : mapping
        (label, session) -> model or latents.
    reasons : mapping
        (label, session) -> why there is none.
    sessions : mapping
        Name -> session.

    Attributes
    ----------
    latents : dict
        (label, session) -> (time, latent).
    predicted, scores : dict
        (label, session, read-out) -> (time, behavior_dim), or tidy R².
    layers : dict
        (label, session, reference) -> linear CKA of all pairs of layers.

    Examples
    --------
    >>> time = np.arange(100) / 10
    >>> attrs = {"subject": "I", "session": "s01", "bin_size_s": 0.1}
    >>> session = xr.Dataset(coords={"time": time}, attrs=attrs)
    >>> latents = xr.DataArray(np.ones((100, 3)), dims=("time", "latent"), coords={"time": time})
    >>> results = Results({("Mine", "I/s01"): latents}, {}, {"I/s01": session})
    >>> for text, work in results.steps([("Mine", "I/s01")]):
    ...     work()
    >>> text, results.complete(("Mine", "I/s01"))
    ('encode I/s01 by Mine', True)
    """

    def __init__(
        self,
        sources: Mapping[Pair, Source],
        reasons: Mapping[Pair, str],
        sessions: Mapping[str, xr.Dataset],
    ):
        self.sources, self.reasons, self.sessions = sources, reasons, sessions
        self.latents: dict[Pair, xr.DataArray] = {}
        self.predicted: dict[tuple[str, str, str], xr.DataArray] = {}
        self.scores: dict[tuple[str, str, str], pd.DataFrame] = {}
        self.layers: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._turned: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._splits: dict[Pair, np.ndarray] = {}
        self._lock = threading.RLock()
        self._closed = False

    def clear(self) -> None:
        """Free everything; work that is still under way keeps nothing."""
        with self._lock:
            self._closed = True
            for kept in (self.latents, self.predicted, self.scores, self.layers, self._turned):
                kept.clear()

    def complete(self, pair: Pair) -> bool:
        """Whether all steps of a pair are done."""
        if "behavior" not in self.sessions[pair[1]]:
            return pair in self.latents
        return all((*pair, readout) in self.predicted for readout in READOUTS)

    def table(
        self, kept: Mapping[Any, pd.DataFrame], keys: Sequence, columns: list
    ) -> pd.DataFrame:
        """Those of the kept tables that are there, one under the other."""
        with self._lock:
            tables = [kept[key] for key in keys if key in kept]
        if not tables:
            return pd.DataFrame(columns=columns)
        return pd.concat(tables, ignore_index=True).loc[:, columns]

    def bins(self, name: str, labels: Sequence[str], code: int) -> np.ndarray:
        """(time,) bool: bins that are of a split in the training of all these models."""
        for label in labels:
            if (label, name) not in self._splits:
                split = split_of(self.sources[label, name], self.sessions[name])
                self._splits[label, name] = split.values
        return np.logical_and.reduce([self._splits[label, name] == code for label in labels])

    def steps(self, pairs: Sequence[Pair]) -> Iterator[Step]:
        """What is left to do for some pairs."""
        for pair in pairs:
            label, name = pair
            if pair not in self.latents:
                yield f"encode {name} by {label}", lambda pair=pair: self._encode(pair)
            for readout in READOUTS if "behavior" in self.sessions[name] else ():
                if (*pair, readout) not in self.predicted:
                    yield (
                        f"decode {name} from {label}, {readout.replace('_', ' ')}",
                        lambda pair=pair, readout=readout: self._decode(pair, readout),
                    )

    def layer_steps(self, labels: Sequence[str], name: str, reference: str) -> Iterator[Step]:
        """Comparisons of all layers of some models with all of the reference."""
        theirs: dict[bytes, list[np.ndarray]] = {}  # layers of the reference, encoded once

        def work(label: str) -> None:
            use = self.bins(name, [label, reference], TEST)
            key = np.packbits(use).tobytes()
            if key not in theirs:
                theirs[key] = self._by_layer(reference, name, use)
            rows = [
                (name, label, i, j, linear_cka(own, other))
                for i, own in enumerate(self._by_layer(label, name, use))
                for j, other in enumerate(theirs[key])
            ]
            table = pd.DataFrame(rows, columns=LAYER_COLUMNS)
            self._keep(self.layers, (label, name, reference), table)

        for label in labels:
            yield f"compare layers of {label} on {name}", lambda label=label: work(label)

    def turn_steps(self, pairs: Sequence[Pair], reference: str) -> Iterator[Step]:
        """Turn latents onto the reference's, where there is one: the first picture then need not."""
        for label, name in pairs:
            if (reference, name) in self.sources:
                yield (
                    f"align {label} on {name}",
                    lambda label=label, name=name: self._turn_quietly(label, name, reference),
                )

    def turned(self, label: str, name: str, reference: str) -> tuple[np.ndarray, np.ndarray]:
        """(time,) cosine to the reference, and (time, 3) places on its principal components.

        Raises a DataError where the reference cannot read the session, or has not yet.
        """
        key = (label, name, reference)
        with self._lock:
            if key in self._turned:
                return self._turned[key]
            own, target = self.latents.get((label, name)), self.latents.get((reference, name))
        if own is None or target is None:
            why = self.reasons.get((reference, name))
            raise DataError(
                f"{reference} cannot read {name} ({why}): choose another reference."
                if why
                else f"The latents of {label} or of the reference, {reference}, are not there yet: press Compute."
            )
        use = self.bins(name, [label, reference], TRAIN)
        if not use.any():
            raise DataError(
                f"{label} and {reference} share no training time in {name}: compare models of one seed."
            )
        turned = numbers.onto_reference(own, target, use)
        wide = np.zeros_like(turned)  # a narrower reference has nothing in further dimensions
        wide[:, : target.shape[1]] = target.transpose("time", ...).values
        mean, axes = numbers.principal_axes(wide, use, 3)
        found = numbers.cosine_to(turned, wide, mean), (turned - mean) @ axes
        self._keep(self._turned, key, found)
        return found

    def windows(
        self,
        name: str,
        label: str,
        reference: str,
        columns: dict[str, np.ndarray],
        *,
        code: int,
        window_s: float,
    ) -> pd.DataFrame:
        """Means by window of the bins that are of a split for a model and the reference."""
        session = self.sessions[name]
        table = numbers.by_window(
            columns,
            session["time"].values,
            self.bins(name, [label, reference], code),
            window_s=window_s,
            bin_size_s=float(session.attrs["bin_size_s"]),
        )
        table.insert(0, "session", name)
        table.insert(1, "model", label)
        return table

    def errors(
        self, label: str, name: str, reference: str, readout: str, *, code: int, window_s: float
    ) -> pd.DataFrame:
        """Alignment, error of decoding and speed by window."""
        session = self.sessions[name]
        behavior = session["behavior"].transpose("time", "behavior_dim")
        use = self.bins(name, [label, reference], code)
        predicted = self.predicted[label, name, readout].values
        columns = {
            "alignment": self.turned(label, name, reference)[0],
            "error": numbers.relative_square_error(behavior.values, predicted, use),
            "speed": np.linalg.norm(numbers.motion(session), axis=1),
        }
        table = self.windows(name, label, reference, columns, code=code, window_s=window_s)
        return table.assign(error=np.sqrt(table["error"]))

    def _keep(self, where: dict, key: tuple, value: Any) -> None:
        with self._lock:
            if not self._closed:
                where[key] = value

    def _turn_quietly(self, label: str, name: str, reference: str) -> None:
        """What cannot be aligned is told by the panels that need it, and ends no computation."""
        if not self._closed:
            with suppress(DataError):
                self.turned(label, name, reference)

    def _encode(self, pair: Pair) -> None:
        source, session = self.sources[pair], self.sessions[pair[1]]
        self._keep(self.latents, pair, latents_from(source, session, pair[1]))

    def _decode(self, pair: Pair, readout: str) -> None:
        latents, session = self.latents.get(pair), self.sessions[pair[1]]
        if latents is None:
            return  # cleared meanwhile
        split = split_of(latents, session)
        fitted = fit_readout(latents, session, kind=readout, split=split)
        predicted = fitted.predict(latents, split=split)
        about = {"model": pair[0], "session": pair[1], "seed": split.attrs["seed"]}
        scores = decode(latents, session, readout=fitted, split=split)
        self._keep(self.scores, (*pair, readout), scores.assign(**about))
        self._keep(self.predicted, (*pair, readout), predicted)

    def _by_layer(self, label: str, name: str, use: np.ndarray) -> list[np.ndarray]:
        source = self.sources[label, name]
        assert isinstance(source, Autoencoder)
        session = self.sessions[name].isel(time=use)  # all else would be thrown away
        layers = range(source.config.layers + 1)
        return [latents_from(source, session, name, layer=layer).to_numpy() for layer in layers]
