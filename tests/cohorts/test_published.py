"""What the data sets with a publication refuse alike: names, options, damaged files."""

import warnings

import numpy as np
import pytest
from scipy import io

from spikelfp_lab.cohorts import cao2021, flint, makin
from spikelfp_lab.errors import ConfigError, SpikeLFPError
from tests.io.matlab_files import write_flint, write_makin_mat, write_makin_nwb

DAY = "indy_20160622_01"


@pytest.mark.parametrize(
    "data_set, options",
    [
        (cao2021, {"recordings": "rat_a"}),
        (cao2021, {"recordings": []}),
        (cao2021, {"recordings": ["cat_a"]}),
        (cao2021, {"recordings": ["rat_a"], "features": "theta"}),
        (cao2021, {"features": "gamma"}),
        (flint, {"sessions": ["e1_1", "e1_1"]}),
        (flint, {"sessions": ["e1_2"]}),
        (flint, {"protocol": "papers"}),
        (flint, {"bin_size_s": 0.015}),
        (flint, {"bin_size_s": 0}),
        (flint, {"bin_size_s": float("nan")}),
        (makin, {"sessions": ["indy/20160622_01"]}),
        (makin, {"sessions": [DAY], "units": "best"}),
        (makin, {"sessions": [DAY], "bin_size_s": float("nan")}),
    ],
)
def test_bad_options_are_one_clear_error(data_set, options):
    with pytest.raises(ConfigError):
        data_set.cohort(**options, progress=False)


def test_the_lists_of_sessions():
    assert len(set(makin.SESSIONS)) == 47 and list(makin.SESSIONS) == sorted(makin.SESSIONS)
    assert sum(name.startswith("loco") for name in makin.SESSIONS) == 10
    assert len(set(makin.BROADBAND_RECORDS)) == len(set(makin.BROADBAND_SESSIONS)) == 30
    assert makin.BROADBAND_SESSIONS[0] == DAY and set(makin.BROADBAND_SESSIONS) < set(
        makin.SESSIONS
    )
    days = ("20160622_01", "20160630_01", "20160915_01", "20161013_03", "20170124_01")
    assert tuple(f"indy_{day}" for day in days) == makin.HELD_OUT
    assert len(set(flint.SESSIONS)) == 12 and set(flint.HELD_OUT) < set(flint.SESSIONS)
    assert len({sha for _, sha in cao2021.RECORDINGS.values() if len(sha) == 64}) == 8


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Valid files, by what opens them."""
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    for data_set in ("makin", "flint"):
        (tmp_path / data_set).mkdir()
    write_makin_mat(tmp_path / "makin" / f"{DAY}.mat", duration_s=6)
    write_makin_nwb(tmp_path / "makin" / f"{DAY}.nwb", start_s=1289.0, duration_s=4.0, channels=2)
    write_flint(tmp_path / "flint" / "Flint_2012_e1.mat", trials=2)
    return {
        tmp_path / "makin" / f"{DAY}.mat": lambda: makin.session(DAY, progress=False),
        tmp_path / "makin" / f"{DAY}.nwb": lambda: makin.session(DAY, progress=False),
        tmp_path / "flint" / "Flint_2012_e1.mat": lambda: flint.session("e1_1"),
    }


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_one_clear_error(opened, share):
    for path, read in opened.items():
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with warnings.catch_warnings(), pytest.raises(SpikeLFPError, match=path.name):
            warnings.simplefilter("ignore")
            read()
        path.write_bytes(whole)


def test_files_of_another_kind_are_named(opened):
    mat, _, of_flint = opened
    io.savemat(mat, {"t": np.arange(3.0)})
    with pytest.raises(SpikeLFPError, match=r"a MATLAB 5 file, and MATLAB 7\.3 is expected"):
        opened[mat]()
    of_flint.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(SpikeLFPError, match="and MATLAB 5 is expected"):
        opened[of_flint]()
