"""Simulated sessions, brought from native rates to one clock the way real recordings are.

The recordings (spike times in seconds, LFP in uV at 1 kHz, hand velocity at 100 Hz) come from
:mod:`spikelfp_lab.cohorts.generative`, where the model and its levels are written down.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from spikelfp_lab.cohorts import generative
from spikelfp_lab.cohorts.generative import BIN_SIZE_S, DEFAULT_PARAMETERS, DRIFTS, Drift, recording
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.sessions import build_session, cohort_from_sessions, session_clock
from spikelfp_lab.signal import bin_spikes, lfp_to_rate


def cohort(
    *, subjects: Sequence[str] = ("I",), n_sessions: int = 7, days: Sequence[int] | None = None,
    progress: bool = True, **options: Any,
) -> xr.DataTree:  # fmt: skip
    """Simulate sessions (s01, s02 and so on) of each subject, one set of electrode sites each.

    ``n_sessions`` of each subject, or with a ``drift`` by days those of ``days``, d000, d138, ...:
    a session is the same however many are asked for. Other options and errors as for
    :func:`session`. Recipes are chosen on subject T and nothing is ever chosen on V, see
    ``benchmarks/recipes.py``; I is the default.

    >>> tree = cohort(n_sessions=2, duration_s=10, n_units=4, n_channels=3, progress=False)
    >>> [leaf.path for leaf in tree.leaves]
    ['/I/s01', '/I/s02']
    """
    if isinstance(subjects, str) or not subjects or len(set(subjects)) != len(subjects):
        raise ConfigError(f"subjects must be a sequence of different names, got {subjects!r}.")
    if n_sessions < 1:
        raise ConfigError(f"n_sessions is {n_sessions}: ask for at least one.")
    numbers = range(1, n_sessions + 1) if days is None else days
    if len(set(numbers)) < len(numbers) or (days is not None and "drift" not in options):
        raise ConfigError(f"days are {days}: give different ones, and drift= one of {[*DRIFTS]}.")
    wanted = [(subject, number) for subject in subjects for number in numbers]
    bar = tqdm(wanted, desc="Simulating sessions", unit="session", disable=not progress)
    return cohort_from_sessions(session(index, subject=name, **options) for name, index in bar)


def session(
    index: int = 1, *, subject: str = "I", duration_s: float = 480.0, seed: int = 0,
    n_channels: int | None = None, n_units: int | None = None, drift: float | str | Drift = 0.1,
    parameters: generative.SimulationParameters = DEFAULT_PARAMETERS,
) -> xr.Dataset:  # fmt: skip
    """Simulate one session and align it to a clock of 10 ms bins.

    Parameters
    ----------
    index, subject : 1 for s01, 2 for s02, ..., or the day; whose electrode sites record.
    duration_s : length in seconds; learning needs 8 minutes or more.
    seed : of everything random; the same arguments give the same session, bit for bit.
    n_channels, n_units : LFP channels, up to 96, None for 32; units, None to draw 40 to 90.
    drift : fraction of the electrodes' mixing renewed from a session to the next, 0 to 1; or how
        the array ages by days, a :class:`~spikelfp_lab.cohorts.generative.Drift` or the name of
        one of ``generative.DRIFTS``, which say what they are calibrated to.
    parameters : every level of the generative model.

    ``behavior`` is hand velocity ("vx", "vy") in cm/s. The truth is kept: as coordinates
    ``latent_truth`` (time, latent_truth_dim), the latents that neural activity expresses in that
    bin, i.e. behavior's of 100 ms later; ``spike_tuning`` (unit, .), ``mean_rate_hz`` (unit);
    ``lfp_mixing``, ``beta_weight`` and ``gamma_weight`` (channel, .); and everything else in
    ``attrs["generative_parameters"]``, a JSON text. A ConfigError if an option is out of its range.

    >>> one = session(duration_s=10, n_units=5, n_channels=4)
    >>> one["spikes"].shape, one["behavior"].behavior_dim.values.tolist()
    ((1000, 5), ['vx', 'vy'])
    """
    if isinstance(drift, str) and drift not in DRIFTS:
        raise ConfigError(f"drift is {drift!r}: a number, a Drift, or one of {[*DRIFTS]}.")
    drift = DRIFTS[drift] if isinstance(drift, str) else drift
    aging, name, day = drift, f"s{index:02d}", {}
    if isinstance(drift, Drift):
        aging, name, day = dataclasses.asdict(drift), f"d{index:03d}", {"day": index}
    raw = recording(index, subject, duration_s, seed, n_channels, n_units, drift, parameters)
    clock, rate_hz = session_clock(0.0, duration_s, bin_size_s=BIN_SIZE_S), 1 / BIN_SIZE_S
    lfp = lfp_to_rate(raw.lfp, rate_hz=generative.LFP_RATE_HZ, to_rate_hz=rate_hz)
    options = {
        "index": index, "duration_s": duration_s, "seed": seed, "drift": aging,
        "n_channels": raw.lfp.shape[1], "n_units": len(raw.units),
        "parameters": dataclasses.asdict(parameters),
    }  # fmt: skip
    kind = "standardized latents that neural activity expresses in the bin"
    aligned = build_session(
        clock,
        spikes=bin_spikes(raw.spike_times, clock, bin_size_s=BIN_SIZE_S) if raw.units else None,
        unit_names=raw.units or None,
        lfp=(lfp, raw.lfp_times[0] + np.arange(len(lfp)) * BIN_SIZE_S),
        behavior=(raw.velocity, raw.behavior_times), behavior_names=("vx", "vy"),
        latent_truth=(raw.latents, raw.lfp_times), latent_names=generative.LATENT_NAMES,
        subject=subject, session=name, source="simulated", bin_size_s=BIN_SIZE_S,
        history=f"simulated with seed {seed}, LFP filtered and resampled to {rate_hz:g} Hz",
        attrs={"generative_parameters": json.dumps(options)} | day,
        variable_attrs={"lfp": {"kind": "LFP", "units": "uV"},
                        "behavior": {"kind": "hand velocity", "units": "cm/s"},
                        "latent_truth": {"kind": kind, "lead_s": parameters.lead_s}},
    )  # fmt: skip
    by_site, by_unit = ("channel", "latent_truth_dim"), ("unit", "latent_truth_dim")
    truth: dict[str, Any] = {"lfp_mixing": (by_site, raw.mixing)}
    truth |= {"beta_weight": (by_site, raw.beta_weight)}
    truth |= {"gamma_weight": (by_site, raw.gamma_weight)}
    if raw.units:
        truth |= {"mean_rate_hz": ("unit", raw.mean_rate_hz)}
        truth |= {"spike_tuning": (by_unit, raw.spike_tuning)}
    return aligned.assign_coords(truth)
