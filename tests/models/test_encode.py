import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import spikelfp_lab as sl
from spikelfp_lab import CheckpointError, ModelConfig, SpikeLFPWarning, TrainConfig
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.models.encode import values_of
from tests.factories import make_session

CONFIG = ModelConfig(width=32, layers=2, spike_patch=16, channel_patch=8)
QUICK = {"train": TrainConfig(steps=2, batch=2, window_s=0.4, val_every=2), "progress": False}


def make(session) -> Autoencoder:
    torch.manual_seed(0)
    sizes = {"I/s01": session["lfp"].shape[1]}
    return Autoencoder(CONFIG, modality="lfp", sessions=sizes, bin_size_s=0.02).eval()


def encode(model, session, **options):
    return sl.encode(model, session, window_s=1.0, **options)


def test_one_row_a_bin_on_the_session_s_clock_and_the_model_stays_on_its_device():
    session = make_session(bins=730)
    model = make(session).train()
    latents = encode(model, session, device="cpu")
    assert latents.dims == ("time", "latent") and latents.shape == (730, 32)
    np.testing.assert_array_equal(latents["time"], session["time"])
    assert np.isfinite(latents).all() and model.training
    assert next(model.parameters()).device.type == "cpu"


def test_a_session_of_one_window_is_one_pass_and_layers_end_with_its_latents():
    session = make_session(bins=50)
    model = make(session)
    with torch.inference_mode():
        whole = model.latents(torch.from_numpy(session["lfp"].to_numpy())[None], "I/s01")[0]
    np.testing.assert_allclose(encode(model, session, layer=2), whole, atol=1e-5)
    assert not np.allclose(encode(model, session, layer=0), whole)


def test_a_model_that_reads_band_power_finds_rhythms_and_refuses_what_has_none(tmp_path):
    """A rhythm whose amplitude alone changes: the first layer of a model of potentials is linear,
    and so blind to it.
    """
    session = make_session(bins=4000, bin_size_s=0.01)
    noise, envelope = np.random.default_rng(0), session["behavior"].to_numpy()[:, :1]
    phase = 2 * np.pi * 20 * session["time"].to_numpy()[:, None] + noise.uniform(0, 6, 4)
    session["lfp"][:] = np.exp(0.5 * envelope) * np.sin(phase)
    bands = ((13.0, 28.0), (30.0, 48.0))
    config = replace(CONFIG, bands_hz=bands)
    read = values_of(session, ("lfp",), shape=config)
    np.testing.assert_array_equal(read[:, ::3], session["lfp"])  # each potential, then its powers
    of_rhythm = [np.corrcoef(envelope[:, 0], column)[0, 1] for column in read[:, 1::3].T]
    assert min(of_rhythm) > 0.9 and abs(np.corrcoef(envelope[:, 0], read[:, 0])[0, 1]) < 0.2
    options = {"modality": "lfp", "sessions": {"I/s01": 4}, "bin_size_s": 0.01}
    model = Autoencoder(config, **options).eval()
    again = sl.load(model.save(tmp_path / "model"))
    assert again.config == config and again.digest() == model.digest()
    swapped = session.isel(channel=[2, 0, 3, 1])
    model.labels = {"I/s01": {"channel": [*map(str, session["channel"].values)]}}
    np.testing.assert_allclose(encode(model, swapped), encode(model, session), atol=1e-4)
    # a channel that falls silent is at its mean, as in training; it has no power of minus infinity
    silent = session.copy(deep=True)
    silent["lfp"][2000:, 0] = 0.0
    assert np.isnan(values_of(silent, ("lfp",), shape=config)[2100:, 1:3]).all()
    features = session.assign(lfp=session["lfp"].assign_attrs(kind="amplitude"))
    low = Autoencoder(replace(CONFIG, bands_hz=((13.0, 60.0),)), **options)
    for one, other, reason in ((model, features, "no potential"), (low, session, "above 50 Hz")):
        with pytest.raises(sl.DataError, match=reason):
            encode(one, other)


def test_no_seam_where_windows_meet():
    """Where windows start and end, latents change from bin to bin no more than elsewhere."""
    session = make_session(bins=1000)
    latents = encode(make(session), session).to_numpy()
    jumps = np.linalg.norm(np.diff(latents, axis=0), axis=1)
    edges = np.arange(25, 975, 25) - 1  # windows of 50 bins start every 25
    others = np.setdiff1d(np.arange(25, 975), edges)
    assert np.median(jumps[edges]) < 1.25 * np.median(jumps[others])


def test_windows_do_not_cross_gaps_and_nan_stays_nan():
    session = make_session(bins=600, gaps=[300], nan_lfp=[100])
    model = make(session)
    latents = encode(model, session)
    missing = np.isnan(session["lfp"]).any("channel").to_numpy()
    assert missing.any() and (np.isnan(latents).all("latent") == missing).all()
    changed = session.copy(deep=True)
    changed["lfp"][:300] *= 0.5  # what is in front of the gap is not seen behind it
    np.testing.assert_allclose(encode(model, changed)[300:], latents[300:], atol=1e-6)


