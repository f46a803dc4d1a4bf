"""A simulated recording as a lab would have it in NWB: spike times, LFP at 1 kHz, positions."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from spikelfp_lab.cohorts.generative import BEHAVIOR_RATE_HZ, LFP_RATE_HZ, recording
from spikelfp_lab.io.nwb_write import save_nwb


def write_example_nwb(
    path: str | os.PathLike, *, index: int = 1, duration_s: float = 120.0, n_channels: int = 16,
    seed: int = 0,
) -> Path:  # fmt: skip
    """Write one recording of the simulator at its native rates, for trying out what reads NWB.

    ``path`` ends in ``.nwb``; ``index``, ``duration_s`` (s), ``n_channels`` and ``seed`` are as in
    :func:`spikelfp_lab.cohorts.simulated.session`. Gives the path: ``Units``; an ``LFP`` of
    ``ElectricalSeries`` (V, 1 kHz) whose last electrode is marked bad; a ``Position`` with the
    hand's ``SpatialSeries`` (cm, 100 Hz). A DataError when the file exists.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_example_nwb(f"{folder}/day.nwb", duration_s=5, n_channels=3).name
    'day.nwb'
    """
    import pynwb

    raw = recording(index, duration_s=duration_s, n_channels=n_channels, seed=seed)
    nwbfile: Any = pynwb.NWBFile(
        session_description="simulated reaching: a recording of spikelfp_lab's generative model",
        identifier=f"simulated-{seed}-s{index:02d}", session_id=f"s{index:02d}",
        session_start_time=datetime(2020, 1, index % 28 + 1, tzinfo=UTC),
        subject=pynwb.file.Subject(subject_id="I", species="Macaca mulatta", sex="U", age="P5Y"),
    )  # fmt: skip
    site = {"description": "simulated sites", "location": "motor cortex"}
    device = nwbfile.create_device(name="array")
    group = nwbfile.create_electrode_group(name="array", device=device, **site)
    nwbfile.add_electrode_column(name="is_bad", description="whether the electrode is broken")
    for bad in [False] * (n_channels - 1) + [True]:
        nwbfile.add_electrode(group=group, location=site["location"], is_bad=bad)
    for times in raw.spike_times:
        nwbfile.add_unit(spike_times=times, obs_intervals=[[0.0, float(duration_s)]])
    lfp = pynwb.ecephys.ElectricalSeries(
        name="lfp", data=raw.lfp, conversion=1e-6,
        electrodes=nwbfile.create_electrode_table_region(list(range(n_channels)), "all sites"),
        rate=float(LFP_RATE_HZ), starting_time=float(raw.lfp_times[0]),
    )  # fmt: skip
    hand = pynwb.behavior.SpatialSeries(
        name="hand", data=np.cumsum(raw.velocity, axis=0) / BEHAVIOR_RATE_HZ, unit="cm",
        rate=float(BEHAVIOR_RATE_HZ), starting_time=float(raw.behavior_times[0]),
        reference_frame="where the hand began",
    )  # fmt: skip
    potentials: Any = pynwb.ecephys.LFP(name="LFP")
    nwbfile.create_processing_module(name="ecephys", description="LFP").add(potentials)
    potentials.add_electrical_series(lfp)  # its electrodes are looked up from its place
    behavior: Any = nwbfile.create_processing_module(name="behavior", description="the hand")
    behavior.add(pynwb.behavior.Position(spatial_series=hand))
    return save_nwb(nwbfile, path, overwrite=False)
