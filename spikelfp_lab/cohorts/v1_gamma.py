"""Spikes and field potentials of an array in macaque V1, while gratings or colors are seen.

Data of a study of gamma and its harmonics. The authors' repository,
https://github.com/RKrishnakumaran/GammaHarmonicsProject-HuesDataset, has no license: the files may
be downloaded from it but are not passed on with this package.

=============  =================================================================================
alpa/gratings  spikes and LFP of 96 electrodes; 92 trials, 6 orientations
alpa/hues      spikes of the same array on the same day; 731 trials, 36 hues
tutu/hues      spikes of another monkey, 89 electrodes; 748 trials, 36 hues and a grating
=============  =================================================================================

The files have -0.8475 to 1.2 s around the onset of each stimulus, which is seen for 0.8 s. Onsets
may be 1.495 s apart, and then the end of one trial is the start of the next, sample by sample (34
of the 92 gratings, most hues). Sessions have -0.25 to 1.2 s, which no two trials share: otherwise
a model could be trained on what is in a test trial.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from spikelfp_lab import sessions
from spikelfp_lab.cohorts._published import check_names, check_option, opened_cohort, read_matlab5
from spikelfp_lab.cohorts.download import RemoteFile, fetch_verified
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.io import cache_folder
from spikelfp_lab.signal import band_power, bin_spikes, lfp_to_rate

BASE_URL = (
    "https://raw.githubusercontent.com/RKrishnakumaran/GammaHarmonicsProject-HuesDataset/"
    "da3bd7e1dc4aaa410ab825caa2d35ff96a4ebe47/"
)
# Name -> folder in the authors' repository.
RECORDINGS = {
    "alpa/gratings": "SForiAchro/data/alpa/Microelectrode/301215/GRF_005/",
    "alpa/hues": "Color/data/alpa/Microelectrode/301215/GRF_001/",
    "tutu/hues": "Color/data/tutu/Microelectrode/191016/GRF_001/",
}

_REGISTRY = Path(__file__).with_name("v1_gamma_registry.txt")  # path, SHA-256, bytes
_FROM_S, _UNTIL_S, _APART_S = -0.25, 1.2, 2.0
_KNOWN_S = 0.1, 0.8  # a response takes a while to arrive
_NOISE_HZ = 100.0
_LFP_RATE_HZ, _LINE_HZ = 2000.0, 50.0
_POTENTIAL_HZ, _GAMMA_HZ = (0.5, 50.0), (20.0, 70.0)  # a trial of the files is one period of 0.5 Hz
_ABOUT = {
    "potential": {"kind": "LFP", "units": "uV"},
    "gamma": {"kind": "log power of 20-70 Hz", "units": "log(uV^2)"},
}


def cohort(
    *, recordings: Sequence[str] | None = None, lfp: Literal["potential", "gamma"] = "potential",
    bin_size_s: float = 0.05, progress: bool = True,
) -> xr.DataTree:  # fmt: skip
    """Open recordings as a cohort, downloading (101 MB in all) what is not in the cache.

    ``behavior`` is what is seen, as ``cos_2theta`` and ``sin_2theta`` of the orientation (its
    period is 180 degrees) or ``cos_hue`` and ``sin_hue``: in bins from 0.1 to 0.8 s after the
    onset, NaN in all others. ``time`` is that of the recording for gratings; for hues, whose onsets
    are not in the files, 2 s stand for each trial. Coordinates ``trial`` (its number in the file)
    and ``stimulus_deg`` (time). Trials that the authors mark as bad are left out; that, electrodes
    that they mark, and units at noise rates, which both stay in, are findings of
    :func:`spikelfp_lab.check_quality`. A ConfigError for unknown names and options; a DataError
    when a download fails, or a file is not the expected one.

    Parameters
    ----------
    recordings : names of ``RECORDINGS``, all three by default. Hues have no ``lfp``.
    lfp : "potential", 0.5 Hz to half of the bins' rate, at most 50 Hz, in uV; or "gamma", log power
        of 20-70 Hz, taken from the 2 kHz signal. ``lfp.attrs["kind"]`` says which. Neither is
        referenced anew.
    bin_size_s : seconds, 0.01 to 0.05; the onset is the edge of a bin.

    >>> cohort(lfp="theta")
    Traceback (most recent call last):
        ...
    spikelfp_lab.errors.ConfigError: No lfp 'theta' in v1_gamma. There are: potential, gamma.
    """
    names = tuple(RECORDINGS) if recordings is None else recordings
    check_names("recording", names, tuple(RECORDINGS), of="v1_gamma")
    check_option("lfp", lfp, tuple(_ABOUT), of="v1_gamma")
    if not 0.01 <= bin_size_s <= 0.05:
        raise ConfigError(f"bin_size_s is {bin_size_s}: give seconds, from 0.01 to 0.05.")
    fetch_verified([file for name in names for file in _files(name)], progress=progress)
    jobs = [(name, lfp, float(bin_size_s)) for name in names]
    return opened_cohort("v1_gamma", _build, jobs, progress=progress)


def _files(recording: str) -> list[RemoteFile]:
    """The files of a recording, by number of the electrode."""
    rows = (line.split() for line in _REGISTRY.read_text().splitlines())
    folder = cache_folder("v1_gamma")
    return [
        RemoteFile(BASE_URL + upstream, folder / upstream, f"sha256:{sha256}", int(size))
        for upstream, sha256, size in rows
        if upstream.startswith(RECORDINGS[recording])
    ]


def _build(recording: str, form: str, bin_size_s: float) -> xr.Dataset:
    """The session of a recording whose files are there; their hashes vouch for the layout."""
    folder, (subject, day) = cache_folder("v1_gamma") / RECORDINGS[recording], recording.split("/")
    paths = [file.path for file in _files(recording)]
    kinds = ([path for path in paths if path.match(f"{kind}/elec*")] for kind in ("Spikes", "LFP"))
    units, channels = ({path.stem.partition("_")[0]: path for path in each} for each in kinds)
    before, after = (int(each / bin_size_s + 1e-6) for each in (-_FROM_S, _UNTIL_S))
    centers, counts = (np.arange(-before, after) + 0.5) * bin_size_s, []  # from the onset
    degrees, bad, marked = _conditions(folder)
    good = np.delete(np.arange(degrees.size), bad - 1)
    for path in units.values():
        times = read_matlab5(path, ["spikeData"])["spikeData"].ravel()[good]
        counts.append(bin_spikes(times, centers, bin_size_s=bin_size_s).T.ravel())
    numbers = ", ".join(map(str, bad))
    left_out = f"{bad.size} of {degrees.size} trials, bad to the authors, are left out: {numbers}"
    history = f"{RECORDINGS[recording]} of {BASE_URL}\n{left_out}"
    onsets, lfp = np.arange(degrees.size) * _APART_S, None
    axis, turns, note = "hue", 1, f"onsets are not in the files, {_APART_S:g} s stand for a trial"
    if channels:
        onsets, lfp = _lfp(folder, channels, good, centers, form, bin_size_s)
        axis, turns, note = "2theta", 2, "of the recording"
        history += "\nLFP filtered trial by trial, -0.8475 to 1.2 s, mirrored at both ends"
    clock, shown = (onsets[good, None] + centers).ravel(), np.repeat(degrees[good], centers.size)
    margin = bin_size_s / 2 - 1e-6
    known = (centers > _KNOWN_S[0] + margin) & (centers < _KNOWN_S[1] - margin)
    known = np.tile(known, good.size) & (shown < 360)  # of hues 0 to 350, that is the grating
    angle = np.where(known, np.deg2rad(turns * shown), np.nan)
    built = sessions.build_session(
        clock, bin_size_s=bin_size_s, max_gap_s=1.2 * bin_size_s,  # so that nothing is bridged
        subject=subject, session=day, source="v1_gamma", history=history,
        spikes=np.column_stack(counts), unit_names=[*units],
        lfp=None if lfp is None else (lfp, clock), channel_names=[*channels],
        behavior=(np.column_stack([np.cos(angle), np.sin(angle)]), clock),
        behavior_names=(f"cos_{axis}", f"sin_{axis}"), trial=np.repeat(good + 1, centers.size),
        variable_attrs={"lfp": _ABOUT[form], "spikes": {"kind": "multi-unit activity"},
                        "behavior": {"kind": f"{axis} of what is seen"}, "time": {"note": note}},
    ).assign_coords(stimulus_deg=("time", shown))  # fmt: skip
    built = sessions.add_finding(built, "bad trials", "trial", f"{left_out}.", bad.size, 0)
    for number in marked:
        built = sessions.add_finding(built, "bad electrode", f"elec{number}", "The authors say so.")
    rates = built["spikes"].sum("time") / (bin_size_s * clock.size)
    for unit, rate in rates[rates.values >= _NOISE_HZ].to_series().items():
        message = f"{rate:.0f} Hz, likely noise: drop_sel(unit=[{unit!r}]) leaves it out."
        built = sessions.add_finding(built, "noise", str(unit), message, rate, _NOISE_HZ)
    return sessions.drop_bad_channels(built)


def _conditions(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees of each trial (n,), numbers of bad trials from 1, and numbers of bad electrodes."""
    path = folder / "extractedData/parameterCombinations.mat"
    content = read_matlab5(path, ["parameterCombinations", "oValsUnique"])
    *cells, every = (np.ravel(cell).astype(int) for cell in content["parameterCombinations"].flat)
    degrees = np.full(every.size, np.nan)
    for value, numbers in zip(content["oValsUnique"].flat, cells, strict=True):
        degrees[numbers - 1] = value
    content = read_matlab5(folder / "segmentedData/badTrials.mat", ["badTrials", "badElecs"])
    return degrees, *(content[name].ravel().astype(int) for name in ("badTrials", "badElecs"))


