"""The real recordings where they are at hand; a made-up one, and damaged files, everywhere."""

import hashlib

import numpy as np
import pytest
import requests
from scipy import io

from spikelfp_lab import check_quality
from spikelfp_lab._ridge import fit_ridge
from spikelfp_lab.analysis.readout import r2_by_axis
from spikelfp_lab.cohorts import v1_gamma
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import usable_runs, validate_session

GRATINGS = "alpa/gratings"


def _opened(name=GRATINGS, **options):
    session = v1_gamma.cohort(recordings=[name], progress=False, **options)[name].to_dataset()
    validate_session(session)
    return session


@pytest.fixture(scope="module")
def real(shared):
    """Real recordings, opened once."""
    if not (shared / "data" / "v1_gamma").is_dir():
        pytest.skip(f"no {shared / 'data' / 'v1_gamma'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELFP_DATA", str(shared / "data"))
        return {name: _opened(name) for name in v1_gamma.RECORDINGS} | {
            "gamma": _opened(lfp="gamma")
        }


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A recording of five trials: a spike on each edge of 50 ms bins (in the third, none), a wave
    of 4 Hz, and one of 40 Hz from 0 to 0.4 s.
    """
    folder, times = v1_gamma.RECORDINGS[GRATINGS], -0.8475 + np.arange(4096) / 2000
    wave = 50 * np.sin(8 * np.pi * times)
    wave += 20 * np.sin(80 * np.pi * times) * ((times > 0) & (times < 0.4))
    numbers, spikes = np.empty((1, 1, 3), object), np.empty((1, 5), object)
    numbers[0, 0] = [[[1, 3, 5]], [[2, 4]], [[1, 2, 3, 4, 5]]]
    spikes[:] = [[np.arange(-16, 25)[:, None] * 0.05] * 5]
    spikes[0, 2] = np.zeros((0, 0), np.uint8)
    lines = []
    for name, content in {
        "extractedData/parameterCombinations.mat":
            {"parameterCombinations": numbers, "oValsUnique": [0, 90]},
        "segmentedData/badTrials.mat": {"badTrials": [2], "badElecs": [7]},
        "segmentedData/LFP/lfpInfo.mat":
            {"timeVals": times, "goodStimPos": 2995 * np.arange(1, 6)},
        "segmentedData/LFP/elec7.mat": {"analogData": np.tile(wave, (5, 1))},
        "segmentedData/Spikes/elec7_SID0.mat": {"spikeData": spikes},
    }.items():  # fmt: skip
        (path := tmp_path / "v1_gamma" / folder / name).parent.mkdir(parents=True, exist_ok=True)
        io.savemat(path, content)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{folder}{name} {sha256} {path.stat().st_size}\n")
    (tmp_path / "registry.txt").write_text("".join(lines))
    monkeypatch.setattr(v1_gamma, "_REGISTRY", tmp_path / "registry.txt")
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    return tmp_path / "v1_gamma" / folder / "segmentedData" / "LFP"


def test_a_made_up_recording(made_up):
    session, at = _opened(), (np.arange(-5, 24) + 0.5) * 0.05
    assert session["trial"].values[::29].tolist() == [1, 3, 4, 5]
    names = "time", "spikes", "lfp", "behavior"
    time, spikes, lfp, cos = (session[name].values.reshape(4, 29, -1)[..., 0] for name in names)
    np.testing.assert_allclose(time - at, np.outer([1.4975, 4.4925, 5.99, 7.4875], np.ones(29)))
    assert (spikes[[0, 2, 3]] == 1).all() and not spikes[1].any()
    np.testing.assert_allclose(lfp[0, 3:-5], 50 * np.sin(8 * np.pi * at[3:-5]), atol=4)
    assert (np.isfinite(cos) == ((at > 0.1) & (at < 0.8))).all()
    np.testing.assert_allclose(cos[:, 10], [1, 1, -1, 1])
    power = _opened(lfp="gamma")["lfp"].values[:29, 0]
    assert power[6:12].min() > np.log(20**2) - 1 and power[[2, 15, 20]].max() < np.log(20)


@pytest.mark.parametrize(
    "name, trials, units, shown, axis",
    [(GRATINGS, 89, 95, 89, "2theta"), ("alpa/hues", 722, 96, 722, "hue"),
     ("tutu/hues", 747, 89, 728, "hue")],
)  # fmt: skip
def test_real_recordings(real, shared, name, trials, units, shown, axis):
    session = real[name]
    assert session["spikes"].shape == (trials * 29, units) and ("lfp" in session) == (units == 95)
    assert session["behavior_dim"].values.tolist() == [f"cos_{axis}", f"sin_{axis}"]
    for variable, runs, bins in (("spikes", trials, 29), ("behavior", shown, 14)):
        found = usable_runs(session, variables=[variable])
        assert len(found) == runs and (np.diff(found) == bins).all()
    folder = shared / "data" / "v1_gamma" / v1_gamma.RECORDINGS[name] / "segmentedData" / "Spikes"
    cells = io.loadmat(folder / "elec5_SID0.mat")["spikeData"].ravel()
    times = np.concatenate([cells[each - 1].ravel() for each in np.unique(session["trial"])])
    count = session["spikes"].sel(unit="elec5").sum()
    assert count == ((times > -0.25 - 1e-9) & (times < 1.2 - 1e-9)).sum()


def test_what_is_said_of_the_gratings(real):
    session = real[GRATINGS]
    assert np.unique(session["stimulus_deg"]).tolist() == [0, 30, 60, 90, 120, 150]
    assert set(range(1, 93)) - set(session["trial"].values.tolist()) == {31, 48, 64}
    assert "3 of 92 trials" in session.attrs["history"] and session["lfp"].attrs["kind"] == "LFP"
    found = check_quality(session).groupby("check")["name"].agg(list)
    assert found["bad electrode"] == ["elec19", "elec64"] and len(found["noise"]) == 17


def test_what_a_lagged_ridge_reads_over_five_folds_of_trials(real):
    trial, seen = real[GRATINGS]["trial"].values, real[GRATINGS]["behavior"].values.astype(float)
    known, predicted = np.flatnonzero(np.isfinite(seen[:, 0])), np.full(seen.shape, np.nan)
    folds = np.array_split(np.random.default_rng(0).permutation(np.unique(trial)), 5)
    for name, variable, r2 in (
        (GRATINGS, "spikes", 0.657), (GRATINGS, "lfp", 0.533), ("gamma", "lfp", 0.715),
    ):  # fmt: skip
        values = real[name][variable].values
        for fold in folds:
            test = np.isin(trial[known], fold)
            ridge = fit_ridge(values, seen, known[~test], lags=np.arange(-2, 3), penalty=0.1)
            predicted[known[test]] = ridge.predict(values, known[test])
        assert r2_by_axis(seen[known], predicted[known]).mean() == pytest.approx(r2, abs=0.02)


def test_other_and_missing_files_are_named(made_up, monkeypatch):
    def send(_session, request, **_options):
        raise requests.ConnectionError(f"no network to {request.url}")

    monkeypatch.setattr(requests.Session, "send", send)
    (made_up / "elec7.mat").write_bytes((made_up / "elec7.mat").read_bytes()[:5000])
    with pytest.raises(DataError, match=r"elec7\.mat is not as published.*sha256.*Move it away"):
        _opened()
    (made_up / "lfpInfo.mat").unlink()
    with pytest.raises(
        DataError, match=rf"lfpInfo\.mat could not .*no network to {v1_gamma.BASE_URL}"
    ):
        _opened()


def test_the_registry_has_every_file_once():
    rows = [line.split() for line in v1_gamma._REGISTRY.read_text().splitlines()]
    assert (
        [len({*column}) for column in zip(*rows, strict=True)][:2] == [383, 383] == 2 * [len(rows)]
    )
    assert [len(v1_gamma._files(name)) for name in v1_gamma.RECORDINGS] == [194, 98, 91]
