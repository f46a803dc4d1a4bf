"""Small files in the very layouts of the two public data sets, with what went into them.

Makin: MATLAB 7.3, so HDF5 behind a header of 512 bytes, arrays transposed, cells as object
references into ``#refs#``, text as uint16 code points, an empty cell as its dimensions in uint64
with the attribute ``MATLAB_empty``; NWB 1.x for the broadband recording. Flint: MATLAB 5 struct
arrays."""

from pathlib import Path

import h5py
import numpy as np
from scipy import io

RATE_HZ = 250.0
BROADBAND_RATE_HZ = 24414.3378  # by the timestamps; 24414.0625 by the description
CONVERSION = np.float32(3.05185e-07)  # V


def cursor_position(t):
    """(n, 2) mm: two slow sinusoids."""
    return np.stack([40 * np.sin(2 * np.pi * 0.5 * t), 30 * np.cos(2 * np.pi * 0.8 * t)], axis=1)


def cursor_velocity(t):
    """(n, 2) mm/s, the derivative."""
    w = 2 * np.pi * np.array([0.5, 0.8])
    return np.stack([40 * w[0] * np.cos(w[0] * t), -30 * w[1] * np.sin(w[1] * t)], axis=1)


def write_makin_mat(
    path: Path,
    *,
    start_s: float = 1288.0,
    duration_s: float = 30.0,
    channels: int = 4,
    first_change_s: float = 2.0,
    rates_hz: tuple[float, float, float] = (20.0, 8.0, 4.0),
) -> dict:
    """Write a session; the last unit of channels 1, 3, ... is an empty cell.

    Returns ``spikes[channel][column]`` (s), ``t``, ``changes`` (s) and ``names``.
    """
    rng = np.random.default_rng(0)
    t = start_s + np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    changes = np.arange(start_s + first_change_s, t[-1] - 1.0, 1.5)
    target = rng.choice(np.arange(-40.0, 41.0, 10.0), (changes.size + 1, 2))
    target[:, 0] += 0.25 * np.arange(changes.size + 1)  # so that every change is one
    shown = np.searchsorted(changes, t, side="right")
    position = cursor_position(t)
    finger = np.stack([np.cos(t), -position[:, 0] / 10, -position[:, 1] / 10], axis=1)
    names = [f"{'M1' if c < 96 else 'S1'} {c % 96 + 1:03d}" for c in range(channels)]
    spikes = []
    for channel in range(channels):
        counts = rng.poisson(np.array(rates_hz) * (duration_s + 4))
        spikes.append([np.sort(rng.uniform(start_s - 2, t[-1] + 2, count)) for count in counts])
        if channel % 2:
            spikes[-1][-1] = np.empty(0)

    # small datasets by the thousand: the newest format writes them several times faster
    with h5py.File(path, "w", userblock_size=512) as file:
        put(file, "t", t[:, None])
        put(file, "cursor_pos", position)
        put(file, "finger_pos", finger)
        put(file, "target_pos", target[shown])
        refs = file.create_group("#refs#")
        put_cell(file, refs, "spikes", spikes)
        put_cell(file, refs, "chan_names", [[name] for name in names])
    put_header(path)
    return {"t": t, "changes": changes, "spikes": spikes, "names": names}


def put(group: h5py.Group, name: str, values: np.ndarray, kind: bytes = b"double") -> None:
    """An array as MATLAB 7.3 stores it: transposed, with its class."""
    group.create_dataset(name, data=np.asarray(values).T)
    group[name].attrs["MATLAB_class"] = np.bytes_(kind)


def put_cell(file: h5py.File, refs: h5py.Group, name: str, rows: list) -> None:
    """A cell array: references, transposed, to what is in its cells."""
    references = np.empty((len(rows[0]), len(rows)), h5py.ref_dtype)
    for i, row in enumerate(rows):
        for j, content in enumerate(row):
            inner = f"{name}_{i}_{j}"
            if isinstance(content, str):
                points = np.array([[ord(letter) for letter in content]], np.uint16)
                put(refs, inner, points, b"char")
                refs[inner].attrs["MATLAB_int_decode"] = np.int32(2)
            elif content.size == 0:
                put(refs, inner, np.zeros(2, np.uint64))
                refs[inner].attrs["MATLAB_empty"] = np.uint8(1)
            else:
                put(refs, inner, content[:, None])
            references[j, i] = refs[inner].ref
    file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
    file[name].attrs["MATLAB_class"] = np.bytes_(b"cell")


