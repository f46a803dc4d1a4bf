"""What a comparison shows: models, sessions, a stretch of time; and what of it is still to be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
import xarray as xr

from spikelfp_lab.analysis.readout import READOUTS, SPLITS
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.plots.palette import in_order
from spikelfp_lab.sessions import iterate_sessions
from spikelfp_lab.widgets._compare_results import Results
from spikelfp_lab.widgets._compare_sources import Pair, sources_of
from spikelfp_lab.widgets.base import Report

COLORS = ("direction", "speed", "time")


class Shown(traitlets.HasTraits):
    """The part of a comparison's state that is chosen; :class:`~spikelfp_lab.widgets.compare_state.CompareState` adds the tables."""

    models = traitlets.Tuple()
    sessions = traitlets.Tuple()
    session = traitlets.Unicode()
    readout = traitlets.Enum(READOUTS, "lagged")
    reference = traitlets.Unicode()
    color_by = traitlets.Enum(COLORS, "direction")
    dimensions = traitlets.Enum((2, 3), 2)
    split = traitlets.Enum(tuple(SPLITS), "test")
    start_s = traitlets.Float()
    span_s = traitlets.Float(10.0, min=0.1, max=120.0)
    window_s = traitlets.Float(2.0, min=0.1, max=60.0)

    def __init__(self, models: Mapping[str, Any], cohort: Any, *, reference: str | None = None):
        found = iterate_sessions(cohort)
        self._sources, self.reasons = sources_of(models, found)
        labels = {label for label, _ in self._sources}
        names = {name for _, name in self._sources}
        self.labels = tuple(in_order([str(label) for label in models if str(label) in labels]))
        self.names = tuple(name for name in found if name in names)
        self._sessions = {name: found[name] for name in self.names}
        self._results = Results(self._sources, self.reasons, self._sessions)
        super().__init__()
        if reference is not None and reference not in self.labels:
            raise ConfigError(
                f"The reference is {reference!r}: give one of {_listed(self.labels)}."
            )
        self.reference = reference or self._default_reference()
        self.models = self.labels
        self.sessions = self.names
        self.session = self.names[0]

    # What can be shown

    @traitlets.validate("models", "sessions")
    def _known(self, proposal: Any) -> tuple[str, ...]:
        known = self.labels if proposal["trait"].name == "models" else self.names
        return tuple(
            name for name in known if name in set(map(self._one(known), proposal["value"]))
        )

    @traitlets.validate("session", "reference")
    def _known_one(self, proposal: Any) -> str:
        known = self.names if proposal["trait"].name == "session" else self.labels
        return self._one(known)(proposal["value"])

    @traitlets.validate("start_s")
    def _inside(self, proposal: Any) -> float:
        first, last = self.extent()
        if not first <= proposal["value"] <= last:
            raise traitlets.TraitError(
                f"start_s is {proposal['value']:g}: {self.session} runs from {first:g} to {last:g} s."
            )
        return proposal["value"]

    @traitlets.observe("session", "split")
    def _go_to_split(self, _: Any) -> None:
        """Show the first bins of the split: those of another session's time mean nothing here."""
        time = self.dataset()["time"].values
        label = next(label for label in self.labels if (label, self.session) in self._sources)
        use = self._results.bins(self.session, [label], SPLITS[self.split])
        self.start_s = float(time[np.argmax(use)])

    def dataset(self) -> xr.Dataset:
        """The session in focus."""
        return self._sessions[self.session]

    def extent(self) -> tuple[float, float]:
        """First and last time of the session in focus, seconds."""
        time = self.dataset()["time"].values
        return float(time[0]), float(time[-1])

    def readable(self, name: str | None = None) -> list[str]:
        """Labels of the models shown that can read a session, by default that in focus."""
        name = self.session if name is None else name
        return [label for label in self.models if (label, name) in self._sources]

    def notes(self) -> list[str]:
        """Why models cannot read sessions, a sentence a pair that somebody might miss."""
        return [
            f"{label} cannot read {name}: {why}." for (label, name), why in self.reasons.items()
        ]

    # Computing

    def missing(self) -> list[Pair]:
        """Pairs of model and session that are shown, or needed as reference, and not computed yet."""
        labels = in_order([*self.models, self.reference])
        names = [name for name in self.names if name in self.sessions or name == self.session]
        pairs = [(label, name) for name in names for label in labels]
        return [
            pair for pair in pairs if pair in self._sources and not self._results.complete(pair)
        ]

    def missing_layers(self) -> list[str]:
        """Labels of the models shown that have not been compared layer by layer with the reference in the session in focus."""
        name, reference = self.session, self.reference
        if not isinstance(self._sources.get((reference, name)), Autoencoder):
            return []
        return [
            label
            for label in self.readable()
            if label != reference
            and isinstance(self._sources[label, name], Autoencoder)
            and (label, name, reference) not in self._results.layers
        ]

    def compute(self, report: Report) -> None:
        """Encode and decode what is missing, then compare layers in the session in focus.

        Every step that is finished stays, whatever happens to the next.

        Parameters
        ----------
        report : callable
            ``report(share, text)`` before each step; it may raise to end the work.

        Raises
        ------
        DataError, CheckpointError
            As :func:`~spikelfp_lab.encode` and :func:`~spikelfp_lab.decode`.
        """
        missing, reference = self.missing(), self.reference
        steps = [
            *self._results.steps(missing),
            *self._results.turn_steps(missing, reference),
            *self._results.layer_steps(self.missing_layers(), self.session, self.reference),
        ]
        for number, (text, work) in enumerate(steps):
            report(number / len(steps), text)
            work()
        report(1.0, "all is computed")

    def clear(self) -> None:
        """Free all that has been computed; a computation that is still under way keeps nothing."""
        self._results.clear()

    def _default_reference(self) -> str:
        spikes = [
            label
            for (label, _), source in self._sources.items()
            if isinstance(source, Autoencoder) and source.modality == "spikes"
        ]
        return "Teacher" if "Teacher" in self.labels else [*spikes, *self.labels][0]

    def _one(self, known: Sequence[str]) -> Any:
        def check(name: Any) -> str:
            if name not in known:
                raise traitlets.TraitError(
                    f"{name!r} cannot be shown: choose from {_listed(known)}."
                )
            return name

        return check


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, names))
