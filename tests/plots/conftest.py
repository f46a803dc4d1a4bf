"""Figures are drawn without a display, and none may stay open."""

import matplotlib
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    before = matplotlib.rcParams.copy()
    yield
    assert not plt.get_fignums()
    assert matplotlib.rcParams == before
