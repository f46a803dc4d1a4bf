"""Alignment measures: known values, invariances, chance, and recovery of a shared signal."""

import numpy as np
import pytest
import xarray as xr
from scipy import spatial, stats

from spikelfp_lab.analysis import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.errors import DataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pair(rng):
    """Two noisy views of the same six latents, of unequal variance."""
    truth = rng.normal(size=(2000, 6)) * np.geomspace(1, 4, 6)
    return truth + rng.normal(size=truth.shape) * 0.3, truth + rng.normal(size=truth.shape) * 0.3


def distance(a, b):
    return procrustes(a, b).distance


@pytest.mark.parametrize("measure", [linear_cka, cca, distance])
def test_rotation_scale_and_shift_change_nothing_and_nan_is_left_out(measure, pair):
    a, b = pair
    rotation = stats.ortho_group.rvs(6, random_state=1)
    assert measure(7 * a @ rotation - 40, b) == pytest.approx(measure(a, b), abs=1e-9)
    assert measure(b, a) == pytest.approx(measure(a, b), abs=1e-9)
    holes = np.where(np.arange(2000)[:, None] < 11, np.nan, a)
    assert measure(holes, b) == pytest.approx(measure(a[11:], b[11:]))


def test_only_cca_ignores_any_invertible_map(pair, rng):
    a, b = pair
    mixed = a @ rng.normal(size=(6, 6))
    assert cca(mixed, b) == pytest.approx(cca(a, b), abs=1e-9)
    assert linear_cka(mixed, b) < linear_cka(a, b) - 0.01
    assert distance(mixed, b) > distance(a, b) + 0.01


def test_known_values(pair):
    a, b = np.eye(4)[:, :1], np.eye(4)[:, 1:2]  # correlation -1/3
    assert linear_cka(a, b) == pytest.approx(1 / 9)
    assert cca(a, b) == pytest.approx(1 / 3) and cca(np.hstack([a, b]), a) == pytest.approx(1)
    assert distance(a, b) == pytest.approx(1 - 1 / 9)
    assert distance(*pair) == pytest.approx(spatial.procrustes(pair[1], pair[0])[2])


def test_procrustes_undoes_a_motion_and_keeps_nan_and_type(pair):
    b = xr.DataArray(pair[1], {"time": np.arange(2000) * 0.01}, ("time", "latent"))
    moved = 0.1 * b.values @ stats.ortho_group.rvs(6, random_state=2) + 3
    aligned, apart = procrustes(b.copy(data=moved).where(b["time"] > 0.1).T, b)
    assert aligned.dims == ("time", "latent") and apart == pytest.approx(0, abs=1e-9)
    assert int(aligned.isnull().all("latent").sum()) == 11
    np.testing.assert_allclose(aligned[11:], b[11:], atol=1e-9)


def test_unrelated_latents_are_at_chance_with_or_without_an_offset(rng):
    for offset in (0, 100):
        a, b = rng.normal(size=(2, 5000, 8)) + offset
        assert linear_cka(a, b) < 0.01
        assert cca(a, b) < 0.05
        assert distance(a, b) > 0.99
        result = retrieval(a, b, n_candidates=50, spacing=1)
        assert result.n == 5000
        # within four standard deviations of chance
        assert abs(result.accuracy - 0.02) < 4 * np.sqrt(0.02 * 0.98 / 5000)


def test_shared_signal_is_found(pair, rng):
    a, b = pair
    assert linear_cka(a, b) > 0.95
    assert 0.9 < cca(a, b) < 0.99
    assert distance(a, b) < 0.05
    assert retrieval(a, b).accuracy > 0.9
    # the leading components regularize cca
    shared = rng.normal(size=(120, 2)) * 10
    a, b = (shared @ rng.normal(size=(2, 40)) + rng.normal(size=(120, 40)) for _ in range(2))
    assert cca(a, b, n_components=2) > 0.95
    null = rng.normal(size=(120, 40))
    assert cca(a, null, n_components=2) < 0.4 < cca(a, null)


def test_errors_name_the_cure(pair):
    a, b = pair
    one, other = (xr.DataArray(x, {"time": np.arange(2000.0)}, ("time", "latent")) for x in pair)
    for measure, first, second, options, problem in (
        (cca, one, other.assign_coords(time=one["time"] + 1), {}, "same time steps"),
        (procrustes, a, b[:, :5], {}, "as many"),
        (linear_cka, np.ones_like(a), b, {}, "constant"),
        (cca, a[:10], b[:10], {}, "time steps cannot tell"),
        (retrieval, a, b, {"n_candidates": 500}, "not enough"),
    ):
        with pytest.raises(DataError, match=problem):
            measure(first, second, **options)
