"""The one factory of test sessions: small, valid, and with structure a model can find."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from spikelfp_lab.sessions import build_session, session_clock


def make_session(
    *,
    bins: int = 600,
    units: int = 6,
    channels: int = 4,
    behavior: Sequence[str] = ("vx", "vy"),
    trial_bins: int | None = None,
    gaps: Sequence[int] = (),
    nan_lfp: Sequence[int] = (),
    nan_behavior: Sequence[int] = (),
    bin_size_s: float = 0.02,
    subject: str = "I",
    session: str = "s01",
    seed: int = 0,
) -> xr.Dataset:
    """A random session: smooth behavior that drives the spikes and the LFP.

    ``units``, ``channels`` or ``behavior`` of zero length leave the variable out. ``gaps`` are
    the bins before which the clock jumps by a second; ``nan_lfp`` and ``nan_behavior`` the bins
    that are NaN in their first column. ``trial_bins`` cuts the session into trials.
    """
    rng = np.random.default_rng(seed)
    clock = session_clock(0.0, bins * bin_size_s, bin_size_s=bin_size_s)
    for gap in gaps:
        clock[gap:] += 1.0
    drive = gaussian_filter1d(rng.normal(size=(bins, max(len(behavior), 2))), 5, axis=0)
    drive = (drive - drive.mean(axis=0)) / drive.std(axis=0)
    log_rate = -1 + drive @ rng.normal(size=(drive.shape[1], units)) / 2
    lfp = drive @ rng.normal(size=(drive.shape[1], channels)) + rng.normal(size=(bins, channels))
    moved = drive[:, : len(behavior)].copy()
    lfp[list(nan_lfp), :1] = np.nan
    moved[list(nan_behavior), :1] = np.nan
    return build_session(
        clock,
        bin_size_s=bin_size_s,
        subject=subject,
        session=session,
        source="tests",
        spikes=np.minimum(rng.poisson(np.exp(log_rate)), 200) if units else None,
        # bridging nothing longer than a bin keeps the NaN
        lfp=(lfp, clock) if channels else None,
        behavior=(moved, clock) if behavior else None,
        behavior_names=behavior or None,
        trial=None if trial_bins is None else np.arange(bins) // trial_bins,
        max_gap_s=1.2 * bin_size_s,
        history="made by the test factory",
        variable_attrs={"lfp": {"kind": "LFP", "units": "uV"}, "behavior": {"units": "cm/s"}},
    )
