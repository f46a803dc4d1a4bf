"""Test time that a model was trained on."""

import warnings

import xarray as xr

from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.sessions.windows import TEST, TRAIN


def warn_trained(split: xr.DataArray, trained: xr.DataArray) -> float:
    """Warn when test time of a split was training time of the split that a model was trained on.

    Parameters
    ----------
    split, trained : xr.DataArray
        (time,), as from :func:`spikelfp_lab.sessions.split_session`, on one clock.

    Returns
    -------
    float
        Share of the test bins that were trained on.

    Warns
    -----
    SpikeLFPWarning
        With the share, and both splits.

    Examples
    --------
    >>> trained = xr.DataArray([0, 0, -1, 2, 2], dims="time", attrs={"scheme": "blocks"})
    >>> warn_trained(trained, trained)
    0.0
    """
    test = split.values == TEST
    leaked = test & (trained.values == TRAIN)
    share = float(leaked.sum() / max(test.sum(), 1))
    if share:
        one, other = (
            ", ".join(f"{key}={each.attrs[key]!r}" for key in ("scheme", "window_s", "seed") if key in each.attrs)
            for each in (split, trained)
        )  # fmt: skip
        warnings.warn(
            f"Train and test windows overlap: {100 * share:.3g} % of the test bins "
            f"({int(leaked.sum())} of {int(test.sum())}) are time that the model was trained on, "
            f"which flatters every score. The test is of the split {one}, the model was trained on "
            f"{other}: leave these arguments out, and the model's own split is used.",
            SpikeLFPWarning,
            stacklevel=3,
        )
    return share
