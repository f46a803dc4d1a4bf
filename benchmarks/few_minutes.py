"""Where pre-training should matter: when there are few minutes of a new session.

    python -m benchmarks.few_minutes --seeds 1

Teacher, students, LFP models and read-outs get the first 1, 2 or 4 minutes of the training time of
a held-out session of subject V (its validation block too, to stop in time); all are scored on its
test windows, beside ridge fitted to the same minutes. The teacher and MS-LFP were pre-trained on
four sessions, SS-Teacher and SS-LFP have the minutes alone. These two are tried with one minute on
all held-out sessions and seeds. Writes ``results/few_minutes.csv`` and a figure of the first.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

import spikelfp_lab as sl
from benchmarks.report import asked_study
from spikelfp_lab.study import Study
from spikelfp_lab.study.scoring import references, scores_of, tabulate
from spikelfp_lab.study.specs import ModelSpec, model_specs

MINUTES = (1.0, 2.0, 4.0)
LABELS = ("SS-LFP", "MS-LFP", "SS-Teacher", "Teacher", "Distilled", "MS-Distilled")
KEYS = ["minutes", "readout", "model", "session", "seed"]


def specs_of(
    study: Study, seed: int, name: str, minutes: float, labels: tuple[str, ...]
) -> dict[str, ModelSpec]:
    """Label -> spec of the models that know so many minutes of a session."""
    whole, specs = model_specs(study, "unsupervised", name, seed), {}
    for label in sorted(labels, key="Teacher".__ne__):  # the first, students start from it
        spec = whole[label]
        folder = f"{spec.folder}_{minutes:g}_minutes"
        start = specs["Teacher"] if spec.verb == "distill" else spec.start
        specs[label] = replace(spec, folder=folder, minutes=minutes, start=start)
    return specs


def score(
    study: Study, seed: int, name: str, minutes: float, labels: tuple[str, ...]
) -> pd.DataFrame:
    """Test scores of models and ridge, whose read-outs know these minutes' behavior alone."""
    session, known = study.sessions[name], study.first_minutes(name, seed, minutes)
    specs = specs_of(study, seed, name, minutes, labels)
    inputs = {label: study.encode(study.model(spec), session) for label, spec in specs.items()}
    inputs["LFP and power ridge"] = references(session)["LFP and power ridge"]
    labeled = session.assign(behavior=session["behavior"].where(known))
    return scores_of(study, seed, name, inputs, session=labeled).assign(minutes=minutes)


def main() -> None:
    """Train, score, write the table and draw it."""
    study = asked_study(__doc__)
    first, *others = study.runs_of_all
    jobs = [(*first, minutes, LABELS) for minutes in MINUTES]
    jobs += [(*run, MINUTES[0], LABELS[:2]) for run in others]
    specs = [spec for job in jobs for spec in specs_of(study, *job).values()]
    study.make(specs)
    table = tabulate(study, score, jobs, "decode").query("split == 'test'")
    table = table.groupby(KEYS, sort=False, as_index=False)["r2"].mean().assign(split="test")
    path = Path(__file__).parent / "results" / "few_minutes.csv"
    table.round(4).to_csv(path, index=False)
    drawn = {"xlabel": "Minutes of the new session", "cohort": study.title, "log": True}
    shown = table[(table["session"] == first[1]) & (table["seed"] == first[0])]
    shown = shown.assign(axis="velocity")
    figure = sl.plots.plot_curves(shown, "minutes", **drawn)
    figure.savefig(path.with_suffix(".png"), dpi=200)
    print(
        table.groupby([*KEYS[:3], "session"])["r2"].mean().unstack("minutes").round(3).to_string()
    )


if __name__ == "__main__":
    main()
