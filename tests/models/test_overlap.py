"""Windows that overlap: every bin of a run is there once, whatever the windows are."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelfp_lab.models.overlap import after, cover, overlap_mean, ramps

LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=4)


@given(LENGTHS, st.integers(2, 40), st.integers(1, 5), st.floats(0.01, 0.6), st.booleans())
@settings(deadline=None)
def test_what_does_not_depend_on_windows_comes_back_as_it_was(runs, length, batch, part, causal):
    shared = min(length - 1, max(1, round(part * length)))
    edges = np.cumsum([each for n in runs for each in (n, 1)])  # a bin apart
    spans = np.array([(stop - n, stop) for n, stop in zip(runs, edges[::2], strict=True)])
    values = torch.arange(float(edges[-1]))[:, None].repeat(1, 2)
    weigh = (lambda size: after(shared, size)) if causal else (lambda size: ramps(shared, size))
    windows = cover(spans, length, batch, shared)
    made = overlap_mean(lambda x: x, values, windows, weigh, 2)
    inside = np.zeros(len(values), bool)
    for start, stop in spans:
        inside[start:stop] = True
    assert np.allclose(made[inside], values.numpy()[inside], rtol=1e-5)
    assert np.isnan(made[~inside]).all()
    assert max(len(starts) for _, starts in windows) <= batch


def test_one_window_fades_into_the_next():
    weights = ramps(4, 12)
    assert torch.allclose(weights[-4:] + weights[:4], torch.ones(4))
    assert weights[4:8].tolist() == [1.0] * 4
