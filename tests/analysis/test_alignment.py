"""Alignment measures: known values, invariances, chance, and recovery of a shared signal."""

import numpy as np
import pytest
import xarray as xr
from scipy import spatial, stats

from spikelfp_lab.analysis import cca, linear_cka, procrustes, retrieval
from spikelfp_lab.errors import ConfigError, DataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pair(rng):
    """Two noisy views of the same six latents, of unequal variance."""
    truth = rng.normal(size=(2000, 6)) * np.geomspace(1, 4, 6)
    return truth + rng.normal(size=truth.shape) * 0.3, truth + rng.normal(size=truth.shape) * 0.3


MEASURES = {
    "cka": linear_cka,
    "cca": cca,
    "procrustes": lambda a, b: procrustes(a, b).distance,
}


@pytest.mark.parametrize("name", MEASURES)
def test_rotation_scale_and_shift_change_nothing(name, pair, rng):
    measure, (a, b) = MEASURES[name], pair
    rotation = stats.ortho_group.rvs(6, random_state=1)
    assert measure(7 * a @ rotation - 40, b) == pytest.approx(measure(a, b), abs=1e-9)
    assert measure(b, a) == pytest.approx(measure(a, b), abs=1e-9)


def test_only_cca_ignores_any_invertible_map(pair, rng):
    a, b = pair
    mixed = a @ rng.normal(size=(6, 6))
    assert cca(mixed, b) == pytest.approx(cca(a, b), abs=1e-9)
    assert linear_cka(mixed, b) < linear_cka(a, b) - 0.01
    assert procrustes(mixed, b).distance > procrustes(a, b).distance + 0.01


def test_known_values():
    a, b = np.eye(4)[:, :1], np.eye(4)[:, 1:2]  # correlation -1/3
    assert linear_cka(a, b) == pytest.approx(1 / 9)
    assert cca(a, b) == pytest.approx(1 / 3)
    assert procrustes(a, b).distance == pytest.approx(1 - 1 / 9)
    both = np.hstack([a, b])
    assert cca(both, a) == pytest.approx(1)
    assert retrieval(np.tile(both, (10, 1)), np.tile(-both, (10, 1)), n_candidates=4).accuracy == 0


def test_procrustes_is_scipys_and_undoes_a_motion(pair):
    a, b = pair
    assert procrustes(a, b).distance == pytest.approx(spatial.procrustes(b, a)[2])
    aligned, distance = procrustes(0.1 * b @ stats.ortho_group.rvs(6, random_state=2) + 3, b)
    np.testing.assert_allclose(aligned, b, atol=1e-9)
    assert distance == pytest.approx(0, abs=1e-9)


def test_unrelated_latents_are_at_chance(rng):
    a, b = rng.normal(size=(2, 5000, 8))
    assert linear_cka(a, b) < 0.01
    assert cca(a, b) < 0.05
    assert procrustes(a, b).distance > 0.99
    result = retrieval(a, b, n_candidates=50, spacing=1)
    assert result.n == 5000
    # within four standard deviations of chance
    assert abs(result.accuracy - 0.02) < 4 * np.sqrt(0.02 * 0.98 / 5000)


def test_shared_signal_is_found(pair):
    a, b = pair
    assert linear_cka(a, b) > 0.95
    assert 0.9 < cca(a, b) < 0.99
    assert procrustes(a, b).distance < 0.05
    assert retrieval(a, b).accuracy > 0.9


def test_a_constant_offset_is_no_alignment(rng):
    a, b = rng.normal(size=(2, 3000, 8)) + 100
    assert linear_cka(a, b) < 0.01
    assert retrieval(a, b, n_candidates=20).accuracy < 0.15


def test_principal_components_regularize_cca(rng):
    shared = rng.normal(size=(120, 2)) * 10
    a, b = (shared @ rng.normal(size=(2, 40)) + rng.normal(size=(120, 40)) for _ in range(2))
    assert cca(a, b, n_components=2) > 0.95
    null = rng.normal(size=(120, 40))
    assert cca(a, null, n_components=2) < 0.4 < cca(a, null)


def test_spacing_keeps_neighbors_out(rng):
    slow = np.cumsum(rng.normal(size=(20_000, 4)), axis=0)
    late = np.roll(slow, 3, axis=0)
    near = retrieval(slow, late, n_candidates=50, spacing=1).accuracy
    apart = retrieval(slow, late, n_candidates=50, spacing=100).accuracy
    assert apart > near
    assert retrieval(slow, late, seed=1) == retrieval(slow, late, seed=1)


def test_nan_steps_are_left_out_of_both_and_stay_in_the_copy(pair):
    a, b = (
        xr.DataArray(x, dims=("time", "latent"), coords={"time": np.arange(2000) * 0.01})
        for x in pair
    )
    holes = a.where(a["time"] > 0.1)
    for measure in MEASURES.values():
        assert measure(holes, b) == pytest.approx(measure(a[11:], b[11:]))
    aligned = procrustes(holes.T, b).aligned
    assert aligned.dims == ("time", "latent")
    assert int(aligned.isnull().all("latent").sum()) == 11
    assert retrieval(holes, b, n_candidates=50).n == 150


def test_errors_name_the_cure(pair):
    a, b = pair
    with pytest.raises(DataError, match="same time steps"):
        linear_cka(a, b[:-1])
    time = {"time": np.arange(2000.0)}
    one, other = (xr.DataArray(x, dims=("time", "latent"), coords=time) for x in pair)
    with pytest.raises(DataError, match="same time steps"):
        cca(one, other.assign_coords(time=time["time"] + 1))
    for measure in (procrustes, retrieval):
        with pytest.raises(DataError, match="6 and 5 latents"):
            measure(a, b[:, :5])
    with pytest.raises(DataError, match="first latents are constant"):
        linear_cka(np.ones_like(a), b)
    with pytest.raises(DataError, match="no NaN"):
        linear_cka(np.full_like(a, np.nan), b)
    with pytest.raises(DataError, match="time steps cannot tell"):
        cca(a[:10], b[:10])
    with pytest.raises(DataError, match="candidates"):
        retrieval(a, b, n_candidates=500)
    with pytest.raises(DataError, match="shape"):
        linear_cka(a[:, 0], b)
    with pytest.raises(DataError, match="dims"):
        linear_cka(one.rename(time="sample"), other)
    with pytest.raises(ConfigError, match="n_components"):
        cca(a, b, n_components=0)
    with pytest.raises(ConfigError, match="spacing"):
        retrieval(a, b, spacing=0)
