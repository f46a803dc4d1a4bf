import numpy as np
import pytest
import torch

from spikelfp_lab import CheckpointError, ModelConfig, TrainConfig, encode
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
