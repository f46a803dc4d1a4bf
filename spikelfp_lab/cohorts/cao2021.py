"""Spikes, field potentials and position in rat and mouse hippocampus (Cao, Varga and Chen, 2021).

*Uncovering spatial representations from spatiotemporal patterns of rodent hippocampal field
potentials*, Cell Reports Methods 2021. The authors' repository has no license: the files may be
downloaded from it but are not passed on with this package. Bins of 100 ms.

===========  =============  ==================================================================
recording    session        what
===========  =============  ==================================================================
rat_a        ratA/s1        laps on a circular track; 128 channels
rat_b        ratB/s1        the same, another rat
mouse1_s1    mouse1/s1      center arm of a T-maze, 25 bins a trial; 64 channels. Also
                            mouse1_s3 and mouse2_s1 to mouse2_s4
===========  =============  ==================================================================
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pooch
import xarray as xr
from tqdm.auto import tqdm

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts import _published as published
from spikelfp_lab.cohorts.download import RemoteFile, fetch, size_of
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io._matlab import read_matlab5
from spikelfp_lab.io.prepare import cache_folder
from spikelfp_lab.sessions.align import build_session
from spikelfp_lab.sessions.schema import drop_bad_channels
from spikelfp_lab.sessions.tree import cohort_from_sessions

BIN_SIZE_S = 0.1

BASE_URL = (
    "https://raw.githubusercontent.com/lcaopcn/Spatiotemporal-patterns-of-rodent-hippocampal-"
    "field-potentials-uncover-spatial-representations/d784869853640587c6dc46ae31f115f19947bd2c/"
)
_RATS, _MICE = "Figure2_source_data/Figure", "Figure6_source_data/mouse"
_PATHS = {
    "rat_a": f"{_RATS}2_source_data_wake.mat",
    "rat_b": f"{_RATS}_supplement_5_source_data_wake.mat",
} | {
    f"mouse{mouse}_s{day}": f"{_MICE}{mouse}_session{day}/Features_data{end}.mat"
    for mouse, day, end in (
        (1, 1, ""),
        (1, 3, "_fw"),
        (2, 1, ""),
        (2, 2, ""),
        (2, 3, ""),
        (2, 4, "_fw"),
    )
}
_SHA256 = (
    "d2b55add7e75573d95cadd02942729a23995349268cf03b831e0e3144965cad1",
    "4da6bae4ffa3f5de95c7fff6a3cc8f37af11736d560f99f8e31bcf92cb276f4c",
    "90b5d7aa5160a1817f32c2102dadc3e4d6f541475f9999dac5c98351a0944ba9",
    "30dc44a5be7f4282e28c9ba9cbd784f23996e7698af2b610b2c2341a61a93ae2",
    "7ea80743bbdd3a53334b543bf6fd3fbb5497cab2b82f6100d89305f9b4bec2c7",
    "61ba3a3ded83f773d15fe8ab2b29942cb7d5df2e939387cbdd245dff88f19617",
    "1ba820104a1cf5f9ae8715f7fa9824d43a7bcc018ca6bf96abbcadfc22434ce5",
    "b88f8184d69bcec6450d31643c565b032fb95b7cccd05c959af51df1fe8a75fa",
)
RECORDINGS = {name: (path, sha) for (name, path), sha in zip(_PATHS.items(), _SHA256, strict=True)}
"""Name -> path in the authors' repository and SHA-256 of the file."""

# Trials are not contiguous in life; the true pauses are not in the files, so this stands for them.
_PAUSE_S = 1.0

Features = Literal["FPAuhf", "theta"]
_KINDS = {
    "FPAuhf": "amplitude of the ultra-high-frequency field potential",
    "theta": "theta LFP: amplitude, cos phase and sin phase",
}


