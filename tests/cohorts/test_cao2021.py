"""Real recordings where they are at hand; damaged, wrong and missing files everywhere."""

import hashlib

import numpy as np
import pytest
import requests
from scipy import io

from spikelfp_lab.cohorts import cao2021
from spikelfp_lab.errors import DataError, SpikeLFPWarning
from spikelfp_lab.sessions import usable_runs, validate_session


@pytest.fixture
def real(shared, monkeypatch):
    """Open a real recording, or skip."""
    monkeypatch.setenv("SPIKELFP_DATA", str(shared / "data"))

    def opened(name, **options):
        path = shared / "data" / "cao2021" / cao2021.RECORDINGS[name][0]
        if not path.exists():
            pytest.skip(f"no {path}")
        session = cao2021.session(name, **options)
        validate_session(session)
        return session

    return opened


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Put a made-up recording in a cache folder of our own."""
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    monkeypatch.setattr(cao2021, "RECORDINGS", dict(cao2021.RECORDINGS))

    def put(name, content):
        path = tmp_path / "cao2021" / cao2021.RECORDINGS[name][0]
        path.parent.mkdir(parents=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            io.savemat(path, content)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        cao2021.RECORDINGS[name] = (cao2021.RECORDINGS[name][0], sha256)
        return path

    return put


def _rat(n=50, **changes):
    rng = np.random.default_rng(0)
    return {
        "Spikes": rng.poisson(1.0, (n, 4)).astype(np.uint8),
        "FPAuhf": rng.random((n, 5)),
        "Position": np.linspace(0, 0.99, n)[:, None],
        "Speed": np.ones((n, 1)),
        "trackLen": np.array([[290]], np.uint16),
        **changes,
    }


def _mouse(correct, incorrect):
    """Each variable a cell of two: 25 bins a trial, correct and incorrect ones."""
    content = {}
    for name, columns in {"Spike": 3, "FPAuhf": 2, "post": 1, "dcs": 1, "TrNm": 1}.items():
        content[name] = np.empty((1, 2), object)
        for cell, numbers in enumerate((correct, incorrect)):
            trial = np.repeat(numbers, 25)[:, None]
            varied = np.arange(trial.size)[:, None] % 5 * np.ones(columns)
            content[name][0, cell] = trial if name == "TrNm" else varied
    return content


def test_rat_a(real):
    session = real("rat_a")
    assert dict(session["spikes"].sizes) == {"time": 2650, "unit": 77}
    assert session.sizes["channel"] == 128
    assert session["behavior"].behavior_dim.values.tolist() == ["cos_position", "sin_position"]
    # a lap is the whole circle: a track length in the wrong unit would leave it near (1, 0)
    np.testing.assert_allclose((session["behavior"] ** 2).sum("behavior_dim"), 1.0, atol=1e-5)
    assert (session["behavior"].min("time") < -0.99).all()
    assert "ultra-high-frequency" in session["lfp"].attrs["kind"]


@pytest.mark.parametrize("name, trials, units", [("mouse1_s1", 104, 56), ("mouse2_s2", 52, 17)])
def test_mice(real, name, trials, units):
    session = real(name)
    assert session.sizes["unit"] == units and session.sizes["channel"] == 64
    numbers, sizes = np.unique(session["trial"].values, return_counts=True)
    assert numbers.size == trials and set(sizes.tolist()) == {25}
    runs = usable_runs(session, variables=("spikes", "lfp", "behavior"))
    assert len(runs) == trials and (np.diff(runs, axis=1) == 25).all()
    for coordinate in ("correct", "side_chosen"):
        assert (session[coordinate].groupby("trial").std() == 0).all()
    theta = real(name, features="theta")["lfp"]
    assert theta.sizes["channel"] == 192 and "theta" in theta.attrs["kind"]
    cos, sin = theta.sel(channel="theta_cos05"), theta.sel(channel="theta_sin05")
    np.testing.assert_allclose(cos.values**2 + sin.values**2, 1.0, atol=1e-5)


def test_bad_bins_leave_a_gap_and_bad_channels_are_dropped_by_name(put):
    content = _rat()
    content["Speed"][10] = content["Position"][20:22] = content["FPAuhf"][:, 2] = np.nan
    content["Spikes"][:, 1] = 0
    put("rat_b", content)
    with pytest.warns(SpikeLFPWarning, match="fpa002"):
        session = cao2021.cohort(recordings=["rat_b"], progress=False)["ratB/s1"]
    assert session.sizes["channel"] == 4 and session.sizes["unit"] == 3
    assert session.sizes["time"] == 47 and np.sum(np.diff(session["time"]) > 0.15) == 2
    assert session["time"].values[10] == pytest.approx(1.15)
    assert "3 bins" in session["time"].attrs["note"]


@pytest.mark.parametrize("length", [1.0, 290.0])
def test_position_as_a_fraction_or_in_centimeters(put, length):
    position = np.linspace(0, 0.99, 50)[:, None]
    put("rat_b", _rat(Position=position * length))
    cos = cao2021.session("rat_b")["behavior"].values[:, 0]
    np.testing.assert_allclose(cos, np.cos(2 * np.pi * position[:, 0]), atol=1e-5)


@pytest.mark.parametrize(
    "correct, incorrect, trials, right",
    [
        ((1, 3), (2,), [1, 2, 3], [True, False, True]),
        ((1, 2), (1, 2), [1, 2, 3, 4], [True, True, False, False]),  # numbers that restart
    ],
)
def test_trials_come_in_the_order_they_were_run(put, correct, incorrect, trials, right):
    put("mouse1_s3", _mouse(correct, incorrect))
    session = cao2021.session("mouse1_s3")
    assert session["trial"].values[::25].tolist() == trials
    assert session["correct"].values[::25].tolist() == right


@pytest.mark.parametrize("content", [b"", b"not MATLAB" * 100, {"Spikes": np.ones((3, 3))}])
@pytest.mark.filterwarnings("ignore")  # of SciPy's
def test_a_file_that_cannot_be_read_is_one_clear_error(put, content):
    with pytest.raises(DataError, match=put("rat_b", content).name):
        cao2021.session("rat_b")


def test_a_file_with_another_hash_is_refused_and_kept(put):
    path = put("rat_b", _rat())
    path.write_bytes(half := path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"it has sha256:.* Move it away"):
        cao2021.session("rat_b")
    assert path.read_bytes() == half


def test_a_failed_download_names_address_target_and_cure(tmp_path, monkeypatch):
    def send(*_args, **_options):
        raise requests.ConnectionError("no network")

    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    monkeypatch.setattr(requests.Session, "send", send)
    with pytest.raises(DataError, match=r"no network.*by other means") as caught:
        cao2021.cohort(recordings=["rat_b"], progress=False)
    assert cao2021.BASE_URL in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not list(tmp_path.rglob("*.mat"))
