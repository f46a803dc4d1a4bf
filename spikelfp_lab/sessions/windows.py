"""Usable stretches of a session, its splits, and the windows that lie within both."""

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions.schema import GAP_BINS, as_dataset, same_clock

TRAIN, VAL, TEST, GUARD = 0, 1, 2, -1
_PARTS = {"train": TRAIN, "val": VAL, "test": TEST}

# Ten blocks, 7 train, 1 val, 2 test. Every val and test block has train on both sides, so that
# the guards can always be taken from the split with most data; the gaps of 3, 3 and 4 blocks
# between them spread them over a session however the pattern is rotated.
_BLOCKS = (TRAIN, TRAIN, TEST, TRAIN, TRAIN, VAL, TRAIN, TRAIN, TEST, TRAIN)

_PAPER_WINDOW_S, _PAPER_SEED = 10.0, 42


def usable_runs(session: xr.Dataset | xr.DataTree, *, variables: Sequence[str]) -> np.ndarray:
    """Maximal stretches without a gap in time, a change of trial, or a NaN.

    ``variables`` are those that must be finite, as in ``("lfp", "behavior")``; may be empty. Gives
    (n, 2) int64 bins, start and stop (exclusive); a DataError when the session lacks a variable.

    >>> time = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    >>> lfp = np.array([[1.0], [2.0], [3.0], [4.0], [np.nan]])
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)}, {"time": time}, {"bin_size_s": 0.1})
    >>> usable_runs(session, variables=["lfp"]).tolist()
    [[0, 3], [3, 4]]
    """
    dataset = as_dataset(session)
    return _runs(_usable(dataset, variables), _edges(dataset))


def split_session(
    session: xr.Dataset | xr.DataTree, *, scheme: str = "blocks", window_s: float, seed: int = 0
) -> xr.DataArray:
    """Assign every bin of a session to training, validation, test, or a guard.

    ``"blocks"``
        Ten contiguous blocks, 7 train, 1 val and 2 test, spread over the session and rotated by
        the seed. A guard of one window lies between different splits. It is taken from the train
        side; only where that would leave no whole window there does the other side give the rest.
    ``"trials"``
        Whole trials (runs of one value of ``trial``), shuffled by the seed: 70 % train, 10 %
        val, 20 % test. Time between trials (``trial`` below 0) is a guard; trials that follow each
        other without a pause have none.
    ``"paper"``
        The protocol of Erturk et al. (2025): windows of 10 s, shuffled with seed 42 whatever
        ``seed`` is, 10 % val and 10 % test. Neighbors in time end up in different splits, which
        flatters every score: use it only to stand beside the paper's numbers.

    ``window_s`` is the length of the windows that will be drawn, and of a guard, in seconds. Gives
    (time,) int8 of ``TRAIN`` 0, ``VAL`` 1, ``TEST`` 2 and ``GUARD`` -1, with attributes ``scheme``,
    ``seed`` and ``window_s``. A DataError when the session is too short or has no trials to split;
    a ConfigError for another scheme, or a window that is not longer than 0 s.

    >>> time = np.arange(100) * 0.1
    >>> session = xr.Dataset(coords={"time": time}, attrs={"bin_size_s": 0.1})
    >>> split = split_session(session, window_s=0.2)
    >>> split.values[18:32].tolist()
    [-1, -1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, -1, -1]
    """
    dataset = as_dataset(session)
    length = bins_in(window_s, bin_size_s=dataset.attrs["bin_size_s"])
    if scheme == "blocks":
        codes = _split_blocks(dataset, length, seed)
    elif scheme == "trials":
        codes = _split_trials(dataset, seed)
    elif scheme == "paper":
        seed = _PAPER_SEED
        codes = _split_paper(dataset, length)
    else:
        raise ConfigError(f"Unknown split scheme {scheme!r}; use 'blocks', 'trials' or 'paper'.")
    return xr.DataArray(
        codes,
        dims="time",
        coords={"time": dataset["time"]},
        name="split",
        attrs={"scheme": scheme, "seed": int(seed), "window_s": float(window_s)},
    )


