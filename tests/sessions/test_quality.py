"""Defects planted in good sessions are found by name and number; good sessions have none."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikelfp_lab as sl
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.cohorts.example_nwb import write_example_nwb
from spikelfp_lab.errors import SpikeLFPWarning
from spikelfp_lab.io.store import save_session
from spikelfp_lab.sessions import (
    TEST,
    TRAIN,
    add_finding,
    build_session,
    check_quality,
    clipped_share,
    refractory_coords,
    session_clock,
    split_session,
    warn_quality,
    warn_trained,
)
from spikelfp_lab.sessions.quality import CLIPPED, DRIFT_S
from tests.factories import make_session


def found(session):
    """(check, name) -> value."""
    table = check_quality(session)
    return {(row.check, row.name): row.value for row in table.itertuples(index=False)}


def good(seed=0, **options):
    return make_session(bins=3000, units=8, channels=8, seed=seed, **options)


def changed(session, name, column, values):
    data = session[name].copy(deep=True)
    data[:, column] = values
    return session.assign({name: data})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gaps=st.lists(st.integers(1, 2999), max_size=4, unique=True),
    missing=st.lists(st.integers(0, 2999), max_size=40, unique=True),
    trial_bins=st.none() | st.integers(20, 400),
)
def test_a_good_session_has_no_findings(seed, gaps, missing, trial_bins):
    session = good(
        seed, gaps=sorted(gaps), nan_lfp=missing, nan_behavior=missing, trial_bins=trial_bins
    )
    table = check_quality(session)
    assert table.empty, table.to_string()
    assert list(table.columns) == [
        "check", "variable", "name", "value", "limit", "unit", "meaning"
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_each_planted_defect_is_found_by_name_and_number_and_nothing_else(seed, data):
    session = good(seed)
    rng = np.random.default_rng(seed)
    channels = data.draw(st.permutations(range(8)))
    units = data.draw(st.permutations(range(8)))
    expected = {}

    if data.draw(st.booleans(), label="clipped"):
        level = data.draw(st.floats(1.0, 1.8))  # farther out 3000 bins hold too few
        values = session["lfp"].values[:, channels[0]]
        rail = level * values.std()
        session = changed(session, "lfp", channels[0], np.clip(values, -rail, rail))
        share = 100 * np.mean(np.abs(values) >= 0.98 * rail)
        expected["clipped", f"ch{channels[0]:02d}"] = (share, 0.05)
    dead = data.draw(st.sampled_from([None, "constant", "nan", "faint"]), label="dead")
    if dead:
        value = data.draw(st.floats(-1e4, 1e4, width=32))
        kinds = {"constant": value, "nan": np.nan, "faint": 1e-3 * rng.normal(size=3000)}
        session = changed(session, "lfp", channels[1], kinds[dead])
        number = 1e-3 if dead == "faint" else 0.0
        expected["dead", f"ch{channels[1]:02d}"] = (number, 0.1)
    if data.draw(st.booleans(), label="silent"):
        session = changed(session, "spikes", units[0], 0)
        expected["dead", f"u{units[0]:03d}"] = (0.0, 0.0)
    if data.draw(st.booleans(), label="same channel"):
        one, other = sorted(channels[2:4])
        scale = data.draw(st.sampled_from([-3.0, 0.5, 1.0]))
        session = changed(session, "lfp", other, scale * session["lfp"].values[:, one] + 2)
        expected["duplicated", f"ch{other:02d} = ch{one:02d}"] = (np.sign(scale), 1e-4)
    if data.draw(st.booleans(), label="same unit"):
        one, other = sorted(units[1:3])
        counts = session["spikes"].values[:, one].astype(int)
        lost = rng.random(3000) < data.draw(st.floats(0, 0.02))  # a few fell into the next bin
        moved = counts - (lost & (counts > 0)) + np.roll(lost & (counts > 0), 1)
        session = changed(session, "spikes", other, moved)
        number = np.corrcoef(np.sqrt([counts, moved]))[0, 1]
        expected["duplicated", f"u{other:03d} = u{one:03d}"] = (number, 1e-3)
    if data.draw(st.booleans(), label="constant behavior"):
        share = data.draw(st.floats(0.92, 1.0))
        axis = session["behavior"].values[:, 1].copy()
        axis[: round(3000 * share)] = 0.25
        session = changed(session, "behavior", 1, axis)
        expected["constant behavior", "vy"] = (100 * share, 0.1)
    if data.draw(st.booleans(), label="no behavior"):
        session = changed(session, "behavior", 0, np.nan)
        expected["constant behavior", "vx"] = (0.0, 0.0)

    findings = found(session)
    assert set(findings) == set(expected)
    for key, (number, tolerance) in expected.items():
        assert findings[key] == pytest.approx(number, rel=tolerance, abs=max(tolerance, 1e-6)), key


def test_a_faint_feature_is_no_dead_channel_and_a_feature_that_ends_at_zero_is_not_clipped():
    session = good()
    lfp = session["lfp"] * np.where(np.arange(8) < 4, 1e-3, 1.0).astype("float32")
    lfp = lfp.clip(0, None).assign_attrs(kind="power", units="dB")
    assert check_quality(session.assign(lfp=lfp)).empty


@pytest.mark.parametrize("periods", [3.7, 40.0, 911.3])
def test_a_pure_tone_is_not_clipped(periods):
    session = good()
    tone = 100 * np.sin(2 * np.pi * periods * np.arange(3000) / 3000)
    assert ("clipped", "ch05") not in found(changed(session, "lfp", 5, np.round(tone)))


def test_an_axis_that_rests_for_most_of_the_time_is_well():
    session = good()
    resting = np.where(np.arange(3000) % 10 < 8, 0, session["behavior"].values[:, 0])
    assert check_quality(changed(session, "behavior", 0, resting)).empty


def test_bursts_do_not_make_two_units_one():
    session = good(125)  # 200 spikes in a bin of two units that share their tuning
    counts = session["spikes"].values[:, [0, 5]].astype(float)
    assert np.corrcoef(counts.T)[0, 1] > 0.95 and check_quality(session).empty


def test_too_few_bins_prove_nothing():
    session = make_session(bins=99, units=3, channels=3)
    session["lfp"][:, 1] = 0
    assert check_quality(session).empty
    longer = make_session(bins=100, units=3, channels=3)
    longer["lfp"][:, 1] = 0
    assert list(found(longer)) == [("dead", "ch01")]


# --- refractory violations -------------------------------------------------------------------


def trains(rng, *, rates, seconds, refractory_s):
    """Spike times of units that are silent for a while after each spike."""
    times = []
    for rate in rates:
        gaps = refractory_s + rng.exponential(1 / rate - refractory_s, int(1.3 * rate * seconds))
        each = np.cumsum(gaps)
        times.append(each[each < seconds])
    return times


def counted(times, seconds=300.0):
    clock = session_clock(0.0, seconds, bin_size_s=0.01)
    session = build_session(
        clock, bin_size_s=0.01, subject="I", session="s01", source="tests",
        spikes=sl.signal.bin_spikes(times, clock, bin_size_s=0.01),
    )  # fmt: skip
    return session.assign_coords(refractory_coords(times, clock))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), bad=st.integers(0, 7), share=st.floats(0.04, 0.3))
def test_spikes_detected_twice_are_found_among_sorted_and_multi_units(seed, bad, share):
    for refractory_s in (0.003, 0.0):
        rng = np.random.default_rng(seed)
        times = trains(rng, rates=[2, 4, 8, 8, 5, 10, 3, 9], seconds=300, refractory_s=refractory_s)
        assert check_quality(counted(times)).empty
        again = rng.random(times[bad].size) < share + 0.03
        times[bad] = np.append(times[bad], times[bad][again] + 0.0008)
        intervals = np.diff(np.sort(times[bad]))
        findings = found(counted(times))
        assert list(findings) == [("refractory", f"u{bad:03d}")]
        number = 100 * (intervals < 0.0015).mean()
        assert findings["refractory", f"u{bad:03d}"] == pytest.approx(number, rel=0.02)


def test_violations_are_those_of_the_session_in_any_order():
    clock = session_clock(10.0, 20.0, bin_size_s=0.01)
    inside = np.arange(10.5, 19.5, 0.1)
    doubled = np.concatenate([inside[::-1], inside[:9] + 0.0014])
    outside = np.arange(0.0, 9.0, 0.001)
    coords = refractory_coords(
        [inside, doubled, np.append(outside, inside), np.empty(0), inside + 0.0015], clock
    )
    share = coords["refractory_violations"][1]
    np.testing.assert_allclose(share, [0, 9 / 98, 0, 0, 0], rtol=1e-6)
    exact = np.sort(np.concatenate([inside, inside + 0.0015]))
    assert refractory_coords([exact], clock)["refractory_violations"][1] == [0]


@pytest.mark.parametrize("rate_hz", [5.0, 40.0])
def test_chance_is_what_independent_spikes_have(rate_hz):
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 2000, rng.poisson(2000 * rate_hz)))
    coords = refractory_coords([times], np.array([0.0, 2000.0]))
    share, chance = (values[0] for _, values in coords.values())
    # pairs of all orders, so a little above the intervals between successive spikes
    assert chance == pytest.approx(rate_hz * 0.0015, rel=0.05)
    assert share == pytest.approx(1 - np.exp(-rate_hz * 0.0015), rel=0.1)


# --- what is seen while a recording is read --------------------------------------------------


def recorded(rng, *, rate_hz, clip=None, **options):
    voltage = np.cumsum(rng.normal(size=(int(60 * rate_hz), 5)), axis=0)
    voltage -= np.linspace(0, 1, len(voltage))[:, None] * voltage[-1]
    voltage = (8000 * voltage / np.abs(voltage).max(axis=0)).astype(np.int16)
    if clip is not None:
        voltage[:, 2] = np.clip(voltage[:, 2], -clip, clip)
    times = [np.sort(rng.uniform(0, 60, 600)) for _ in range(3)]
    session = sl.session_from_arrays(
        lfp=voltage, lfp_rate_hz=rate_hz, spike_times=times, start_s=0.0, stop_s=60.0,
        progress=False, **options,
    )  # fmt: skip
    return voltage, session


@pytest.mark.parametrize("rate_hz", [80.0, 1000.0, 5000.0])
def test_clipping_is_counted_before_filters_smear_it(rate_hz):
    voltage, session = recorded(np.random.default_rng(3), rate_hz=rate_hz, clip=2000)
    share = 100 * (np.abs(voltage[:, 2]) >= 1960).mean()
    assert found(session)["clipped", "ch02"] == pytest.approx(share, rel=0.1)
    _, well = recorded(np.random.default_rng(3), rate_hz=rate_hz)
    assert not well["clipped_share"].any() and check_quality(well).empty


def test_spike_times_of_arrays_and_files_are_looked_at(tmp_path):
    rng = np.random.default_rng(0)
    times = trains(rng, rates=[5, 9, 12], seconds=120, refractory_s=0.003)
    times[1] = np.append(times[1], times[1][::4] + 0.0005)
    session = sl.session_from_arrays(spike_times=times, progress=False)
    assert list(found(session)) == [("refractory", "u001")]
    again = save_session(session, tmp_path / "s01.zarr")
    with pytest.warns(SpikeLFPWarning, match=r"refractory: 1 unit: u001 \(\d+(\.\d)? % of"):
        assert sl.open_session(again).identical(session)


# --- drift ----------------------------------------------------------------------------------


def stretched(session, share):
    """The LFP on a clock that runs apart from that of the spikes."""
    time, lfp = session["time"].values, session["lfp"].values
    late = time[0] + (time - time[0]) * (1 - share)
    columns = [np.interp(late, time, column) for column in lfp.T]
    return session.assign(lfp=session["lfp"].copy(data=np.stack(columns, axis=1)))


@pytest.fixture(scope="module")
def long_sessions():
    return [simulated.session(1 + seed, seed=seed, duration_s=480.0) for seed in range(2)]


def test_simulated_sessions_have_no_findings(long_sessions):
    for session in long_sessions:
        assert check_quality(session).empty
    for seed in range(4):
        assert check_quality(simulated.session(1, seed=seed, duration_s=30.0)).empty


@pytest.mark.parametrize("share", [0.001, -0.001, 0.002])
def test_a_drift_of_clocks_is_recovered(long_sessions, share):
    for session in long_sessions:
        findings = found(stretched(session, share))
        assert list(findings) == [("drift", "lfp against spikes")]
        assert findings["drift", "lfp against spikes"] == pytest.approx(480 * share, abs=0.12)


def test_a_constant_lag_or_no_tie_at_all_is_no_drift(long_sessions):
    session = long_sessions[0]
    lagged = session.assign(lfp=session["lfp"].roll(time=30, roll_coords=False))
    assert check_quality(lagged).empty
    other = session.assign(lfp=session["lfp"].copy(data=long_sessions[1]["lfp"].values))
    assert check_quality(other).empty
    assert abs(480 * 0.0001) < DRIFT_S and check_quality(stretched(session, 0.0001)).empty


# --- there for a part, mains, coarse converters ----------------------------------------------


@pytest.mark.parametrize("how", ["NaN", "flat"])
def test_a_channel_that_is_unplugged_for_a_third_is_partial(how):
    session = good()
    values = session["lfp"].values[:, 3].copy()
    values[1000:2000] = np.nan if how == "NaN" else values[1000]
    findings = found(changed(session, "lfp", 3, values))
    assert findings == {("partial", "ch03"): pytest.approx(33.3, abs=4)}
    session["lfp"][1000:2000] = np.nan  # of all channels: a gap
    assert check_quality(session).empty


def test_a_unit_that_comes_late_is_partial_and_one_that_bursts_is_not():
    session = good()
    late = session["spikes"].values[:, 2].copy()
    late[:1200] = 0
    bursts = np.where(np.arange(3000) // 300 % 3 == 0, 2, 0)
    session = changed(changed(session, "spikes", 2, late), "spikes", 4, bursts)
    assert found(session) == {("partial", "u002"): pytest.approx(40, abs=1)}
    observed = np.ones((3000, 8), bool)
    observed[:1200, 2] = False
    table = check_quality(session.assign_coords(observed=(("time", "unit"), observed)))
    assert table[["check", "name", "unit"]].values.tolist() == [
        ["partial", "u002", "% not observed"]
    ]


@pytest.mark.parametrize("lsb", [0.5, 4.69, 10.0, 25.0])
def test_few_levels_are_no_clipping_and_clipping_of_few_levels_is_found(lsb):
    rng, time = np.random.default_rng(4), np.arange(60_000) / 1250
    theta = np.sin(2 * np.pi * 8 * time)
    well = [30 * rng.normal(size=time.size), 140 * theta + 3 * rng.normal(size=time.size)]
    cut = np.clip(50 * rng.normal(size=time.size), -60, 60)
    share = clipped_share(np.round(np.stack([*well, cut], axis=1) / lsb).astype(np.int16))
    assert share[:2].tolist() == [0, 0] and share[2] > 0.1


@pytest.mark.parametrize("line_hz", [50.0, 60.0])
def test_mains_of_another_country_are_a_finding(line_hz):
    time = np.arange(30_000) / 1000
    lfp = np.random.default_rng(5).normal(size=(time.size, 3)) * 50
    lfp[:, :2] += 60 * np.sin(2 * np.pi * 50.03 * time)[:, None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session = sl.session_from_arrays(
            lfp=lfp, lfp_rate_hz=1000.0, line_hz=line_hz, progress=False
        )
    assert len(caught) == (line_hz == 60)
    table = check_quality(session)
    assert table["check"].tolist() == ["mains"] * (line_hz == 60)
    assert all("2 of 3 channels" in text and "line_hz=50" in text for text in table["meaning"])


# --- where it is said -----------------------------------------------------------------------


def test_what_a_reader_noted_is_a_row_and_part_of_the_warning(tmp_path):
    session = add_finding(good(), "spike times", "u003", "12 lie after its end.", 12, 0)
    session = add_finding(session, "unit", "lfp", "No potential has 31 V.")
    path = save_session(session, tmp_path / "s01.zarr")
    with pytest.warns(SpikeLFPWarning, match="spike times: u003: 12 lie after") as caught:
        session = sl.open_session(path)
    assert len(caught) == 1
    table = check_quality(session)
    assert table["check"].tolist() == ["spike times", "unit"] and np.isnan(table["value"][1])


def broken(number=1):
    session = good(number, session=f"s{number:02d}")
    session["lfp"][:, :5] = session["lfp"].values[:, :1]
    return changed(session, "behavior", 1, 3.5)


def test_one_warning_a_session_names_findings_with_numbers_and_cures():
    with pytest.warns(SpikeLFPWarning) as said:
        table = warn_quality(broken())
    assert len(said) == 1 and len(table) == 5
    text = str(said[0].message)
    assert text.startswith("Session I/s01: 5 findings of quality.")
    assert "duplicated: 4 pairs of channels: ch01 = ch00 (correlation 1, limit 0.9999)" in text
    assert "ch03 = ch00" in text and "ch04" not in text and ", ..." in text
    assert "1 axis: vy (100 % of bins at 3.5, limit 90)" in text and "drop_sel(" in text
    assert table["meaning"].str.contains("drop_sel").all()


def test_opening_warns_once_and_of_good_sessions_never(tmp_path):
    path = save_session(broken(), tmp_path / "s01.zarr")
    with pytest.warns(SpikeLFPWarning, match="I/s01") as said:
        sl.open_session(path)
    assert len(said) == 1
    sl.open_session(save_session(good(), tmp_path / "s02.zarr"))
    nwb = write_example_nwb(tmp_path / "day.nwb", duration_s=30.0, n_channels=4)
    with pytest.warns(SpikeLFPWarning, match="marked bad") as said:
        sl.open_session(nwb, progress=False)
    assert len(said) == 1


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_what_other_processes_warn_of_is_said_in_this_one(tmp_path, n_jobs):
    for number in (1, 2):
        save_session(broken(number), tmp_path / f"s{number:02d}.zarr")
    with pytest.warns(SpikeLFPWarning) as said:
        sl.open_cohort(tmp_path, n_jobs=n_jobs, progress=False)
    assert sorted(str(each.message)[:13] for each in said) == ["Session I/s01", "Session I/s02"]


# --- a test on training time -------------------------------------------------------------------


def test_a_test_on_what_the_model_was_trained_on_is_said_with_numbers():
    session = good()
    latents = (
        session["lfp"]
        .rename(channel="latent")
        .assign_attrs(session="I/s01", encoded_as="I/s01", scheme="blocks", window_s=1.0, seed=0)
    )
    mine = split_session(session, window_s=1.0, seed=3)
    own = split_session(session, window_s=1.0, seed=0)
    sl.decode(latents, session)
    sl.decode(latents, session, split=own)
    test = mine.values == TEST
    leaked = (test & (own.values == TRAIN)).sum()
    assert leaked
    with pytest.warns(SpikeLFPWarning, match=rf"overlap: .* \({leaked} of {test.sum()}\).*seed=3"):
        sl.decode(latents, session, split=mine, readouts=["one_frame"])
    with pytest.warns(SpikeLFPWarning, match="scheme='paper'"):
        sl.decode(latents, session, protocol="paper", readouts=["one_frame"])
    # a model that has not seen the session may be tested on any of its time
    sl.decode(latents.assign_attrs(encoded_as="I/s02"), session, split=mine)
    assert warn_trained(own, own) == 0


# --- real recordings -------------------------------------------------------------------------


def test_real_recordings_have_what_is_wrong_with_them_and_no_more(shared, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(shared / "data"))
    path = shared / "data" / "csr6_open_field.nwb"
    if not path.exists():
        pytest.skip(f"no {path}")
    from spikelfp_lab.cohorts import cao2021

    # stored in 8 bits: wires of tetrodes 3 to 8 reach the rail, two of tetrode 1 are bridged
    with pytest.warns(SpikeLFPWarning, match=r"clipped: \d+ channels: ch11"):
        session = sl.open_session(path, progress=False)
    findings = found(session)
    assert ("duplicated", "ch03 = ch02") in findings
    assert sum(check == "clipped" for check, _ in findings) == 10  # ch23 by 0.108 %
    assert {check for check, _ in findings} == {"clipped", "duplicated"}
    assert findings["clipped", "ch31"] == pytest.approx(1.09, abs=0.05) and CLIPPED == 0.001
    for recording, features in (("rat_a", "FPAuhf"), ("mouse2_s2", "theta")):
        assert check_quality(cao2021.session(recording, features=features)).empty
