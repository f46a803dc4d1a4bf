"""What a session, a cohort, a model and a table of scores look like in a notebook: a card with what one asks first, the rest a click away."""

from __future__ import annotations

import json
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.sessions import as_dataset
from spikelfp_lab.widgets._html import (
    bar,
    card,
    details,
    facts,
    marks,
    markup_facts,
    table,
)
from spikelfp_lab.widgets._session_summary import (
    duration,
    labels,
    n_gaps,
    time_text,
    variable_rows,
)

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

MOST_ROWS = 100  # of a table in a card

MODALITIES = (("spikes", "spikes"), ("lfp", "LFP"), ("behavior", "behavior"))


def is_session(data: Any) -> bool:
    """Whether a Dataset, or a leaf, has what makes a session: names, a bin size, a clock, and spikes or LFP over it.

    >>> is_session(xr.Dataset({"lfp": ("time", [1.0])}))
    False
    """
    attrs = data.attrs
    bin_size = attrs.get("bin_size_s")
    return (
        "subject" in attrs
        and "session" in attrs
        and isinstance(bin_size, Real)
        and float(bin_size) > 0
        and "time" in data.coords
        and data["time"].dims == ("time",)
        and data["time"].dtype.kind in "iuf"
        and data.sizes["time"] > 0
        and ("spikes" in data.data_vars or "lfp" in data.data_vars)
        and all(
            data[name].ndim == 2 and data[name].dims[0] == "time" and data[name].shape[1]
            for name, _ in MODALITIES
            if name in data.data_vars
        )
    )


def is_cohort(tree: Any) -> bool:
    """Whether all leaves of a tree are sessions.

    >>> is_cohort(xr.DataTree())
    False
    """
    return bool(tree.children) and all(is_session(leaf) for leaf in tree.leaves)


def is_scores(data: Any) -> bool:
    """Whether a table is one of scores, as ``decode`` gives.

    >>> is_scores(pd.DataFrame({"readout": ["lagged"], "split": ["test"], "axis": ["vx"], "r2": [0.5]}))
    True
    """
    return (
        {"readout", "split", "axis", "r2"} <= set(data.columns)
        and not data.empty
        and data.columns.is_unique
        and pd.api.types.is_numeric_dtype(data["r2"])
    )


def session_html(session: xr.Dataset | xr.DataTree) -> str:
    """A session as a card: sizes, clock, what is there and what is missing, and how it goes over time.

    Arrays that are not in memory are not read; of long ones some bins of each stretch are.

    Parameters
    ----------
    session : Dataset or DataTree leaf

    Returns
    -------
    str
        HTML.

    Raises
    ------
    SchemaError
        It is a cohort.

    Examples
    --------
    >>> lfp = np.random.default_rng(0).normal(size=(500, 4)).astype("float32")
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), lfp)},
    ...     coords={"time": 0.005 + 0.01 * np.arange(500), "channel": np.arange(4)},
    ...     attrs={"subject": "I", "session": "s01", "bin_size_s": 0.01},
    ... )
    >>> "I/s01" in session_html(session), "no spikes" in session_html(session)
    (True, True)
    """
    data = as_dataset(session)
    bin_size = float(data.attrs["bin_size_s"])
    rows = [("Time", time_text(data))]
    notes = set()
    for name, _ in MODALITIES:
        if name in data.data_vars:
            lines, note = variable_rows(data, name, bin_size)
            rows += lines
            notes |= {note} - {""}
    if "trial" in data.coords:
        rows.append(("Trials", escape(f"{len(np.unique(data['trial'].to_numpy()))}")))
    own = details("As an xarray Dataset", data._repr_html_())
    present = [(word, name in data.data_vars) for name, word in MODALITIES]
    source = data.attrs.get("source")
    return card(
        "session" + (f", {source}" if source else ""),
        f"{data.attrs['subject']}/{data.attrs['session']}",
        marks(present),
        markup_facts(rows),
        own,
        note=" ".join(sorted(notes)),
    )


def cohort_html(tree: xr.DataTree) -> str:
    """A cohort as a table: a row a session, a column a modality.

    Parameters
    ----------
    tree : DataTree
        Its leaves are sessions.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> from spikelfp_lab.sessions import cohort_from_sessions, build_session, session_clock
    >>> session = build_session(
    ...     session_clock(0.0, 1.0, bin_size_s=0.1), bin_size_s=0.1, spikes=np.ones((10, 3)),
    ...     subject="I", session="s01", source="example")
    >>> "3 units" in cohort_html(cohort_from_sessions([session]))
    True
    """
    rows, seconds = [], 0.0
    for leaf in tree.leaves:
        bin_size = float(leaf.attrs["bin_size_s"])
        seconds += leaf.sizes["time"] * bin_size
        rows.append(
            [
                leaf.path.strip("/"),
                duration(leaf.sizes["time"] * bin_size),
                f"{1000 * bin_size:g} ms",
                *(_there(leaf, name, word) for name, word in (("spikes", "unit"), ("lfp", "channel"))),
                _behavior_there(leaf),
                f"{n_gaps(leaf)}",
            ]
        )  # fmt: skip
    columns = ["Session", "Duration", "Bins", "Spikes", "LFP", "Behavior", "Gaps"]
    more = len(rows) - MOST_ROWS
    return card(
        f"{len(rows)} session{'s' * (len(rows) != 1)}, {duration(seconds)}",
        f"Cohort {tree.name}" if tree.name else "Cohort",
        table(columns, rows[:MOST_ROWS], numbers={1, 2, 6}),
        details("As an xarray DataTree", tree._repr_html_()),
        note=f"and {more} more" if more > 0 else "",
    )


