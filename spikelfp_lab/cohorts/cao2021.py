"""Spikes, field potentials and position in rat and mouse hippocampus (Cao, Varga and Chen, 2021).

*Uncovering spatial representations from spatiotemporal patterns of rodent hippocampal field
potentials*, Cell Reports Methods 2021. The authors' repository has no license: the files may be
downloaded from it but are not passed on with this package. Bins of 100 ms.

===========  =============  ==================================================================
recording    session        what
===========  =============  ==================================================================
rat_a        ratA/s1        laps on a circular track; 128 channels
rat_b        ratB/s1        the same, another rat
mouse1_s1    mouse1/s1      center arm of a T-maze, 25 bins a trial; 64 channels
mouse1_s3    mouse1/s3
mouse2_s1    mouse2/s1
mouse2_s2    mouse2/s2
mouse2_s3    mouse2/s3
mouse2_s4    mouse2/s4
===========  =============  ==================================================================
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pooch
import xarray as xr
from tqdm.auto import tqdm

from spikelfp_lab._guard import reading
from spikelfp_lab.cohorts.download import RemoteFile, fetch, size_of
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io._matlab import not_published, read_matlab5
from spikelfp_lab.io.prepare import cache_folder
from spikelfp_lab.sessions.align import build_session
from spikelfp_lab.sessions.schema import drop_bad_channels
from spikelfp_lab.sessions.tree import cohort_from_sessions

BIN_SIZE_S = 0.1

BASE_URL = (
    "https://raw.githubusercontent.com/lcaopcn/Spatiotemporal-patterns-of-rodent-hippocampal-"
    "field-potentials-uncover-spatial-representations/d784869853640587c6dc46ae31f115f19947bd2c/"
)

RECORDINGS: dict[str, tuple[str, str]] = {
    "rat_a": (
        "Figure2_source_data/Figure2_source_data_wake.mat",
        "d2b55add7e75573d95cadd02942729a23995349268cf03b831e0e3144965cad1",
    ),
    "rat_b": (
        "Figure2_source_data/Figure_supplement_5_source_data_wake.mat",
        "4da6bae4ffa3f5de95c7fff6a3cc8f37af11736d560f99f8e31bcf92cb276f4c",
    ),
    "mouse1_s1": (
        "Figure6_source_data/mouse1_session1/Features_data.mat",
        "90b5d7aa5160a1817f32c2102dadc3e4d6f541475f9999dac5c98351a0944ba9",
    ),
    "mouse1_s3": (
        "Figure6_source_data/mouse1_session3/Features_data_fw.mat",
        "30dc44a5be7f4282e28c9ba9cbd784f23996e7698af2b610b2c2341a61a93ae2",
    ),
    "mouse2_s1": (
        "Figure6_source_data/mouse2_session1/Features_data.mat",
        "7ea80743bbdd3a53334b543bf6fd3fbb5497cab2b82f6100d89305f9b4bec2c7",
    ),
    "mouse2_s2": (
        "Figure6_source_data/mouse2_session2/Features_data.mat",
        "61ba3a3ded83f773d15fe8ab2b29942cb7d5df2e939387cbdd245dff88f19617",
    ),
    "mouse2_s3": (
        "Figure6_source_data/mouse2_session3/Features_data.mat",
        "1ba820104a1cf5f9ae8715f7fa9824d43a7bcc018ca6bf96abbcadfc22434ce5",
    ),
    "mouse2_s4": (
        "Figure6_source_data/mouse2_session4/Features_data_fw.mat",
        "b88f8184d69bcec6450d31643c565b032fb95b7cccd05c959af51df1fe8a75fa",
    ),
}
"""Name -> path in the authors' repository and SHA-256 of the file."""

# Trials are not contiguous in life; the true pauses are not in the files, so this stands for them.
_PAUSE_BETWEEN_TRIALS_S = 1.0

Features = Literal["FPAuhf", "theta"]


def available() -> tuple[str, ...]:
    """Names of the recordings whose file is already in the cache folder.

    Returns
    -------
    tuple of str
        In the order of ``RECORDINGS``; the files are not checked.

    Examples
    --------
    >>> set(available()) <= set(RECORDINGS)
    True
    """
    return tuple(
        name for name, (path, _) in RECORDINGS.items() if (cache_folder("cao2021") / path).exists()
    )


