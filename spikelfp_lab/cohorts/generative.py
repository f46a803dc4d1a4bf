"""The generative model of the simulated recordings: reaching, spikes and LFP at native rates.

**Behavior.** 2-D random-target reaching: targets uniform in a square workspace, minimum-jerk
reaches, dwells between them; the next target is shown when the dwell begins.

**Latents** z(t), brought to about mean 0 and SD 1 by fixed scales: hand velocity (2), speed,
position (2), upcoming target (2) and three Ornstein-Uhlenbeck states that behavior does not show.
Neural activity at time t expresses z(t + lead).

**Spikes.** Unit u fires as a Poisson process of rate r_u exp(w_u . z) / mean(exp(w_u . z)), of mean
r_u. Units, their w_u and r_u are drawn anew in every session.

**LFP** of channel c, in uV at 1 kHz::

    background * (0.29 a_c . z  +  shared and private 1/f)                low-frequency mixture
    + beta  * exp(0.19 b_c . z + shared fluctuation) * rhythm_c(20 Hz)    information in envelopes
    + gamma * exp(0.19 g_c . z + shared fluctuation) * rhythm_c(38 Hz)
    + 60 Hz line noise with a third harmonic + white sensor noise

a_c, b_c, g_c and the weights of the shared background belong to the electrode sites: one draw a
subject, and from a session to the next ``A <- sqrt(1 - drift^2) A + drift * new draw``.

With a :class:`Drift` the array ages by days instead: the same step each day for the sites, units
that are lost and replaced (one that stays keeps its label and tuning), electrodes that die, and
gains that wander. A day is the same whichever other days are simulated.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from spikelfp_lab.errors import ConfigError

BIN_SIZE_S = 0.01  # of a simulated session, as in the paper
LFP_RATE_HZ = 1000
BEHAVIOR_RATE_HZ = 100
LATENT_NAMES = ("vx", "vy", "speed", "x", "y", "target_x", "target_y",
                "internal_1", "internal_2", "internal_3")  # fmt: skip
_OF_A_KIND = (2, 1, 2, 2, 3)  # velocity, speed, position, target, internal: each has one level

# Numbers that keep the random streams of a seed apart; never reuse one for another purpose.
_BEHAVIOR, _SPIKES, _LFP, _SITES, _DRIFT, _DAYS, _UNITS = range(7)


@dataclass(frozen=True, kw_only=True)
class SimulationParameters:
    """Every level of the generative model; spreads are standard deviations (SD)."""

    workspace_cm: float = 20.0  # side of the square of targets
    shortest_reach_cm: float = 4.0  # no two successive targets are nearer
    dwell_s: tuple[float, float] = (0.1, 0.4)  # shortest and longest time between reaches
    reach_base_s: float = 0.3  # a reach takes this
    reach_s_per_cm: float = 0.035  # and this, times its length,
    reach_jitter: float = 0.15  # times a factor whose log has this SD
    velocity_scale_cm_s: float = 12.0  # what standardizes the observed latents
    speed_mean_cm_s: float = 12.0
    speed_scale_cm_s: float = 12.0
    position_scale_cm: float = 5.5  # of targets too
    internal_tau_s: tuple[float, float, float] = (0.2, 0.6, 2.0)
    lead_s: float = 0.1  # neural activity leads behavior by this
    n_units: tuple[int, int] = (40, 90)  # fewest and most, drawn uniformly
    mean_rate_hz: tuple[float, float] = (2.5, 35.0)  # lowest and highest, drawn log-uniformly
    # SD of w, and relative SD of a, b, g: of velocity, speed, position, target, internal latents
    tuning: tuple[float, float, float, float, float] = (0.6, 0.2, 0.15, 0.2, 0.2)
    site_weight: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    n_channels: int = 32
    background_uv: float = 60.0
    background_exponent: float = 1.5  # power falls as 1 / f^exponent,
    background_knee_hz: float = 0.5  # above this
    background_sources: int = 4  # that channels share
    background_shared: float = 0.5  # fraction of the variance
    mixture: float = 0.29  # SD of the low-frequency mixture over that of the background
    beta_hz: tuple[float, float] = (20.0, 3.0)  # center and SD of the spectrum
    gamma_hz: tuple[float, float] = (38.0, 4.0)
    beta_uv: float = 20.0  # where the envelope is 1
    gamma_uv: float = 12.0
    envelope_gain: float = 0.19  # of b . z and g . z, in the natural log of the amplitude
    envelope_noise: float = 0.3  # SD of the fluctuation that channels share, one a rhythm
    envelope_noise_tau_s: float = 0.3
    line_uv: tuple[float, float] = (5.0, 25.0)  # lowest and highest of a channel
    sensor_uv: float = 2.0


# Calibrated once on the default cohort, then left alone. Lagged ridge (+-100 ms, contiguous split)
# decodes velocity in its sessions at R2 .79-.84 from binned spikes, .41-.47 from the LFP, .40-.48
# from log band power and .50-.58 from both.
DEFAULT_PARAMETERS = SimulationParameters()


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How an array ages in a day. Of the units of a macaque's array 31 % were there 47 days later
    (Vaidya et al., IEEE EMBC 2014), as if 2.5 % were lost a day.
    """

    mixing: float = 0.0  # share of the sites' weights that is renewed, as in the formula above
    units_lost: float = 0.025  # probability that a unit is lost
    units_replaced: float = 1.0  # and that another takes its place on the same day, else never
    electrodes_lost: float = 0.0003  # probability that an electrode dies: noise alone is left
    gain: float = 0.01  # SD of the step of an electrode's log gain


