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
_FOLDS = 5  # of trials


def usable_runs(
    session: xr.Dataset | xr.DataTree, *, variables: Sequence[str], within: np.ndarray | None = None
) -> np.ndarray:
    """Maximal stretches without a gap in time, a change of trial, or a NaN in the ``variables``, or
    for spikes a bin in which no unit was ``observed``.

    Only bins ``within`` (T,) bool, all by default. Gives (n, 2) int64 bins, start and stop
    (exclusive); a DataError when a variable is missing.

    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), [[1.0], [2.0], [3.0], [np.nan]])},
    ...     {"time": [0.0, 0.1, 0.4, 0.5]}, {"bin_size_s": 0.1})
    >>> usable_runs(session, variables=["lfp"]).tolist()
    [[0, 2], [2, 3]]
    """
    dataset = as_dataset(session)
    if missing := [name for name in variables if name not in dataset.data_vars]:
        there = ", ".join(map(str, dataset.data_vars))
        raise DataError(f"The session has no {missing[0]!r}, it has {there}: ask for one of these.")
    usable = np.full(dataset.sizes["time"], True) if within is None else within
    for name in variables:
        usable = usable & np.isfinite(dataset[name].values).all(axis=1)
        if name == "spikes" and "observed" in dataset.coords:
            usable &= dataset["observed"].transpose("time", ...).values.any(axis=1)
    edge = np.diff(dataset["time"].values) > GAP_BINS * dataset.attrs["bin_size_s"]
    if "trial" in dataset.coords:
        edge |= np.diff(dataset["trial"].values) != 0
    first = usable & np.append(True, edge | ~usable[:-1])
    last = usable & np.append(edge | ~usable[1:], True)
    return np.stack([np.flatnonzero(first), np.flatnonzero(last) + 1], axis=1)


def split_session(
    session: xr.Dataset | xr.DataTree, *, scheme: str = "blocks", window_s: float, seed: int = 0
) -> xr.DataArray:
    """Assign every bin of a session to training, validation, test, or a guard.

    - ``"blocks"``: ten contiguous blocks, 7 train, 1 val and 2 test, spread over the session and
      rotated by the seed. A guard of one window lies between different splits. It is taken from the
      train side; only where that would leave no whole window there does the other side give the
      rest.
    - ``"trials"``: whole trials (runs of one value of ``trial``), shuffled: 70 % train, 10 % val,
      20 % test. Seeds 0 to 4 test every trial once, seeds 5 to 9 do in another order. Time between
      trials (``trial`` below 0) is a guard.
    - ``"paper"``: as Erturk et al. (2025), windows of 10 s shuffled with seed 42 whatever ``seed``
      is, 10 % val and 10 % test. Neighbors in time end up in different splits, which flatters every
      score: use it only to stand beside the paper's numbers.

    Windows that will be drawn, and guards, are ``window_s`` long (seconds). Gives (time,) int8 of
    ``TRAIN`` 0, ``VAL`` 1, ``TEST`` 2, ``GUARD`` -1, with attributes ``scheme``, ``seed``,
    ``window_s``; a DataError when the session is too short or has no trials to split.

    >>> session = xr.Dataset(coords={"time": np.arange(100) * 0.1}, attrs={"bin_size_s": 0.1})
    >>> split_session(session, window_s=0.2).values[18:32].tolist()
    [-1, -1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, -1, -1]
    """
    dataset = as_dataset(session)
    length = bins_in(window_s, bin_size_s=dataset.attrs["bin_size_s"])
    if scheme not in ("blocks", "trials", "paper"):
        raise ConfigError(f"Unknown split scheme {scheme!r}; use 'blocks', 'trials' or 'paper'.")
    seed = _PAPER_SEED if scheme == "paper" else int(seed)
    if scheme == "blocks":
        codes = _blocks(dataset.sizes["time"], length, seed)
    else:
        codes = _shuffled(dataset, scheme, seed)
    attrs = {"scheme": scheme, "seed": seed, "window_s": float(window_s)}
    return xr.DataArray(codes, {"time": dataset["time"]}, "time", name="split", attrs=attrs)


