"""A live decoder gives, frame by frame, what encode and a read-out give for the whole session."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import spikelfp_lab as sl
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.live import Decoder
from spikelfp_lab.signal.causal import CausalLFP
from tests.factories import make_session

NAME, BANDS = "I/s01", ((5.0, 10.0), (10.0, 20.0))
SHAPES = {
    "band power": {"bands_hz": BANDS, "context_s": 0.3},
    "patches": {"channel_patch": 3, "context_s": 0.5},  # the last is padded
    "tables with maps": {"channel_patch": 4, "bands_hz": BANDS, "affine_space": True},
}


def trained(**shape):
    """A causal model after a few steps, its session, latents and read-out."""
    session = make_session(bins=1500, channels=7)
    session["lfp"] = session["lfp"] * 40 + 5
    quick = sl.TrainConfig(steps=6, batch=2, window_s=1.0, val_every=3)
    shape = sl.ModelConfig(causal=True, layers=2, mlp_ratio=2, **shape)
    model = sl.pretrain({NAME: session}, "lfp", model=shape, train=quick, progress=False)
    latents = sl.encode(model, session, progress=False)
    return model, session, latents, sl.fit_readout(latents, session)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def made(request):
    return trained(**SHAPES[request.param])


@pytest.fixture(scope="module")
def one():
    return trained(**SHAPES["band power"])


def push(decoder, values, cuts=()):
    """All outputs of frames that come in pieces."""
    parts = [decoder.push(part) for part in np.split(values, sorted(cuts))]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def test_frames_give_the_latents_and_behavior_of_the_whole_session(made):
    model, session, latents, readout = made
    assert readout.kind == "past"  # for latents that know the past alone
    out = push(Decoder(model, session=NAME, readout=readout), session["lfp"].values)
    assert np.abs(out["latents"] - latents.values).max() < 1e-5 * latents.values.std() + 5e-6
    told = readout.predict(latents).values
    assert (np.isnan(out["behavior"]) == np.isnan(told)).all()
    assert np.nanmax(np.abs(out["behavior"] - told)) < 1e-4
    assert np.allclose(out["time"], session["time"])


def test_what_is_yet_to_come_moves_nothing(made):
    model, session, latents, _ = made
    other = session.copy()
    later = session["lfp"].copy()
    later[700:] = np.random.default_rng(1).normal(size=later[700:].shape) * 100
    other["lfp"] = later
    changed = np.abs(sl.encode(model, other, progress=False) - latents).max("latent").values
    assert changed[:700].max() == 0 and changed[700:].min() > 0


@given(cuts=st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=15, deadline=None)
def test_it_does_not_matter_in_which_pieces_frames_come(one, cuts):
    model, session, *_ = one
    out = push(Decoder(model, session=NAME), session["lfp"].values[:300], cuts)
    whole = push(Decoder(model, session=NAME), session["lfp"].values[:300])
    assert np.array_equal(out["latents"], whole["latents"])


def test_a_long_stream_loses_no_accuracy(one):
    model, session, *_ = one
    repeated = np.tile(session["lfp"].values, (4, 1))
    decoder = Decoder(model, session=NAME)
    decoder._state["frames"] = decoder._state["frames"] + 300_000_000  # a month at 100 Hz
    ring = decoder._step.context
    decoder._state["frames"] -= decoder._state["frames"] % ring
    late = push(decoder, repeated)["latents"][-100:]
    soon = push(Decoder(model, session=NAME), repeated)["latents"][-100:]
    assert np.abs(late - soon).max() < 1e-5


def test_channels_are_matched_by_label_and_units_converted(one):
    model, session, latents, _ = one
    turned = session["lfp"][:100, ::-1]
    labels = turned["channel"].values
    columns = Decoder(model, session=NAME, channels=labels, units="mV")
    out = columns.push(turned.values / 1000)["latents"]
    assert np.abs(out - latents.values[:100]).max() < 1e-5
    out = Decoder(model, session=NAME).push(turned)["latents"]  # a DataArray says its own
    assert np.abs(out - latents.values[:100]).max() < 1e-5
    with pytest.raises(DataError, match=r"1 are missing \['ch06'\], 1 others .*\['EEG'\]"):
        Decoder(model, session=NAME, channels=[*labels[1:], "EEG"])


def test_a_gap_begins_anew_as_encode_does_and_time_never_goes_back(one):
    model, session, _, readout = one
    broken = make_session(bins=1500, channels=7, gaps=[400])
    broken["lfp"] = broken["lfp"].copy(data=session["lfp"].values)
    latents = sl.encode(model, broken, progress=False)
    decoder = Decoder(model, session=NAME, readout=readout)
    out = decoder.push(broken["lfp"].values, broken["time"].values)
    assert decoder.gaps == 1 and "1 gaps" in repr(decoder)
    assert np.abs(out["latents"] - latents.values).max() < 2e-5
    assert np.isnan(out["behavior"][400:404]).all()  # no past on this side of the gap
    with pytest.raises(DataError, match=r"time goes from .* less than a bin"):
        decoder.push(broken["lfp"].values[:1], [0.5])
    with pytest.raises(DataError, match="2 times for 1 frames"):
        decoder.push(broken["lfp"].values[:1], [90.0, 91.0])


def test_a_channel_that_does_not_change_is_counted_as_dead(one):
    model, session, *_ = one
    values = session["lfp"].values[:200].copy()
    values[100:, 3] = 7.0  # dead from the 26th repetition on: bins last 20 ms
    whole, first = Decoder(model, session=NAME), Decoder(model, session=NAME)
    with pytest.warns(SpikeLFPWarning, match="ch03 are NaN or do not change") as said:
        whole.push(values)
    first.push(values[:110])
    other = Decoder(model, session=NAME)
    other.restore(first.state())
    with pytest.warns(SpikeLFPWarning, match="ch03"):
        other.push(values[110:])
    assert len(said) == 1
    assert whole.silenced.tolist() == other.silenced.tolist() == [0, 0, 0, 75, 0, 0, 0]


def test_unknown_samples_are_silenced_counted_and_said_once(one):
    model, session, *_ = one
    holed = session.copy()
    values = session["lfp"].values.copy()
    values[200:260, 2] = np.nan
    holed["lfp"] = session["lfp"].copy(data=values)
    wanted = sl.encode(model, holed, missing="silence", progress=False)
    decoder = Decoder(model, session=NAME)
    with pytest.warns(SpikeLFPWarning, match="ch02 are NaN or do not change") as said:
        out = push(decoder, values, [210, 230])
    assert len(said) == 1 and decoder.silenced.tolist() == [0, 0, 60, 0, 0, 0, 0]
    assert np.abs(out["latents"] - wanted.values).max() < 2e-5


def test_another_day_is_calibrated_by_its_own_frames(one):
    model, session, latents, _ = one
    day = session["lfp"].values * 3 + 20
    decoder = Decoder(model, session=NAME)
    off = np.abs(push(decoder, day)["latents"] - latents.values).mean()
    decoder = Decoder(model, session=NAME)
    decoder.calibrate(day)
    assert np.abs(push(decoder, day)["latents"] - latents.values).mean() < off / 5
    with pytest.raises(DataError, match="needs 10 s of frames or more, this is 1 s"):
        decoder.calibrate(day[:50])


def test_a_killed_decoder_goes_on_from_its_state(one, tmp_path):
    model, session, _, readout = one
    values = np.repeat(session["lfp"].values[:600], 5, axis=0)
    options = {"session": NAME, "readout": readout, "raw_rate_hz": 250.0, "band_hz": (0.5, 20.0)}
    model.save(tmp_path / "model")
    readout.save(tmp_path / "readout")
    np.save(tmp_path / "values.npy", values)
    code = f"""