# Arrays of the literature. Mixing is calibrated by what is left of the R² of a lagged ridge on raw
# LFP (z-scored each day) that was fitted on day 0 and frozen: test time, subject T, six seeds.
#
# milekovic
#     .93 on day 138. An LFP decoder served for 76 and 138 days without significant
#     loss (Milekovic et al., J. Neurophysiol. 2018; a tenth is assumed).
# flint
#     .89 on day 330, .64 on day 1095. A fixed LFP decoder served for 11 months (Flint et al., IEEE
#     EMBC 2013; a tenth is assumed), and LFP and some units were stable for up to three years (J.
#     Neurosci. 2016).
# wang
#     .25 on day 671, .76 where it is fitted anew, with no unit left. LFP then still gave some
#     kinematics (Wang et al., J. Neural Eng. 2014; a quarter is assumed).
# perge
#     .40 on day 60 (twelve seeds). A fixed decoder lost 60 % in about two months (Perge et al., J.
#     Neural Eng. 2014, Fig. 5, of directions).
#
# The sites' walk is this one, the random streams were others. All other rates are assumed. Seeds
# differ: .75 to 1.12 for milekovic, .02 to .77 for perge.
DRIFTS = {
    "milekovic": Drift(mixing=0.021),
    "flint": Drift(mixing=0.011, electrodes_lost=0.0001, units_lost=0.003),
    "wang": Drift(mixing=0.025, electrodes_lost=0.001, units_replaced=0.5),
    "perge": Drift(mixing=0.104),
}


class Recording(NamedTuple):
    """One simulated recording as a rig would store it, with the truth behind it."""

    units: list[str]  # labels
    spike_times: list[np.ndarray]  # (n_u,) s, sorted, one a unit
    mean_rate_hz: np.ndarray  # (U,) r
    spike_tuning: np.ndarray  # (U, Z) w
    lfp: np.ndarray  # (n, C) float32, uV
    # (n,) s; they begin half a bin late, so that after resampling the samples lie on bin centers
    lfp_times: np.ndarray
    velocity: np.ndarray  # (m, 2) float32, cm/s
    behavior_times: np.ndarray  # (m,) s
    latents: np.ndarray  # (n, Z) float32, what neural activity expresses at lfp_times
    mixing: np.ndarray  # (C, Z) a
    beta_weight: np.ndarray  # (C, Z) b
    gamma_weight: np.ndarray  # (C, Z) g


