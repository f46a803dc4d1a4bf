"""Who needs whom: models are trained after those that they are made from, each once."""

from spikelfp_lab.study import MODELS, Recipe
from spikelfp_lab.study.catalog import Job, Made, ablations, call, needs, rounds

NAMES = ("I/s05", "I/s06")
STRANGERS = dict.fromkeys(NAMES, "C/s01")


def test_what_a_job_needs_is_in_an_earlier_round():
    wanted = [
        call(made, name, seed)
        for models in MODELS.values()
        for made in models.values()
        for name in NAMES
        for seed in (0, 1)
    ]
    order = rounds(wanted, STRANGERS)
    done: set[str] = set()
    for jobs in order:
        for job in jobs:
            assert all(repr(need) in done for need in needs(job, "C/s01")), job
        done |= {repr(job) for job in jobs}
    everything = [repr(job) for jobs in order for job in jobs]
    assert len(everything) == len(set(everything))
    assert {repr(job) for job in wanted} <= set(everything)


def test_a_teacher_of_fewer_sessions_is_another_teacher():
    job = call(Made("student", Recipe(pretrained_on=1)), "I/s05", 0)
    (tuned,) = needs(job, None)
    assert needs(tuned, None) == [Job("teacher", (0,), (("pretrained_on", 1),))]
    alone = call(Made("student", Recipe(pretrained_on=0)), "I/s05", 0)
    (own,) = needs(alone, None)
    assert needs(own, None) == [Job("ss_teacher", ("I/s05", 0))]


def test_ablations_ask_one_thing_at_a_time_beside_the_study_s_own():
    for full in (False, True):
        for question, variants in ablations(4, 4, full=full).items():
            assert sum(recipe == Recipe() for recipe in variants.values()) == 1, question
            assert len({repr(recipe) for recipe in variants.values()}) == len(variants)
    few = {q: set(v) for q, v in ablations(4, 4).items()}
    assert all(few[q] <= set(v) for q, v in ablations(4, 4, full=True).items())
