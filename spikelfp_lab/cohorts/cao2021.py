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
from typing import Literal

import numpy as np
import xarray as xr

from spikelfp_lab.cohorts._published import check_names, check_option, opened_cohort, read_matlab5
from spikelfp_lab.cohorts.download import RemoteFile, fetch_verified
from spikelfp_lab.io import cache_folder
from spikelfp_lab.sessions import build_session, drop_bad_channels

BIN_SIZE_S = 0.1

BASE_URL = (
    "https://raw.githubusercontent.com/lcaopcn/Spatiotemporal-patterns-of-rodent-hippocampal-"
    "field-potentials-uncover-spatial-representations/d784869853640587c6dc46ae31f115f19947bd2c/"
)
_REGISTRY = Path(__file__).with_name("cao2021_registry.txt")  # name, path, SHA-256
_ROWS = (line.split() for line in _REGISTRY.read_text().splitlines())
# Name -> path in the authors' repository and SHA-256 of the file.
RECORDINGS = {name: (upstream, sha256) for name, upstream, sha256 in _ROWS}

# Trials are not contiguous in life; the true pauses are not in the files, so this stands for them.
_PAUSE_S = 1.0

Features = Literal["FPAuhf", "theta"]
_KINDS = {
    "FPAuhf": "amplitude of the ultra-high-frequency field potential",
    "theta": "theta LFP: amplitude, cos phase and sin phase",
}
_CHANNELS = {
    "FPAuhf": ("fpa{:03d}",),
    "theta": ("theta_amp{:02d}", "theta_cos{:02d}", "theta_sin{:02d}"),
}
_RAT = {"kind": "cos and sin of the angle on the circular track"}
_MOUSE = {"kind": "position along the center arm", "units": "unit of the file"}


def cohort(
    *, recordings: Sequence[str] | None = None, features: Features = "FPAuhf", progress: bool = True
) -> xr.DataTree:
    """Open recordings as a cohort, downloading (2-4 MB each) those that are not in the cache.

    ``recordings`` are names of ``RECORDINGS``; None is all that have the features: eight, or six
    with "theta". A ConfigError for unknown names and features; a DataError when a download fails,
    or a file is not the expected one; a SpikeLFPWarning names channels and units that are dropped.

    ``features`` are what stands as ``lfp``. "FPAuhf" is the amplitude of the ultra-high-frequency
    field potential: close to multi-unit activity and no LFP in the narrow sense, which
    ``lfp.attrs["kind"]`` says. "theta" (mice only) is LFP proper: amplitude, cos phase and sin
    phase of the demodulated theta rhythm of 64 channels, 192 features.

    >>> cohort(recordings=["rat_a"], features="theta")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No recording 'rat_a' in cao2021 with theta features. There \
are: mouse1_s1, mouse1_s3, mouse2_s1, mouse2_s2, mouse2_s3, mouse2_s4.
    """
    check_option("features", features, tuple(_KINDS), of="cao2021")
    there = [name for name in RECORDINGS if features == "FPAuhf" or name.startswith("mouse")]
    names = there if recordings is None else recordings
    check_names("recording", names, there, of=f"cao2021 with {features} features")
    fetch_verified([_file(name) for name in names], progress=progress)
    return opened_cohort("cao2021", _build, [(name, features) for name in names], progress=progress)


def session(recording: str, *, features: Features = "FPAuhf") -> xr.Dataset:
    """Open one recording, such as "rat_a" or "mouse2_s1", in bins of 100 ms; see ``cohort``.

    Rats: ``behavior`` is the cos and sin of the angle on the circular track. Bins whose speed or
    position is NaN are left out, which leaves a gap in ``time``. Mice: ``behavior`` is the position
    along the arm in the file's own unit; ``trial`` is the file's trial number, trials in the order
    they were run, with coordinates ``correct`` and ``side_chosen`` (time). 1 s on the clock stands
    for each pause between trials. Position is nearly the same ramp in every trial, so a model that
    sees a whole trial can tell position from the time in it: compare with that control.
    """
    return cohort(recordings=[recording], features=features, progress=False).leaves[0].to_dataset()


def _build(recording: str, features: str) -> xr.Dataset:
    path, rat = _file(recording).path, recording.startswith("rat")
    subject, day = (f"rat{recording[-1].upper()}", "s1") if rat else recording.split("_")
    clock, spikes, lfp, behavior, coords, note = _rat(path) if rat else _mouse(path, features)
    names, channels = _CHANNELS[features], range(lfp.shape[1] // len(_CHANNELS[features]))
    built = build_session(
        clock, spikes=spikes, lfp=(lfp, clock), behavior=(behavior, clock),
        channel_names=[name.format(number) for name in names for number in channels],
        behavior_names=("cos_position", "sin_position") if rat else ("position",),
        subject=subject, session=day, source="cao2021", bin_size_s=BIN_SIZE_S,
        history=f"{RECORDINGS[recording][0]} of {BASE_URL}",
        variable_attrs={"lfp": {"kind": _KINDS[features]}, "behavior": _RAT if rat else _MOUSE,
                        "time": {"note": note}},
    )  # fmt: skip
    return drop_bad_channels(built.assign_coords(coords))


def _file(recording: str) -> RemoteFile:
    """The file of a recording."""
    upstream, sha256 = RECORDINGS[recording]
    return RemoteFile(BASE_URL + upstream, cache_folder("cao2021") / upstream, f"sha256:{sha256}")


def _rat(path: Path) -> tuple:
    """Clock, spikes, LFP, behavior, coordinates and a note on time of a rat's file."""
    content = read_matlab5(path, ["Spikes", "FPAuhf", "Position", "Speed", "trackLen"])
    position, speed = (content[name].astype(float).ravel() for name in ("Position", "Speed"))
    # The position of rat A is a fraction of the track (0 to 1), whatever trackLen suggests; in a
    # file that gives centimeters it would go up to trackLen, far beyond 2.
    track = 1.0 if np.nanmax(position) < 2.0 else float(content["trackLen"].item())
    angle = 2 * np.pi * position / track
    keep = np.isfinite(position) & np.isfinite(speed)
    streams = (np.arange(position.size) + 0.5) * BIN_SIZE_S, content["Spikes"], content["FPAuhf"]
    behavior = np.column_stack([np.cos(angle), np.sin(angle)])
    note = f"{np.sum(~keep)} bins with NaN speed or position left out"
    return *(each[keep] for each in (*streams, behavior)), {}, note


def _mouse(path: Path, features: str) -> tuple:
    """As :func:`_rat`, trials in the order of their numbers."""
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
    lfp, *phase = (stacked[name] for name in signals)
    lfp = np.concatenate([lfp, *map(np.cos, phase), *map(np.sin, phase)], axis=1)
    pauses = np.concatenate([[0], np.cumsum(trial[1:] != trial[:-1])])
    clock = (np.arange(trial.size) + 0.5) * BIN_SIZE_S + pauses * _PAUSE_S
    coords = {"trial": trial, "correct": correct, "side_chosen": stacked["dcs"].astype(int).ravel()}
    coords = {name: ("time", values) for name, values in coords.items()}
    note = f"pauses between trials are not known; {_PAUSE_S:g} s stands for each"
    return clock, stacked["Spike"], lfp, stacked["post"], coords, note
