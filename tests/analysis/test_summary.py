"""Means over sessions, seeds first; every session weighs the same."""

import numpy as np
import pandas as pd
import pytest

from spikelfp_lab import DataError
from spikelfp_lab.analysis import bootstrap_interval, summarize


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"model": m, "readout": r, "session": s, "seed": seed, "axis": axis, "split": "test"}
        for m in ("Distilled", "MS-LFP")
        for r in ("one_frame", "lagged")
        for s, seeds in (("s1", 3), ("s2", 1), ("s3", 2))
        for seed in range(seeds)
        for axis in ("vx", "vy")
    ]
    return pd.DataFrame(rows).assign(r2=rng.random(len(rows)))


def test_sessions_weigh_the_same_however_many_seeds_they_have():
    table = summarize(scores()).set_index(["readout", "model"])
    own = scores().query("model == 'MS-LFP' and readout == 'lagged'")
    by_session = own.groupby(["session", "seed"])["r2"].mean().groupby("session").mean()
    row = table.loc[("lagged", "MS-LFP")]
    assert row["r2"] == pytest.approx(by_session.mean())
    assert (row["low"], row["high"]) == pytest.approx(bootstrap_interval(by_session))
    assert (row["n_sessions"], row["n_seeds"]) == (3, 3)


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(DataError, match="no column seed"):
        summarize(scores().drop(columns="seed"))
    mixed = pd.concat([scores(), scores().assign(split="val")])
    with pytest.raises(DataError, match="test, val"):
        summarize(mixed)