def _lfp(
    folder: Path, channels: dict[str, Path], good: np.ndarray, centers: np.ndarray, form: str,
    bin_size_s: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Onsets of all trials (n,) in seconds, and the LFP of the good ones (trial * bin, channel)."""
    info = read_matlab5(folder / "segmentedData/LFP/lfpInfo.mat", ["timeVals", "goodStimPos"])
    times, columns = info["timeVals"].ravel(), []
    at = np.round((centers - times[0]) * _LFP_RATE_HZ).astype(int)  # samples in the bins' centers
    skipped, first = divmod(int(at[0]), _LFP_RATE_HZ * bin_size_s)  # bins before, and their start
    for path in channels.values():
        raw = read_matlab5(path, ["analogData"])["analogData"][good].T  # (sample, trial)
        if form == "gamma":
            raw = xr.DataArray(raw, {"time": times, "channel": good}, ("time", "channel"))
            power = band_power(raw, bands_hz={"gamma": _GAMMA_HZ}, smooth_s=bin_size_s)
            columns.append(power.values[at].T.ravel())
        else:
            slow = lfp_to_rate(raw[round(first) :], rate_hz=_LFP_RATE_HZ, to_rate_hz=1 / bin_size_s,
                               band_hz=_POTENTIAL_HZ, line_hz=_LINE_HZ)  # fmt: skip
            columns.append(slow[int(skipped) :][: centers.size].T.ravel())
    return info["goodStimPos"].ravel() / _LFP_RATE_HZ, np.column_stack(columns)