def put_header(path: Path) -> None:
    """The 128 bytes that make an HDF5 file a MATLAB 7.3 file."""
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Feb 13 12:00:00 2017"
    with path.open("r+b") as file:
        file.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")


def write_makin_nwb(
    path: Path, *, start_s: float = 1278.0, duration_s: float = 45.0, channels: int = 4
) -> np.ndarray:
    """Write a broadband recording: channel c holds 10 Hz of 20 (c + 1) uV and an offset.

    All channels hold mains at 60 Hz, too. Returns the amplitudes at 10 Hz, in uV.
    """
    times = start_s + np.arange(round(duration_s * BROADBAND_RATE_HZ)) / BROADBAND_RATE_HZ
    amplitudes = 20.0 * (1 + np.arange(channels))
    wave = np.sin(2 * np.pi * 10 * times)[:, None] * amplitudes
    line = 100 * np.sin(2 * np.pi * 60 * times)[:, None] * (1 + np.arange(channels) / 7)
    volts = 1e-6 * (wave + line + 300.0 * np.cos(np.arange(channels)))
    names = [f"M1 {c + 1:03d}" for c in range(channels)]
    counts = np.round(volts / CONVERSION).astype(np.int16)
    with h5py.File(path, "w") as file:
        file["nwb_version"] = np.bytes_("NWB-1.0.6")
        group = file.create_group("acquisition/timeseries/broadband")
        group.attrs["ancestry"] = np.array([b"TimeSeries", b"ElectricalSeries"])
        data = group.create_dataset("data", data=counts, chunks=(4096, channels))
        data.attrs.update(conversion=CONVERSION, unit=np.bytes_("volt"))
        group["timestamps"] = times
        group["electrode_names"] = np.array(names, dtype=h5py.string_dtype())
    return amplitudes


def write_flint(
    path: Path,
    *,
    sessions: int = 1,
    trials: int = 6,
    steps: int = 400,
    neurons: int = 5,
    without_lfp: tuple[int, ...] = (1,),
    trials_without_lfp: tuple[int, ...] = (),
    gaps_after: dict[int, float] | None = None,
    change=None,
) -> list[list[dict]]:
    """Write sessions of trials that follow each other, but for ``gaps_after`` (trial -> s).

    Neuron r holds an LFP of (r + 1) sin(2 pi 10 t), but those of ``without_lfp``. ``change`` may
    alter a trial's fields (``change(session, trial, fields)``) before they are written. Returns for
    each session the trials' fields."""
    rng = np.random.default_rng(0)
    written = []
    for number in range(sessions):
        start_s, made = 5.0 + number, []
        for trial in range(trials):
            missing = range(neurons) if trial in trials_without_lfp else without_lfp
            fields = _flint_trial(rng, start_s, steps, neurons, missing)
            if change is not None:
                change(number, trial, fields)
            made.append(fields)
            start_s += steps / 100 + (gaps_after or {}).get(trial, 0.0)
        written.append(made)
    subjects = [{"Trial": struct_array(made)} for made in written]
    io.savemat(path, {"Subject": struct_array(subjects)}, do_compression=True)
    return written


def _flint_trial(rng, start_s, steps, neurons, without_lfp) -> dict:
    time = start_s + np.arange(steps) / 100
    fast = start_s + np.arange(20 * steps) / 2000
    velocity = cursor_velocity(time) / 100
    target = np.full((steps, 3), np.nan)
    target[steps // 3 :] = (0.05, -0.05, 0.0)
    cells = []
    for row in range(neurons):
        times = np.sort(rng.uniform(time[0], time[-1], rng.poisson(0.12 * steps)))
        lfp = (row + 1) * np.sin(2 * np.pi * 10 * fast)
        lfp = np.empty((0, 0)) if row in without_lfp else lfp[:, None]
        cells.append({"Spike": times[:, None], "LFP": lfp})
    return {
        "Time": time[:, None],
        "TargetPos": target,
        "HandPos": np.zeros((steps, 3)),
        "HandVel": np.column_stack([velocity, np.zeros(steps)]),
        "Neuron": struct_array(cells),
        "Condition": "good",
    }


def struct_array(fields: list[dict]) -> np.ndarray:
    """(n, 1) MATLAB struct array of dicts with the same keys."""
    array = np.empty((len(fields), 1), dtype=[(name, object) for name in fields[0]])
    for index, each in enumerate(fields):
        for name, value in each.items():
            array[name][index, 0] = value
    return array
