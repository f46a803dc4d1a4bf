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


def test_valid_sessions_pass():
    for options in (
        {"units": 0},
        {"channels": 0, "behavior": ()},
        {"trial_bins": 50, "gaps": (100, 101), "nan_lfp": (3,), "nan_behavior": (7,)},
        {"bin_size_s": 0.1, "bins": 2},
    ):
        validate_session(make_session(**options))
    names = pd.Series(["a", "b"])
    for labels in ([3, 5], *(names.astype(kind) for kind in ("object", "string"))):
        validate_session(make_session(units=2).assign_coords(unit=("unit", labels)))


def attr(**changes):
    return lambda session: session.assign_attrs(changes)


def coord(name, values, dim=None):
    return lambda session: session.assign_coords({name: (dim or name, values)})


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda session: session.drop_attrs(deep=False), "attrs['bin_size_s'] is None; set it"),
        (attr(schema_version=2), "install a newer spikelfp_lab"),
        (lambda one: one.assign_coords(time=one["time"].astype("float32")), "float64 seconds; add"),
        (lambda session: session.isel(time=[1, 0, 2]), "does not increase at each bin; sort"),
        (coord("time", 0.02 * np.arange(600) + 0.004 * (np.arange(600) % 2)), "with build_session"),
        (lambda session: session.drop_vars(["lfp", "spikes"]), "neither 'spikes' nor 'lfp'"),
        (lambda session: session.transpose("channel", ...), "make it float32 over ('time', 'chan"),
        (lambda one: one.assign(lfp=one["lfp"].astype(float)), "lfp is float64 over ('time',"),
        (lambda one: one.assign(lfp=one["lfp"] / 0), "infinite values; make them NaN"),
        (lambda one: one.assign(spikes=one["spikes"] * 1.0), "make it uint8 or uint16"),
        (coord("channel", ["a", "a", "b", "c"]), "'channel' has labels more than once: ['a']"),
        (coord("thing", np.array([{}] * 6, object), "unit"), "thing has dtype object; make it num"),
        (coord("trial", np.full(600, 0.5), "time"), "trial is float64 over ('time',); make it int"),
        (coord("latent_truth", np.zeros(600), "time"), "over ('time', 'latent_truth_dim')"),
        (coord("../up", np.arange(6), "unit"), "that no folder of a store can have; rename"),
        (coord("a\0b", np.arange(6), "unit"), "that no folder of a store can have; rename"),
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
    with pytest.warns(SpikeLFPWarning, match=r"I/s01: .*ch01, ch02.*u000"):
        kept = drop_bad_channels(session)
    assert kept["channel"].values.tolist() == ["ch00", "ch03"]
    assert kept["unit"].values.tolist() == [f"u00{unit}" for unit in range(1, 6)]
    assert "ch01, ch02" in kept.attrs["history"].splitlines()[1]
    validate_session(kept)
    session["lfp"][:] = 0
    with pytest.raises(DataError, match="nothing would be left"):
        drop_bad_channels(session)
