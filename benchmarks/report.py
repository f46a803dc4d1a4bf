"""The clean report: subject V, which nothing was ever chosen on, three held-out sessions and three
seeds. ``python -m benchmarks.report`` trains what is missing and writes two tables.

``results/report.csv``: R² on test time of every model, session and seed (mean over axes), and of
read-outs frozen on the other held-out sessions. ``results/report_tests.csv``: MS-Distilled and
Distilled against the others, paired.
"""

import argparse
from pathlib import Path

import pandas as pd

from spikelfp_lab.analysis import paired_test
from spikelfp_lab.study import Study, frozen
from spikelfp_lab.study.parallel import in_parallel
from spikelfp_lab.study.scoring import references, scores_of, tabulate
from spikelfp_lab.study.specs import ModelSpec, model_specs

LEFT_OUT = ("SS-Teacher", "SS-MM")  # of notebook 07
KEYS = ["readout", "model", "fitted", "trained_on", "session", "seed"]
PAIRS = {
    "MS-Distilled": ("Distilled", "MS-LFP", "LFP and power ridge"),
    "Distilled": ("SS-LFP", "LFP and power ridge", "Random teacher"),
    "MS-LFP": ("SS-LFP",),
    "Shuffled teacher": ("SS-LFP",),
    "Other subject's teacher": ("SS-LFP",),
}


def specs_of(study: Study, seed: int, name: str) -> dict[str, ModelSpec]:
    """Label -> spec of the models that are reported."""
    specs = model_specs(study, "unsupervised", name, seed)
    return {label: spec for label, spec in specs.items() if label not in LEFT_OUT}


def train(study: Study) -> None:
    """Train what is missing, those first that others start from, one model a core."""
    runs = [spec for run in study.runs_of_all for spec in specs_of(study, *run).values()]
    needed = {each.folder: each for spec in runs for each in (*spec.needs, spec)}
    for depth in sorted({len(spec.needs) for spec in needed.values()}):
        jobs = [(spec,) for spec in needed.values() if len(spec.needs) == depth]
        in_parallel(study, make, jobs, desc=f"stage {depth + 1}", unit="model")


def make(study: Study, spec: ModelSpec) -> None:
    """One model, trained or found."""
    study.model(spec)


def score(study: Study, seed: int, name: str) -> pd.DataFrame:
    """Scores of the models of a held-out session and of the ridges."""
    session, specs = study.sessions[name], specs_of(study, seed, name)
    latents = {label: study.encode(study.model(spec), session) for label, spec in specs.items()}
    return scores_of(study, seed, name, latents | references(session))


def main() -> None:
    """Train, score and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", choices=["V", "I"], default="V")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trained models")
    asked = parser.parse_args()
    cohort = "simulated" + ("-V" if asked.subject == "V" else "")
    study = Study(cohort_name=cohort, n_seeds=asked.seeds, runs=asked.runs, full=True)
    train(study)
    own = tabulate(study, score, study.runs_of_all, "decode")
    own = own.assign(fitted="own session", trained_on=own["session"])
    carried = frozen(study).query("seen == 'never'").drop(columns="seen")
    tested = pd.concat([own, carried]).query("split == 'test'")
    table = tested.groupby(KEYS, sort=False, as_index=False)["r2"].mean()
    name = "report" if asked.subject == "V" else f"report_{asked.subject}"
    path = Path(__file__).parent / "results" / f"{name}.csv"
    table.round(4).to_csv(path, index=False)
    tests = [
        {"readout": kind} | paired_test(rows, a=a, b=b)
        for kind, rows in table[table["fitted"] == "own session"].groupby("readout")
        for a, others in PAIRS.items()
        for b in others
    ]
    pd.DataFrame(tests).round(4).to_csv(path.with_name(f"{name}_tests.csv"), index=False)
    means = table.groupby(["fitted", "model", "readout"])["r2"].mean().unstack("readout")
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
