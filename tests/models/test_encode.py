import json

import numpy as np
import pytest
import torch

from spikelfp_lab import (
    CheckpointError,
    ModelConfig,
    SpikeLFPWarning,
    TrainConfig,
    encode,
    finetune,
    load,
    pretrain,
)
from spikelfp_lab.models import Autoencoder
from tests.factories import make_session

CONFIG = ModelConfig(width=32, layers=2, spike_patch=16, channel_patch=8)


def make(session, modality="lfp") -> Autoencoder:
    torch.manual_seed(0)
    size = session[modality].shape[1]
    model = Autoencoder(CONFIG, modality=modality, sessions={"I/s01": size}, bin_size_s=0.02)
    return model.eval()


def test_one_row_a_bin_on_the_session_s_clock():
    session = make_session(bins=730)
    latents = encode(make(session), session, window_s=1.0)
    assert latents.dims == ("time", "latent") and latents.shape == (730, 32)
    np.testing.assert_array_equal(latents["time"], session["time"])
    assert np.isfinite(latents).all()


def test_latents_say_how_time_was_split_in_training():
    session = make_session(bins=730)
    model = make(session)
    assert "seed" not in encode(model, session, window_s=1.0).attrs
    model.info = {"train": TrainConfig(seed=4, window_s=1.0).to_dict()}
    attrs = encode(model, session).attrs
    assert (attrs["scheme"], attrs["window_s"], attrs["seed"]) == ("blocks", 1.0, 4)


def test_a_session_of_one_window_is_one_pass():
    session = make_session(bins=50)
    model = make(session)
    with torch.inference_mode():
        whole = model.latents(torch.from_numpy(session["lfp"].to_numpy())[None], "I/s01")[0]
    np.testing.assert_allclose(encode(model, session, window_s=1.0), whole, atol=1e-5)


def test_no_seam_where_windows_meet():
    """Where windows start and end, latents change from bin to bin no more than elsewhere."""
    session = make_session(bins=1000)
    latents = encode(make(session), session, window_s=1.0).to_numpy()
    jumps = np.linalg.norm(np.diff(latents, axis=0), axis=1)
    edges = np.arange(25, 975, 25) - 1  # windows of 50 bins start every 25
    others = np.setdiff1d(np.arange(25, 975), edges)
    assert np.median(jumps[edges]) < 1.25 * np.median(jumps[others])


def test_windows_do_not_cross_gaps_and_nan_stays_nan():
    session = make_session(bins=600, gaps=[300], nan_lfp=[100])
    model = make(session)
    latents = encode(model, session, window_s=1.0)
    missing = np.isnan(session["lfp"]).any("channel").to_numpy()
    assert missing.any()
    np.testing.assert_array_equal(np.isnan(latents).all("latent"), missing)
    changed = session.copy(deep=True)
    changed["lfp"][:300] = 0.5 * changed["lfp"][:300]
    np.testing.assert_allclose(
        encode(model, changed, window_s=1.0)[300:], latents[300:], atol=1e-6
    )  # what is in front of the gap is not seen behind it


def test_as_session_borrows_tables_and_uses_the_session_s_own_statistics():
    known = make_session(bins=1200)
    model = make(known)
    new = make_session(bins=1200, session="s02")
    with pytest.raises(CheckpointError, match="as_session='I/s01'"):
        encode(model, new, window_s=1.0)
    louder = new.copy(deep=True)
    louder["lfp"] = 10 * louder["lfp"] + 3
    borrowed = encode(model, new, as_session="I/s01", window_s=1.0)
    assert borrowed.attrs["encoded_as"] == "I/s01"
    np.testing.assert_allclose(
        borrowed, encode(model, louder, as_session="I/s01", window_s=1.0), atol=1e-4
    )


def test_wrong_modality_size_and_bins_are_refused():
    session = make_session()
    model = make(session)
    with pytest.raises(CheckpointError, match="reads 'lfp'"):
        encode(model, session.drop_vars("lfp"))
    with pytest.raises(CheckpointError, match="4 channels in this model, the data have 3"):
        encode(model, session.isel(channel=slice(3)))
    model.bin_size_s = 0.01
    with pytest.raises(CheckpointError, match=r"bins of 0\.01 s"):
        encode(model, session)


