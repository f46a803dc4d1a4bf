"""What frozen decoders regain on later days without labels or spikes: by new z-scoring alone, and
by new session tables alone.

    python -m benchmarks.regained --seeds 3

Days of the simulated arrays of notebook 13, of subject V, after ``benchmarks.report``. The student
of a held-out session and a read-out of day 0 stay as they are. A day is z-scored as day 0 was, or
by its own training time; or, z-scored anew, it gets tables of its own, trained to reconstruct its
LFP while all other weights are frozen. Writes ``results/regained.csv``: lagged R² on test time.
"""

from copy import deepcopy
from pathlib import Path

import pandas as pd
import torch

from benchmarks.report import asked_study
from spikelfp_lab.analysis import decode, fit_readout
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.sessions import session_name
from spikelfp_lab.study import Study
from spikelfp_lab.study.lasting import DAYS, session_of_day
from spikelfp_lab.study.scoring import tabulate
from spikelfp_lab.study.specs import model_specs
from spikelfp_lab.training.batches import SessionWindows, add_tables, prepare

STEPS, BATCH, LEARNING_RATE = 300, 32, 1e-3
MODELS = ("MS-Distilled", "MS-LFP")


def knowing(model: Autoencoder, name: str, windows: SessionWindows) -> Autoencoder:
    """A copy of the model with one more session, whose tables begin as those of ``name``."""
    model = deepcopy(model)
    add_tables(model, windows)
    pairs = zip(model.tables(windows.name), model.tables(name), strict=True)
    with torch.no_grad():
        for new, known in pairs:
            new.copy_(known)
    return model


def adapted(model: Autoencoder, windows: SessionWindows) -> Autoencoder:
    """Its tables for a session trained to reconstruct the session's LFP, all else frozen."""
    torch.manual_seed(0)
    model.requires_grad_(False)
    tables = model.tables(windows.name)
    for table in tables:
        table.requires_grad_(True)
    optimizer = torch.optim.AdamW(tables, lr=LEARNING_RATE)
    bins = torch.arange(windows.length)
    for _ in range(STEPS):
        starts = torch.as_tensor(windows.train)[torch.randint(len(windows.train), (BATCH,))]
        values = windows.values[starts[:, None] + bins]
        tokens = model.token_latents(values, windows.name)
        loss = model.reconstruction_loss(tokens, values, windows.name)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def score(study: Study, seed: int, name: str, drift: str, model_name: str) -> pd.DataFrame:
    """A model of ``name`` on all days of an array."""
    torch.set_num_threads(1)
    model = study.model(model_specs(study, "unsupervised", name, seed)[model_name])
    train, shape = study.configs("distill", seed).train, model.config
    subject, rows, first, readout = name.split("/")[0], [], None, None
    for day in DAYS[drift]:
        session = session_of_day(study, subject, drift, day)
        options = {"modality": "lfp", "train": train, "shape": shape}
        windows = prepare(session, session_name(session), device=torch.device("cpu"), **options)
        anew = knowing(model, name, windows)
        ways = {"z-scored anew": anew}
        if first is None or readout is None:
            first = windows
            readout = fit_readout(study.encode(anew, session), session, kind="lagged")
        else:
            ways["z-scored as day 0"] = old = deepcopy(anew)
            for own, known in zip(
                old.statistics(windows.name), (first.mean, first.std), strict=True
            ):
                own.copy_(torch.as_tensor(known))
        ways["and tables of its own"] = adapted(deepcopy(anew), windows)
        for way, each in ways.items():
            # one more session makes another digest of the same function
            read = study.encode(each, session).assign_attrs(digest=readout.digest)
            table = decode(read, session, readout=readout).query("split == 'test'")
            rows.append((drift, model_name, day, way, table["r2"].mean()))
    return pd.DataFrame(rows, columns=["drift", "model", "day", "way", "r2"])


def main() -> None:
    """Score, write the table."""
    study = asked_study(__doc__, seeds=3)
    jobs = [(*run, drift, model) for run in study.runs_of_all for drift in DAYS for model in MODELS]
    table = tabulate(study, score, jobs, "days")
    path = Path(__file__).parent / "results" / "regained.csv"
    table.round(4).to_csv(path, index=False)
    means = table.pivot_table(index=["drift", "model", "day"], columns="way", values="r2")
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