def window_starts(
    session: xr.Dataset | xr.DataTree,
    split: xr.DataArray | None,
    part: str,
    *,
    length: int,
    stride: int | None = None,
    variables: Sequence[str],
) -> np.ndarray:
    """Starts of the windows that lie wholly within one part and one usable run.

    ``part`` is "train", "val", "test" of a ``split`` (:func:`split_session`), or "all", which
    ignores it. A window has ``length`` bins, all ``variables`` finite; starts are ``stride`` bins
    apart (``length`` by default). Gives (n,) int64 bins, increasing, n at least 1. A DataError when
    no window fits or the split is of another session; a ConfigError for another part, or a length
    or stride below 1.

    >>> session = xr.Dataset(
    ...     coords={"time": np.arange(100) * 0.1}, attrs={"bin_size_s": 0.1})
    >>> split = split_session(session, window_s=0.4)
    >>> window_starts(session, split, "test", length=4, variables=[]).tolist()
    [20, 24, 80, 84]
    """
    dataset = as_dataset(session)
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ConfigError(f"length is {length} and stride {stride}; both must be at least 1 bin.")
    usable, bin_size_s = _usable(dataset, variables), dataset.attrs["bin_size_s"]
    if part != "all":
        if part not in _PARTS:
            raise ConfigError(f"Unknown part {part!r}; use 'train', 'val', 'test' or 'all'.")
        if split is None or not same_clock(split["time"], dataset["time"], bin_size_s=bin_size_s):
            raise DataError(
                "The split does not belong to this session: its clock differs. "
                "Make it with split_session(session, ...)."
            )
        usable &= split.values == _PARTS[part]
    runs = _runs(usable, _edges(dataset))
    counts = np.maximum((runs[:, 1] - runs[:, 0] - length) // stride + 1, 0)
    if not counts.sum():
        longest = int(np.diff(runs).max(initial=0))
        where = "the session" if part == "all" else f"the {part} part of the session"
        needs = f" with finite {', '.join(variables)}" if len(variables) else ""
        without = np.diff(_runs(usable, _edges(dataset, trials=False))).max(initial=0)
        cause, cure = "The session is too short for a window", "a longer session"
        if without >= length:
            cause = "Trials are shorter than a window, and no window goes over a trial's edge"
            cure = "open the session with trials=False (drop_vars('trial')), so that windows may"
        raise DataError(
            f"{cause}: a window is {length} bins ({length * bin_size_s:g} s), "
            f"but the longest stretch{needs} in {where}, without gap or trial edge, is {longest} "
            f"bins ({longest * bin_size_s:g} s). Take shorter windows (window_s), or {cure}."
        )
    # the k-th start of each run, for all runs at once: a session may have thousands of trials
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(runs[:, 0], counts) + nth * stride


def bins_in(seconds: float, *, bin_size_s: float) -> int:
    """Whole bins in a duration of ``seconds`` above 0 (else a ConfigError), rounded, at least 1.

    >>> bins_in(2.0, bin_size_s=0.02)
    100
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"A window of {seconds} s is not possible; give a length above 0 s.")
    return max(round(seconds / bin_size_s), 1)


def channel_statistics(values: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (C,) float32 of values (T, C) over the bins to ``use`` (T,) bool, NaN left out.

    A channel that is constant there (SD below a millionth of its mean) or has no value at all gets
    an SD of 1, and mean 0 in the latter case, so that z-scoring is always defined. A DataError when
    not one bin is used, or the shapes do not fit.

    >>> values = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    >>> mean, std = channel_statistics(values, np.ones(3, dtype=bool))
    >>> mean.tolist(), std.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    values, use = np.asarray(values), np.asarray(use)
    if values.ndim != 2 or use.shape != values.shape[:1] or use.dtype != bool:
        raise DataError(
            f"values has shape {values.shape} and use {use.dtype} {use.shape}; "
            "give (T, C) and (T,) bool."
        )
    if not use.any():
        raise DataError("No bin is used, so there is no mean; check the split or the mask.")
    # in pieces, because float64 copies of a whole session are large
    pieces = np.array_split(np.flatnonzero(use), -(-int(use.sum()) // 65536))
    count, mean = np.zeros((2, values.shape[1]))
    for piece in pieces:
        good = np.isfinite(values[piece])
        count += good.sum(axis=0)
        mean += np.sum(values[piece], axis=0, where=good, dtype=np.float64)
    count = np.maximum(count, 1)
    mean /= count
    square = np.zeros_like(mean)
    for piece in pieces:
        centered = values[piece] - mean
        square += np.sum(centered**2, axis=0, where=np.isfinite(centered))
    std = np.sqrt(square / count)
    std = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def _usable(dataset: xr.Dataset, variables: Sequence[str]) -> np.ndarray:
    """(T,) bool: every one of the variables is finite in the bin."""
    usable = np.ones(dataset.sizes["time"], dtype=bool)
    for name in variables:
        if name not in dataset.data_vars:
            raise DataError(
                f"The session has no {name!r}, it has {', '.join(map(str, dataset.data_vars))}. "
                "Ask for one of these, or add the variable."
            )
        values = dataset[name].values
        if values.dtype.kind != "f":
            continue
        # one pass instead of a mask as large as the data: a sum is finite only if all terms are;
        # the rare others are looked at again, since large finite values may overflow it
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = np.flatnonzero(~np.isfinite(values.sum(axis=1)))
        usable[suspect] &= np.isfinite(values[suspect]).all(axis=1)
    return usable


def _edges(dataset: xr.Dataset, *, trials: bool = True) -> np.ndarray:
    """(T,) bool: a gap or a change of trial lies just before the bin (True for the first)."""
    edges = np.ones(dataset.sizes["time"], dtype=bool)
    edges[1:] = np.diff(dataset["time"].values) > GAP_BINS * dataset.attrs["bin_size_s"]
    if trials and "trial" in dataset.coords:
        trial = dataset["trial"].values
        edges[1:] |= trial[1:] != trial[:-1]
    return edges


def _runs(usable: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Maximal runs of usable bins without an edge inside -> (n, 2) start, stop."""
    before = np.concatenate([[False], usable[:-1]])
    after = np.concatenate([usable[1:], [False]])
    edge_after = np.concatenate([edges[1:], [True]])
    starts = np.flatnonzero(usable & (~before | edges))
    stops = np.flatnonzero(usable & (~after | edge_after)) + 1
    return np.stack([starts, stops], axis=1).astype(np.int64)


def _split_blocks(dataset: xr.Dataset, length: int, seed: int) -> np.ndarray:
    total = dataset.sizes["time"]
    kinds = np.roll(_BLOCKS, seed % len(_BLOCKS))
    bounds = np.linspace(0, total, len(kinds) + 1).astype(int)
    starts, stops = bounds[:-1].copy(), bounds[1:].copy()
    fits = bool((stops - starts >= length).all())
    for left in np.flatnonzero(kinds[1:] != kinds[:-1]):
        right = left + 1
        room_left = stops[left] - starts[left] - length
        room_right = stops[right] - starts[right] - length
        fits = fits and room_left + room_right >= length
        if not fits:
            break
        if kinds[left] == TRAIN:
            from_left = min(length, room_left)
        else:
            from_left = length - min(length, room_right)
        stops[left] -= from_left
        starts[right] += length - from_left
    if not fits:
        # a train block gives one guard, a test block what two lack: a block is 5/3 windows at least
        needed = -(-5 * length * len(kinds) // 3)
        raise DataError(
            f"The session is too short to split into {len(kinds)} blocks: a window is {length} "
            f"bins, the whole session {total}. 'blocks' needs about {needed} bins (17 windows), "
            "guards included. Take shorter windows or a longer session."
        )
    codes = np.full(total, GUARD, dtype=np.int8)
    for kind, start, stop in zip(kinds, starts, stops, strict=True):
        codes[start:stop] = kind
    return codes


def _split_trials(dataset: xr.Dataset, seed: int) -> np.ndarray:
    if "trial" not in dataset.coords:
        raise DataError(
            "scheme 'trials' needs the coordinate 'trial' (time,), which the session lacks. "
            "Add it with assign_coords(trial=('time', numbers)), or use scheme 'blocks'."
        )
    trial = dataset["trial"].values
    inside = trial >= 0
    starts = inside & (np.concatenate([[True], trial[1:] != trial[:-1]]))
    number = np.cumsum(starts)
    parts = _shuffled_parts(int(number[-1]), 0.1, 0.2, seed, "trials")
    return np.where(inside, parts[np.maximum(number, 1) - 1], GUARD).astype(np.int8)


def _split_paper(dataset: xr.Dataset, length: int) -> np.ndarray:
    block = bins_in(_PAPER_WINDOW_S, bin_size_s=dataset.attrs["bin_size_s"])
    if length > block:
        raise DataError(
            f"A window of {length} bins does not fit in the paper's windows of 10 s ({block} "
            "bins). Take a window of at most 10 s, or scheme 'blocks'."
        )
    total = dataset.sizes["time"]
    parts = _shuffled_parts(total // block, 0.1, 0.1, _PAPER_SEED, "windows of 10 s")
    codes = np.full(total, GUARD, dtype=np.int8)
    codes[: parts.size * block] = np.repeat(parts, block)
    return codes


def _shuffled_parts(count: int, val: float, test: float, seed: int, what: str) -> np.ndarray:
    """(count,) int8 codes in random order; at least one of each part."""
    n_val, n_test = (max(round(share * count), 1) for share in (val, test))
    if count < n_val + n_test + 1:
        raise DataError(
            f"The session is too short to split: it has {count} {what}, and at least 3 are "
            "needed. Take a longer session, or scheme 'blocks'."
        )
    codes = np.full(count, TRAIN, dtype=np.int8)
    order = np.random.default_rng(seed).permutation(count)
    codes[order[:n_val]] = VAL
    codes[order[n_val : n_val + n_test]] = TEST
    return codes


def warn_trained(split: xr.DataArray, trained: xr.DataArray) -> float:
    """Warn when test time of a split was training time of the split that a model was trained on.

    Both are (time,) on one clock, as from :func:`split_session`. Gives the share of the test bins
    that were trained on; a SpikeLFPWarning tells it, and both splits, when it is not 0.

    >>> trained = xr.DataArray([0, 0, -1, 2, 2], dims="time", attrs={"scheme": "blocks"})
    >>> warn_trained(trained, trained)
    0.0
    """
    test = split.values == TEST
    leaked = int((test & (trained.values == TRAIN)).sum())
    if leaked:
        keys = ("scheme", "window_s", "seed")
        one, other = (
            ", ".join(f"{key}={each.attrs[key]!r}" for key in keys if key in each.attrs)
            for each in (split, trained)
        )
        warnings.warn(
            f"Train and test windows overlap: {100 * leaked / test.sum():.3g} % of the test bins "
            f"({leaked} of {test.sum()}) are time that the model was trained on, which flatters "
            f"every score. The test is of the split {one}, the model was trained on {other}: leave "
            "these arguments out, and the model's own split is used.",
            SpikeLFPWarning,
            stacklevel=3,
        )
    return leaked / max(int(test.sum()), 1)