import os, signal, numpy as np, spikelfp_lab as sl
from pathlib import Path
folder = Path({str(tmp_path)!r})
readout = sl.ReadOut.load(folder / "readout")
options = dict(session={NAME!r}, readout=readout, raw_rate_hz=250.0, band_hz=(0.5, 20.0))
decoder = sl.live.Decoder(sl.load(folder / "model"), **options)
decoder.push_raw(np.load(folder / "values.npy")[:1234])
(folder / "state").write_bytes(decoder.state())
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    undisturbed = Decoder(model, **options)
    undisturbed.push_raw(values[:1234])
    decoder = Decoder(model, **options)
    decoder.restore((tmp_path / "state").read_bytes())
    wanted, out = (each.push_raw(values[1234:]) for each in (undisturbed, decoder))
    assert all(np.array_equal(wanted[key], out[key], equal_nan=True) for key in wanted)
    for bad, why in ((b"nothing", "no state of a decoder"), (decoder.state()[:-9], "no state")):
        with pytest.raises(CheckpointError, match=why):
            decoder.restore(bad)
    with pytest.raises(CheckpointError, match="raw_rate_hz"):
        Decoder(model, session=NAME, readout=readout).restore(decoder.state())


@pytest.mark.parametrize("rate_hz", [24414.0625, 30_000.0, 2000.0, 1017.25])
def test_raw_samples_give_what_the_chain_and_encode_give(one, rate_hz):
    model, session, *_ = one
    rng, options = np.random.default_rng(0), {"rate_hz": rate_hz, "band_hz": (0.5, 20.0)}
    raw = rng.normal(size=(round(4 * rate_hz), 7)).cumsum(axis=0)
    lfp = CausalLFP(7, to_rate_hz=50.0, **options)(raw)
    filtered = session.isel(time=slice(len(lfp))).copy()
    filtered["lfp"] = filtered["lfp"].copy(data=lfp)
    mean, std = (x.numpy() for x in model.statistics(NAME))
    decoder = Decoder(model, session=NAME, raw_rate_hz=rate_hz, band_hz=(0.5, 20.0))
    cuts = sorted(rng.choice(len(raw), 30, replace=False))
    parts = [decoder.push_raw(part) for part in np.split(raw, cuts)]
    out = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    wanted = sl.encode(model, filtered, progress=False)
    assert (mean, std) and len(out["latents"]) == len(wanted)
    assert np.abs(out["latents"] - wanted.values).max() < 1e-4 * wanted.values.std()
    assert np.allclose(out["time"], wanted["time"])
    # stamps that jitter by a bin do no harm; where samples were lost, filters begin anew
    stamps = np.arange(len(raw)) / rate_hz + 100
    decoder.reset()
    parts = np.array_split(np.arange(len(raw)), 60)
    made = [decoder.push_raw(raw[p], stamps[p] + 0.02 * (i % 2)) for i, p in enumerate(parts)]
    assert decoder.gaps == 0 and np.diff(np.concatenate([m["time"] for m in made])).max() < 0.021
    late = decoder.push_raw(raw[: len(raw) // 2], stamps[: len(raw) // 2] + 60)
    assert (
        decoder.gaps == 1
        and np.abs(late["latents"] - out["latents"][: len(late["time"])]).max() < 1e-5
    )
    with pytest.raises(DataError, match=r"samples go back by .* reset"):
        decoder.push_raw(raw[:10], stamps[:10])
    assert "ms at 20 Hz" in repr(decoder) and 0 < decoder.delays_s[5.0] < 0.1


def test_what_cannot_be_decoded_live_is_refused_with_the_cure(one):
    model, session, latents, _ = one
    quick = sl.TrainConfig(steps=2, batch=2, window_s=1.0, val_every=2)
    shape = sl.ModelConfig(layers=1)
    both_ways = sl.pretrain({NAME: session}, "lfp", model=shape, train=quick, progress=False)
    decoder = Decoder(model, session=NAME)
    lagged = sl.fit_readout(latents, session, kind="lagged")
    others = sl.fit_readout(sl.encode(both_ways, session, progress=False), session, kind="past")
    for wrong, error, why in (
        (lambda: Decoder(both_ways, session=NAME), ConfigError, r"past and future.*causal=True"),
        (lambda: Decoder(model, session="I/s09"), CheckpointError, "not in this model's vocab"),
        (lambda: Decoder(model, session=NAME, units="mm"), ConfigError, "V, mV, uV"),
        (lambda: Decoder(model, session=NAME, readout=lagged), ConfigError, 'kind="past"'),
        (lambda: Decoder(model, session=NAME, readout=others), DataError, "of this model"),
        (lambda: decoder.push(np.zeros((3, 5))), DataError, r"give \(frames, 7\)"),
        (lambda: decoder.push_raw(np.zeros((3, 7))), ConfigError, "raw_rate_hz=30_000"),
    ):
        with pytest.raises(error, match=why):
            wrong()
    assert decoder.push(np.zeros((0, 7)))["latents"].shape == (0, 64)
    assert isinstance(decoder.push(xr.DataArray(np.zeros(7), dims="channel"))["time"], np.ndarray)


def test_a_recording_opened_causally_is_what_a_live_decoder_sees():
    """Same filters, same bins; a gap begins anew; nothing comes before its cause."""
    rng, rate_hz = np.random.default_rng(0), 1000.0
    raw = rng.normal(size=(20_000, 3)).cumsum(axis=0)
    options = {"lfp_rate_hz": rate_hz, "causal": True, "band_hz": (0.5, 40.0), "progress": False}
    session = sl.session_from_arrays(lfp=raw, **options)
    live = CausalLFP(3, rate_hz=rate_hz, band_hz=(0.5, 40.0), first_s=session["time"].values[0])
    wanted = np.concatenate([live(part) for part in np.split(raw, [77, 9000])])
    count = min(len(wanted), session.sizes["time"])
    assert np.abs(session["lfp"].values[:count] - wanted[:count]).max() < 1e-3
    later = raw.copy()
    later[12_000:] += 500
    changed = np.abs(sl.session_from_arrays(lfp=later, **options)["lfp"] - session["lfp"]).max(
        "channel"
    )
    assert (
        changed.sel(time=slice(None, 11.99)).max() == 0
        and changed.sel(time=12.1, method="nearest") > 1
    )
    times = np.arange(20_000) / rate_hz
    times[8000:] += 2
    options |= {"lfp_rate_hz": None, "lfp_times": times}
    with pytest.warns(SpikeLFPWarning, match="gap"):
        broken = sl.session_from_arrays(lfp=raw, **options)
    lfp = broken["lfp"].sel(time=slice(None, 7.9)).values
    assert np.abs(lfp - session["lfp"].values[: len(lfp)]).max() < 1e-3