def model_html(model: Autoencoder) -> str:
    """A model as a card: what it reads, whom it knows, how big it is, how it was trained.

    Parameters
    ----------
    model : Autoencoder

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> from spikelfp_lab import ModelConfig
    >>> from spikelfp_lab.models import Autoencoder
    >>> model = Autoencoder(ModelConfig(), modality="lfp", sessions={"I/s01": 32}, bin_size_s=0.01)
    >>> "untrained" in model_html(model), "I/s01" in model_html(model)
    (True, True)
    """
    config, info, history = model.config, model.info, model.history
    reads = {"spikes": "spikes", "lfp": "LFP", "both": "spikes and LFP"}[model.modality]
    parameters = sum(p.numel() for p in model.parameters())
    rows = [
        ("Reads", f"{reads}, bins of {1000 * model.bin_size_s:g} ms"),
        ("Size", f"{parameters / 1e6:.2f} M parameters, {config.layers} layers of width {config.width}"),
    ]  # fmt: skip
    if model.behavior_head is not None:
        rows.append(("Reads out", f"{model.behavior_head.out_features} axes of behavior"))
    if len(history):
        last = int(history["step"].to_numpy().max())
        best = info.get("best_step", last)
        rows.append(("Trained", f"{last} steps, weights of step {best} kept"))
        kept = history[(history["split"] == "val") & (history["step"] == best)]
        # The score repeats one of the others where there are others.
        kept = kept[kept["metric"] != "score"] if len(kept) > 1 else kept
        metrics = [f"{m} {v:.3g}" for m, v in zip(kept["metric"], kept["value"], strict=True)]
        if metrics:
            rows.append(("Validation", ", ".join(metrics)))
    if "seed" in info.get("train", {}):
        rows.append(("Seed", str(info["train"]["seed"])))
    words = {"spikes": ["Units"], "lfp": ["Channels"], "both": ["Units", "Channels"]}[
        model.modality
    ]
    known = [
        [name, *(str(n) for n in ((size,) if isinstance(size, int) else size))]
        for name, size in model.sessions.items()
    ]
    listed = table(["Session", *words], known[:MOST_ROWS], numbers={1, 2})
    summary = f"{len(known)} session{'s' * (len(known) != 1)} in its vocabulary"
    configs = {"model": config.to_dict()} | {
        name: info[name] for name in ("train", "mask", "distill") if name in info
    }
    return card(
        f"model, {info.get('made_by', 'untrained')}",
        f"Autoencoder of {reads}",
        facts(rows),
        details(summary, listed, shown=len(known) <= 6),
        details("Configs", f"<pre>{escape(json.dumps(configs, indent=1, default=str))}</pre>"),
        note=f"and {len(known) - MOST_ROWS} more sessions" if len(known) > MOST_ROWS else "",
    )


def scores_html(scores: pd.DataFrame) -> str:
    """A table of scores, and above it the mean R² of each model and read-out on the test split.

    Parameters
    ----------
    scores : DataFrame
        As from ``decode``: ``readout``, ``split``, ``axis``, ``r2``; ``model`` and ``session`` are used where they are.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    >>> table = pd.DataFrame({"readout": ["lagged"] * 2, "split": "test", "axis": ["vx", "vy"], "r2": [0.4, 0.6]})
    >>> "0.50" in scores_html(table)
    True
    """
    splits = list(dict.fromkeys(scores["split"].astype(str)))
    split = "test" if "test" in splits else splits[0]
    used = scores[scores["split"].astype(str) == split]
    by = ["model", "readout"] if "model" in scores else ["readout"]
    # A session weighs the same whatever its number of axes and seeds, as in analysis.summarize.
    within = [*by, "session"] if "session" in scores else by
    means: Any = used.groupby(within, sort=False, dropna=False)["r2"].mean()
    means = means.groupby(level=by, sort=False, dropna=False).mean()
    lines = []
    for group, value in means.items():
        names = group if isinstance(group, tuple) else (group,)
        label = ", ".join(str(name).replace("_", " ") for name in names)
        number = "no value" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
        lines.append((label, f"{bar(float(value))} {number}"))
    what = f"mean R² on the {split} split"
    if "session" in scores:
        n = len(set(used["session"]))
        what += f" over {n} session{'s' * (n != 1)}"
    if scores.attrs.get("split_from") == "default":  # neither split= nor the latents said one
        what += " ({scheme}, {window_s:g} s, seed {seed}, by default)".format(**scores.attrs)
    own = scores._repr_html_()  # type: ignore[operator]  # None where pandas shows no HTML
    return card(
        what,
        "Scores",
        markup_facts(lines[:MOST_ROWS]),
        details(
            f"Table, {len(scores)} rows",
            own or f"<pre>{escape(repr(scores))}</pre>",
            shown=len(scores) <= 12,
        ),
        note=f"and {len(lines) - MOST_ROWS} more" if len(lines) > MOST_ROWS else "",
    )


def _there(leaf: xr.DataTree, name: str, word: str) -> str:
    if name not in leaf.data_vars:
        return "– none"
    n = leaf[name].shape[1]
    return f"✓ {n} {word}{'s' * (n != 1)}"


def _behavior_there(leaf: xr.DataTree) -> str:
    if "behavior" not in leaf.data_vars:
        return "– none"
    return "✓ " + ", ".join(labels(leaf["behavior"]))
