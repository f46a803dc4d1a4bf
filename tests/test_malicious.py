"""A malicious file of any kind that is read here runs nothing: each would leave a marker if it did."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import spikelfp_lab as sl
from spikelfp_lab.errors import SpikeLFPError
from spikelfp_lab.models import Autoencoder, load_official
from tests.factories import make_session


class Malicious:
    """Unpickling it makes the file ``target``."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "elsewhere" / "owned"


@pytest.fixture
def payload(target):
    """The pickle, once it was seen to do what it should."""
    target.parent.mkdir()
    content = pickle.dumps(Malicious(target))
    pickle.loads(content)
    assert target.exists()
    target.unlink()
    return content


@pytest.fixture
def model(tmp_path):
    config = sl.ModelConfig(width=8, layers=1, heads=2, spike_patch=4)
    model = Autoencoder(config, modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.02)
    return model.save(tmp_path / "model")


@pytest.fixture
def saved(tmp_path):
    return sl.save_session(make_session(bins=20), tmp_path / "a.zarr")


def refused(read, path, target):
    with pytest.raises(SpikeLFPError) as caught:
        read(path)
    assert not target.exists()
    assert Path(path).name in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("form", ["pickle", "torch.save", "joined"])
def test_a_model_whose_files_are_pickles(model, payload, target, name, form):
    path = model / name
    if form == "torch.save":
        torch.save({"weights": Malicious(target)}, path)
    else:
        path.write_bytes(payload + (path.read_bytes() if form == "joined" else b""))
    refused(sl.load, model, target)


def test_a_model_with_a_pickle_beside_its_files_is_read_without_it(model, payload, target):
    for name in ("model.pt", "pytorch_model.bin", "__init__.py", "config.pkl"):
        (model / name).write_bytes(payload)
    assert list(sl.load(model).sessions) == ["I/s01"] and not target.exists()


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.npz", "a.safetensors", "a.pkl", "a"])
@pytest.mark.parametrize("form", ["pickle", "torch.save", "old torch.save", "objects"])
def test_a_published_model_that_is_or_holds_a_pickle(tmp_path, payload, target, name, form):
    path = tmp_path / name
    if form == "pickle":
        path.write_bytes(payload)
    elif form == "objects":
        with path.open("wb") as file:
            np.savez(file, weights=np.array([Malicious(target)], dtype=object))
    else:
        zipped = form == "torch.save"
        torch.save({"a": Malicious(target)}, path, _use_new_zipfile_serialization=zipped)
    refused(load_official, path, target)


@pytest.mark.parametrize("where", ["compressor", "filter", "object"])
def test_a_session_that_is_packed_by_pickle(saved, payload, target, where, monkeypatch):
    """Zarr has a codec that unpickles: on by default in old versions, and here in all of them."""
    numcodecs = pytest.importorskip("numcodecs")
    for name in dir(numcodecs.pickles):
        if name.startswith("ALLOW_UNSAFE"):
            monkeypatch.setattr(numcodecs.pickles, name, True)
    assert numcodecs.Pickle().decode(payload) is None and target.exists()
    target.unlink()
    metadata = json.loads((saved / ".zmetadata").read_text())
    array = metadata["metadata"]["unit/.zarray"]
    codec = {"id": "pickle"}
    array |= {"compressor": None, "filters": None, "fill_value": None}
    if where == "compressor":
        array |= {"compressor": codec}
    elif where == "filter":
        array |= {"filters": [codec], "dtype": "<f8"}
    else:
        array |= {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "compressor": codec}
    (saved / ".zmetadata").write_text(json.dumps(metadata))
    (saved / "unit" / ".zarray").write_text(json.dumps(array))
    (saved / "unit" / "0").write_bytes(payload)
    refused(sl.open_session, saved, target)
    refused(sl.open_cohort, saved.parent, target)


def test_files_that_are_pickles_under_other_names(tmp_path, saved, payload, target):
    (tmp_path / "b.nwb").write_bytes(payload)
    refused(sl.open_session, tmp_path / "b.nwb", target)
    (saved / ".zmetadata").write_bytes(payload)
    refused(sl.open_session, saved, target)
    shutil.rmtree(saved)
    saved.write_bytes(payload)
    refused(sl.open_session, saved, target)
