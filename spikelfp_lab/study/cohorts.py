"""What the cohorts of a study need: options they are opened with, changes of training, sessions that are held out."""

from __future__ import annotations

from typing import Any

COHORT_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("simulated", "smoke"): {"n_sessions": 5, "duration_s": 90.0},
    # One rat and three sessions of two mice.
    ("cao2021", "any"): {"recordings": ("rat_a", "mouse1_s1", "mouse2_s1", "mouse2_s2")},
}
# What a cohort needs otherwise than the preset says.
COHORT_TRAINING: dict[tuple[str, str], dict[str, Any]] = {
    # Bins of 100 ms, few of them: a mouse's trial is 25 bins, so that windows must be shorter, and more of them make a batch.
    ("cao2021", "demo"): {"steps": 400, "window_s": 2.0, "batch": 32, "val_every": 20},
    ("cao2021", "smoke"): {"window_s": 2.0},
    ("cao2021", "paper"): {"window_s": 2.0},
}
COHORTS = ("simulated", "cao2021", "makin", "flint")


def held_out_of(cohort: str) -> tuple[str, ...]:
    """Sessions of a named cohort that are in nobody's pre-training; none are named for a folder of sessions.

    >>> held_out_of("simulated")
    ('I/s05', 'I/s06', 'I/s07')
    """
    if (
        cohort == "makin"
    ):  # those of the paper; their loaders take a second to import, and a notebook seldom needs them
        from spikelfp_lab.cohorts import makin

        return tuple(name.replace("_", "/", 1) for name in makin.HELD_OUT)
    if cohort == "flint":
        from spikelfp_lab.cohorts import flint

        return tuple(f"C/{name}" for name in flint.HELD_OUT)
    chosen = {"simulated": ("I/s05", "I/s06", "I/s07"), "cao2021": ("ratA/s1", "mouse2/s2")}
    return chosen.get(cohort, ())


def options_of(cohort: str, preset: str) -> dict[str, Any]:
    """Options that a cohort is opened with under a preset.

    >>> options_of("simulated", "smoke")["n_sessions"]
    5
    """
    exact = COHORT_OPTIONS.get((cohort, preset))
    return exact if exact is not None else COHORT_OPTIONS.get((cohort, "any"), {})
