"""Streams of the Lab Streaming Layer: what is sent is decoded, all of it."""

import subprocess
import sys

import numpy as np
import pytest

import spikelfp_lab as sl
from spikelfp_lab.errors import DataError
from spikelfp_lab.live import Decoder, run
from tests.live.test_decoder import NAME, one  # noqa: F401

pylsl = pytest.importorskip("pylsl", reason="streams need the extra live")


def test_a_replayed_session_is_decoded_whole_and_recorded(one, tmp_path):  # noqa: F811
    model, session, latents, readout = one
    sl.save_session(session, tmp_path / "session.zarr")
    command = [sys.executable, "-m", "spikelfp_lab.live", "replay", tmp_path / "session.zarr"]
    command += ["--name", f"lfp-{tmp_path.name}", "--speed", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        decoder = Decoder(model, session=NAME, readout=readout)
        decoder.bin_size_s /= 2  # replayed at twice the speed
        streams = {"inlet": f"lfp-{tmp_path.name}", "outlet": f"out-{tmp_path.name}"}
        out = run(decoder, record=tmp_path / "out.nwb", **streams)
        assert sender.communicate()[0] == "1500 frames sent\n"
    assert decoder.gaps == 0 and len(out["latents"]) == 1500
    assert np.abs(out["latents"] - latents.values).max() < 2e-5
    back = sl.open_session(tmp_path / "out.nwb")
    assert np.allclose(back["lfp"], session["lfp"], atol=1e-3)
    assert np.allclose(back["behavior"], out["behavior"], atol=1e-4, equal_nan=True)


def test_a_stream_that_is_not_there_is_named_with_those_that_are(one, monkeypatch):  # noqa: F811
    monkeypatch.setattr("spikelfp_lab.live.lsl.WAIT_S", 0.5)
    with pytest.raises(DataError, match="no stream 'amplifier'; there are"):
        run(Decoder(one[0], session=NAME), inlet="amplifier")