def cohort(
    *, recordings: Sequence[str] | None = None, features: Features = "FPAuhf", progress: bool = True
) -> xr.DataTree:
    """Open recordings as a cohort, downloading (2-4 MB each) those that are not in the cache.

    ``recordings`` are names of ``RECORDINGS``; None is all that have the features: eight, or six
    with "theta", see :func:`session`. A ConfigError for unknown names and features; a DataError
    when a download fails, or a file is not the expected one.

    >>> cohort(recordings=["rat_c"])
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No recording 'rat_c' in cao2021. There are: rat_a, rat_b, \
mouse1_s1, mouse1_s3, mouse2_s1, mouse2_s2, mouse2_s3, mouse2_s4.
    """
    if recordings is None:
        recordings = [n for n in RECORDINGS if features == "FPAuhf" or n.startswith("mouse")]
    published.check_names("recording", recordings, tuple(RECORDINGS), of="cao2021")
    for name in recordings:
        _check(name, features)
    bar = tqdm(recordings, desc="Opening cao2021", unit="session", disable=not progress)
    return cohort_from_sessions([session(name, features=features) for name in bar])


def session(recording: str, *, features: Features = "FPAuhf") -> xr.Dataset:
    """Open one recording, such as "rat_a" or "mouse2_s1", as a session in bins of 100 ms.

    ``features`` are what stands as ``lfp``. "FPAuhf" is the amplitude of the ultra-high-frequency
    field potential: close to multi-unit activity and no LFP in the narrow sense, which
    ``lfp.attrs["kind"]`` says. "theta" (mice only) is LFP proper: amplitude, cos phase and sin
    phase of the demodulated theta rhythm of 64 channels, 192 features.

    Rats: ``behavior`` is the cos and sin of the angle on the circular track. Bins whose speed or
    position is NaN are left out, which leaves a gap in ``time``. Mice: ``behavior`` is the position
    along the arm in the file's own unit; ``trial`` is the file's trial number, trials in the order
    they were run, with coordinates ``correct`` and ``side_chosen`` (time). 1 s on the clock stands
    for each pause between trials. Position is nearly the same ramp in every trial, so a model that
    sees a whole trial can tell position from the time in it: compare with that control.

    Errors as for :func:`cohort`; a SpikeLFPWarning names channels and units that are dropped.

    >>> session("rat_a", features="theta")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: 'rat_a' has no theta features, only the mice have.
    """
    _check(recording, features)
    path = _fetched(recording)
    if recording.startswith("rat"):
        subject, number = f"rat{recording[-1].upper()}", "s1"
        streams, behavior, note, coords = _rat(path)
    else:
        subject, number = recording.split("_")
        streams, behavior, note, coords = _mouse(path, features)
    built = build_session(
        subject=subject, session=number, source="cao2021", bin_size_s=BIN_SIZE_S,
        history=f"{RECORDINGS[recording][0]} of {BASE_URL}",
        variable_attrs={"lfp": {"kind": _KINDS[features]}, "behavior": behavior,
                        "time": {"note": note}},
        **streams,
    )  # fmt: skip
    return drop_bad_channels(built.assign_coords(coords))


def _check(recording: str, features: str) -> None:
    published.check_option("recording", recording, tuple(RECORDINGS), of="cao2021")
    published.check_option("features", features, tuple(_KINDS), of="cao2021")
    if features == "theta" and recording.startswith("rat"):
        raise ConfigError(f"{recording!r} has no theta features, only the mice have.")


def _fetched(recording: str) -> Path:
    """The recording's file, downloaded where it is missing; its hash is right."""
    upstream, sha256 = RECORDINGS[recording]
    target, url = cache_folder("cao2021") / upstream, BASE_URL + upstream
    if target.exists():
        found = pooch.file_hash(str(target))
        published.refuse_if(found != sha256, target, f"its SHA-256 is {found}, expected {sha256}")
        return target
    where = f"put it at {target}, or set SPIKELFP_DATA to a folder that has cao2021/{upstream}"
    what = f"is not on this machine, and its download from {url} failed"
    with reading(f"Recording {recording!r}", what, f"Get it by other means and {where}."):
        fetch([RemoteFile(url, target, f"sha256:{sha256}", size_of(url))], progress=False)
    return target


