"""The schema: what is valid passes, and every breach is named with its cure."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from spikelfp_lab.errors import DataError, SchemaError, SpikeLFPWarning
from spikelfp_lab.sessions import (
    SCHEMA_VERSION,
    add_history,
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
        {"channels": 0},
        {"behavior": ()},
        {"trial_bins": 50, "gaps": (100, 101), "nan_lfp": (3,), "nan_behavior": (7,)},
        {"bin_size_s": 0.1, "bins": 2},
    ],
)
def test_valid_sessions_pass(options):
    validate_session(make_session(**options))


def test_labels_may_be_text_of_any_kind_or_whole_numbers():
    session = make_session(units=2)
    for labels in (
        [3, 5],
        ["a", "b"],
        np.array(["a", "b"], dtype=object),
        np.array(["a", "b"], dtype=np.dtypes.StringDType()),
        pd.Index(["a", "b"], dtype="string"),
    ):
        validate_session(session.assign_coords(unit=("unit", labels)))


def _broken(session, what):
    """Break a session in one way."""
    lfp = session["lfp"]
    changes = {
        "no attribute": lambda: session.drop_attrs(deep=False),
        "parent folder": lambda: session.assign_attrs(subject=".."),
        "separator": lambda: session.assign_attrs(session="a/b"),
        "absolute": lambda: session.assign_attrs(session="/etc"),
        "backslash": lambda: session.assign_attrs(session="a\\b"),
        "new line": lambda: session.assign_attrs(session="a\n"),
        "hidden": lambda: session.assign_attrs(subject=".a"),
        "bin size": lambda: session.assign_attrs(bin_size_s=0.0),
        "bin size text": lambda: session.assign_attrs(bin_size_s="0.02"),
        "other bin size": lambda: session.assign_attrs(bin_size_s=0.025),
        "version": lambda: session.assign_attrs(schema_version=SCHEMA_VERSION + 1),
        "history": lambda: session.assign_attrs(history=["a"]),
        "attribute": lambda: session.assign_attrs(thing=object()),
        "reserved": lambda: session.assign(lfp=lfp.assign_attrs(dtype="bool")),
        "time dtype": lambda: session.assign_coords(time=session["time"].astype("float32")),
        "time order": lambda: session.isel(time=[1, 0, 2]),
        "time NaN": lambda: session.assign_coords(time=session["time"].where(session["time"] > 1)),
        "time missing": lambda: session.drop_vars("time"),
        "one bin": lambda: session.isel(time=[0]),
        "jitter": lambda: session.assign_coords(
            time=session["time"] + 0.004 * (np.arange(session.sizes["time"]) % 2)
        ),
        "nothing to model": lambda: session.drop_vars(["lfp", "spikes"]),
        "dims": lambda: session.transpose("channel", ...),
        "lfp dtype": lambda: session.assign(lfp=lfp.astype("float64")),
        "lfp infinite": lambda: session.assign(lfp=lfp.where(lfp > 0, np.inf)),
        "lfp kind": lambda: session.assign(lfp=lfp.assign_attrs(kind="")),
        "spikes dtype": lambda: session.assign(spikes=session["spikes"].astype("int64")),
        "no labels": lambda: session.drop_vars("channel"),
        "double labels": lambda: session.assign_coords(channel=["a", "a", "b", "c"]),
        "number labels": lambda: session.assign_coords(channel=[0.5, 1.5, 2.5, 3.5]),
        "behavior names": lambda: session.assign_coords(behavior_dim=[0, 1]),
        "no channel": lambda: session.isel(channel=[]),
        "objects": lambda: session.assign(thing=("unit", np.array([{}] * 6, dtype=object))),
        "trial": lambda: session.assign_coords(trial=("time", np.full(600, 0.5))),
        "latent_truth": lambda: session.assign_coords(latent_truth=("time", np.zeros(600))),
    }
    return changes[what]()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no attribute", "attrs['bin_size_s'] is None; set it"),
        ("parent folder", "attrs['subject'] is '..'; set it to a name"),
        ("separator", "attrs['session'] is 'a/b'"),
        ("absolute", "attrs['session'] is '/etc'"),
        ("backslash", "attrs['session'] is"),
        ("new line", "attrs['session'] is"),
        ("hidden", "attrs['subject'] is '.a'"),
        ("bin size", "attrs['bin_size_s'] is 0.0; set it"),
        ("bin size text", "attrs['bin_size_s'] is '0.02'; set it"),
        ("other bin size", "time is no uniform clock of 0.025 s"),
        ("version", "install a newer spikelfp_lab"),
        ("history", "attrs['history'] is ['a']; set it to text"),
        ("attribute", "attrs['thing'] is a object, which cannot be stored"),
        ("reserved", "lfp.attrs['dtype'] is a name that Zarr stores need; rename it"),
        ("time dtype", "make it float64"),
        ("time order", "time does not increase at bin 1; sort it"),
        ("time NaN", "values that are not finite; drop them"),
        ("time missing", "'time' is missing; add"),
        ("one bin", "at least 2"),
        ("jitter", "put the data on one clock with build_session"),
        ("nothing to model", "neither 'spikes' nor 'lfp'"),
        ("dims", "lfp has dims ('channel', 'time'); make them ('time', 'channel')"),
        ("lfp dtype", "lfp has dtype float64; convert it with astype('float32')"),
        ("lfp infinite", "infinite values; make them NaN"),
        ("lfp kind", "lfp.attrs['kind'] is ''"),
        ("spikes dtype", "spikes has dtype int64; convert it with astype('uint8')"),
        ("no labels", "coordinate 'channel' is missing; name each"),
        ("double labels", "'channel' has 'a' more than once; rename it"),
        ("number labels", "make them text or whole numbers"),
        ("behavior names", "make them text"),
        ("no channel", "dim 'channel' is empty; leave the variable out"),
        ("objects", "thing has dtype object; make it numbers or text"),
        ("trial", "make it a coordinate of whole numbers"),
        ("latent_truth", "make it a coordinate of numbers over ('time', 'latent_truth_dim')"),
    ],
)
def test_each_breach_is_named_with_its_cure(what, said):
    with pytest.raises(SchemaError) as caught:
        validate_session(_broken(make_session(), what))
    assert said in str(caught.value)


def test_every_breach_is_in_the_one_error():
    session = _broken(_broken(_broken(make_session(), "lfp dtype"), "separator"), "bin size")
    with pytest.raises(SchemaError, match=r"breaches the session schema \(3\)") as caught:
        validate_session(session)
    for said in ("lfp has dtype", "attrs['session']", "attrs['bin_size_s']"):
        assert said in str(caught.value)


def test_as_dataset_takes_a_session_or_a_leaf_only():
    session = make_session()
    cohort = cohort_from_sessions([session])
    assert as_dataset(session) is session
    assert as_dataset(cohort["I/s01"]).identical(session)
    with pytest.raises(SchemaError, match=r"cohort\['I/s01'\]"):
        as_dataset(cohort)
    with pytest.raises(SchemaError, match="not a ndarray"):
        as_dataset(np.zeros(3))


def test_session_name_refuses_what_is_no_name():
    assert session_name(make_session(subject="I-2", session="2016_06.22")) == "I-2/2016_06.22"
    with pytest.raises(SchemaError, match="no usable name"):
        session_name(xr.Dataset(attrs={"subject": "I"}))


def test_history_grows_in_a_copy():
    session = make_session()
    longer = add_history(session, "cropped")
    assert longer.attrs["history"] == "made by the test factory\ncropped"
    assert session.attrs["history"] == "made by the test factory"


def test_bad_channels_and_silent_units_are_dropped_and_named():
    session = make_session()
    session["lfp"][:, 1] = 5.0
    session["lfp"][:300, 1] = np.nan
    session["lfp"][:, 2] = np.nan
    session["spikes"][:, 0] = 0
    with pytest.warns(SpikeLFPWarning, match=r"I/s01: .*ch01, ch02.*u000") as warned:
        kept = drop_bad_channels(session)
    assert len(warned) == 1
    assert kept["channel"].values.tolist() == ["ch00", "ch03"]
    assert kept.sizes["unit"] == 5 and "u000" not in kept["unit"].values
    assert "ch01, ch02" in kept.attrs["history"] and "u000" in kept.attrs["history"]
    assert session.sizes["channel"] == 4
    validate_session(kept)


def test_nothing_is_dropped_from_good_data():
    session = make_session(nan_lfp=(1, 2))
    assert drop_bad_channels(session) is session


@pytest.mark.parametrize("name", ["lfp", "spikes"])
def test_dropping_everything_is_an_error(name):
    session = make_session()
    session[name][:] = 0
    with pytest.raises(DataError, match="nothing would be left"):
        drop_bad_channels(session)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".hidden", "a\\b", "a\0b", "x" * 129, ""])
def test_names_of_variables_are_names_of_folders(name):
    session = make_session(bins=20).assign_coords({name: ("unit", np.arange(6))})
    with pytest.raises(
        SchemaError, match="is a name of a variable that no folder of a store can have; rename"
    ):
        validate_session(session)