def cohort(
    *,
    recordings: Sequence[str] | None = None,
    features: Features = "FPAuhf",
    progress: bool = True,
) -> xr.DataTree:
    """Open recordings as a cohort, downloading (2-4 MB each) those that are not in the cache.

    Parameters
    ----------
    recordings : sequence of str or None
        Names of ``RECORDINGS``. None is all that have the features: eight, or six with "theta".
    features : "FPAuhf" or "theta"
        See :func:`session`.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    DataTree with leaves such as ``ratA/s1`` and ``mouse2/s4``

    Raises
    ------
    ConfigError
        For an unknown or repeated name, or features that a recording does not have.
    DataError
        For a file that cannot be downloaded, is damaged or is not the expected one.

    Examples
    --------
    >>> cohort(recordings=["rat_c"])
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No recording 'rat_c' in cao2021. There are: rat_a, rat_b, \
mouse1_s1, mouse1_s3, mouse2_s1, mouse2_s2, mouse2_s3, mouse2_s4.
    """
    if recordings is None:
        recordings = [n for n in RECORDINGS if features == "FPAuhf" or n.startswith("mouse")]
    if isinstance(recordings, str) or not recordings or len(set(recordings)) < len(recordings):
        raise ConfigError(
            f"recordings must be a sequence of different names, got {recordings!r}; there are "
            f"{', '.join(RECORDINGS)}. cao2021.available() lists those already on this machine."
        )
    for name in recordings:
        _check(name, features)
    bar = tqdm(recordings, desc="Opening cao2021", unit="session", disable=not progress)
    return cohort_from_sessions([session(name, features=features) for name in bar])


def session(recording: str, *, features: Features = "FPAuhf") -> xr.Dataset:
    """Open one recording as a session in bins of 100 ms.

    Parameters
    ----------
    recording : str
        A name of ``RECORDINGS``, such as "rat_a" or "mouse2_s1".
    features : "FPAuhf" or "theta"
        What stands as ``lfp``. "FPAuhf" is the amplitude of the ultra-high-frequency field
        potential: close to multi-unit activity and no LFP in the narrow sense, which
        ``lfp.attrs["kind"]`` says. "theta" (mice only) is LFP proper: amplitude, cos phase and
        sin phase of the demodulated theta rhythm of 64 channels, 192 features.

    Returns
    -------
    Dataset
        Rats: ``behavior`` is the cos and sin of the angle on the circular track. Bins whose speed
        or position is NaN are left out, which leaves a gap in ``time``. Mice: ``behavior`` is the
        position along the arm in the file's own unit; ``trial`` is the file's trial number, trials
        in the order they were run, with coordinates ``correct`` and ``side_chosen`` (time). Each
        trial's 25 bins are contiguous; the pauses between trials are not in the files, and 1 s on
        the clock stands for each. Position is nearly the same ramp in every trial, so a model
        that sees a whole trial can tell position from the time in it: compare with that control.

    Warns
    -----
    SpikeLFPWarning
        Names channels and units that are dropped because they are constant, NaN or silent.

    Raises
    ------
    ConfigError
        For an unknown name, or features that the recording does not have.
    DataError
        For a file that cannot be downloaded, is damaged or is not the expected one.

    Examples
    --------
    >>> session("rat_a", features="theta")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: 'rat_a' has no theta features, only the mice have. Use \
features='FPAuhf'.
    """
    _check(recording, features)
    path = _fetch(recording)
    opened = _rat(path) if recording.startswith("rat") else _mouse(path, features)
    if recording.startswith("rat"):
        subject, number = f"rat{recording[-1].upper()}", "s1"
    else:
        subject, number = recording.split("_")
    kinds = {
        "FPAuhf": "amplitude of the ultra-high-frequency field potential",
        "theta": "theta LFP: amplitude, cos phase and sin phase",
    }
    coords = opened.pop("coords", {})
    built = build_session(
        subject=subject,
        session=number,
        source="cao2021",
        bin_size_s=BIN_SIZE_S,
        history=f"{RECORDINGS[recording][0]} of {BASE_URL}",
        variable_attrs={
            "lfp": {"kind": kinds[features]},
            "behavior": opened.pop("behavior_attrs"),
            "time": {"note": opened.pop("time_note")},
        },
        **opened,
    )
    return drop_bad_channels(built.assign_coords(coords))


def _check(recording: str, features: str) -> None:
    if recording not in RECORDINGS:
        raise ConfigError(
            f"No recording {recording!r} in cao2021. There are: {', '.join(RECORDINGS)}."
        )
    if features not in ("FPAuhf", "theta"):
        raise ConfigError(f"No features {features!r} in cao2021. There are: FPAuhf, theta.")
    if features == "theta" and recording.startswith("rat"):
        raise ConfigError(
            f"{recording!r} has no theta features, only the mice have. Use features='FPAuhf'."
        )