def test_as_session_borrows_tables_and_uses_the_session_s_own_statistics():
    model, new = make(make_session()), make_session(bins=1200, session="s02")
    louder = new.assign(lfp=10 * new["lfp"] + 3)
    borrowed, again = (encode(model, one, as_session="I/s01") for one in (new, louder))
    assert borrowed.attrs["encoded_as"] == "I/s01" and borrowed.attrs["session"] == "I/s02"
    np.testing.assert_allclose(borrowed, again, atol=1e-4)


def test_wrong_modality_size_bins_and_options_are_refused():
    session = make_session()
    model = make(session)
    for wrong, message in (
        (session.drop_vars("lfp"), "reads 'lfp'"),
        (session.isel(channel=slice(3)), "4 channels in this model, the data have 3"),
        (session.assign_attrs(bin_size_s=0.01), r"bins of 0\.01 s, the model's are 0\.02 s"),
        (session.assign_attrs(session="s02"), r"finetune.*as_session='I/s01'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            encode(model, wrong)
    for options in ({"layer": 3}, {"missing": "zero"}, {"device": "tpu9"}):
        with pytest.raises(sl.ConfigError):
            encode(model, session, **options)


@pytest.mark.parametrize(("modality", "dim"), [("spikes", "unit"), ("lfp", "channel")])
def test_units_and_channels_are_matched_by_label(modality, dim):
    session = make_session(bins=1200)
    model = sl.pretrain(session, modality, model=CONFIG, **QUICK)
    latents, turned = sl.encode(model, session), session.isel({dim: slice(None, None, -1)})
    np.testing.assert_allclose(sl.encode(model, turned), latents, atol=1e-6)
    assert latents.attrs["digest"] == model.digest() and latents.attrs["session"] == "I/s01"
    tuned = [sl.finetune(model, one, **QUICK) for one in (session, turned)]
    assert tuned[0].digest() == tuned[1].digest()
    labels = session[dim].to_numpy().copy()
    lost, labels[1] = labels[1], "new"
    with pytest.raises(CheckpointError, match=rf"1 are missing \[{lost}\], 1 unknown \[new\]"):
        encode(model, session.assign_coords({dim: labels}))
    # of another session channels are matched by label, units by place
    borrowed = sl.encode(model, turned.assign_attrs(session="s02"), as_session="I/s01")
    assert np.allclose(borrowed, latents, atol=1e-5) == (modality == "lfp")


def test_a_model_of_0_1_0_has_no_labels_is_matched_by_place_and_says_so_once(tmp_path):
    session = make_session(bins=1200)
    model = sl.pretrain(session, "lfp", model=CONFIG, **QUICK)
    file = model.save(tmp_path / "old") / "config.json"
    config = json.loads(file.read_text())
    del config["labels"]
    file.write_text(json.dumps(config | {"format_version": 1}))
    old, turned = sl.load(tmp_path / "old"), session.isel(channel=slice(None, None, -1))
    with pytest.warns(SpikeLFPWarning, match="by place"):
        first = encode(old, session)
    np.testing.assert_array_equal(first, encode(model, session))
    assert not np.allclose(encode(old, turned), first)


def test_a_channel_that_is_missing_is_said_or_silenced():
    session = make_session(bins=600)
    model, broken, quiet = make(session), session.copy(deep=True), session.copy(deep=True)
    broken["lfp"][:, 2], quiet["lfp"][:, 2] = np.nan, 0.0  # its mean, by this model's statistics
    with pytest.warns(SpikeLFPWarning, match=r"1 of 4 channels.*600 of 600 bins.*ch02 \(100 %\)"):
        assert np.isnan(encode(model, broken)).all()
    silenced = encode(model, broken, missing="silence")
    np.testing.assert_allclose(silenced, encode(model, quiet), atol=1e-6)
    broken["lfp"][100:110] = np.nan  # nothing was recorded at all
    lost = np.isnan(encode(model, broken, missing="silence")).all("latent")
    assert np.flatnonzero(lost).tolist() == [*range(100, 110)]


def test_what_was_not_observed_is_neither_read_nor_learned():
    session = make_session(bins=1200)
    observed = np.ones(session["spikes"].shape, bool)
    observed[300:700, 2] = False
    session = session.assign_coords(observed=(("time", "unit"), observed))
    other = session.copy(deep=True)
    other["spikes"].values[300:700, 2] = 5
    model, same = (sl.pretrain(one, "spikes", model=CONFIG, **QUICK) for one in (session, other))
    assert model.digest() == same.digest()
    np.testing.assert_array_equal(encode(model, session), encode(model, other))
    seen = encode(model, other.drop_vars("observed"))
    assert np.isfinite(seen).all() and not np.allclose(seen, encode(model, other))


def test_a_model_of_both_reads_what_there_is(tmp_path):
    session = make_session(bins=1200)
    model = sl.pretrain(session, "both", model=CONFIG, **QUICK)
    model = sl.load(model.save(tmp_path / "both"))
    assert model.sessions == {"I/s01": (6, 4)}
    whole = encode(model, session)
    lfp, spikes = (encode(model, session.drop_vars(name)) for name in ("spikes", "lfp"))
    assert (whole.attrs["modality"], lfp.attrs["modality"]) == ("both", "lfp")
    assert not np.allclose(whole, lfp) and not np.allclose(lfp, spikes)
