"""Colors: the paper's two, and all of them apart, also for color-blind readers."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from spikelfp_lab.plots import MODEL_COLORS, MODEL_ORDER
from spikelfp_lab.plots.theme import CONTROLS, in_order, model_color

# Machado et al. 2009, full deficiency, on linear RGB.
VISION = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(color, vision="normal"):
    """CIELAB of a color as somebody sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(np.asarray(VISION[vision]) @ linear, 0, 1)
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ linear / [0.9505, 1.0, 1.089]  # fmt: skip
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


PAPERS = ("SS-LFP", "MS-LFP", "SS-MM", "Teacher", "Distilled")


@pytest.mark.parametrize("vision", VISION)
def test_colors_stay_apart(vision):
    for pair in itertools.combinations(MODEL_COLORS, 2):
        one, other = (lab(MODEL_COLORS[name], vision) for name in pair)
        # controls have a hatch and a place of their own besides
        least = 20 if set(pair) <= set(PAPERS) else 10 if set(pair) & set(CONTROLS) else 17
        assert np.linalg.norm(one - other) > least, pair


def test_the_papers_colors_and_order():
    assert (MODEL_COLORS["Distilled"], MODEL_COLORS["MS-LFP"]) == ("#d17f41", "#0928ad")
    assert tuple(name for name in MODEL_ORDER if name in PAPERS) == PAPERS
    assert MODEL_ORDER[-len(CONTROLS) :] == CONTROLS
    assert in_order(["Untrained", "Mine", "Teacher", "Mine"]) == ["Teacher", "Mine", "Untrained"]
    assert model_color("Mine") not in MODEL_COLORS.values()
