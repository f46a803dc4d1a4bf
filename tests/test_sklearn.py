"""The estimator: it decodes as the verbs do, and works in pipelines and cross-validation."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import spikelfp_lab as sl
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.errors import ConfigError, DataError
from spikelfp_lab.sklearn import LFPDecoder


@pytest.fixture(scope="module")
def data():
    session = simulated.session(6, duration_s=120)
    return session["lfp"].values, session["behavior"].values, session


def test_it_decodes_as_the_verbs_do(data):
    lfp, velocity, session = data
    split = sl.split_session(session, window_s=4.0)
    train, test = (np.flatnonzero(split == code) for code in (0, 2))
    groups = np.cumsum(np.abs(np.diff(split, prepend=0)) > 0)
    student = sl.load("simulated/distilled")
    own = LFPDecoder(student, kind="lagged").fit(lfp[train], velocity[train], groups[train])
    made = own.predict(lfp[test], groups[test])
    assert made.shape == velocity[test].shape and np.isfinite(made).all()
    latents = sl.encode(student, session, as_session="I/s01", progress=False)
    theirs = sl.decode(latents, session, split=split, readouts=["lagged"])
    theirs = theirs.query("split == 'test'")["r2"].mean()
    assert theirs > 0.5
    assert own.score(lfp[test], velocity[test]) == pytest.approx(theirs, abs=0.1)


def test_it_works_in_a_pipeline_and_in_cross_validation(data):
    lfp, velocity, _ = data
    groups = np.arange(len(lfp)) // 2400
    pipe = make_pipeline(FunctionTransformer(), LFPDecoder(sl.load("simulated/distilled")))
    found = cross_val_score(pipe, lfp, velocity, cv=GroupKFold(3), groups=groups)
    assert found.shape == (3,) and found.mean() > 0.4


def test_it_can_be_cloned_and_reads_one_axis(data):
    lfp, velocity, _ = data
    decoder = clone(LFPDecoder(sl.load("simulated/causal"), kind="past"))
    assert decoder.get_params()["kind"] == "past"
    one = decoder.fit(lfp, velocity[:, 0]).predict(lfp)
    assert one.shape == (len(lfp),) and decoder.n_features_in_ == 32
    assert clone(decoder).set_params(kind="one_frame").kind == "one_frame"


def test_what_cannot_be_read_is_refused(data):
    lfp, velocity, _ = data
    with pytest.raises(ConfigError, match="needs a model of LFP"):
        LFPDecoder(sl.load("simulated/teacher")).fit(lfp, velocity)
    decoder = LFPDecoder(sl.load("simulated/distilled"))
    with pytest.raises(DataError, match="X has 30 channels"):
        decoder.fit(lfp[:, :30], velocity)
    with pytest.raises(DataError, match="groups for"):
        decoder.fit(lfp, velocity, np.zeros(7))
