"""IPython's HTML of sessions, cohorts, models and scores; types are named, so nothing is loaded."""

from typing import Any


def register() -> None:
    """Give the IPython that runs this, if any, the HTML of our objects; others look as before."""
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        return
    for module, name in (
        ("xarray.core.dataset", "Dataset"),
        ("xarray.core.datatree", "DataTree"),
        ("pandas", "DataFrame"),
        ("pandas.core.frame", "DataFrame"),  # where it is from before pandas 3
        ("spikelfp_lab.models.autoencoder", "Autoencoder"),
    ):
        shell.display_formatter.formatters["text/html"].for_type_by_name(module, name, _html)


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
