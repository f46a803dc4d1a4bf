"""A linear-Gaussian system: fitted by least squares where its states are known, filtered where not.

x[t + 1] = A x[t] + w,  w ~ N(0, Q)        y[t] = C x[t] + v,  v ~ N(0, R)
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg


class System(NamedTuple):
    """States of mean zero; ``prior`` is their covariance when nothing is seen yet."""

    dynamics: np.ndarray
    process: np.ndarray
    observation: np.ndarray
    noise: np.ndarray
    prior: np.ndarray
    offset: np.ndarray  # mean of the observations


def fit_system(states: np.ndarray, observed: np.ndarray, stretches: np.ndarray) -> System:
    """Least squares over bins where states (time, state) are known, pairs of them in stretches."""
    known = np.isfinite(states.sum(axis=1))
    before = np.concatenate([np.arange(start, stop - 1) for start, stop in stretches])
    before = before[known[before] & known[before + 1]]
    dynamics, process = _regress(states[before], states[before + 1])
    offset = observed[known].mean(axis=0)
    observation, noise = _regress(states[known], observed[known] - offset)
    # A millionth of each variance more, or a noiseless observation would have no inverse.
    noise = noise + np.diag(1e-6 * observed[known].var(axis=0) + 1e-300)
    prior = np.atleast_2d(np.cov(states[known], rowvar=False))
    return System(dynamics, process, observation, noise, prior, offset)


def filtered(system: System, observed: np.ndarray, stretches: np.ndarray) -> np.ndarray:
    """(time, state) means given the stretch so far; NaN outside the stretches."""
    weights = linalg.solve(system.noise, system.observation, assume_a="pos")  # R^-1 C
    longest = int(np.diff(stretches, axis=1).max(initial=1))
    steps, gains = _gains(system, system.observation.T @ weights, longest)
    states = np.full((len(observed), len(system.prior)), np.nan)
    for start, stop in stretches:
        at = np.minimum(np.arange(stop - start), len(gains) - 1)  # the gains settle
        seen = (observed[start:stop] - system.offset) @ weights
        update = np.einsum("tij,tj->ti", gains[at], seen)
        state = np.zeros(len(system.prior))
        for t, step in enumerate(at):
            state = steps[step] @ state + update[t]
            states[start + t] = state
    return states


def _regress(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (y, x) and the covariance of what is left; no intercept."""
    # Each column in units of its own size, or a derivative would pass for noise beside a position.
    size = np.sqrt((x**2).mean(axis=0))
    size = np.where(size > 0, size, 1.0)
    coefficients = np.linalg.lstsq(x / size, y, rcond=1e-10)[0].T / size
    residual = y - x @ coefficients.T
    return coefficients, residual.T @ residual / len(x)


def _gains(
    system: System, information: np.ndarray, longest: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Steps of the state and weights of C' R^-1 y, until they settle, from C' R^-1 C."""
    eye, covariance = np.eye(len(system.prior)), system.prior
    steps, gains = [], []
    for _ in range(longest):
        gain = np.linalg.solve(eye + covariance @ information, covariance)  # posterior covariance
        gain = (gain + gain.T) / 2
        steps.append((eye - gain @ information) @ system.dynamics)
        gains.append(gain)
        covariance = system.dynamics @ gain @ system.dynamics.T + system.process
        size = np.sqrt(np.maximum(np.diag(gain), 1e-300))
        if len(gains) > 1 and (np.abs(gain - gains[-2]) <= 1e-9 * np.outer(size, size)).all():
            break
    return steps, np.stack(gains)
