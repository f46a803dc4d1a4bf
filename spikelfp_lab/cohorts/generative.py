"""The generative model of the simulated recordings: reaching, spikes and LFP at native rates."""

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np
from scipy import fft, signal

from spikelfp_lab.errors import ConfigError

BIN_SIZE_S = 0.01
"""Bins of a simulated session, as in the paper."""

LFP_RATE_HZ = 1000
BEHAVIOR_RATE_HZ = 100

LATENT_NAMES = (
    "vx",
    "vy",
    "speed",
    "x",
    "y",
    "target_x",
    "target_y",
    "internal_1",
    "internal_2",
    "internal_3",
)

# Numbers that keep the random streams of a seed apart; never reuse one for another purpose.
_BEHAVIOR, _SPIKES, _LFP, _SITES, _DRIFT = range(5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulationParameters:
    """The generative model, level by level.

    **Behavior.** 2-D random-target reaching: targets uniform in a square workspace, minimum-jerk
    reaches, dwells between them; the next target is shown when the dwell begins.

    **Latents** z(t), ten of them, each brought to about mean 0 and SD 1 by the fixed scales below:
    hand velocity (2), speed, position (2), upcoming target (2) and three Ornstein-Uhlenbeck states
    that behavior does not show. Neural activity at time t expresses z(t + lead).

    **Spikes.** Unit u fires as a Poisson process of rate r_u exp(w_u . z) / mean(exp(w_u . z)):
    log-linear, with mean rate r_u. Units, their w_u and r_u are drawn anew in every session.

    **LFP** of channel c, in uV at 1 kHz::

        background * (0.29 a_c . z  +  shared and private 1/f)              low-frequency mixture
        + beta  * exp(0.19 b_c . z + shared fluctuation) * rhythm_c(20 Hz)   information in
        envelopes + gamma * exp(0.19 g_c . z + shared fluctuation) * rhythm_c(38 Hz) + 60 Hz line
        noise with a third harmonic + white sensor noise

    (the numbers are fields below). a_c, b_c, g_c and the weights of the shared background belong to
    the electrode sites: one draw a subject, and from a session to the next
    ``A <- sqrt(1 - drift^2) A + drift * new draw``.

    Attributes
    ----------
    workspace_cm : side of the square of targets, cm.
    shortest_reach_cm : no two successive targets are nearer than this, cm.
    dwell_s : (shortest, longest) time between reaches, s.
    reach_base_s, reach_s_per_cm : duration of a reach = base + per cm * distance, s and s/cm.
    reach_jitter : SD of the log of a factor on that duration.
    velocity_scale_cm_s, speed_mean_cm_s, speed_scale_cm_s, position_scale_cm : what is subtracted
        and divided to standardize the observed latents (position's scale serves targets too).
    internal_tau_s : time constants of the internal states, s.
    lead_s : neural activity leads behavior by this, s.
    n_units : (fewest, most) units in a session, drawn uniformly where a number is not asked for.
    mean_rate_hz : (lowest, highest) mean rate, drawn log-uniformly, Hz.
    tuning : SD of the spike weights w of velocity, speed, position, target and internal latents.
    site_weight : relative SD of the LFP weights a, b, g of the same five kinds of latents.
    n_channels : channels where a number is not asked for.
    background_uv : SD of the 1/f background, uV.
    background_exponent : its power falls as 1 / f^exponent above background_knee_hz.
    background_knee_hz : below it the power is flat, Hz.
    background_sources : shared sources of the background.
    background_shared : fraction of its variance that is shared.
    mixture : SD of the low-frequency mixture over that of the background.
    beta_hz, gamma_hz : (center, SD) of the spectrum of the rhythms, Hz.
    beta_uv, gamma_uv : SD of the rhythms where the envelope is 1, uV.
    envelope_gain : the factor on b . z and g . z (natural log of the amplitude).
    envelope_noise, envelope_noise_tau_s : SD (natural log) and time constant (s) of the fluctuation
        of the envelopes that all channels share, one a rhythm.
    line_uv : (lowest, highest) amplitude of the 60 Hz line noise of a channel, uV.
    sensor_uv : SD of the white noise, uV.
    """

    workspace_cm: float = 20.0
    shortest_reach_cm: float = 4.0
    dwell_s: tuple[float, float] = (0.1, 0.4)
    reach_base_s: float = 0.3
    reach_s_per_cm: float = 0.035
    reach_jitter: float = 0.15
    velocity_scale_cm_s: float = 12.0
    speed_mean_cm_s: float = 12.0
    speed_scale_cm_s: float = 12.0
    position_scale_cm: float = 5.5
    internal_tau_s: tuple[float, float, float] = (0.2, 0.6, 2.0)
    lead_s: float = 0.1
    n_units: tuple[int, int] = (40, 90)
    mean_rate_hz: tuple[float, float] = (2.5, 35.0)
    tuning: tuple[float, float, float, float, float] = (0.6, 0.2, 0.15, 0.2, 0.2)
    site_weight: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    n_channels: int = 32
    background_uv: float = 60.0
    background_exponent: float = 1.5
    background_knee_hz: float = 0.5
    background_sources: int = 4
    background_shared: float = 0.5
    mixture: float = 0.29
    beta_hz: tuple[float, float] = (20.0, 3.0)
    gamma_hz: tuple[float, float] = (38.0, 4.0)
    beta_uv: float = 20.0
    gamma_uv: float = 12.0
    envelope_gain: float = 0.19
    envelope_noise: float = 0.3
    envelope_noise_tau_s: float = 0.3
    line_uv: tuple[float, float] = (5.0, 25.0)
    sensor_uv: float = 2.0


DEFAULT_PARAMETERS = SimulationParameters()
"""Calibrated once on the default cohort, then left alone. Lagged ridge (+-100 ms, contiguous split)
decodes velocity in its sessions at R2 .79-.84 from binned spikes, .41-.47 from the LFP, .40-.48
from log band power and .50-.58 from both."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """One simulated recording as a rig would store it, with the truth behind it.

    Attributes
    ----------
    spike_times : list of U sorted (n_u,) float64 arrays, s.
    lfp : (n, C) float32, uV, at ``LFP_RATE_HZ``; sample i is at ``lfp_times[i]``.
    lfp_times : (n,) float64, s. They begin half a bin late, so that after resampling to the rate
        of the clock the samples lie on the bin centers and need no interpolation.
    velocity : (m, 2) float32, hand velocity in cm/s at ``behavior_times`` (m,), s.
    latents : (n, Z) float32, the latents that neural activity expresses at ``lfp_times``.
    mean_rate_hz : (U,) and spike_tuning (U, Z): r and w of the units.
    mixing, beta_weight, gamma_weight : (C, Z) a, b and g of the electrode sites.
    """

    spike_times: list[np.ndarray]
    lfp: np.ndarray
    lfp_times: np.ndarray
    velocity: np.ndarray
    behavior_times: np.ndarray
    latents: np.ndarray
    mean_rate_hz: np.ndarray
    spike_tuning: np.ndarray
    mixing: np.ndarray
    beta_weight: np.ndarray
    gamma_weight: np.ndarray


def recording(
    index: int = 1,
    *,
    subject: str = "I",
    duration_s: float = 480.0,
    seed: int = 0,
    n_channels: int | None = None,
    n_units: int | None = None,
    drift: float = 0.1,
    parameters: SimulationParameters = DEFAULT_PARAMETERS,
) -> Recording:
    """Simulate one recording at its native rates; arguments and errors as in ``simulated.session``.

    Examples
    --------
    >>> raw = recording(duration_s=5, n_units=3, n_channels=2)
    >>> raw.lfp.shape, len(raw.spike_times), raw.velocity.shape
    ((5000, 2), 3, (501, 2))
    """
    channels = parameters.n_channels if n_channels is None else n_channels
    _check(index, duration_s=duration_s, n_channels=channels, n_units=n_units, drift=drift)
    where = (seed, zlib.crc32(subject.encode()))
    latents, velocity = _behavior(
        _rng(*where, _BEHAVIOR, index), duration_s=duration_s, parameters=parameters
    )
    lead = round(parameters.lead_s * LFP_RATE_HZ)
    n = round(duration_s * LFP_RATE_HZ)
    half_bin = round(BIN_SIZE_S / 2 * LFP_RATE_HZ)

    spike_times, mean_rate_hz, tuning = _spikes(
        latents[lead : lead + n],
        _rng(*where, _SPIKES, index),
        n_units=n_units,
        parameters=parameters,
    )
    sites = _sites(where, index, n_channels=channels, drift=drift, parameters=parameters)
    expressed = latents[lead + half_bin : lead + half_bin + n]
    lfp_times = (half_bin + np.arange(n)) / LFP_RATE_HZ
    lfp = _lfp(expressed, lfp_times, sites, _rng(*where, _LFP, index), parameters=parameters)
    step = LFP_RATE_HZ // BEHAVIOR_RATE_HZ
    return Recording(
        spike_times=spike_times,
        lfp=lfp,
        lfp_times=lfp_times,
        velocity=velocity[: n + 1 : step],
        behavior_times=np.arange(0, n + 1, step) / LFP_RATE_HZ,
        latents=expressed,
        mean_rate_hz=mean_rate_hz,
        spike_tuning=tuning,
        mixing=sites["mixing"],
        beta_weight=sites["beta"],
        gamma_weight=sites["gamma"],
    )


def _behavior(
    rng: np.random.Generator, *, duration_s: float, parameters: SimulationParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, Z) and hand velocity (n, 2) in cm/s at the LFP rate, with a margin at the end."""
    p = parameters
    n = round((duration_s + p.lead_s + 0.1) * LFP_RATE_HZ)
    position = np.empty((n, 2))
    target = np.empty((n, 2))
    velocity = np.zeros((n, 2))
    here = rng.uniform(-0.5, 0.5, 2) * p.workspace_cm
    start = 0
    while start < n:
        there = rng.uniform(-0.5, 0.5, 2) * p.workspace_cm
        while np.hypot(*(there - here)) < p.shortest_reach_cm:
            there = rng.uniform(-0.5, 0.5, 2) * p.workspace_cm
        distance = np.hypot(*(there - here))
        reach_s = p.reach_base_s + p.reach_s_per_cm * distance
        reach_s *= np.exp(p.reach_jitter * rng.standard_normal())
        go = start + round(rng.uniform(*p.dwell_s) * LFP_RATE_HZ)
        stop = go + round(reach_s * LFP_RATE_HZ)
        position[start:go] = here
        target[start:stop] = there
        # Minimum jerk: Flash and Hogan, J. Neurosci. 1985.
        s = (np.arange(go, min(stop, n)) - go)[:, None] / (stop - go)
        position[go:stop] = here + (there - here) * (10 * s**3 - 15 * s**4 + 6 * s**5)
        velocity[go:stop] = (there - here) * (30 * s**2 - 60 * s**3 + 30 * s**4) / reach_s
        here, start = there, stop
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    internal = [_ornstein_uhlenbeck(rng, n, tau_s=tau) for tau in p.internal_tau_s]
    latents = np.column_stack(
        [
            velocity / p.velocity_scale_cm_s,
            (speed - p.speed_mean_cm_s) / p.speed_scale_cm_s,
            position / p.position_scale_cm,
            target / p.position_scale_cm,
            *internal,
        ]
    )
    return latents.astype(np.float32), velocity.astype(np.float32)


def _spikes(
    latents: np.ndarray,
    rng: np.random.Generator,
    *,
    n_units: int | None,
    parameters: SimulationParameters,
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Spike times, mean rates (U,) and tuning (U, Z) of fresh units."""
    p = parameters
    drawn = int(rng.integers(p.n_units[0], p.n_units[1] + 1))
    units = drawn if n_units is None else n_units
    tuning = rng.standard_normal((units, len(LATENT_NAMES))) * _by_latent(p.tuning)
    low, high = p.mean_rate_hz
    mean_rate_hz = np.exp(rng.uniform(np.log(low), np.log(high), units))
    # The rate is held for 5 ms, far less than any latent needs to change; within those 5 ms the
    # times are uniform, which makes this an exact Poisson process of that rate.
    hold = LFP_RATE_HZ // 200
    held = latents[: len(latents) // hold * hold].reshape(-1, hold, latents.shape[1]).mean(axis=1)
    spike_times = []
    for weights, rate_hz in zip(tuning, mean_rate_hz, strict=True):
        rate = np.exp(held.astype(np.float64) @ weights)
        counts = rng.poisson(rate * (rate_hz / rate.mean() * hold / LFP_RATE_HZ))
        start = np.repeat(np.arange(len(counts)), counts)
        spike_times.append(np.sort((start + rng.random(start.size)) * hold / LFP_RATE_HZ))
    return spike_times, mean_rate_hz.astype(np.float32), tuning.astype(np.float32)


def _sites(
    where: tuple[int, int],
    index: int,
    *,
    n_channels: int,
    drift: float,
    parameters: SimulationParameters,
) -> dict[str, np.ndarray]:
    """Weights of the electrode sites in session ``index``: first draw, then one drift a session."""
    p = parameters

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        scale = _by_latent(p.site_weight)
        shape = (n_channels, len(LATENT_NAMES))
        weights = {name: rng.standard_normal(shape) * scale for name in ("mixing", "beta", "gamma")}
        weights["shared"] = rng.standard_normal((n_channels, p.background_sources))
        return weights

    rng = _rng(*where, _SITES)
    sites = draw(rng)
    sites["line_uv"] = rng.uniform(*p.line_uv, n_channels)
    for later in range(2, index + 1):
        for name, renewed in draw(_rng(*where, _DRIFT, later)).items():
            sites[name] = np.sqrt(1 - drift**2) * sites[name] + drift * renewed
    # Rows of unit length: each site has the same share of everything, in a direction of its own.
    for name in ("mixing", "beta", "gamma", "shared"):
        sites[name] = sites[name] / np.linalg.norm(sites[name], axis=1, keepdims=True)
    return {name: weights.astype(np.float32) for name, weights in sites.items()}


def _lfp(
    latents: np.ndarray,
    times: np.ndarray,
    sites: dict[str, np.ndarray],
    rng: np.random.Generator,
    *,
    parameters: SimulationParameters,
) -> np.ndarray:
    """Field potential (n, C) in uV; see :class:`SimulationParameters` for the sum."""
    p = parameters
    n, n_channels = len(latents), len(sites["mixing"])
    shape = {
        "background": lambda hz: (p.background_knee_hz**2 + hz**2) ** (-p.background_exponent / 4),
        "beta": lambda hz: np.exp(-((hz - p.beta_hz[0]) ** 2) / (4 * p.beta_hz[1] ** 2)),
        "gamma": lambda hz: np.exp(-((hz - p.gamma_hz[0]) ** 2) / (4 * p.gamma_hz[1] ** 2)),
    }
    sources = [_colored_noise(rng, n, shape["background"]) for _ in range(p.background_sources)]
    fluctuation = {
        band: np.float32(p.envelope_noise)
        * _ornstein_uhlenbeck(rng, n, tau_s=p.envelope_noise_tau_s)
        for band in ("beta", "gamma")
    }
    level_uv = {"beta": p.beta_uv, "gamma": p.gamma_uv}
    line = np.sin(2 * np.pi * 60 * times) + 0.3 * np.sin(2 * np.pi * 180 * times)
    line = line.astype(np.float32)
    lfp = np.empty((n, n_channels), np.float32)
    for channel in range(n_channels):
        total = p.mixture * (latents @ sites["mixing"][channel])
        total += np.sqrt(1 - p.background_shared) * _colored_noise(rng, n, shape["background"])
        for weight, source in zip(sites["shared"][channel], sources, strict=True):
            total += np.sqrt(p.background_shared) * weight * source
        total *= p.background_uv
        for band in ("beta", "gamma"):
            envelope = p.envelope_gain * (latents @ sites[band][channel]) + fluctuation[band]
            total += level_uv[band] * np.exp(envelope) * _colored_noise(rng, n, shape[band])
        total += sites["line_uv"][channel] * line
        total += p.sensor_uv * rng.standard_normal(n, dtype=np.float32)
        lfp[:, channel] = total
    return lfp


def _colored_noise(
    rng: np.random.Generator, n: int, amplitude: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """(n,) float32 Gaussian noise of SD 1 whose spectrum has ``amplitude(hz)``."""
    n_fast = fft.next_fast_len(n, real=True)
    hz = fft.rfftfreq(n_fast, 1 / LFP_RATE_HZ)
    shape = amplitude(hz)
    shape[0] = 0.0
    white = rng.standard_normal(2 * hz.size, dtype=np.float32).view(np.complex64)
    noise = np.asarray(fft.irfft(white * shape.astype(np.float32), n_fast))[:n]
    return noise * np.float32(n_fast / np.sqrt(4 * np.square(shape).sum()))


def _ornstein_uhlenbeck(rng: np.random.Generator, n: int, *, tau_s: float) -> np.ndarray:
    """(n,) float32 stationary Ornstein-Uhlenbeck process of SD 1 at the LFP rate."""
    decay = np.exp(-1 / (tau_s * LFP_RATE_HZ))
    steps = rng.standard_normal(n) * np.sqrt(1 - decay**2)
    steps[0] = rng.standard_normal()
    return np.asarray(signal.lfilter([1.0], [1.0, -decay], steps)).astype(np.float32)


def _by_latent(levels: tuple[float, float, float, float, float]) -> np.ndarray:
    """(Z,) one level a latent from levels of velocity, speed, position, target, internal."""
    return np.repeat(levels, (2, 1, 2, 2, 3))


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def _check(
    index: int, *, duration_s: float, n_channels: int, n_units: int | None, drift: float
) -> None:
    """One error with everything that is out of range."""
    wrong = []
    if index < 1:
        wrong.append(f"index is {index}: sessions count from 1")
    if duration_s < 1:
        wrong.append(f"duration_s is {duration_s}: at least 1 s")
    if not 1 <= n_channels <= 96:
        wrong.append(f"n_channels is {n_channels}: 1 to 96")
    if n_units is not None and n_units < 1:
        wrong.append(f"n_units is {n_units}: at least 1, or None to draw")
    if not 0 <= drift <= 1:
        wrong.append(f"drift is {drift}: 0 (stable) to 1 (all new every session)")
    if wrong:
        raise ConfigError("Cannot simulate this: " + "; ".join(wrong) + ".")
