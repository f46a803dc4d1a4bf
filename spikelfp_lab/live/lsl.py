"""Lab Streaming Layer: a session as an amplifier, and a decoder between two streams.

Needs the extra ``live`` (pylsl, whose wheel brings liblsl).
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.io import open_session, write_nwb
from spikelfp_lab.live.decoder import Decoder
from spikelfp_lab.sessions import as_dataset, build_session, session_name

WAIT_S, PULL_S, IDLE_S = 10.0, 0.2, 5.0  # for a stream, for its samples, until it has ended


def replay(
    session: xr.Dataset | xr.DataTree | str | Path, *, name: str = "lfp", speed: float = 1.0
) -> int:
    """Send the LFP of a session, or of a file, as a stream: an amplifier for trying things out.

    It waits for somebody who listens, sends frame after frame at ``speed`` times the session's
    rate, in uV, channels with their labels, and gives the number of frames sent.
    """
    lsl = _pylsl()
    whole = open_session(session) if isinstance(session, (str, Path)) else as_dataset(session)
    if "lfp" not in whole:
        raise DataError(f"session {session_name(whole)} has no lfp to send")
    if not speed > 0:
        raise ConfigError(f"speed is {speed}: give a factor above 0, 1 for real time")
    step_s, values = whole.attrs["bin_size_s"] / speed, whole["lfp"].to_numpy()
    labels = [*map(str, whole["channel"].to_numpy())]
    outlet = _outlet(lsl, name, "LFP", labels, "microvolts", 1 / step_s)
    if not outlet.wait_for_consumers(WAIT_S):
        raise DataError(f"nobody listened to the stream {name!r} within {WAIT_S:g} s")
    start = lsl.local_clock()
    for i, frame in enumerate(values):
        time.sleep(max(0.0, start + i * step_s - lsl.local_clock()))
        outlet.push_sample(frame.tolist(), start + i * step_s)
    time.sleep(1.0)  # or the last frames are lost with the outlet
    return len(values)


def run(
    decoder: Decoder, *, inlet: str, outlet: str | None = None, record: str | Path | None = None,
    seconds: float = np.inf,
) -> dict[str, Any]:  # fmt: skip
    """Decode a stream until it ends, or for so many seconds.

    Parameters
    ----------
    decoder : Decoder
        With ``raw_rate_hz`` it takes samples at that rate, else frames at the model's.
    inlet : str
        Name of the stream to read; its channel labels, where it has them, are matched.
    outlet : str, optional
        Name of a stream to make, of the behavior, or, without a read-out, of the latents.
    record : path, optional
        Write the frames, the behavior and the latents to this ``.nwb`` at the end.

    Returns
    -------
    dict
        ``latents``, ``behavior``, ``time`` as of :meth:`Decoder.push`, and ``delay_s``: how long
        after each of them its last sample was stamped.
    """
    lsl, raw = _pylsl(), decoder.delays_s != {}
    found = lsl.resolve_byprop("name", inlet, timeout=WAIT_S)
    if not found:
        there = sorted({each.name() for each in lsl.resolve_streams(1.0)})
        raise DataError(f"there is no stream {inlet!r}; there are {there or 'none'}")
    source = lsl.StreamInlet(found[0], processing_flags=lsl.proc_clocksync | lsl.proc_dejitter)
    labels = source.info().get_channel_labels() or decoder.labels
    axes = list(decoder.readout.behavior_dim) if decoder.readout else None
    names = axes or [*map(str, range(decoder.model.config.width))]
    sink = outlet and _outlet(lsl, outlet, "behavior", names, "", 1 / decoder.bin_size_s)
    made, frames, begin, heard = [], [], lsl.local_clock(), lsl.local_clock()
    while lsl.local_clock() - begin < seconds and lsl.local_clock() - heard < IDLE_S:
        first, stamp = source.pull_sample(timeout=PULL_S)  # a chunk would be waited for
        if first is None:
            continue
        samples, stamps = source.pull_chunk(timeout=0.0, max_samples=4096)
        samples, stamps = [first, *samples], [stamp, *stamps]
        heard, values = lsl.local_clock(), np.asarray(samples, float)
        given = xr.DataArray(values, {"channel": labels}, ("time", "channel"))
        out = (decoder.push_raw if raw else decoder.push)(given, stamps)
        frames += [] if raw else [given * decoder.scale]  # in uV, as it is recorded
        known = out["behavior" if axes else "latents"]
        for value, stamp in zip(known, out["time"], strict=True):
            if sink:
                sink.push_sample(value.tolist(), stamp)
        made.append(out | {"delay_s": lsl.local_clock() - out["time"]})
    if not made:
        raise DataError(f"the stream {inlet!r} sent nothing within {IDLE_S:g} s")
    whole = {key: np.concatenate([each[key] for each in made]) for key in made[0]}
    if record is not None:
        _record(decoder, whole, frames, record)
    return whole


def _record(decoder: Decoder, out: dict[str, Any], frames: list, path: str | Path) -> None:
    """Write what came in and out; the clock is that of the bins, from 0 on."""
    size, start = decoder.bin_size_s, out["time"][0]
    clock = (np.round((out["time"] - start) / size) + 0.5) * size
    lfp = np.concatenate([each.to_numpy() for each in frames]) if frames else None
    axes = list(decoder.readout.behavior_dim) if decoder.readout else None
    subject, _, day = decoder.session.partition("/")
    session = build_session(
        clock, bin_size_s=size, max_gap_s=1.2 * size, subject=subject, session=f"{day}-live",
        source="spikelfp_lab.live", history=f"decoded live by the model {decoder.model.digest()}",
        lfp=None if lfp is None else (lfp, clock),
        channel_names=None if lfp is None else [*frames[0]["channel"].to_numpy()],
        behavior=None if axes is None else (out["behavior"], clock), behavior_names=axes,
        variable_attrs={"lfp": {"kind": "LFP", "units": "uV"}},
    )  # fmt: skip
    coords = {"time": clock, "latent": np.arange(out["latents"].shape[1])}
    write_nwb(session, path, latents=xr.DataArray(out["latents"], coords, ("time", "latent")))


def _outlet(lsl: Any, name: str, kind: str, labels: list[str], unit: str, rate_hz: float) -> Any:
    """A stream of float32 with labels."""
    about = lsl.StreamInfo(name, kind, len(labels), rate_hz, lsl.cf_float32, f"{name}-spikelfp")
    about.set_channel_labels(labels)
    about.set_channel_units(unit)
    return lsl.StreamOutlet(about)


def _pylsl() -> Any:
    try:
        import pylsl
    except (ImportError, RuntimeError) as error:  # the latter where the library itself is missing
        cure = 'pip install "spikelfp_lab[live]"'
        raise ConfigError(f"Lab Streaming Layer needs pylsl and liblsl: {cure}") from error
    return pylsl