def recording(
    index: int = 1, subject: str = "I", duration_s: float = 480.0, seed: int = 0,
    n_channels: int | None = None, n_units: int | None = None, drift: float | Drift = 0.1,
    parameters: SimulationParameters = DEFAULT_PARAMETERS,
) -> Recording:  # fmt: skip
    """Simulate one recording at its native rates; arguments and errors as in ``simulated.session``.

    >>> raw = recording(duration_s=5, n_units=3, n_channels=2)
    >>> raw.lfp.shape, len(raw.spike_times), raw.velocity.shape
    ((5000, 2), 3, (501, 2))
    """
    p, by_days = parameters, isinstance(drift, Drift)
    aging = drift if isinstance(drift, Drift) else Drift(mixing=drift)
    n_channels = p.n_channels if n_channels is None else n_channels
    limits = (
        (index >= (not by_days), f"index is {index}: sessions count from 1, days from 0"),
        (duration_s >= 1, f"duration_s is {duration_s}: at least 1 s"),
        (1 <= n_channels <= 96, f"n_channels is {n_channels}: 1 to 96"),
        (n_units is None or n_units >= 1, f"n_units is {n_units}: at least 1, or None to draw"),
        (0 <= aging.mixing <= 1, f"drift is {drift}: 0 (stable) to 1 (all new every session)"),
    )
    if wrong := [text for fits, text in limits if not fits]:
        raise ConfigError(f"Cannot simulate this: {'; '.join(wrong)}.")
    where = (seed, zlib.crc32(subject.encode()))
    own = (_DAYS, index) if by_days else (index,)
    latents, velocity = _behavior(_rng(*where, _BEHAVIOR, *own), duration_s, p)
    n, lead = round(duration_s * LFP_RATE_HZ), round(p.lead_s * LFP_RATE_HZ)
    half_bin, step = round(BIN_SIZE_S / 2 * LFP_RATE_HZ), LFP_RATE_HZ // BEHAVIOR_RATE_HZ
    rng = _rng(*where, _SPIKES, *own)
    if by_days:
        labels, *units = _units_of_day(where, index, n_units, aging, p)
    else:
        units = _draw_units(rng, int(rng.integers(*p.n_units, endpoint=True)), n_units, p)
        labels = [f"u{unit:03d}" for unit in range(len(units[0]))]
    spike_times = _spikes(latents[lead : lead + n], rng, *units)
    sites = _sites(where, index, n_channels, aging, by_days, p)
    expressed = latents[lead + half_bin : lead + half_bin + n]
    times = (half_bin + np.arange(n)) / LFP_RATE_HZ
    lfp = _lfp(expressed, times, sites, _rng(*where, _LFP, *own), p)
    behavior = velocity[: n + 1 : step], np.arange(0, n + 1, step) / LFP_RATE_HZ
    tuning, mean_rate_hz = (values.astype(np.float32) for values in units)
    truth = expressed, *(sites[name] for name in ("mixing", "beta", "gamma"))
    return Recording(labels, spike_times, mean_rate_hz, tuning, lfp, times, *behavior, *truth)


