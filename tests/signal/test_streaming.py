"""Streaming filters: what comes out does not depend on the pieces that went in."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from spikelfp_lab.signal.streaming import Bridge, Chain, design_chain, mirrored, missing_at

BAND_HZ = (0.05, 50.0)


def _pieces(rows, cuts):
    edges = [0, *sorted(set(cuts)), len(rows)]
    return [rows[a:b] for a, b in pairwise(edges) if b > a]


def _through(design, pieces, positions):
    chain, parts, done = Chain(design, first_row=0), [], 0
    for piece in pieces:
        chain.push(piece)
        ready = int(np.searchsorted(positions, chain.end))
        parts.append(chain.take(positions[done:ready]))
        done = ready
        chain.forget_before(positions[done] if done < positions.size else chain.end)
    return np.concatenate(parts)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 5999), max_size=12),
    step=st.floats(5.0, 40.0),
    causal=st.booleans(),
)
def test_pieces_do_not_matter(cuts, step, causal):
    design = design_chain(2000.0, band_hz=BAND_HZ, line_hz=60.0, causal=causal)
    rows = np.random.default_rng(0).standard_normal((6000, 2)) + 100
    positions = np.arange(2 * design.reach, 6000 - design.reach, step)
    whole = _through(design, [rows], positions)
    assert whole.shape == (positions.size, 2)
    np.testing.assert_allclose(
        _through(design, _pieces(rows, cuts), positions), whole, atol=1e-5 * whole.std()
    )


def test_the_chain_is_the_convolution_it_says():
    design = design_chain(2000.0, band_hz=BAND_HZ, line_hz=50.0)
    rows = np.random.default_rng(1).standard_normal((12_000, 1))
    positions = np.arange(4000.0, 8000.0, 7.3)
    centered = rows[:, 0] - rows[0, 0]
    first = design.taps.size // 2
    inner = np.convolve(centered, design.taps, mode="same")[first :: design.factor]
    at = first + np.arange(inner.size) * design.factor
    grid = np.arange(design.kernel.size) / (design.kernel.size - 1) * design.half
    expected = [
        np.interp(np.abs(p - at) / design.factor, grid, design.kernel, right=0.0) @ inner
        for p in positions
    ]
    found = _through(design, [rows], positions)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [500.0, 2000.0, 24414.0625, 30_000.0])
def test_the_decimation_lets_nothing_alias_into_the_band(rate_hz):
    design = design_chain(rate_hz, band_hz=BAND_HZ, line_hz=None)
    hz, gain = signal.freqz(design.taps, worN=20_000, fs=rate_hz)
    aliased = np.abs(gain[hz > rate_hz / design.factor - 55])
    assert design.factor == 1 or 20 * np.log10(aliased.max()) < -75
    assert np.abs(20 * np.log10(np.abs(gain[hz < 55]))).max() < 0.01


def test_forgetting_bounds_what_is_kept():
    design = design_chain(2000.0, band_hz=BAND_HZ, line_hz=60.0)
    chain = Chain(design, first_row=0)
    for _ in range(50):
        chain.push(np.zeros((1000, 1)))
        chain.forget_before(chain.end)
    assert len(chain._inner) <= 2 * design.half + 2
    assert len(chain._buffer) < 1000 + design.taps.size + design.factor


_holes = st.lists(st.tuples(st.integers(0, 119), st.integers(1, 40)), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    holes=_holes, cuts=st.lists(st.integers(1, 119), max_size=8), reach=st.sampled_from([0, 3, 10])
)
def test_bridging_does_not_depend_on_the_pieces(holes, cuts, reach):
    rows = np.random.default_rng(2).standard_normal((120, 2))
    for start, length in holes:
        rows[start : start + length, 0] = np.nan
    whole, runs = Bridge(reach).push(rows, last=True)
    assert np.isfinite(whole).all()
    there = np.isfinite(rows)
    np.testing.assert_array_equal(whole[there], rows[there])

    bridge, given, missing = Bridge(reach), [], np.zeros((120, 2), bool)
    pieces = _pieces(rows, cuts)
    for piece in pieces:
        settled, piece_runs = bridge.push(piece, last=piece is pieces[-1])
        given.append(settled)
        for channel, start, stop in piece_runs:
            missing[start:stop, channel] = True
    np.testing.assert_allclose(np.concatenate(given), whole, atol=1e-12)
    np.testing.assert_array_equal(missing, ~there)
    assert sum(stop - start for _, start, stop in runs) == (~there).sum()


def test_a_short_run_is_a_line_and_a_long_one_holds_either_side():
    rows = np.concatenate([[1.0], np.full(3, np.nan), [5.0], np.full(9, np.nan), [8.0]])[:, None]
    filled, _ = Bridge(reach=3).push(rows, last=True)
    assert filled.ravel().tolist() == [1, 2, 3, 4, 5, *[5] * 6, *[8] * 3, 8]
    held, _ = Bridge(reach=0).push(rows)
    assert held.ravel().tolist() == [*[1] * 4, *[5] * 10, 8]


def test_infinity_is_missing_too_and_whole_rows_are_not_copied():
    rows = np.ones((5, 1))
    assert Bridge(2).push(rows)[0] is rows
    rows[2] = np.inf
    filled, runs = Bridge(2).push(rows, last=True)
    assert filled.ravel().tolist() == [1.0] * 5 and runs.tolist() == [[0, 2, 3]]


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(1, 39), max_size=8), reach=st.integers(0, 30))
def test_mirroring_is_that_of_numpy(cuts, reach):
    rows = np.arange(40.0)[:, None]
    expected = np.pad(rows, ((reach, reach), (0, 0)), mode="reflect")
    found = np.concatenate(list(mirrored(_pieces(rows, cuts), reach)))
    np.testing.assert_array_equal(found, expected)


def test_results_near_a_missing_row_are_found():
    missing = missing_at(np.array([[1, 10, 12], [0, 25, 26]]), np.arange(0.0, 50, 5), 2, 2.5)
    assert np.argwhere(missing).tolist() == [[2, 1], [5, 0]]
