"""Real recordings where they are at hand; damaged, wrong and missing files everywhere."""

import hashlib
import os
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from scipy import io

from spikelfp_lab.cohorts import cao2021
from spikelfp_lab.errors import ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.sessions import usable_runs, validate_session

_BESIDE_THE_REPOSITORY = Path(__file__).parents[3] / "shared" / "data"


def _data_folder():
    given = os.environ.get("SPIKELFP_DATA")
    return Path(given) if given else _BESIDE_THE_REPOSITORY


def _needs(recording):
    there = (_data_folder() / "cao2021" / cao2021.RECORDINGS[recording][0]).exists()
    return pytest.mark.skipif(
        not there, reason=f"{recording} is not in {_data_folder()}; set SPIKELFP_DATA"
    )


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(_data_folder()))


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A cache folder of our own, and a function that puts a made-up recording in it."""
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


def _cells(*parts):
    cell = np.empty((1, len(parts)), object)
    for index, part in enumerate(parts):
        cell[0, index] = part
    return cell


def _mouse(correct=(1, 3), incorrect=(2,)):
    rng = np.random.default_rng(0)
    sizes = [25 * len(correct), 25 * len(incorrect)]
    return {
        "Spike": _cells(*(rng.poisson(1.0, (n, 3)).astype(np.uint8) for n in sizes)),
        "FPAuhf": _cells(*(rng.random((n, 2)) for n in sizes)),
        "dLFPTheta_amp": _cells(*(rng.random((n, 2)) for n in sizes)),
        "dLFPTheta_phase": _cells(*(rng.uniform(-3, 3, (n, 2)) for n in sizes)),
        "post": _cells(*(rng.random((n, 1)) for n in sizes)),
        "TrNm": _cells(*(np.repeat(t, 25)[:, None] for t in (correct, incorrect))),
        "dcs": _cells(*(np.zeros((n, 1), np.uint8) for n in sizes)),
    }


@_needs("rat_a")
def test_rat_a(real):
    session = cao2021.session("rat_a")
    validate_session(session)
    assert dict(session["spikes"].sizes) == {"time": 2650, "unit": 77}
    assert session.sizes["channel"] == 128
    assert session["behavior"].behavior_dim.values.tolist() == ["cos_position", "sin_position"]
    # a lap is the whole circle, so the angle fills it: a track length taken in the wrong unit
    # would leave it near (1, 0)
    np.testing.assert_allclose((session["behavior"] ** 2).sum("behavior_dim"), 1.0, atol=1e-5)
    assert (session["behavior"].min("time") < -0.99).all()
    assert "ultra-high-frequency" in session["lfp"].attrs["kind"]


@pytest.mark.parametrize(
    "name, trials, units",
    [
        pytest.param("mouse1_s1", 104, 56, marks=_needs("mouse1_s1")),
        pytest.param("mouse2_s1", 60, 24, marks=_needs("mouse2_s1")),
        pytest.param("mouse2_s2", 52, 17, marks=_needs("mouse2_s2")),
    ],
)
def test_mice(real, name, trials, units):
    session = cao2021.session(name)
    validate_session(session)
    assert session.sizes["unit"] == units and session.sizes["channel"] == 64
    numbers, sizes = np.unique(session["trial"].values, return_counts=True)
    assert numbers.size == trials and set(sizes.tolist()) == {25}
    runs = usable_runs(session, variables=("spikes", "lfp", "behavior"))
    assert len(runs) == trials and (np.diff(runs, axis=1) == 25).all()
    for coordinate in ("correct", "side_chosen"):
        assert (session[coordinate].groupby("trial").std() == 0).all()


@_needs("mouse2_s2")
def test_theta_features(real):
    session = cao2021.session("mouse2_s2", features="theta")
    assert session.sizes["channel"] == 192
    assert "theta" in session["lfp"].attrs["kind"]
    cos = session["lfp"].sel(channel="theta_cos05").values
    sin = session["lfp"].sel(channel="theta_sin05").values
    np.testing.assert_allclose(cos**2 + sin**2, 1.0, atol=1e-5)


@_needs("rat_a")
@_needs("mouse2_s1")
def test_cohort(real):
    tree = cao2021.cohort(recordings=("rat_a", "mouse2_s1"), progress=False)
    assert [leaf.path for leaf in tree.leaves] == ["/ratA/s1", "/mouse2/s1"]
    assert {"rat_a", "mouse2_s1"} <= set(cao2021.available())


def test_bins_with_nan_speed_or_position_leave_a_gap(registry):
    content = _rat()
    content["Speed"][10] = np.nan
    content["Position"][20:22] = np.nan
    registry("rat_b", content)
    session = cao2021.session("rat_b")
    assert session.sizes["time"] == 47
    assert session["time"].values[10] == pytest.approx(1.15)
    assert np.sum(np.diff(session["time"]) > 0.15) == 2
    assert np.isfinite(session["behavior"]).all()
    assert "3 bins" in session["time"].attrs["note"]


@pytest.mark.parametrize("length", [1.0, 290.0])
def test_position_as_a_fraction_or_in_centimeters(registry, length):
    position = np.linspace(0, 0.99, 50)[:, None]
    registry("rat_b", _rat(Position=position * length))
    cos = cao2021.session("rat_b")["behavior"].values[:, 0]
    np.testing.assert_allclose(cos, np.cos(2 * np.pi * position[:, 0]), atol=1e-5)


def test_bad_channels_are_dropped_by_name(registry):
    content = _rat()
    content["FPAuhf"][:, 2] = np.nan
    content["Spikes"][:, 1] = 0
    registry("rat_b", content)
    with pytest.warns(SpikeLFPWarning, match="fpa002"):
        session = cao2021.session("rat_b")
    assert session.sizes["channel"] == 4 and session.sizes["unit"] == 3


def test_trials_come_in_the_order_they_were_run(registry):
    registry("mouse1_s3", _mouse(correct=(1, 3), incorrect=(2,)))
    session = cao2021.session("mouse1_s3")
    assert session["trial"].values[::25].tolist() == [1, 2, 3]
    assert session["correct"].values[::25].tolist() == [True, False, True]


def test_trial_numbers_that_restart_are_made_unique(registry):
    registry("mouse1_s3", _mouse(correct=(1, 2), incorrect=(1, 2)))
    session = cao2021.session("mouse1_s3")
    assert session["trial"].values[::25].tolist() == [1, 2, 3, 4]
    assert session["correct"].values[::25].tolist() == [True, True, False, False]


def test_a_truncated_file_is_refused_and_kept(registry, monkeypatch):
    path = registry("rat_b", _rat())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(requests.Session, "send", _no_network)
    with pytest.raises(DataError, match=r"SHA-256 .* Move it away"):
        cao2021.session("rat_b")
    assert path.read_bytes() == whole[: len(whole) // 2]


@pytest.mark.parametrize("content", [b"", b"not MATLAB" * 100, {"Spikes": np.ones((3, 3))}])
def test_a_file_that_cannot_be_read_is_one_clear_error(registry, content):
    path = registry("rat_b", content)
    with warnings.catch_warnings(), pytest.raises(DataError, match=path.name):
        warnings.simplefilter("ignore")
        cao2021.session("rat_b")


def _no_network(*_args, **_options):
    raise requests.ConnectionError("no network")


def test_a_missing_file_without_network_names_address_target_and_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    monkeypatch.setattr(requests.Session, "send", _no_network)
    assert cao2021.available() == ()
    with pytest.raises(DataError) as caught:
        cao2021.cohort(recordings=["rat_b"], progress=False)
    text = str(caught.value)
    assert cao2021.BASE_URL in text and str(tmp_path) in text and "SPIKELFP_DATA" in text


def test_a_download_of_other_content_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))

    def send(_session, request, **_options):
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url
        response.headers["content-length"] = "5"
        response.raw = BytesIO(b"wrong")
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    with pytest.raises(DataError, match=r"hash.*by other means"):
        cao2021.session("rat_b")
    assert cao2021.available() == ()


def test_the_files_come_by_https_from_one_place_and_are_known_by_their_hashes():
    assert cao2021.BASE_URL.startswith("https://raw.githubusercontent.com/")
    for path, sha256 in cao2021.RECORDINGS.values():
        assert len(sha256) == 64 and ".." not in path and not path.startswith("/")


@pytest.mark.parametrize(
    "options",
    [
        {"recordings": "rat_a"},
        {"recordings": []},
        {"recordings": ["rat_a", "rat_a"]},
        {"recordings": ["cat_a"]},
        {"recordings": ["rat_a"], "features": "theta"},
        {"features": "gamma"},
    ],
)
def test_bad_options_are_one_clear_error(options):
    with pytest.raises(ConfigError):
        cao2021.cohort(**options, progress=False)
