"""Time and memory of broadband to LFP, beside the usual chain, in one run.

``plain`` is the usual way: the whole array in float64, ``filtfilt``, FFT resampling. ``ours`` is
:func:`spikelfp_lab.signal.broadband_to_lfp`, with a rate and with timestamps. Each measurement runs
in a process of its own, reads 96 channels at 24.4 kHz (int16) from an HDF5 file in the page cache,
and reports how far its memory rose above that of the imports, and its highest in all. The
processor's time is given beside the clock's, since on shared cores only the first tells the chains
apart.

    python -m benchmarks.broadband
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import signal

from spikelfp_lab.signal import broadband_to_lfp

RATE_HZ, TRUE_RATE_HZ, CHANNELS = 24414.0625, 24414.3378, 96
SECONDS = (10, 60, 600)
RUNS = {"plain": (10, 60), "ours": SECONDS, "ours, timestamps": SECONDS}
REPEATS = 3


def write_recording(path: Path, seconds: int) -> None:
    """The same second of noise, stronger at low frequencies, again and again."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 40, (round(RATE_HZ), CHANNELS)).cumsum(axis=0) * 0.05
    noise = (noise + rng.normal(0, 60, noise.shape)).astype(np.int16)
    n = round(seconds * RATE_HZ)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (n, CHANNELS), "i2", chunks=(8192, CHANNELS))
        stamps = file.create_dataset("timestamps", (n,), "f8", chunks=(2**16,))
        for start in range(0, n, len(noise)):
            stop = min(start + len(noise), n)
            data[start:stop] = noise[: stop - start]
            stamps[start:stop] = np.arange(start, stop) / TRUE_RATE_HZ


def plain(file: h5py.File) -> np.ndarray:
    """The usual way, whole array, float64: low-pass, notches, high-pass, reference, FFT
    resampling.
    """
    lfp = file["data"][:].astype(np.float64)  # type: ignore[index]
    factor = 32
    lfp = signal.filtfilt(*signal.butter(4, 300, fs=RATE_HZ), lfp, axis=0)[::factor]  # type: ignore[misc]
    rate_hz = RATE_HZ / factor
    for line_hz in np.arange(60, rate_hz / 2, 60):
        lfp = signal.filtfilt(*signal.iirnotch(line_hz, 30, fs=rate_hz), lfp, axis=0)
    lfp = signal.filtfilt(*signal.butter(2, 0.05, "highpass", fs=rate_hz), lfp, axis=0)  # type: ignore[misc]
    lfp = signal.filtfilt(*signal.butter(2, 50, fs=rate_hz), lfp, axis=0)  # type: ignore[misc]
    lfp -= lfp.mean(axis=1, keepdims=True)
    return np.asarray(signal.resample(lfp, round(len(lfp) * 100 / rate_hz), axis=0))


def convert(how: str, file: h5py.File) -> np.ndarray:
    if how == "plain":
        return plain(file)
    times = {"timestamps": file["timestamps"]} if "timestamps" in how else {"rate_hz": RATE_HZ}
    return broadband_to_lfp(file["data"], **times, progress=False)[0]  # type: ignore[arg-type]


def memory_mb(what: str) -> float:
    """Resident memory of this process, now (VmRSS) or at its highest (VmHWM); Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {what}")


def measure_here(how: str, path: str) -> None:
    """Print seconds (clock, processor) and MB of one conversion; meant for a process of its own."""
    with h5py.File(path) as file:
        before = memory_mb("VmRSS")
        start, start_cpu = time.perf_counter(), time.process_time()
        lfp = convert(how, file)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    assert lfp.shape[1] == CHANNELS and np.isfinite(lfp).all()
    peak = memory_mb("VmHWM")
    print(seconds, cpu, peak - before, peak)


def measure(how: str, path: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.broadband", how, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(value) for value in done.stdout.split()]


def main() -> None:
    cores = os.cpu_count() or 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in SECONDS:
            path = Path(folder) / f"{seconds}s.h5"
            write_recording(path, seconds)
            kinds = [how for how, lengths in RUNS.items() if seconds in lengths]
            # they take turns, so that a machine whose speed drifts is fair to all
            runs = {how: [] for how in kinds}
            for _ in range(REPEATS if seconds < 600 else 1):
                for how in kinds:
                    runs[how].append(measure(how, path))
            raw_mb = round(seconds * RATE_HZ) * CHANNELS * 2 / 2**20
            for how, found in runs.items():
                took, cpu, rise, peak = zip(*found, strict=True)
                rows.append(
                    {
                        "recording_s": seconds,
                        "chain": how,
                        "median_s": statistics.median(took),
                        "min_s": min(took),
                        "max_s": max(took),
                        "cpu_s": statistics.median(cpu),
                        "raw_mb": raw_mb,
                        "rise_mb": max(rise),
                        "peak_mb": max(peak),
                        "runs": len(found),
                    }
                )
            path.unlink()
    table = pd.DataFrame(rows)
    for column, of in (("plain / this", "median_s"), ("plain / this, cpu", "cpu_s")):
        usual = table[table["chain"] == "plain"].set_index("recording_s")[of]
        table[column] = usual.reindex(table["recording_s"]).to_numpy() / table[of]
    table["cores"] = cores
    table["blas_threads"] = os.environ.get("OMP_NUM_THREADS", "all")
    table["load_15min"] = round(os.getloadavg()[2], 2)
    print(table.round(3).to_string(index=False))
    target = Path(__file__).parent / "results" / "broadband.csv"
    target.parent.mkdir(exist_ok=True)
    table.round(3).to_csv(target, index=False)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure_here(*sys.argv[1:])
    else:
        main()
