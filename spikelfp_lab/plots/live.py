"""A training curve that grows in a notebook while the model trains."""

import sys
from collections.abc import Callable

import pandas as pd

from spikelfp_lab.plots.history import plot_history


def live_history(*, title: str = "") -> Callable[[pd.DataFrame], None]:
    """Make a callback that draws the training curves in a notebook and keeps them up to date.

    Parameters
    ----------
    title : str
        Over the figure.

    Returns
    -------
    callable
        For ``callbacks=[live_history()]`` of the training verbs: one figure in the cell's output,
        redrawn in its place at every validation. Make a new one for each training. Outside a
        notebook it does nothing, so that a script may keep it.

    Examples
    --------
    >>> callback = live_history()
    >>> callback(pd.DataFrame())  # not in a notebook: nothing happens
    """
    shown = None

    def redraw(history: pd.DataFrame) -> None:
        nonlocal shown
        if not _in_notebook():
            return
        from IPython.display import display  # there already, since this is a notebook

        figure = plot_history(history, title=title)
        if shown is None:
            shown = display(figure, display_id=True)
        else:
            shown.update(figure)

    return redraw


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this: it alone can update an output that is there."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
