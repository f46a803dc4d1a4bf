"""Archives are looked at before anything of them is unpacked, and nothing of them reaches the disk."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from spikelfp_lab.errors import CheckpointError
from spikelfp_lab.models import _archive, load_official
from spikelfp_lab.models._archive import check_archive


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        load_official(path)
    assert path.name in str(caught.value)


def test_models_of_any_kind_pass(tmp_path):
    weights = {"weight": torch.randn(300, 300), "mask": torch.zeros(100, 100)}
    torch.save(weights, tmp_path / "a.pt")
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in weights.items()})
    np.savez_compressed(
        tmp_path / "b.npz", **{key: value.numpy() for key, value in weights.items()}
    )
    (tmp_path / "a.txt").write_text("no archive")
    for path in tmp_path.iterdir():
        check_archive(path)


@pytest.mark.parametrize("name", ["a.npz", "a.pt"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, name):
    torch.save({"a": torch.zeros(20_000_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as archive:
        members = [(each.filename, archive.read(each)) for each in archive.infolist()]
    path = zipped(tmp_path / name, members)
    assert path.stat().st_size < 1e6
    refused(path, r"unpacks from \d+,\d+ to 80,\d+,\d+ bytes")


def test_more_members_than_any_model_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_archive, "MOST_MEMBERS", 9)
    refused(zipped(tmp_path / "a.npz", [(str(n), b"") for n in range(10)]), "10 members")


def test_members_that_share_a_name_or_their_bytes_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.npz", [("a.npy", b"1"), ("a.npy", b"2")])
    refused(path, "the same name")
    path = zipped(tmp_path / "b.npz", [("a", b"x" * 999), ("b", b"y")], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\x01\x02")
    for at in (20, 24):  # its sizes, in the list of members
        struct.pack_into("<L", content, second + at, len(content))
    path.write_bytes(content)
    refused(path, "which is no model")


def test_a_size_that_is_a_lie_is_refused(tmp_path):
    array = io.BytesIO()
    np.save(array, np.zeros(1_000_000))
    path = zipped(tmp_path / "a.npz", [("a.npy", array.getvalue())])
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"PK\x01\x02") + 24, 2_000)
    path.write_bytes(content)
    refused(path, "damaged")


def test_names_in_an_archive_lead_nowhere(tmp_path, monkeypatch):
    (inside := tmp_path / "inside").mkdir()
    monkeypatch.chdir(inside)
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    names = ["../out.npy", "/tmp/spikelfp-out.npy", "..\\out.npy", "a/../../out.npy", "C:\\out.npy"]
    path = zipped(inside / "a.npz", [(name, array.getvalue()) for name in names])
    refused(path, "no parameter named")
    assert [each.name for each in tmp_path.rglob("*")] == ["inside", "a.npz"]


def test_a_tar_file_is_never_opened_by_a_reader_that_unpacks(tmp_path):
    target = tmp_path / "elsewhere"
    path = tmp_path / "a.pt"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(link)
        for name in ("../elsewhere", str(target)):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"here"))
    refused(path, "is a tar file")
    assert not target.exists()
