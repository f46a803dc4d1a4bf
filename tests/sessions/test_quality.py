"""Defects planted in good sessions are found by name and number; good sessions have none."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikelfp_lab as sl
from spikelfp_lab.cohorts import cao2021, simulated
from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.sessions import TEST, TRAIN, add_finding, clipped_share, refractory_coords
from tests.factories import make_session


def found(session):
    """(check, name) -> value."""
    table = sl.check_quality(session)
    return {(row.check, row.name): row.value for row in table.itertuples(index=False)}


def good(seed=0, **options):
    return make_session(bins=3000, units=8, channels=12, seed=seed, **options)


def changed(session, name, column, values):
    data = session[name].copy(deep=True)
    data[:, column] = values
    return session.assign({name: data})


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gaps=st.lists(st.integers(1, 2999), max_size=4, unique=True),
    missing=st.lists(st.integers(0, 2999), max_size=40, unique=True),
    trial_bins=st.none() | st.integers(20, 400),
)
def test_a_good_session_has_no_findings(seed, gaps, missing, trial_bins):
    more = {"gaps": sorted(gaps), "nan_lfp": missing, "nan_behavior": missing}
    table = sl.check_quality(good(seed, trial_bins=trial_bins, **more))
    assert table.empty, table.to_string()


BIN = np.arange(3000)


def shifted(counts):
    """One in fifty spikes falls into the next bin."""
    lost = (BIN % 50 == 0) & (counts > 0)
    return counts - lost.astype(int) + np.roll(lost, 1)


# variable, column of the result and of the source, what is done to it, and what is found
DEFECTS = [
    ("lfp", 0, 0, lambda v: np.clip(v, -1.4 * v.std(), 1.4 * v.std()), ("clipped", "ch00", 16, 6)),
    ("lfp", 1, 1, lambda v: 7.25, ("dead", "ch01", 0, 1e-6)),
    ("lfp", 2, 2, lambda v: np.nan, ("dead", "ch02", 0, 1e-6)),
    ("lfp", 3, 3, lambda v: 1e-3 * v / v.std(), ("dead", "ch03", 1e-3, 1e-4)),
    ("lfp", 4, 4, lambda v: np.where(BIN // 1000 == 1, 0.1, v), ("partial", "ch04", 33, 4)),
    ("lfp", 5, 5, lambda v: np.where(BIN // 1000 == 1, np.nan, v), ("partial", "ch05", 33, 4)),
    ("lfp", 7, 6, lambda v: 0.5 * v + 2, ("duplicated", "ch07 = ch06", 1, 1e-4)),
    ("lfp", 8, 6, lambda v: -3 * v, ("duplicated", "ch08 = ch06", -1, 1e-4)),
    ("spikes", 0, 0, lambda v: 0, ("dead", "u000", 0, 1e-6)),
    ("spikes", 2, 2, lambda v: v * (BIN >= 1200), ("partial", "u002", 40, 1)),
    ("spikes", 4, 1, shifted, ("duplicated", "u004 = u001", 0.96, 0.04)),
    ("behavior", 0, 0, lambda v: np.nan, ("constant behavior", "vx", 0, 1e-6)),
    ("behavior", 1, 1, lambda v: v * (BIN >= 2850), ("constant behavior", "vy", 95, 0.1)),
]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), which=st.sets(st.integers(0, len(DEFECTS) - 1)))
def test_each_planted_defect_is_found_by_name_and_number_and_nothing_else(seed, which):
    session, expected = good(seed), {}
    for name, column, source, change, (check, where, number, tolerance) in (
        DEFECTS[index] for index in which
    ):
        session = changed(session, name, column, change(session[name].values[:, source]))
        expected[check, where] = pytest.approx(number, abs=tolerance)
    assert found(session) == expected


@pytest.mark.parametrize("dead", [1, 6, 8])
def test_dead_channels_are_found_even_where_they_are_most(dead):
    session = good()
    session["lfp"] = session["lfp"] * np.where(np.arange(12) < dead, 1e-3, 1.0).astype("float32")
    expected = {("dead", f"ch{channel:02d}") for channel in range(dead)}
    assert expected == {key for key in found(session) if key[0] == "dead"}


def test_what_only_looks_like_a_defect_is_none():
    session = good(125)  # 200 spikes in a bin of two units that share their tuning
    counts = session["spikes"].values[:, [0, 5]].astype(float)
    assert np.corrcoef(counts.T)[0, 1] > 0.95 and sl.check_quality(session).empty
    session = good()
    for periods in (3.7, 40.0, 911.3):
        tone = np.round(100 * np.sin(2 * np.pi * periods * BIN / 3000))
        assert ("clipped", "ch05") not in found(changed(session, "lfp", 5, tone))
    resting = np.where(BIN % 10 < 8, 0, session["behavior"].values[:, 0])
    bursts = np.where(BIN // 300 % 3 == 0, 2, 0)
    well = changed(changed(session, "behavior", 0, resting), "spikes", 4, bursts)
    well["lfp"][1000:2000] = np.nan  # of all channels: a gap
    assert sl.check_quality(well).empty
    lfp = session["lfp"] * np.where(np.arange(12) < 6, 1e-3, 1.0).astype("float32")
    power = lfp.clip(0, None).assign_attrs(kind="power", units="dB")
    assert sl.check_quality(session.assign(lfp=power)).empty


def test_a_unit_that_was_not_observed_is_partial():
    observed = np.ones((3000, 8), bool)
    observed[:1200, 2] = False
    table = sl.check_quality(good().assign_coords(observed=(("time", "unit"), observed)))
    assert table[["name", "unit"]].values.tolist() == [["u002", "% not observed"]]


def trains(rng, rates, refractory_s):
    """300 s of units that are silent for a while after each spike."""
    gaps = [refractory_s + rng.exponential(1 / rate - refractory_s, 400 * rate) for rate in rates]
    return [each[each < 300] for each in map(np.cumsum, gaps)]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), bad=st.integers(0, 7), share=st.floats(0.07, 0.33))
def test_spikes_detected_twice_are_found_among_sorted_and_multi_units(seed, bad, share):
    options = {"start_s": 0.0, "stop_s": 300.0, "progress": False}
    for refractory_s in (0.003, 0.0):
        rng = np.random.default_rng(seed)
        times = trains(rng, [2, 4, 8, 8, 5, 10, 3, 9], refractory_s)
        assert sl.check_quality(sl.session_from_arrays(spike_times=times, **options)).empty
        again = rng.random(times[bad].size) < share
        times[bad] = np.append(times[bad], times[bad][again] + 0.0008)
        number = 100 * (np.diff(np.sort(times[bad])) < 0.0015).mean()
        expected = {("refractory", f"u{bad:03d}"): pytest.approx(number, rel=0.02)}
        assert found(sl.session_from_arrays(spike_times=times, **options)) == expected


def test_violations_are_those_of_the_session_in_any_order_and_chance_that_of_their_rate():
    inside, outside = np.arange(10.5, 19.5, 0.1), np.arange(0.0, 9.0, 0.001)
    doubled = np.concatenate([inside[::-1], inside[:9] + 0.0014])
    exact = np.append(inside, inside + 0.0015)
    times = [inside, doubled, np.append(outside, inside), np.empty(0), exact]
    coords = refractory_coords(times, np.arange(10.005, 20.0, 0.01))
    np.testing.assert_allclose(coords["refractory_violations"][1], [0, 9 / 98, 0, 0, 0], rtol=1e-6)
    times = np.random.default_rng(1).uniform(0, 2000, 80_000)
    (share,), (chance,) = (each for _, each in refractory_coords([times], [0.0, 2000.0]).values())
    # pairs of all orders, so a little above the intervals between successive spikes
    assert chance == pytest.approx(40 * 0.0015, rel=0.05)
    assert share == pytest.approx(1 - np.exp(-40 * 0.0015), rel=0.1)


@pytest.mark.parametrize("rate_hz", [80.0, 5000.0])
def test_clipping_is_measured_before_filters_and_bins_and_kept(rate_hz, tmp_path):
    voltage = np.cumsum(np.random.default_rng(3).normal(size=(int(60 * rate_hz), 5)), axis=0)
    voltage -= np.linspace(0, 1, len(voltage))[:, None] * voltage[-1]
    voltage = (8000 * voltage / np.abs(voltage).max(axis=0)).astype(np.int16)
    options = {"lfp_rate_hz": rate_hz, "start_s": 0.0, "stop_s": 60.0, "progress": False}
    assert sl.check_quality(sl.session_from_arrays(lfp=voltage, **options)).empty
    voltage[:, 2] = np.clip(voltage[:, 2], -2000, 2000)
    session = sl.session_from_arrays(lfp=voltage, **options)
    share = 100 * (np.abs(voltage[:, 2]) >= 1960).mean()
    assert found(session)["clipped", "ch02"] == pytest.approx(share, rel=0.1)
    path = sl.save_session(session, tmp_path / "s01.zarr")
    with pytest.warns(SpikeLFPWarning, match=r"clipped in lfp \(1\): ch02 \([\d.]+ % of"):
        assert sl.open_session(path).identical(session)


@pytest.mark.parametrize("lsb", [0.5, 4.69, 10.0, 25.0])
def test_few_levels_are_no_clipping_and_clipping_of_few_levels_is_found(lsb):
    rng, time = np.random.default_rng(4), np.arange(60_000) / 1250
    theta = np.sin(2 * np.pi * 8 * time)
    well = [30 * rng.normal(size=time.size), 140 * theta + 3 * rng.normal(size=time.size)]
    clipped = np.clip(50 * rng.normal(size=time.size), -60, 60)
    share = clipped_share(np.round(np.stack([*well, clipped], axis=1) / lsb).astype(np.int16))
    assert share[:2].tolist() == [0, 0] and share[2] > 0.1


def stretched(session, share):
    """The LFP on a clock that runs apart from that of the spikes."""
    time, lfp = session["time"].values, session["lfp"].values
    late = time[0] + (time - time[0]) * (1 - share)
    columns = [np.interp(late, time, column) for column in lfp.T]
    return session.assign(lfp=session["lfp"].copy(data=np.stack(columns, axis=1)))


def test_a_drift_of_clocks_is_recovered_and_a_lag_or_no_tie_is_none():
    session, other = (simulated.session(1 + n, seed=n, duration_s=480.0) for n in range(2))
    for share in (0.002, -0.001):
        drift = pytest.approx(480 * share, abs=0.12)
        assert found(stretched(session, share)) == {("drift", "lfp against spikes"): drift}
    lagged = session.assign(lfp=session["lfp"].roll(time=30, roll_coords=False))
    untied = session.assign(lfp=session["lfp"].copy(data=other["lfp"].values))
    for well in (session, other, lagged, untied, stretched(session, 0.0001)):
        assert sl.check_quality(well).empty


@pytest.mark.parametrize("line_hz", [50.0, 60.0])
def test_mains_of_another_country_are_a_finding(line_hz):
    time = np.arange(30_000) / 1000
    lfp = np.random.default_rng(5).normal(size=(time.size, 3)) * 50
    lfp[:, :2] += 60 * np.sin(2 * np.pi * 50.03 * time)[:, None]
    options = {"lfp_rate_hz": 1000.0, "line_hz": line_hz, "progress": False}
    said = "2 of 3 channels.*line_hz=50"
    with pytest.warns(SpikeLFPWarning, match=said) if line_hz == 60 else nullcontext():
        table = sl.check_quality(sl.session_from_arrays(lfp=lfp, **options))
    assert table["check"].tolist() == ["mains"] * (line_hz == 60)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_opening_warns_once_a_session_with_numbers_and_cures(tmp_path, n_jobs):
    sl.save_session(good(session="s00"), tmp_path / "s00.zarr")
    for name in ("s01", "s02"):
        session = changed(good(1, session=name), "behavior", 1, 3.5)
        session["lfp"][:, :5] = session["lfp"].values[:, :1]
        session = add_finding(session, "spike times", "u003", "12 lie after its end.", 12, 0)
        sl.save_session(session, tmp_path / f"{name}.zarr")
    with pytest.warns(SpikeLFPWarning) as caught:
        cohort = sl.open_cohort(tmp_path, n_jobs=n_jobs, progress=False)
    texts = sorted(str(each.message) for each in caught)
    assert [text[:14] for text in texts] == ["Session I/s01:", "Session I/s02:"]
    for said in (
        "findings of quality: 6.",
        "duplicated in lfp (4): ch01 = ch00 (1 correlation, limit 0.9999), ",
        "constant behavior in behavior (1): vy (100 % of bins at 3.5, limit 90). ",
        "Leave it out with drop_sel(behavior_dim=[...]).",
        "spike times: u003: 12 lie after its end.",
    ):
        assert said in texts[0]
    assert len(sl.check_quality(cohort["I/s02"])) == 6


def test_a_test_on_what_the_model_was_trained_on_is_said_with_numbers():
    session = good()
    attrs = {"session": "I/s01", "scheme": "blocks", "window_s": 1.0, "seed": 0}
    latents = session["lfp"].rename(channel="latent").assign_attrs(encoded_as="I/s01", **attrs)
    mine, own = (sl.split_session(session, window_s=1.0, seed=seed) for seed in (3, 0))
    test = mine.values == TEST
    said = rf"overlap: .* \({(test & (own.values == TRAIN)).sum()} of {test.sum()}\).*'seed': 3"
    with pytest.warns(SpikeLFPWarning, match=said):
        sl.decode(latents, session, split=mine, readouts=["one_frame"])
    # a model that has not seen the session may be tested on any of its time
    sl.decode(latents.assign_attrs(encoded_as="I/s02"), session, split=mine)


def test_real_recordings_have_what_is_wrong_with_them_and_no_more(shared, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(shared / "data"))
    path = shared / "data" / "csr6_open_field.nwb"
    if not path.exists():
        pytest.skip(f"no {path}")
    # stored in 8 bits: wires of tetrodes 3 to 8 reach the rail, two of tetrode 1 are bridged
    with pytest.warns(SpikeLFPWarning, match=r"clipped in lfp \(10\): ch11"):
        findings = found(sl.open_session(path, progress=False))
    assert {check for check, _ in findings} == {"clipped", "duplicated"}
    assert ("duplicated", "ch03 = ch02") in findings
    assert findings["clipped", "ch31"] == pytest.approx(1.09, abs=0.05)
    for recording, features in (("rat_a", "FPAuhf"), ("mouse2_s2", "theta")):
        assert sl.check_quality(cao2021.session(recording, features=features)).empty