def test_layers_go_from_the_tokens_to_the_latents():
    session = make_session(bins=300)
    model = make(session)
    last = encode(model, session, window_s=1.0)
    np.testing.assert_allclose(encode(model, session, window_s=1.0, layer=2), last, atol=1e-6)
    assert not np.allclose(encode(model, session, window_s=1.0, layer=0), last)


QUICK = TrainConfig(steps=2, batch=2, window_s=0.4, val_every=2)


@pytest.mark.parametrize(("modality", "dim"), [("spikes", "unit"), ("lfp", "channel")])
def test_units_and_channels_are_matched_by_label(modality, dim):
    session = make_session(bins=1200)
    model = pretrain(session, modality, model=CONFIG, train=QUICK, progress=False)
    latents, turned = encode(model, session), session.isel({dim: slice(None, None, -1)})
    np.testing.assert_allclose(encode(model, turned), latents, atol=1e-6)
    assert latents.attrs["digest"] == model.digest() and latents.attrs["session"] == "I/s01"
    tuned = [finetune(model, one, train=QUICK, progress=False) for one in (session, turned)]
    assert tuned[0].digest() == tuned[1].digest()
    labels = session[dim].to_numpy().copy()
    labels[1] = "new"
    with pytest.raises(
        CheckpointError, match=rf"1 are missing \[{session[dim].values[1]}\], 1 unknown \[new\]"
    ):
        encode(model, session.assign_coords({dim: labels}))
    # of another session channels are matched by label, units by place
    other = turned.assign_attrs(session="s02")
    borrowed = encode(model, other, as_session="I/s01")
    assert np.allclose(borrowed, latents, atol=1e-5) == (modality == "lfp")


def test_a_model_without_labels_is_matched_by_place_and_says_so_once(tmp_path):
    session = make_session(bins=1200)
    model = pretrain(session, "lfp", model=CONFIG, train=QUICK, progress=False)
    file = model.save(tmp_path / "old") / "config.json"
    config = json.loads(file.read_text())
    del config["labels"]
    file.write_text(json.dumps(config | {"format_version": 1}))
    old, turned = load(tmp_path / "old"), session.isel(channel=slice(None, None, -1))
    with pytest.warns(SpikeLFPWarning, match="by place"):
        first = encode(old, session)
    np.testing.assert_array_equal(first, encode(model, session))
    assert not np.allclose(encode(old, turned), first)
    with pytest.raises(CheckpointError, match="4 channels in this model, the data have 3"):
        encode(old, session.isel(channel=slice(3)))


def test_a_channel_that_is_missing_is_said_or_silenced():
    session = make_session(bins=600)
    model = make(session)
    broken = session.copy(deep=True)
    broken["lfp"][:, 2] = np.nan
    with pytest.warns(SpikeLFPWarning, match=r"1 of 4 channels.*600 of 600 bins.*ch02 \(100 %\)"):
        assert np.isnan(encode(model, broken, window_s=1.0)).all()
    silenced = encode(model, broken, window_s=1.0, missing="silence")
    quiet = session.copy(deep=True)
    quiet["lfp"][:, 2] = 0.0  # its mean, by the statistics of this model
    np.testing.assert_allclose(silenced, encode(model, quiet, window_s=1.0), atol=1e-6)
    broken["lfp"][100:110] = np.nan  # nothing was recorded at all
    lost = np.isnan(encode(model, broken, window_s=1.0, missing="silence")).all("latent")
    assert np.flatnonzero(lost).tolist() == [*range(100, 110)]


def test_what_was_not_observed_is_neither_read_nor_learned():
    session = make_session(bins=1200)
    observed = np.ones(session["spikes"].shape, bool)
    observed[300:700, 2] = False
    session = session.assign_coords(observed=(("time", "unit"), observed))
    other = session.copy(deep=True)
    other["spikes"].values[300:700, 2] = 5
    models = [
        pretrain(one, "spikes", model=CONFIG, train=QUICK, progress=False)
        for one in (session, other)
    ]
    assert models[0].digest() == models[1].digest()
    np.testing.assert_array_equal(encode(models[0], session), encode(models[0], other))
    seen = encode(models[0], other.drop_vars("observed"))
    assert np.isfinite(seen).all() and not np.allclose(seen, encode(models[0], other))
