"""What the data sets with a publication refuse alike: names, options, files of another kind."""

import numpy as np
import pytest
from scipy import io

from spikelfp_lab.cohorts import cao2021, flint, makin, v1_gamma
from spikelfp_lab.errors import ConfigError, SpikeLFPError

DAY, OLD_DAY = "indy_20160622_01", "indy_20160407_02"  # with and without broadband


@pytest.mark.parametrize(
    "data_set, options",
    [
        (cao2021, {"recordings": "rat_a"}),
        (cao2021, {"recordings": ["rat_a"], "features": "theta"}),
        (cao2021, {"features": "gamma"}),
        (flint, {"sessions": ["e1_1", "e1_1"]}),
        (flint, {"sessions": ["e1_2"]}),
        (flint, {"bin_size_s": 0.015}),
        (makin, {"sessions": ["indy/20160622_01"]}),
        (makin, {"sessions": [DAY], "units": "best"}),
        (v1_gamma, {"recordings": ["alpa/faces"]}),
        (v1_gamma, {"lfp": "beta"}),
        (v1_gamma, {"bin_size_s": 0.1}),
    ],
)
def test_bad_options_are_one_clear_error(data_set, options):
    with pytest.raises(ConfigError):
        data_set.cohort(**options, progress=False)


def test_the_lists_of_sessions():
    assert len(set(makin.SESSIONS)) == 47 and list(makin.SESSIONS) == sorted(makin.SESSIONS)
    assert sum(name.startswith("loco") for name in makin.SESSIONS) == 10
    assert len(set(makin.BROADBAND_RECORDS)) == len(set(makin.BROADBAND_SESSIONS)) == 30
    assert set(makin.BROADBAND_SESSIONS) < set(makin.SESSIONS)
    assert len(set(flint.SESSIONS)) == 12 and set(flint.HELD_OUT) < set(flint.SESSIONS)
    assert len({sha for _, sha in cao2021.RECORDINGS.values() if len(sha) == 64}) == 8


def test_files_of_another_kind_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKELFP_DATA", str(tmp_path))
    (tmp_path / "makin").mkdir()
    io.savemat(tmp_path / "makin" / f"{OLD_DAY}.mat", {"t": np.arange(3.0)})
    with pytest.raises(SpikeLFPError, match=rf"{OLD_DAY}.*not MATLAB 7\.3.*signature not found"):
        makin.session(OLD_DAY, progress=False)
    (tmp_path / "Flint_2012_e1.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(SpikeLFPError, match=r"e1\.mat .*not MATLAB 5 as.*[Uu]nknown mat file type"):
        flint.session("e1_1", folder=tmp_path)
