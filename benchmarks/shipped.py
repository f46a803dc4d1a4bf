"""The models that ship with the package, and their cards.

    python -m benchmarks.shipped

Teacher, student of five sessions and causal student of the simulated study (subject I, demo preset,
seed 0), trained or found in ``--runs``, are written to ``spikelfp_lab/models/shipped/simulated``,
each with a ``card.json``: data, split, seed, R² on test time, version, and the weights' SHA-256.
"""

import argparse
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import spikelfp_lab as sl
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.models.named import SHIPPED
from spikelfp_lab.study import Study, model_specs
from spikelfp_lab.study.specs import pretrained

LICENSE = "MIT, as the package"


def made(study: Study) -> dict[str, tuple[Autoencoder, str, str]]:
    """Name -> model, the session it is scored on, and what it is."""
    name = study.held_out[0]
    specs = model_specs(study, "unsupervised", name)
    teacher, known = pretrained(study, "spikes", 0), study.pretraining[-1]
    student, own = specs["MS-Distilled"], study.configs("distill")
    spikes = study.model(specs["Teacher"])
    shape = replace(own.model, causal=True, context_s=1.0)
    folder = study.folder / "seed0" / name / "live" / "causal"  # as of notebook 14
    causal = sl.distill(study.sessions[name], spikes, model=shape, train=own.train, folder=folder)
    names = ", ".join(student.sessions)
    return {
        "teacher": (study.model(teacher), known, "spikes -> latents, masked autoencoding"),
        "distilled": (study.model(student), name, f"LFP -> latents of spikes, of {names}"),
        "causal": (causal, name, f"LFP -> latents of spikes, from the past alone, of {name}"),
    }


def main() -> None:
    """Write all three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trained models")
    study = Study(runs=parser.parse_args().runs)
    for label, (model, name, about) in made(study).items():
        folder, session = SHIPPED / "simulated" / label, study.sessions[name]
        latents = sl.encode(model, session, progress=False)
        test = sl.decode(latents, session).query("split == 'test'")
        model.history = model.history.iloc[:0]
        shutil.rmtree(folder, ignore_errors=True)
        weights = model.save(folder) / "model.safetensors"
        card = {
            "name": f"simulated/{label}",
            "about": about,
            "data": f'open_cohort("simulated"), subject {name.split("/")[0]}, 8 minutes a session',
            "sessions": list(model.sessions),
            "split": study.split(name).attrs,
            "seed": 0,
            "scored_on": name,
            "r2_test": {k: round(v, 3) for k, v in test.groupby("readout")["r2"].mean().items()},
            "digest": model.digest(),
            "spikelfp_lab": sl.__version__,
            "license": LICENSE,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        }
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        print(f"{card['name']}: R² {card['r2_test']} on {name}")


if __name__ == "__main__":
    main()