def _fetch(recording: str) -> Path:
    """The recording's file, downloaded where it is missing; its hash is right."""
    upstream, sha256 = RECORDINGS[recording]
    target = cache_folder("cao2021") / upstream
    if not target.exists():
        url = BASE_URL + upstream
        where = f"put it at {target}, or set SPIKELFP_DATA to a folder that has cao2021/{upstream}"
        what = f"is not on this machine, and its download from {url} failed"
        with reading(f"Recording {recording!r}", what, f"Get it by other means and {where}."):
            fetch([RemoteFile(url, target, f"sha256:{sha256}", size_of(url))], progress=False)
    elif (found := pooch.file_hash(str(target))) != sha256:
        raise not_published(target, f"its SHA-256 is {found}, expected {sha256}")
    return target


def _rat(path: Path) -> dict:
    """Arguments of build_session for a rat's file."""
    content = read_matlab5(path, ["Spikes", "FPAuhf", "Position", "Speed", "trackLen"])
    position, speed = (content[name].astype(float).ravel() for name in ("Position", "Speed"))
    # The position of rat A is a fraction of the track (0 to 1), whatever trackLen suggests; in a
    # file that gives centimeters it would go up to trackLen, far beyond 2.
    track = 1.0 if np.nanmax(position) < 2.0 else float(content["trackLen"].item())
    angle = 2 * np.pi * position / track
    keep = np.isfinite(position) & np.isfinite(speed)
    clock = ((np.arange(position.size) + 0.5) * BIN_SIZE_S)[keep]
    return {
        "clock": clock,
        "spikes": content["Spikes"][keep],
        "lfp": (content["FPAuhf"][keep], clock),
        "channel_names": [f"fpa{channel:03d}" for channel in range(content["FPAuhf"].shape[1])],
        "behavior": (np.column_stack([np.cos(angle), np.sin(angle)])[keep], clock),
        "behavior_names": ("cos_position", "sin_position"),
        "behavior_attrs": {"kind": "cos and sin of the angle on the circular track"},
        "time_note": f"{int((~keep).sum())} bins with NaN speed or position left out",
    }


def _mouse(path: Path, features: Features) -> dict:
    """Arguments of build_session for a mouse's file, trials in the order of their numbers."""
    signals = ["FPAuhf"] if features == "FPAuhf" else ["dLFPTheta_amp", "dLFPTheta_phase"]
    content = read_matlab5(path, ["Spike", "post", "TrNm", "dcs", *signals])
    # Each variable is a cell of two: correct trials, incorrect trials.
    cells = {name: list(content[name].ravel()) for name in content if not name.startswith("__")}
    trial_of = [cell.astype(np.int64).ravel() for cell in cells["TrNm"]]
    if np.intersect1d(*trial_of).size:
        # Numbers that restart in the second cell would merge two trials into one.
        trial_of[1] = trial_of[1] + trial_of[0].max()
    trial = np.concatenate(trial_of)
    order = np.argsort(trial, kind="stable")
    trial = trial[order]
    correct = np.repeat([True, False], [cell.size for cell in trial_of])[order]

    def stacked(name: str) -> np.ndarray:
        return np.concatenate(cells[name])[order]

    if features == "FPAuhf":
        values = stacked("FPAuhf")
        names = [f"fpa{channel:03d}" for channel in range(values.shape[1])]
    else:
        amplitude, phase = stacked("dLFPTheta_amp"), stacked("dLFPTheta_phase")
        values = np.concatenate([amplitude, np.cos(phase), np.sin(phase)], axis=1)
        names = [
            f"theta_{part}{channel:02d}"
            for part in ("amp", "cos", "sin")
            for channel in range(amplitude.shape[1])
        ]
    pauses = np.concatenate([[0], np.cumsum(trial[1:] != trial[:-1])])
    clock = (np.arange(trial.size) + 0.5) * BIN_SIZE_S + pauses * _PAUSE_BETWEEN_TRIALS_S
    return {
        "clock": clock,
        "spikes": stacked("Spike"),
        "lfp": (values, clock),
        "channel_names": names,
        "behavior": (stacked("post"), clock),
        "behavior_names": ("position",),
        "behavior_attrs": {"kind": "position along the center arm", "units": "unit of the file"},
        "trial": trial,
        "time_note": f"pauses between trials are not known; {_PAUSE_BETWEEN_TRIALS_S:g} s stands "
        "for each",
        "coords": {
            "correct": ("time", correct),
            "side_chosen": ("time", stacked("dcs").astype(np.int64).ravel()),
        },
    }
