"""The clean report: models of held-out sessions over seeds, scored once, with paired tests.

    python -m benchmarks.report                                  # subject V, which nothing was
                                                                 # ever chosen on; three seeds
    python -m benchmarks.report --cohort v1_gamma --seeds 5      # every trial tested once
    python -m benchmarks.report --cohort cao2021 --seeds 5       # every block tested once

It trains what is missing and writes two tables. ``results/report_<cohort>.csv``: R² on test time of
every model, session and seed (mean over axes); ``fitted`` is "own session", or "frozen" for
read-outs of one held-out session that are scored on another. ``results/report_<cohort>_tests.csv``:
models against each other, paired.
"""

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd

from spikelfp_lab.analysis import paired_test
from spikelfp_lab.errors import ConfigError
from spikelfp_lab.study import Study, frozen
from spikelfp_lab.study.scoring import references, scores_of, tabulate
from spikelfp_lab.study.specs import ModelSpec, model_specs

LEFT_OUT = ("SS-Teacher", "SS-MM")  # of notebook 07
KEYS = ["setting", "readout", "model", "fitted", "trained_on", "seen", "session", "seed"]
PAIRS = {
    "MS-Distilled": ("Distilled", "MS-LFP", "LFP and power ridge", "MS, random teacher"),
    "Distilled": ("SS-LFP", "LFP and power ridge", "Random teacher", "GRU"),
    "MS-LFP": ("SS-LFP",),
    "Shuffled teacher": ("SS-LFP",),
    "Other subject's teacher": ("SS-LFP",),
}


def specs_of(study: Study, setting: str, seed: int, name: str) -> dict[str, ModelSpec]:
    """Label -> spec of the models that are reported."""
    specs = model_specs(study, setting, name, seed)  # type: ignore[arg-type]
    if "MS-Distilled" in specs:  # and the same student of a spike model with random weights
        several, alone = specs["MS-Distilled"], specs["Random teacher"]
        assert alone.start
        folder, names = f"seed{seed}/{name}/", several.sessions
        start = replace(alone.start, folder=f"{folder}ms_random_teacher", sessions=names)
        own = {"folder": f"{folder}ms_of_random_teacher", "start": start, "control": "random"}
        specs["MS, random teacher"] = replace(several, **own)
    return {label: spec for label, spec in specs.items() if label not in LEFT_OUT}


def score(study: Study, seed: int, name: str, setting: str) -> pd.DataFrame:
    """Scores of the models of a held-out session and of the ridges."""
    session, specs = study.sessions[name], specs_of(study, setting, seed, name)
    inputs = {label: study.encode(study.model(spec), session) for label, spec in specs.items()}
    if setting == "unsupervised":
        inputs |= references(session)
    return scores_of(study, seed, name, inputs).assign(setting=setting)


def report(study: Study) -> pd.DataFrame:
    """All scores on test time, mean over axes."""
    settings = ("unsupervised",) if study.simulated else ("unsupervised", "supervised")
    jobs = [(*run, setting) for setting in settings for run in study.runs_of_all]
    specs = [specs_of(study, setting, seed, name) for seed, name, setting in jobs]
    study.make([spec for each in specs for spec in each.values()])
    tables = [tabulate(study, score, jobs, "decode")]
    if "supervised" in settings and study.configs("lfp").train.scheme != "trials":
        # the GRU's windows are longer than what is known of behavior in a trial
        tables.append(study.reference_scores().assign(setting="supervised"))
    own = pd.concat(tables)
    tables = [own.assign(fitted="own session", trained_on=own["session"], seen="trained on")]
    if study.having("lfp"):  # in the pre-training, else there is nothing to carry over
        with suppress(ConfigError):  # no two sessions have the same electrodes
            tables.append(frozen(study).assign(setting="unsupervised"))
    tested = pd.concat(tables).query("split == 'test'")
    return tested.groupby(KEYS, sort=False, as_index=False)["r2"].mean()


def tests_of(table: pd.DataFrame) -> pd.DataFrame:
    """Paired tests on the sessions' own read-outs."""
    rows = []
    for (setting, kind), own in table.query("fitted == 'own session'").groupby(KEYS[:2]):
        for a, others in PAIRS.items():
            for b in [b for b in others if {a, b} <= {*own["model"]}]:
                rows.append({"setting": setting, "readout": kind} | paired_test(own, a=a, b=b))
    return pd.DataFrame(rows)


def asked_study(about: str | None, seeds: int = 1) -> Study:
    """The study that the command line asks for."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--cohort", default="simulated-V", help="as COHORT of make figures")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trained models")
    asked = parser.parse_args()
    return Study(cohort_name=asked.cohort, n_seeds=asked.seeds, runs=asked.runs, full=True)


def main() -> None:
    """Train, score and write the tables."""
    study = asked_study(__doc__, seeds=3)
    table = report(study)
    path = Path(__file__).parent / "results" / f"report_{study.cohort_name}.csv"
    table.round(4).to_csv(path, index=False)
    tests_of(table).round(4).to_csv(path.with_name(f"{path.stem}_tests.csv"), index=False)
    by = ["setting", "fitted", "seen", "model", "session", "readout"]
    print(table.groupby(by)["r2"].mean().unstack("readout").round(3).to_string())


if __name__ == "__main__":
    main()
