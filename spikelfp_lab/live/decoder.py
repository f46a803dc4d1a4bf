"""A decoder that takes LFP as it comes, frame by frame or sample by sample."""

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from safetensors.numpy import load, save

from spikelfp_lab._guard import reading
from spikelfp_lab.analysis import ReadOut
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.live.step import Step
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import channel_statistics
from spikelfp_lab.signal import causal_power
from spikelfp_lab.signal.causal import CausalLFP

UNITS = {"V": 1e6, "mV": 1e3, "uV": 1.0}
LEAST_S = 10.0  # of a calibration
STILL_S = 0.5  # a channel that does not change for so long is dead
COUNTED = ("frames", "gaps", "_last", "_said", "_start")
KEPT = ("silenced", "_before", "_still")


class Decoder:
    """A causal LFP model, and a read-out of behavior, on a stream.

    Each frame gives what :func:`~spikelfp_lab.encode` and :meth:`ReadOut.predict` would give for
    its bin, to rounding. A NaN is taken as unknown, and a channel that does not change for half a
    second as dead: it has no power. Both are counted in ``silenced``, and said once. After a gap in
    ``times`` the stream begins anew, counted in ``gaps``.

    Parameters
    ----------
    model : Autoencoder
        Of LFP, trained with ``ModelConfig(causal=True)``.
    session : str
        A session of its vocabulary: whose tables and z-scoring it reads with. For another day,
        :meth:`calibrate`.
    readout : ReadOut, optional
        Of this model's latents, of the kind "past" or "one_frame".
    channels : sequence, optional
        Labels of the columns that will come; by default those of the session, in their order.
    units : {"uV", "mV", "V"}
        Of what will come; sessions are in uV.
    raw_rate_hz : float, optional
        Samples a second for :meth:`push_raw`.
    **filters
        ``band_hz``, ``line_hz``, ``reference`` of the chain of :meth:`push_raw`, see
        ``spikelfp_lab.signal.causal.CausalLFP``: as the training data were filtered.

    Examples
    --------
    >>> import spikelfp_lab as sl
    >>> shape = sl.ModelConfig(causal=True, layers=1)
    >>> model = Autoencoder(shape, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.01)
    >>> decoder = Decoder(model, session="I/s01")
    >>> decoder.push(np.zeros((3, 4)))["latents"].shape
    (3, 64)
    """

    def __init__(
        self, model: Autoencoder, *, session: str, readout: ReadOut | None = None,
        channels: Sequence[Any] | None = None, units: str = "uV", raw_rate_hz: float | None = None,
        **filters: Any,
    ):  # fmt: skip
        if model.modality != "lfp" or not model.config.causal:
            raise ConfigError(
                f"this is a model of {model.modality} that reads "
                f"{'the past' if model.config.causal else 'past and future'}: a live decoder needs "
                'one of "lfp", trained with model=ModelConfig(causal=True, ...)'
            )
        if units not in UNITS:
            raise ConfigError(f"units is {units!r}: give one of {', '.join(UNITS)}")
        model.check_session(session, model.bin_size_s)
        self.model, self.session, self.readout = model, session, readout
        self.bin_size_s, self.scale = model.bin_size_s, UNITS[units]
        self.labels = model.labels.get(session, {}).get("channel", [])
        self.labels = self.labels or [*map(str, range(int(model.sessions[session])))]  # type: ignore[arg-type]
        self._order = self._places(self.labels if channels is None else channels)
        if readout is not None:
            self._check(readout)
        self._step, self._made = Step(model, session, readout), (raw_rate_hz, filters)
        self._chain: CausalLFP | None = None
        self.reset()

    def _check(self, readout: ReadOut) -> None:
        """Refuse a read-out of the future, or of other latents."""
        if readout.kind == "lagged":
            cure = 'fit_readout(latents, session, kind="past")'
            raise ConfigError(f"a lagged read-out needs the future, which is not there: {cure}")
        size, digest = len(readout.ridge.mean), self.model.digest()
        bins = abs(readout.bin_size_s / self.bin_size_s - 1) > 1e-3
        if bins or size != self.model.config.width or (readout.digest or digest) != digest:
            raise DataError(
                f"the read-out was fitted to {size} latents of the model {readout.digest} in bins "
                f"of {readout.bin_size_s:g} s; this is the model {digest} with "
                f"{self.model.config.width} in bins of {self.bin_size_s:g} s: fit it to latents "
                "of this model (fit_readout)"
            )

    def reset(self) -> None:
        """Forget all that came in; the calibration is kept."""
        self._state, self._last = self._step.begin(), None
        self.silenced = np.zeros(len(self.labels), int)  # frames a channel was unknown or dead in
        self._before, self._still = np.full(len(self.labels), np.nan), np.zeros_like(self.silenced)
        self.frames, self.gaps, self._said = 0, 0, False
        self._begin_filters()

    def push(self, frames: Any, times: Any = None) -> dict[str, np.ndarray]:
        """Decode frames at the model's rate.

        Parameters
        ----------
        frames : (k, channel) or (channel,)
            NaN where unknown; a DataArray is matched by its ``channel`` labels.
        times : (k,), optional
            Seconds of the frames. Without, bin after bin from 0 on.

        Returns
        -------
        dict
            ``latents`` (k, latent) float32, ``behavior`` (k, axis), NaN until the read-out's past
            is there, ``time`` (k,) s. k may be 0. A DataError for another width or other labels,
            and for times that go back.
        """
        values = self._ordered(frames)
        given = None if times is None else np.atleast_1d(np.asarray(times, float))
        if given is not None and given.shape != (len(values),):
            raise DataError(f"there are {given.size} times for {len(values)} frames: give one each")
        latents, behavior, clock = [], [], []
        for i, frame in enumerate(values):
            clock.append(self._tick(None if given is None else float(given[i])))
            latent, read = self._step(frame, self._state)
            latents.append(latent)
            behavior.append(read)
            self.frames += 1
        self._count(values)
        axes = () if self.readout is None else self.readout.behavior_dim
        shapes = (latents, (0, self.model.config.width)), (behavior, (0, len(axes)))
        made = [np.stack(each) if each else np.empty(shape) for each, shape in shapes]
        return {"latents": made[0].astype(np.float32), "behavior": made[1], "time": np.array(clock)}

    def push_raw(self, samples: Any, times: Any = None) -> dict[str, np.ndarray]:
        """Decode an amplifier's samples (n, channel) at ``raw_rate_hz``, of any number at a time.

        As :meth:`push`; ``times`` (n,) are those of the samples: their jitter is averaged, and
        where they jump by more than a bin and a half, filters begin anew too. ``time`` is that of
        the bins; what the filters delay is not taken off (:attr:`delays_s`).
        """
        if self._chain is None:
            raise ConfigError("push_raw needs the samples' rate: Decoder(..., raw_rate_hz=30_000)")
        values = self._ordered(samples)
        if times is not None and len(values):
            done = int(self._chain.state["samples"]) / self._chain.rate_hz
            start = float(np.asarray(times, float).flat[0]) - done
            jump = 0.0 if self._start is None else start - self._start
            if jump < -1.5 * self.bin_size_s:
                raise DataError(f"samples go back by {-jump:g} s: give them in order, or reset()")
            if jump > 1.5 * self.bin_size_s:
                self._begin_filters()
                start, jump = start + done, 0.0
            self._start = start if self._start is None or not jump else self._start + 0.01 * jump
        before = int(self._chain.state["bins"])
        bins = self._chain(values)
        clock = (before + 0.5 + np.arange(len(bins))) * self.bin_size_s + (self._start or 0.0)
        frames = xr.DataArray(bins, {"channel": self.labels}, ("time", "channel")) / self.scale
        return self.push(frames, clock)

    def _begin_filters(self) -> None:
        """The filters of raw samples, that know nothing yet."""
        rate_hz, filters = self._made
        self._start: float | None = None  # time of the first sample
        if rate_hz is not None:
            own: dict[str, Any] = {"rate_hz": rate_hz, "to_rate_hz": 1 / self.bin_size_s} | filters
            self._chain = CausalLFP(len(self.labels), **own)

    def calibrate(self, frames: Any) -> None:
        """Take the z-scoring of a day that the model has not seen from its first frames: (n,
        channel), as for :meth:`push`, at least 10 s; a minute does well. What was pushed stays.
        """
        values, config = self._ordered(frames), self.model.config
        if len(values) * self.bin_size_s < LEAST_S:
            has = f"{len(values) * self.bin_size_s:g} s"
            raise DataError(f"a calibration needs {LEAST_S:g} s of frames or more, this is {has}")
        each = [values[:, :, None]]
        if config.bands_hz:
            each.append(causal_power(values, config.bands_hz, rate_hz=1 / self.bin_size_s))
        columns = np.concatenate(each, axis=2).reshape(len(values), -1)
        found = channel_statistics(columns, np.ones(len(values), bool))
        self._step.mean, self._step.std = found

    @property
    def delays_s(self) -> dict[float, float]:
        """Group delay of the chain of :meth:`push_raw` in seconds, at 5, 20 and 40 Hz."""
        return {hz: self._chain.delay_s(hz) for hz in (5.0, 20.0, 40.0)} if self._chain else {}

    def state(self) -> bytes:
        """All that a decoder needs to go on elsewhere (:meth:`restore`), as safetensors."""
        arrays = {f"step.{name}": np.asarray(x) for name, x in self._state.items()}
        chain = self._chain.state if self._chain else {}
        arrays |= {f"chain.{name}": np.asarray(x) for name, x in chain.items()}
        arrays |= {"mean": self._step.mean, "std": self._step.std}
        arrays |= {name: getattr(self, name) for name in KEPT}
        about = {name: getattr(self, name) for name in COUNTED}
        about |= self._identity()
        arrays = {name: np.asarray(x, order="C") for name, x in arrays.items()}
        return save(arrays, {"decoder": json.dumps(about)})

    def restore(self, state: bytes) -> None:
        """Go on from what :meth:`state` gave; CheckpointError for that of another decoder."""
        cure = "Give what state() of the same decoder gave."
        with reading("state", "is no state of a decoder", cure, kind=CheckpointError):
            size = int.from_bytes(state[:8], "little")
            about = json.loads(json.loads(state[8 : 8 + size])["__metadata__"]["decoder"])
            arrays = load(state)
            own = self._identity()
            if other := {key: about[key] for key, value in own.items() if about[key] != value}:
                raise ValueError(f"it is of a decoder with {other}, this one has {own}")
            parts: dict[str, dict] = {"step": {}, "chain": {}}
            for name, x in arrays.items():
                part, _, key = name.partition(".")
                parts.get(part, {})[key] = x
            self._state = {name: parts["step"][name] for name in self._step.begin()}
        if self._chain:
            self._chain.state = parts["chain"]
        self._step.mean, self._step.std = arrays["mean"], arrays["std"]
        for name in KEPT:
            setattr(self, name, arrays[name])
        for name in COUNTED:
            setattr(self, name, about[name])

    def __repr__(self) -> str:
        axes = ", ".join(self.readout.behavior_dim) if self.readout else "none"
        reach = self.model.reach(self.session) * self.bin_size_s
        text = (
            f"<Decoder of {self.session}: {len(self.labels)} channels, bins of "
            f"{1000 * self.bin_size_s:g} ms, behavior: {axes}; draws on the last {reach:.1f} s; "
            f"{self.frames} frames, {self.gaps} gaps, {np.count_nonzero(self.silenced)} channels "
            "silenced"
        )
        late = ", ".join(f"{1000 * s:.0f} ms at {hz:g} Hz" for hz, s in self.delays_s.items())
        return f"{text}; filters are late by {late}>" if late else f"{text}>"

    def _identity(self) -> dict[str, Any]:
        """What two decoders must have in common to take over from each other."""
        rate_hz, filters = self._made
        own = {"digest": self.model.digest(), "session": self.session, "raw_rate_hz": rate_hz}
        own["filters"] = {key: np.asarray(value).tolist() for key, value in filters.items()}
        own["readout"] = self.readout and [self.readout.kind, *self.readout.behavior_dim]
        return own

    def _places(self, labels: Sequence[Any]) -> np.ndarray:
        """Where the model's channels are among the labels of what comes in."""
        given = [*map(str, labels)]
        missing = [label for label in self.labels if label not in given]
        more = [label for label in given if label not in self.labels]
        if missing or more or len(given) != len(self.labels):
            raise DataError(
                f"the model reads {len(self.labels)} channels of {self.session}; of these "
                f"{len(missing)} are missing {missing[:6]}, {len(more)} others are there "
                f"{more[:6]}. Give the model's channels, in any order, or another session="
            )
        return np.array([given.index(label) for label in self.labels])

    def _ordered(self, frames: Any) -> np.ndarray:
        """(k, C) float64 in uV, in the model's order."""
        order = self._order
        if isinstance(frames, xr.DataArray) and "channel" in frames.coords:
            order = self._places(np.atleast_1d(frames["channel"].values).tolist())
            frames = frames.transpose(..., "channel")
        values = np.atleast_2d(np.asarray(frames, np.float64))
        if values.ndim != 2 or values.shape[1] != len(self.labels):
            raise DataError(
                f"frames of shape {np.shape(frames)}: give (frames, {len(self.labels)}), a column "
                f"for each channel of {self.session}"
            )
        return values[:, order] * self.scale

    def _tick(self, time: float | None) -> float:
        """The time of the next frame; after a gap the stream begins anew."""
        last, size = self._last, self.bin_size_s
        if time is None:
            time = size / 2 if last is None else last + size
        elif last is not None and time - last < 0.5 * size:
            raise DataError(
                f"time goes from {last:g} to {time:g} s, less than a bin of {size:g} s on: give "
                "frames in order, one a bin"
            )
        elif last is not None and time - last > 1.5 * size:
            self.gaps += 1
            self._state = self._step.begin()
        self._last = time
        return time

    def _count(self, values: np.ndarray) -> None:
        """Count what was unknown or dead, and say it the first time."""
        bad = ~np.isfinite(values)
        for i, frame in enumerate(values):
            self._still = np.where(frame == self._before, self._still + 1, 0)
            self._before = frame
            bad[i] |= self._still * self.bin_size_s >= STILL_S
        self.silenced = self.silenced + bad.sum(axis=0)
        if bad.any() and not self._said:
            self._said = True
            names = [self.labels[i] for i in np.flatnonzero(bad.any(axis=0))[:6]]
            message = f"channel(s) {', '.join(names)} are NaN or do not change: see .silenced"
            warnings.warn(message, SpikeLFPWarning, stacklevel=3)
