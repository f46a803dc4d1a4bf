"""Panel letters: in reading order, only on panels, only where there are several, once."""

import matplotlib.pyplot as plt
import pytest

from spikelfp_lab.plots import letter_panels, style


def letters(figure):
    return {
        axes.get_title(loc="left"): [
            t.get_text() for t in axes.texts if t.get_fontweight() == "bold"
        ]
        for axes in figure.axes
    }


@pytest.fixture
def figure():
    """Two rows, made from the last panel to the first, with a color bar and an inset."""
    titles = {4: "", 3: "three", 2: "two", 1: "one"}
    with style():
        figure = plt.figure(figsize=(5, 4))
        panels = {place: figure.add_subplot(2, 2, place) for place in titles}
        for place, axes in panels.items():
            axes.set_title(titles[place])
        mesh = panels[1].pcolormesh([[0.0, 1.0]])
        figure.colorbar(mesh, ax=list(panels.values())).ax.set_title("bar")
        panels[2].inset_axes((0.5, 0.5, 0.3, 0.3)).set_title("inset")
        plt.close(figure)
    return figure


def test_panels_are_named_in_reading_order(figure):
    assert letter_panels(figure) is figure
    assert letters(figure) == {"one": ["A"], "two": ["B"], "three": ["C"], "": [], "bar": []}
    inset = next(axes for axes in figure.axes if axes.child_axes).child_axes[0]
    assert not inset.texts


def test_twice_is_once_and_a_lone_panel_has_none(figure):
    letter_panels(letter_panels(figure))
    assert letters(figure)["two"] == ["B"]
    for axes in figure.axes:
        if axes.get_title(loc="left") in ("one", "two"):
            axes.set_title("", loc="left")
    letter_panels(figure)
    assert letters(figure)["three"] == []


def test_letters_stand_left_of_the_title_on_its_line(figure):
    letter_panels(figure)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for text in axes.texts:
            title = axes._left_title.get_window_extent()
            letter = text.get_window_extent()
            assert letter.x1 < title.x0
            assert abs(letter.y0 - title.y0) < 0.4 * title.height
