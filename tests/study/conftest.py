"""A study of three small sessions whose trainings take two steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from spikelfp_lab import distill
from spikelfp_lab.io.store import save_cohort
from spikelfp_lab.presets import PRESETS
from spikelfp_lab.sessions import cohort_from_sessions
from spikelfp_lab.study import Study
from tests.factories import make_session


def make_study(folder: Path, **options) -> Study:
    """A study of a folder of sessions, of which the last one is held out."""
    sessions = [make_session(bins=1400, session=f"s0{i}", seed=i, units=5 + i) for i in range(1, 4)]
    save_cohort(cohort_from_sessions(sessions), folder / "cohort")
    return Study(
        cohort_name=str(folder / "cohort"),
        preset="smoke",
        runs=folder / "runs",
        device="cpu",
        progress=False,
        **options,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """In this process, since others would not know the quick preset."""
    with pytest.MonkeyPatch.context() as patch:
        for role, preset in PRESETS["smoke"].items():
            train = replace(preset.train, steps=2, batch=2, window_s=0.4, val_every=1)
            quick = replace(preset, train=train, finetune=replace(train, lr=1e-3))
            patch.setitem(PRESETS["smoke"], role, quick)
        patch.setattr("spikelfp_lab.study.parallel.cpu_count", lambda: 1)
        # teachers of two steps are no better than chance
        anyway = lambda *args, **options: distill(*args, **options | {"force": True})  # noqa: E731
        patch.setattr("spikelfp_lab.study.study.distill", anyway)
        yield make_study(tmp_path_factory.mktemp("study"))
