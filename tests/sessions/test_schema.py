"""The schema: what is valid passes, and every breach is named with its cure."""

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab.errors import DataError, SchemaError, SpikeLFPWarning
from spikelfp_lab.sessions import (
    as_dataset,
    cohort_from_sessions,
    drop_bad_channels,
    session_name,
    validate_session,
)
from tests.factories import make_session


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"units": 0},
        {"channels": 0, "behavior": ()},
        {"trial_bins": 50, "gaps": (100, 101), "nan_lfp": (3,), "nan_behavior": (7,)},
        {"bin_size_s": 0.1, "bins": 2},
    ],
)
def test_valid_sessions_pass(options):
    validate_session(make_session(**options))


@pytest.mark.parametrize(
    "labels",
    [
        [3, 5],
        np.array(["a", "b"], dtype=object),
        np.array(["a", "b"], dtype=np.dtypes.StringDType()),
        pd.Index(["a", "b"], dtype="string"),
    ],
)
def test_labels_may_be_text_of_any_kind_or_whole_numbers(labels):
    validate_session(make_session(units=2).assign_coords(unit=("unit", labels)))


def attr(**changes):
    return lambda session: session.assign_attrs(changes)


def coord(name, values, dim=None):
    return lambda session: session.assign_coords({name: (dim or name, values)})


def time(change):
    return lambda session: session.assign_coords(time=change(session["time"]))


def lfp(change):
    return lambda session: session.assign(lfp=change(session["lfp"]))


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda session: session.drop_attrs(deep=False), "attrs['bin_size_s'] is None; set it"),
        *((attr(subject=name), "no usable name") for name in ("..", "a/b", "/etc", "a\\b", "a\n")),
        (attr(session=".a"), "no usable name"),
        (attr(bin_size_s=0.0), "attrs['bin_size_s'] is 0.0; set it"),
        (attr(bin_size_s="0.02"), "attrs['bin_size_s'] is '0.02'; set it"),
        (attr(bin_size_s=0.025), "time is no uniform clock of 0.025 s"),
        (attr(schema_version=2), "install a newer spikelfp_lab"),
        (attr(history=["a"]), "attrs['history'] is ['a']; set it to text"),
        (time(lambda time: time.astype("float32")), "float64 seconds; add them"),
        (lambda session: session.isel(time=[1, 0, 2]), "does not increase at each bin; sort"),
        (time(lambda time: time.where(time > 1)), "drop what is double or NaN"),
        (lambda session: session.drop_vars("time"), "'time' is missing"),
        (lambda session: session.isel(time=[0]), "at least 2 bin centers"),
        (time(lambda time: time + 0.004 * (np.arange(600) % 2)), "one clock with build_session"),
        (lambda session: session.drop_vars(["lfp", "spikes"]), "neither 'spikes' nor 'lfp'"),
        (lambda session: session.transpose("channel", ...), "make it float32 over ('time', 'chan"),
        (lfp(lambda lfp: lfp.astype("float64")), "lfp is float64 over ('time', 'channel'); make"),
        (lfp(lambda lfp: lfp.where(lfp > 0, np.inf)), "infinite values; make them NaN"),
        (lambda one: one.assign(spikes=one["spikes"] * 1.0), "make it uint8 or uint16"),
        (lambda session: session.drop_vars("channel"), "'channel' has no labels"),
        (coord("channel", ["a", "a", "b", "c"]), "'channel' has labels more than once: ['a']"),
        (coord("channel", [0.5, 1.5, 2.5, 3.5]), "has no labels of type"),
        (coord("behavior_dim", [0, 1]), "'behavior_dim' has no labels"),
        (lambda session: session.isel(channel=[]), "'channel' has no labels"),
        (coord("thing", np.array([{}] * 6, object), "unit"), "thing has dtype object; make it num"),
        (coord("trial", np.full(600, 0.5), "time"), "trial is float64 over ('time',); make it int"),
        (coord("latent_truth", np.zeros(600), "time"), "over ('time', 'latent_truth_dim')"),
        *(
            (coord(name, np.arange(6), "unit"), "that no folder of a store can have; rename")
            for name in ("../up", "a/b", "..", ".hidden", "a\\b", "a\0b", "x" * 129, "")
        ),
    ],
)
def test_each_breach_is_named_with_its_cure(broken, message):
    with pytest.raises(SchemaError) as caught:
        validate_session(broken(make_session()))
    assert message in str(caught.value)


def test_every_breach_is_in_the_one_error():
    session = make_session().assign_attrs(session="a/b", bin_size_s=0)
    with pytest.raises(SchemaError, match=r"the session schema \(3\).*\n.*a/b.*\n.*\n.*lfp is"):
        validate_session(session.assign(lfp=session["lfp"].astype(float)))


def test_a_session_is_a_dataset_or_a_leaf():
    session = make_session(subject="I-2", session="2016_06.22")
    cohort = cohort_from_sessions([session])
    assert as_dataset(session) is session and session_name(session) == "I-2/2016_06.22"
    assert as_dataset(cohort["I-2/2016_06.22"]).identical(session)
    with pytest.raises(SchemaError, match=r"cohort\['I-2/2016_06.22'\]"):
        as_dataset(cohort)
    with pytest.raises(SchemaError, match="not a ndarray"):
        as_dataset(np.zeros(3))


def test_bad_channels_and_silent_units_are_dropped_and_named():
    session = make_session(nan_lfp=(1, 2))
    assert drop_bad_channels(session) is session
    session["lfp"][:, 1] = 5.0
    session["lfp"][:300, 1] = np.nan
    session["lfp"][:, 2] = np.nan
    session["spikes"][:, 0] = 0
    with pytest.warns(SpikeLFPWarning, match=r"I/s01: .*ch01, ch02.*u000") as warned:
        kept = drop_bad_channels(session)
    assert len(warned) == 1 and session.sizes["channel"] == 4
    assert kept["channel"].values.tolist() == ["ch00", "ch03"]
    assert kept["unit"].values.tolist() == [f"u00{unit}" for unit in range(1, 6)]
    history = kept.attrs["history"].splitlines()
    assert history[0] == "made by the test factory" and "ch01, ch02" in history[1]
    validate_session(kept)
    for name in ("lfp", "spikes"):
        session[name][:] = 0
        with pytest.raises(DataError, match="nothing would be left"):
            drop_bad_channels(session)
