"""Anchors: the map between two spaces is found, and one read-out fits all days that it carries."""

import numpy as np
import pytest
import xarray as xr

import spikelfp_lab as sl
from spikelfp_lab.errors import DataError

SPLIT = {"scheme": "blocks", "window_s": 1.0, "seed": 0}


def day(number, *, bins=3000, noise=0.1):
    """A session, its spike latents in a space of their own, and LFP latents in a shared one."""
    rng, shared = np.random.default_rng(number), np.random.default_rng(100)
    hidden = np.cumsum(rng.normal(size=(bins, 3)), axis=0) / 5
    hidden -= hidden.mean(axis=0)
    time, axes = 5.0 * number + np.arange(bins) / 50, ["vx", "vy"]
    about = {"subject": "I", "session": f"s{number}", "bin_size_s": 0.02}
    session = xr.Dataset(
        {"behavior": (("time", "behavior_dim"), hidden[:, :2])},
        {"time": time, "behavior_dim": axes}, about,
    )  # fmt: skip

    def latents(mixing, digest):
        values = hidden @ mixing + noise * rng.normal(size=(bins, mixing.shape[1]))
        attrs = SPLIT | {"session": f"I/s{number}", "encoded_as": f"I/s{number}", "digest": digest}
        coords = {"time": time, "latent": np.arange(mixing.shape[1])}
        return xr.DataArray(values, coords, ("time", "latent"), attrs=attrs)

    spikes = latents(rng.normal(size=(3, 6)), "teacher")
    return session, spikes, latents(shared.normal(size=(3, 5)), "student")


def test_a_readout_of_one_day_reads_the_spikes_of_another_through_lfp():
    (first, spikes, lfp), (other, spikes_2, lfp_2) = day(1), day(2)
    readout = sl.fit_readout(sl.anchor(spikes, lfp).apply(spikes), first, kind="one_frame")
    fitted = sl.anchor(spikes_2, lfp_2)
    assert fitted.split == SPLIT
    carried = fitted.apply(spikes_2)
    assert carried.attrs["digest"] == "student" and carried.attrs["anchored_from"] == "teacher"
    assert carried.attrs["session"] == "I/s2"
    scores = sl.decode(carried, other, readout=readout).query("split == 'test'")
    assert scores["r2"].min() > 0.9
    with pytest.raises(DataError, match="was fitted to"):
        sl.decode(spikes_2, other, readout=readout)


def test_it_is_fitted_to_training_moments_and_keeps_nan():
    session, spikes, lfp = day(1)
    part = sl.split_session(session, **SPLIT)
    wrong = lfp.where(part == 0, 100.0)
    wrong[5], spikes[5] = np.nan, np.nan
    clean = sl.anchor(spikes, wrong).apply(spikes)
    assert abs(clean - lfp).mean() < 0.3  # noise of 0.1 in six latents; the wrong ones are 100
    assert np.isnan(clean[5]).all() and np.isfinite(np.delete(clean.values, 5, axis=0)).all()
    plain = [x.drop_attrs() for x in (spikes, lfp)]
    assert "digest" not in sl.anchor(spikes, plain[1]).apply(spikes).attrs  # it is the teacher's
    assert sl.anchor(*plain).split == {} and sl.anchor(*plain, split=part).split == SPLIT


def test_what_does_not_belong_together_is_refused():
    _, spikes, lfp = day(1)
    _, spikes_2, lfp_2 = day(2)
    fitted = sl.anchor(spikes, lfp)
    for wrong, problem in (
        (lambda: sl.anchor(spikes, lfp_2), "not on the session's clock"),
        (lambda: sl.anchor(spikes, lfp.assign_attrs(session="I/s9")), "session 'I/s1'.*'I/s9'"),
        (lambda: sl.anchor(spikes, lfp.assign_attrs(seed=1)), "seed 0.*1"),
        (lambda: sl.anchor(*(x.assign_attrs(scheme="trials") for x in (spikes, lfp))), "split="),
        (lambda: sl.anchor(spikes[:40], lfp[:40].assign_attrs(SPLIT)), "needs 12 moments|short"),
        (lambda: sl.anchor(spikes.where(spikes.time < 5.1), lfp), "needs 12 moments.* has [0-9]:"),
        (lambda: fitted.apply(spikes_2), "of session I/s1, the latents are of I/s2"),
        (lambda: fitted.apply(spikes[:, :4]), r"lack \[4, 5\]"),
        (lambda: fitted.apply(lfp), "these are 5 of student"),
    ):
        with pytest.raises(DataError, match=problem):
            wrong()
