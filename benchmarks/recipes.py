"""How the demo preset's recipes were chosen: on validation time of subject T, which no result is
reported of. ``python -m benchmarks.recipes`` trains what is missing and writes the table.

One thing at a time is changed in the student of version 0.1.0 (the paper's loss, potentials alone),
then the best together, then on several sessions. R² of hand velocity is the mean of T/s05 and T/s06
(held out: the teacher got tables for them and nothing else); "frozen" is a lagged read-out of that
session scored on T/s07, which nobody saw.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

import spikelfp_lab as sl
from spikelfp_lab.presets import BANDS_HZ, NOISED, PRESETS

HELD_OUT, UNSEEN = ("T/s05", "T/s06"), "T/s07"
BEST = {"mask_ratio": 0.6, "center": "scale", "maps": True}


def variants() -> dict[str, dict[str, dict[str, Any]]]:
    """Question -> variant -> fields of configs, and "sessions" where it learns of several."""
    alone: dict[str, Any] = {"model.bands_hz": BANDS_HZ} | BEST
    several = alone | {"sessions": 4, "train.steps": 1500}
    less_noise = {"train.drop_inputs": 0.35, "train.noise": 0.25}
    return {
        "nothing changed": {"version 0.1.0": {}},
        "time steps masked": {f"{r:.0%}": {"mask_ratio": r} for r in (0.3, 0.6)},
        "teacher's latents": {"centered": {"center": "mean"}, "scaled": {"center": "scale"}},
        "weight of alignment": {f"{w:g}": {"alignment_weight": w} for w in (1.0, 25.0)},
        "input noised": {
            "half as much": less_noise,
            "no": {"train.drop_inputs": 0.0, "train.noise": 0.0},
        },
        "map a session": {"yes": {"maps": True}},
        "front end": {"band power": {"model.bands_hz": BANDS_HZ}},
        "together": {
            "masks, band power": {"model.bands_hz": BANDS_HZ, "mask_ratio": 0.6},
            "masks, band power, scaled": alone | {"maps": False},
            "masks, band power, scaled, map": alone,
            "and weight 25": alone | {"alignment_weight": 25.0},
            "and input noised half as much": alone | less_noise,
        },
        "five sessions": {
            "500 steps": several | {"train.steps": 500},
            "1,500 steps": several,
            "1,500 steps, no map": several | {"maps": False},
            "1,500 steps, centered": several | {"center": "mean"},
            "1,500 steps, input noised half as much": several | less_noise,
            "1,500 steps, potentials alone": several | {"model.bands_hz": ()},
        },
    }


def session_of(folder: Path, name: str) -> Any:
    """A session of subject T, simulated once."""
    path = folder / f"{name.replace('/', '_')}.zarr"
    if not path.exists():
        index, subject = int(name[-2:]), name.split("/")[0]
        sl.save_session(sl.cohorts.simulated.session(index, subject=subject), path)
    return sl.open_session(path).load()


def one(folder: Path, name: str, question: str, variant: str, fields: dict[str, Any]) -> list[dict]:
    """Train one student (or find it) and score it on validation time."""
    torch.set_num_threads(1)
    options: dict[str, Any] = {"progress": False, "device": "cpu"}
    names = [f"T/s{i:02}" for i in range(1, 1 + fields.get("sessions", 0))] + [name]
    sessions = {each: session_of(folder, each) for each in names}
    teacher = sl.load(folder / f"teacher_{name[-3:]}")
    preset = PRESETS["demo"]["distill"]
    parts: dict[str, Any] = {
        "distill": sl.DistillConfig(),
        "train": replace(preset.train, **NOISED),
    }
    parts["model"] = replace(preset.model, bands_hz=())
    for field, value in fields.items():
        if field != "sessions":
            part, _, key = field.rpartition(".")
            parts[part or "distill"] = replace(parts[part or "distill"], **{key: value})
    label = f"{question}_{variant}_{name[-3:]}".replace(" ", "_").replace("%", "").replace("'", "")
    student = sl.distill(sessions, teacher, folder=folder / label, **parts, **options)
    latents = sl.encode(student, sessions[name], **options)
    scores = sl.decode(latents, sessions[name]).query("split == 'val'").groupby("readout").r2.mean()
    unseen = session_of(folder, UNSEEN)
    carried = sl.encode(student, unseen, as_session=name, **options)
    readout = sl.fit_readout(latents, sessions[name])
    frozen = sl.decode(carried, unseen, readout=readout).query("split == 'val'").r2.mean()
    row = {"question": question, "variant": variant, "session": name, "readout": "frozen"}
    rows = [row | {"readout": kind, "r2": float(value)} for kind, value in scores.items()]
    return [*rows, row | {"r2": float(frozen)}]


def main() -> None:
    """Train teacher and students that are missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="trained models")
    folder = parser.parse_args().runs
    folder.mkdir(parents=True, exist_ok=True)
    first = {f"T/s{i:02}": session_of(folder, f"T/s{i:02}") for i in range(1, 5)}
    teacher = sl.pretrain(first, "spikes", folder=folder / "teacher")
    for name in HELD_OUT:
        own = {name: session_of(folder, name)}
        sl.finetune(teacher, own, folder=folder / f"teacher_{name[-3:]}")
    session_of(folder, UNSEEN)
    jobs = [
        (folder, name, question, variant, fields)
        for question, asked in variants().items()
        for variant, fields in asked.items()
        for name in HELD_OUT
    ]
    done, path = [], Path(__file__).parent / "results" / "recipes.csv"
    made = Parallel(n_jobs=2, return_as="generator")(delayed(one)(*job) for job in jobs)
    for rows in tqdm(made, total=len(jobs), desc="recipes", unit="student"):
        done += rows
        table = pd.DataFrame(done).groupby(["question", "variant", "readout"], sort=False).r2
        table.mean().unstack("readout").round(3).to_csv(path)


if __name__ == "__main__":
    main()
