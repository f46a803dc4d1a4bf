"""Checks of what the broadband chain is given, offline and online: one clear error for each."""

from typing import Any, Literal

import numpy as np

from spikelfp_lab.errors import ConfigError, DataError

Reference = Literal["car", "none", "bipolar"]


def checked_data(
    data: Any, channels: Any, *, what: str = "broadband_to_lfp"
) -> tuple[Any, np.ndarray]:
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        data = np.asarray(data)
    if len(data.shape) != 2 or 0 in data.shape:
        raise DataError(
            f"{what} needs samples by channels, (n, C), and got data of shape {tuple(data.shape)}."
            " Give a single channel as data[:, None]."
        )
    if np.dtype(data.dtype).kind not in "iuf":
        raise DataError(
            f"{what} needs whole or real numbers, and got data of type {data.dtype}. An object "
            "array often holds references or rows of unequal length: read the values themselves."
        )
    columns = np.arange(data.shape[1])
    if channels is not None:
        try:
            columns = np.atleast_1d(columns[channels])
        except IndexError as error:
            raise DataError(
                f"channels {channels} do not fit data of {data.shape[1]} channels ({error})."
            ) from error
        if columns.ndim != 1 or not columns.size:
            raise DataError(f"channels {channels} chooses no channel of {data.shape[1]}.")
    return data, columns


def checked_scale(scale: float | np.ndarray, n_channels: int) -> np.ndarray:
    values = np.asarray(scale, np.float32)
    if values.shape not in ((), (1,), (n_channels,)) or not np.isfinite(values).all():
        raise DataError(
            f"scale has shape {values.shape} for {n_channels} channels, or is not finite: give one "
            "number, or one for each channel of the data."
        )
    return np.broadcast_to(values, n_channels)


def check_reference(reference: str, n_channels: int) -> None:
    if reference not in ("car", "none", "bipolar"):
        raise ConfigError(f"No reference {reference!r}. There are: car, none, bipolar.")
    if n_channels < (1 if reference == "none" else 2):
        raise DataError(
            f"The reference {reference!r} of {n_channels} channel(s) leaves nothing: give two or "
            "more, or reference='none'."
        )


def checked_band(
    band_hz: tuple[float, float],
    *,
    rate_hz: float,
    to_rate_hz: float,
    line_hz: float | None,
    causal: bool,
) -> tuple[float, float]:
    """The band with its upper edge at most half of the new rate."""
    if line_hz is not None and not line_hz > 1:
        raise DataError(f"line_hz is {line_hz}: give the mains frequency, 50 or 60, or None.")
    if not 0 < to_rate_hz < rate_hz:
        raise DataError(
            f"Broadband cannot go from {rate_hz:g} Hz to {to_rate_hz:g} Hz: the new rate must be "
            "positive and lower than the raw one. Check rate_hz (and that timestamps are in "
            "seconds), or lower to_rate_hz."
        )
    low, high = band_hz[0], min(band_hz[1], to_rate_hz / 2)
    if not 0 < low < high:
        raise DataError(
            f"band_hz {tuple(band_hz)} is no pass band at {to_rate_hz:g} Hz: it needs 0 < lower edge "
            f"< upper edge, and a lower edge below {to_rate_hz / 2:g} Hz."
        )
    if causal and rate_hz < 4 * high:
        raise DataError(
            f"A causal band up to {high:g} Hz needs a raw rate of at least {4 * high:g} Hz, not "
            f"{rate_hz:g} Hz. Lower the band, or leave out causal."
        )
    return low, high
