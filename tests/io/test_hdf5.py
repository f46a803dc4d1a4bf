"""HDF5 files are looked through before they are read."""

import h5py
import numpy as np
import pytest

from spikelfp_lab.errors import DataError
from spikelfp_lab.io._hdf5 import check_hdf5


def look(path, *, beside=False):
    with h5py.File(path, "r") as file:
        check_hdf5(file, path.name, path=path.resolve() if beside else None)


@pytest.fixture
def made(tmp_path):
    def make(fill):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w", libver="latest") as file:
            fill(file)
        return path

    return make


def nest(file, depth):
    group = file.id
    for _ in range(depth):
        group = h5py.h5g.create(group, b"g")


def test_groups_nested_without_end(made):
    look(made(lambda file: nest(file, 60)))
    with pytest.raises(DataError, match=r"a\.h5 has more than 64 groups within each other"):
        look(made(lambda file: nest(file, 20_000)))


def test_groups_that_hold_each_other(made):
    def fill(file):
        file["a/b/c"] = np.arange(3)
        file["a/b/up"] = file["a"]
        file["soft"], file["gone"] = h5py.SoftLink("/soft"), h5py.SoftLink("/nothing")

    look(made(fill))


@pytest.mark.parametrize(
    ("fill", "refused"),
    [
        (lambda f: f.create_dataset("x", (2**40, 3), "f4"), True),  # late allocation: nothing is stored
        (lambda f: f.create_dataset("x", (2**40, 3), "f4", chunks=(1000, 3)), True),
        (lambda f: f.create_dataset("x", (2**36,), h5py.string_dtype(), chunks=(9,)), True),
        (lambda f: f.create_dataset("x", (1000, 3), "f4", chunks=(10, 3)), False),
        (lambda f: f.create_dataset("x", data=np.zeros(2**24), compression="gzip", compression_opts=9, chunks=(2**20,)), False),
        (lambda f: f.create_dataset("x", data=h5py.Empty("f8")), False),
        (lambda f: f.create_dataset("x", data=3.0), False),
    ],
)  # fmt: skip
def test_what_is_declared_must_be_there(made, fill, refused):
    path = made(fill)
    if not refused:
        return look(path)
    with pytest.raises(DataError, match=r"x of a\.h5 declares .* Copy the file again"):
        look(path)


def pointing(kind, target):
    def fill(file):
        if kind == "link":
            file["x"] = h5py.ExternalLink(str(target), "/")
        elif kind == "storage":
            file.create_dataset("x", (4,), "f8", external=[(str(target), 0, 32)])
        else:
            layout = h5py.VirtualLayout((4,), np.float64)
            layout[:] = h5py.VirtualSource(str(target), "x", shape=(4,))
            file.create_virtual_dataset("x", layout)

    return fill


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_other_files_only_in_the_same_folder_and_only_where_allowed(made, tmp_path, kind):
    with h5py.File(tmp_path / "near.h5", "w") as file:
        file["x"] = np.arange(4.0)
    path = made(pointing(kind, "near.h5"))
    look(path, beside=True)
    with pytest.raises(
        DataError, match=r"x of a\.h5 points at another file, near\.h5.*not followed"
    ):
        look(path)
    for target in ("../x.h5", "/etc/hostname", str(tmp_path.parent / "x.h5")):
        path = made(pointing(kind, target))
        with pytest.raises(DataError, match="outside the folder"):
            look(path, beside=True)
    path = made(pointing(kind, "gone.h5"))
    with pytest.raises(DataError, match=r"not there. Put it at .*gone\.h5"):
        look(path, beside=True)


def test_a_file_nearby_that_leads_elsewhere_names_both(made, tmp_path):
    with h5py.File(tmp_path / "near.h5", "w") as file:
        file["x"] = h5py.ExternalLink("/etc/hostname", "x")
    with pytest.raises(DataError, match=r"near\.h5, at which a\.h5 points.*outside the folder"):
        look(made(pointing("link", "near.h5")), beside=True)
