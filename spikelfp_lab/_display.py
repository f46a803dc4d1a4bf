"""How sessions, cohorts, models and scores show themselves in a notebook.

Sessions are plain Datasets and cohorts plain DataTrees, so what they look like is told to IPython. Types are named, not imported: importing the
package stays quick.
"""

from __future__ import annotations

import sys
from typing import Any


def register() -> bool:
    """Give the IPython that runs this, if any, the HTML of our objects; all others look as before.

    Returns
    -------
    bool
        Whether there was one.

    Examples
    --------
    >>> register()  # not in IPython
    False
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return False
    formatter = shell.display_formatter.formatters["text/html"]
    for module, name, function in (
        ("xarray.core.dataset", "Dataset", _dataset),
        ("xarray.core.datatree", "DataTree", _tree),
        ("pandas", "DataFrame", _frame),
        ("pandas.core.frame", "DataFrame", _frame),  # where it says it is from before pandas 3
        ("spikelfp_lab.models.autoencoder", "Autoencoder", _model),
    ):
        formatter.for_type_by_name(module, name, function)
    return True


def _dataset(dataset: Any) -> str | None:
    from spikelfp_lab.widgets.reprs import is_session, session_html

    return session_html(dataset) if is_session(dataset) else dataset._repr_html_()


def _tree(tree: Any) -> str | None:
    from spikelfp_lab.widgets.reprs import cohort_html, is_cohort, is_session, session_html

    if not tree.children and is_session(tree):
        return session_html(tree)
    return cohort_html(tree) if is_cohort(tree) else tree._repr_html_()


def _frame(table: Any) -> str | None:
    from spikelfp_lab.widgets.reprs import is_scores, scores_html

    return scores_html(table) if is_scores(table) else table._repr_html_()


def _model(model: Any) -> str:
    from spikelfp_lab.widgets.reprs import model_html

    return model_html(model)
