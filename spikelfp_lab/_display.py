"""IPython's HTML of sessions, cohorts, models and scores; types are named, so nothing is loaded."""

from __future__ import annotations

import sys
from typing import Any


def register() -> bool:
    """Give the IPython that runs this, if any, the HTML of our objects; others look as before.

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
    for module, name in (
        ("xarray.core.dataset", "Dataset"),
        ("xarray.core.datatree", "DataTree"),
        ("pandas", "DataFrame"),
        ("pandas.core.frame", "DataFrame"),  # where it is from before pandas 3
        ("spikelfp_lab.models.autoencoder", "Autoencoder"),
    ):
        formatter.for_type_by_name(module, name, _html)
    return True


def _html(thing: Any) -> str | None:
    from spikelfp_lab.widgets import cards

    kinds = {kind.__name__ for kind in type(thing).__mro__}  # subclasses look like their base
    if "Autoencoder" in kinds:
        return cards.model_html(thing)
    if "DataFrame" in kinds:
        return cards.scores_html(thing) if cards.is_scores(thing) else thing._repr_html_()
    if ("Dataset" in kinds or not thing.children) and cards.is_session(thing):
        return cards.session_html(thing)
    if "DataTree" in kinds and cards.is_cohort(thing):
        return cards.cohort_html(thing)
    return thing._repr_html_()