def _behavior(
    rng: np.random.Generator, duration_s: float, p: SimulationParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Latents (n, Z) and hand velocity (n, 2) in cm/s at the LFP rate, with a margin at the end."""
    n = round((duration_s + p.lead_s + 0.1) * LFP_RATE_HZ)
    position, target, velocity = np.zeros((3, n, 2))

    def somewhere() -> np.ndarray:
        return rng.uniform(-0.5, 0.5, 2) * p.workspace_cm

    here, start = somewhere(), 0
    while start < n:
        there = somewhere()
        while (length := np.hypot(*(there - here))) < p.shortest_reach_cm:
            there = somewhere()
        reach_s = p.reach_base_s + p.reach_s_per_cm * length
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
    moved = velocity / p.velocity_scale_cm_s, (speed - p.speed_mean_cm_s) / p.speed_scale_cm_s
    places = position / p.position_scale_cm, target / p.position_scale_cm
    internal = [_ornstein_uhlenbeck(rng, n, tau_s) for tau_s in p.internal_tau_s]
    latents = np.column_stack([*moved, *places, *internal])
    return latents.astype(np.float32), velocity.astype(np.float32)


def _draw_units(
    rng: np.random.Generator, drawn: int, n_units: int | None, p: SimulationParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Tuning (U, Z) and mean rates (U,) of fresh units, as many as were drawn or asked for."""
    units = drawn if n_units is None else n_units
    tuning = rng.standard_normal((units, len(LATENT_NAMES))) * np.repeat(p.tuning, _OF_A_KIND)
    low, high = np.log(p.mean_rate_hz)
    return tuning, np.exp(rng.uniform(low, high, units))


def _units_of_day(
    where: tuple[int, int], day: int, n_units: int | None, drift: Drift, p: SimulationParameters
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, tuning and mean rates of the units that are there on a day."""
    rng = _rng(*where, _UNITS)
    tuning, rates = _draw_units(rng, int(rng.integers(*p.n_units, endpoint=True)), n_units, p)
    n, there, which = len(rates), np.ones(len(rates), bool), np.zeros(len(rates), int)
    for later in range(1, day + 1):
        rng = _rng(*where, _UNITS, later)
        lost, found = rng.random((2, n)) < [[drift.units_lost], [drift.units_replaced]]
        fresh = _draw_units(rng, n, None, p)
        tuning[lost], rates[lost] = fresh[0][lost], fresh[1][lost]
        there, which = np.where(lost, found, there), which + lost
    labels = [f"u{u:03d}" + f".{which[u]}" * bool(which[u]) for u in np.flatnonzero(there)]
    return labels, tuning[there], rates[there]


def _spikes(
    latents: np.ndarray, rng: np.random.Generator, tuning: np.ndarray, mean_rate_hz: np.ndarray
) -> list[np.ndarray]:
    """Spike times of units with this tuning (U, Z) and these mean rates (U,)."""
    # The rate is held for 5 ms, in which no latent changes much; within them the times are uniform,
    # which makes this an exact Poisson process of that rate.
    hold = LFP_RATE_HZ // 200
    held = latents[: len(latents) // hold * hold].reshape(-1, hold, latents.shape[1]).mean(axis=1)
    spike_times = []
    for weights, rate_hz in zip(tuning, mean_rate_hz, strict=True):
        rate = np.exp(held.astype(np.float64) @ weights)
        counts = rng.poisson(rate * (rate_hz / rate.mean() * hold / LFP_RATE_HZ))
        start = np.repeat(np.arange(len(counts)), counts)
        spike_times.append(np.sort((start + rng.random(start.size)) * hold / LFP_RATE_HZ))
    return spike_times


def _sites(
    where: tuple[int, int], index: int, n_channels: int, aging: Drift, by_days: bool,
    p: SimulationParameters,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Weights of the electrode sites in session ``index``, or on that day: a first draw, then one
    drift a session or day; and each site's gain, 0 where it is dead.
    """

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        scale, shape = np.repeat(p.site_weight, _OF_A_KIND), (n_channels, len(LATENT_NAMES))
        weights = {name: rng.standard_normal(shape) * scale for name in ("mixing", "beta", "gamma")}
        return weights | {"shared": rng.standard_normal((n_channels, p.background_sources))}

    rng = _rng(*where, _SITES)
    sites = draw(rng)
    line_uv = rng.uniform(*p.line_uv, n_channels)
    share, log_gain, dead = aging.mixing, np.zeros(n_channels), np.zeros(n_channels, bool)
    for later in range(1 if by_days else 2, index + 1):
        rng = _rng(*where, _DAYS if by_days else _DRIFT, later)
        for name, renewed in draw(rng).items():
            sites[name] = np.sqrt(1 - share**2) * sites[name] + share * renewed
        if by_days:
            log_gain += aging.gain * rng.standard_normal(n_channels)
            dead |= rng.random(n_channels) < aging.electrodes_lost
    # Rows of unit length: each site has the same share of everything, in a direction of its own.
    sites = {name: w / np.linalg.norm(w, axis=1, keepdims=True) for name, w in sites.items()}
    more = {"line_uv": line_uv, "gain": np.exp(log_gain) * ~dead}
    return {name: w.astype(np.float32) for name, w in (sites | more).items()}


def _lfp(
    latents: np.ndarray, times: np.ndarray, sites: dict[str, np.ndarray],
    rng: np.random.Generator, p: SimulationParameters,
) -> np.ndarray:  # fmt: skip
    """Field potential (n, C) in uV; the sum at the top of this file."""
    n = len(latents)
    hz = fft.rfftfreq(fft.next_fast_len(n, real=True), 1 / LFP_RATE_HZ)
    background = (p.background_knee_hz**2 + hz**2) ** (-p.background_exponent / 4)
    bands = (("beta", *p.beta_hz, p.beta_uv), ("gamma", *p.gamma_hz, p.gamma_uv))
    rhythms = [(band, np.exp(-((hz - mid) ** 2) / (4 * sd**2)), uv) for band, mid, sd, uv in bands]
    sources = [_colored_noise(rng, n, background) for _ in range(p.background_sources)]
    slow = {band: _ornstein_uhlenbeck(rng, n, p.envelope_noise_tau_s) for band, *_ in bands}
    line = np.float32(np.sin(2 * np.pi * 60 * times) + 0.3 * np.sin(2 * np.pi * 180 * times))
    lfp = np.empty((n, len(sites["mixing"])), np.float32)
    for channel, mixing in enumerate(sites["mixing"]):
        total = p.mixture * (latents @ mixing)
        total += np.sqrt(1 - p.background_shared) * _colored_noise(rng, n, background)
        for weight, source in zip(sites["shared"][channel], sources, strict=True):
            total += np.sqrt(p.background_shared) * weight * source
        total *= p.background_uv
        for band, spectrum, uv in rhythms:
            envelope = p.envelope_gain * (latents @ sites[band][channel])
            envelope += p.envelope_noise * slow[band]
            total += uv * np.exp(envelope) * _colored_noise(rng, n, spectrum)
        total *= sites["gain"][channel]
        total += sites["line_uv"][channel] * line
        total += p.sensor_uv * rng.standard_normal(n, dtype=np.float32)
        lfp[:, channel] = total
    return lfp


def _colored_noise(rng: np.random.Generator, n: int, amplitude: np.ndarray) -> np.ndarray:
    """(n,) float32 Gaussian noise of SD 1 whose spectrum has that amplitude, but no mean."""
    shape = np.append(0.0, amplitude[1:])
    white = rng.standard_normal(2 * shape.size, dtype=np.float32).view(np.complex64)
    n_fast = fft.next_fast_len(n, real=True)
    noise = np.asarray(fft.irfft(white * shape.astype(np.float32), n_fast))[:n]
    return noise * np.float32(n_fast / np.sqrt(4 * np.square(shape).sum()))


def _ornstein_uhlenbeck(rng: np.random.Generator, n: int, tau_s: float) -> np.ndarray:
    """(n,) float32 stationary Ornstein-Uhlenbeck process of SD 1 at the LFP rate."""
    decay = np.exp(-1 / (tau_s * LFP_RATE_HZ))
    steps = rng.standard_normal(n) * np.sqrt(1 - decay**2)
    steps[0] = rng.standard_normal()
    return np.asarray(signal.lfilter([1.0], [1.0, -decay], steps)).astype(np.float32)


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)