def window_starts(
    session: xr.Dataset | xr.DataTree, split: xr.DataArray | None, part: str, *, length: int,
    stride: int | None = None, variables: Sequence[str],
) -> np.ndarray:  # fmt: skip
    """Starts (n,) int64, in bins, of the windows within one part and one usable run, n above 0.

    ``part`` is "train", "val", "test" of a ``split`` (:func:`split_session`), or "all", which
    ignores it. A window has ``length`` bins, all ``variables`` finite; starts are ``stride`` bins
    apart (``length`` by default). A DataError when none fits or the split is of another session.

    >>> session = xr.Dataset(coords={"time": np.arange(100) * 0.1}, attrs={"bin_size_s": 0.1})
    >>> split = split_session(session, window_s=0.4)
    >>> window_starts(session, split, "test", length=4, variables=[]).tolist()
    [20, 24, 80, 84]
    """
    dataset = as_dataset(session)
    stride = length if stride is None else stride
    if min(length, stride) < 1 or part not in (*_PARTS, "all"):
        cure = "use 'train', 'val', 'test' or 'all', and at least 1 bin."
        raise ConfigError(f"Part {part!r}, windows of {length} bins, {stride} apart: {cure}")
    bin_size_s, within = dataset.attrs["bin_size_s"], None
    if part != "all":
        if split is None or not same_clock(split["time"], dataset["time"], bin_size_s=bin_size_s):
            raise DataError("The split does not belong to this session: make it with split_session")
        within = split.values == _PARTS[part]
    runs = usable_runs(dataset, variables=variables, within=within)
    counts = np.maximum((runs[:, 1] - runs[:, 0] - length) // stride + 1, 0)
    if not counts.sum():
        free = dataset.drop_vars("trial", errors="ignore")
        free = usable_runs(free, variables=variables, within=within)
        longest, free = (int(np.diff(each).max(initial=0)) for each in (runs, free))
        cause, cure = "The session is too short for a window", "a longer session"
        if free >= length:
            cause = "Trials are shorter than a window, and no window goes over a trial's edge"
            cure = "open the session with trials=False (drop_vars('trial')), so that windows may"
        raise DataError(
            f"{cause}: a window is {length} bins ({length * bin_size_s:g} s), the longest stretch "
            f"of part {part!r} without gap, trial edge or NaN in {[*variables]} {longest} bins "
            f"({longest * bin_size_s:g} s). Take shorter windows (window_s), or {cure}."
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

    The SD is 1 where a channel is constant (SD below a millionth of its mean) or has no value at
    all (mean 0), so that z-scoring is always defined. A DataError when not one bin is used.

    >>> values = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    >>> [each.tolist() for each in channel_statistics(values, np.ones(3, dtype=bool))]
    [[2.0, 5.0], [1.0, 1.0]]
    """
    rows = np.flatnonzero(use)
    if not rows.size:
        raise DataError("No bin is used, so there is no mean; check the split or the mask.")
    # in pieces, because float64 copies of a whole session are large
    pieces = np.array_split(rows, -(-rows.size // 65536))
    count, mean, square = np.zeros((3, values.shape[1]))
    for piece in pieces:
        good = np.isfinite(values[piece])
        count += good.sum(axis=0)
        mean += np.sum(values[piece], axis=0, where=good, dtype=np.float64)
    count = np.maximum(count, 1)
    mean /= count
    for piece in pieces:
        centered = values[piece] - mean
        square += np.sum(centered**2, axis=0, where=np.isfinite(centered))
    std = np.sqrt(square / count)
    std = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    return mean.astype(np.float32), std.astype(np.float32)


def warn_trained(split: xr.DataArray, trained: xr.DataArray) -> None:
    """Warn when test time of a split was training time of the split that a model was trained on.

    Both are (time,) on one clock.
    """
    test = split.values == TEST
    leaked, count = int((test & (trained.values == TRAIN)).sum()), int(test.sum())
    if leaked:
        text = (
            f"Train and test windows overlap: {100 * leaked / count:.3g} % of the test bins "
            f"({leaked} of {count}) are time that the model was trained on, which flatters every "
            f"score. The test is of the split {split.attrs}, the model was trained on "
            f"{trained.attrs}: leave these arguments out, and the model's own split is used."
        )
        warnings.warn(text, SpikeLFPWarning, stacklevel=3)


def _blocks(total: int, length: int, seed: int) -> np.ndarray:
    """Codes of ten blocks of ``total`` bins, with guards of ``length`` bins."""
    kinds = np.roll(_BLOCKS, seed % len(_BLOCKS))
    bounds = np.linspace(0, total, len(kinds) + 1).astype(int)
    starts, stops = bounds[:-1].copy(), bounds[1:].copy()
    for left in np.flatnonzero(np.diff(kinds)):
        room, room_right = (stops - starts - length)[left : left + 2]
        train = kinds[left] == TRAIN
        from_left = min(length, room) if train else length - min(length, room_right)
        stops[left] -= from_left
        starts[left + 1] += length - from_left
    if (stops - starts < length).any():
        # a train block gives one guard, a test block what two lack: a block is 5/3 windows at least
        what = f"The session is too short to split into {len(kinds)} blocks: it has {total} bins"
        need = f"and windows of {length} need about {-(-50 * length // 3)} (17 windows)"
        raise DataError(f"{what}, {need}. Take shorter windows (window_s) or a longer session.")
    codes = np.full(total, GUARD, np.int8)
    for kind, start, stop in zip(kinds, starts, stops, strict=True):
        codes[start:stop] = kind
    return codes


def _shuffled(dataset: xr.Dataset, scheme: str, seed: int) -> np.ndarray:
    """Codes of whole trials, a fold of five by the seed, or of the paper's shuffled windows."""
    if scheme == "paper":
        block = bins_in(_PAPER_WINDOW_S, bin_size_s=dataset.attrs["bin_size_s"])
        number = np.arange(dataset.sizes["time"]) // block
        guard, test_share, what = number == number.size // block, 0.1, "windows of 10 s"
    elif "trial" in dataset.coords:
        trial = dataset["trial"].values
        number = np.cumsum((trial >= 0) & np.append(True, np.diff(trial) != 0)) - 1
        guard, test_share, what = trial < 0, 0.2, "trials"
    else:
        cure = "add it with assign_coords(trial=('time', numbers)), or use scheme 'blocks'."
        raise DataError(f"scheme 'trials' needs the coordinate 'trial': {cure}")
    count = int(number[~guard].max(initial=-1)) + 1
    n_val, n_test = (max(round(share * count), 1) for share in (0.1, test_share))
    if count < n_val + n_test + 1:
        cure = "at least 3 are needed. Take a longer session, or scheme 'blocks'."
        raise DataError(f"The session is too short to split: it has {count} {what}, and {cure}")
    parts = np.full(count + 1, TRAIN, np.int8)
    fold = seed % _FOLDS if scheme == "trials" else 0
    order = np.random.default_rng(seed - fold).permutation(count)
    if scheme == "trials":
        start, stop = (round(at * count / _FOLDS) for at in (fold, fold + 1))
        order, n_test = np.roll(order, n_val - start), max(stop - start, 1)
    parts[order[:n_val]] = VAL
    parts[order[n_val : n_val + n_test]] = TEST
    return np.where(guard, np.int8(GUARD), parts[number])