def _rat(path: Path) -> tuple[dict[str, Any], dict[str, str], str, dict[str, Any]]:
    """A rat's file: streams, attributes of behavior, a note on time, more coordinates."""
    content = read_matlab5(path, ["Spikes", "FPAuhf", "Position", "Speed", "trackLen"])
    position, speed = (content[name].astype(float).ravel() for name in ("Position", "Speed"))
    # The position of rat A is a fraction of the track (0 to 1), whatever trackLen suggests; in a
    # file that gives centimeters it would go up to trackLen, far beyond 2.
    track = 1.0 if np.nanmax(position) < 2.0 else float(content["trackLen"].item())
    angle = 2 * np.pi * position / track
    keep = np.isfinite(position) & np.isfinite(speed)
    clock = ((np.arange(position.size) + 0.5) * BIN_SIZE_S)[keep]
    streams = {
        "clock": clock,
        "spikes": content["Spikes"][keep],
        "lfp": (content["FPAuhf"][keep], clock),
        "channel_names": [f"fpa{channel:03d}" for channel in range(content["FPAuhf"].shape[1])],
        "behavior": (np.column_stack([np.cos(angle), np.sin(angle)])[keep], clock),
        "behavior_names": ("cos_position", "sin_position"),
    }
    note = f"{int((~keep).sum())} bins with NaN speed or position left out"
    return streams, {"kind": "cos and sin of the angle on the circular track"}, note, {}


def _mouse(
    path: Path, features: Features
) -> tuple[dict[str, Any], dict[str, str], str, dict[str, Any]]:
    """A mouse's file, as :func:`_rat` gives it, trials in the order of their numbers."""
    signals = ["FPAuhf"] if features == "FPAuhf" else ["dLFPTheta_amp", "dLFPTheta_phase"]
    # Each variable is a cell of two: correct trials, incorrect trials.
    content = read_matlab5(path, ["Spike", "post", "TrNm", "dcs", *signals])
    numbers = [cell.astype(np.int64).ravel() for cell in content["TrNm"].ravel()]
    if np.intersect1d(*numbers).size:
        # Numbers that restart in the second cell would merge two trials into one.
        numbers[1] = numbers[1] + numbers[0].max()
    order = np.argsort(np.concatenate(numbers), kind="stable")
    trial = np.concatenate(numbers)[order]
    correct = np.repeat([True, False], [cell.size for cell in numbers])[order]
    stacked = {name: np.concatenate(list(cell.ravel()))[order] for name, cell in content.items()}
    values = stacked[signals[0]]
    names = [f"fpa{channel:03d}" for channel in range(values.shape[1])]
    if features == "theta":
        phase, channels = stacked["dLFPTheta_phase"], range(values.shape[1])
        values = np.concatenate([values, np.cos(phase), np.sin(phase)], axis=1)
        names = [f"theta_{part}{n:02d}" for part in ("amp", "cos", "sin") for n in channels]
    pauses = np.concatenate([[0], np.cumsum(trial[1:] != trial[:-1])])
    clock = (np.arange(trial.size) + 0.5) * BIN_SIZE_S + pauses * _PAUSE_S
    streams = {
        "clock": clock,
        "spikes": stacked["Spike"],
        "lfp": (values, clock),
        "channel_names": names,
        "behavior": (stacked["post"], clock),
        "behavior_names": ("position",),
        "trial": trial,
    }
    attrs = {"kind": "position along the center arm", "units": "unit of the file"}
    note = f"pauses between trials are not known; {_PAUSE_S:g} s stands for each"
    sides = stacked["dcs"].astype(np.int64).ravel()
    return streams, attrs, note, {"correct": ("time", correct), "side_chosen": ("time", sides)}
