"""How sessions, cohorts, models and tables of scores look in a notebook: short HTML cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.plots.theme import units_of
from spikelfp_lab.sessions import GAP_BINS, as_dataset

if TYPE_CHECKING:
    from spikelfp_lab.models.autoencoder import Autoencoder

VARIABLES = {"spikes": "unit", "lfp": "channel", "behavior": "behavior_dim"}


def is_session(data: Any) -> bool:
    """Whether a Dataset or leaf has what makes a session: names, a clock, and spikes or LFP."""
    there = {name: data[name] for name in VARIABLES if name in data.data_vars}
    return (
        {"subject", "session"} <= set(data.attrs)
        and isinstance(data.attrs.get("bin_size_s"), Real)
        and "time" in data.coords
        and data["time"].dims == ("time",)
        and data.sizes["time"] > 0
        and ("spikes" in there or "lfp" in there)
        and all(v.dims == ("time", VARIABLES[name]) and v.size for name, v in there.items())
    )


def is_cohort(tree: Any) -> bool:
    """Whether all leaves of a tree are sessions."""
    return bool(tree.children) and all(is_session(leaf) for leaf in tree.leaves)


def is_scores(data: Any) -> bool:
    """Whether a table is one of scores, as ``decode`` gives."""
    named = {"readout", "split", "axis", "r2"} <= set(data.columns) and data.columns.is_unique
    return named and not data.empty and pd.api.types.is_numeric_dtype(data["r2"])


def session_html(session: xr.Dataset | xr.DataTree) -> str:
    """A session as a card: sizes, rates, what is there and what is missing.

    Arrays that are not in memory are not read.
    """
    data = as_dataset(session)
    facts = {"Time": _time(data)}
    facts |= {name: _variable(data, name.lower()) for name in ("Spikes", "LFP", "Behavior")}
    if "trial" in data.coords:
        facts["Trials"] = f"{len(np.unique(data['trial']))}"
    kind = ", ".join(filter(None, ["session", str(data.attrs.get("source", ""))]))
    title = f"{data.attrs['subject']}/{data.attrs['session']}"
    return _card(title, kind, facts, ("As an xarray Dataset", data._repr_html_()))


def cohort_html(tree: xr.DataTree) -> str:
    """A cohort as a table: a row a session."""
    rows = [
        {"Session": leaf.path.strip("/"), "Time": _time(leaf)}
        | {name: _count(leaf, name.lower()) for name in ("Spikes", "LFP", "Behavior")}
        for leaf in tree.leaves
    ]
    seconds = sum(leaf.sizes["time"] * float(leaf.attrs["bin_size_s"]) for leaf in tree.leaves)
    table = pd.DataFrame(rows).to_html(index=False, max_rows=100)
    kind = f"{len(rows)} session{'s' * (len(rows) > 1)}, {_duration(seconds)}"
    title = f"Cohort {tree.name}" if tree.name else "Cohort"
    return _card(title, kind, table, ("As an xarray DataTree", tree._repr_html_()))


def model_html(model: Autoencoder) -> str:
    """A model as a card: what it reads, which sessions it knows, its size, its training."""
    config, info, history = model.config, model.info, model.history
    reads = {"spikes": "spikes", "lfp": "LFP", "both": "spikes and LFP"}[model.modality]
    size = sum(p.numel() for p in model.parameters()) / 1e6
    facts = {
        "Reads": f"{reads}, bins of {1000 * model.bin_size_s:g} ms",
        "Size": f"{size:.2f} M parameters, {config.layers} layers of width {config.width}",
    }
    if len(history):
        best = info.get("best_step", history["step"].max())
        facts["Trained"] = f"{history['step'].max()} steps, weights of step {best} kept"
        kept = history[(history["split"] == "val") & (history["step"] == best)]
        values = zip(kept["metric"], kept["value"], strict=True)
        facts["Validation"] = ", ".join(f"{name} {value:.3g}" for name, value in values)
    if "seed" in info.get("train", {}):
        facts["Seed"] = str(info["train"]["seed"])
    names = {"spikes": ["Units"], "lfp": ["Channels"], "both": ["Units", "Channels"]}
    rows = {name: np.atleast_1d(n) for name, n in model.sessions.items()}
    known = pd.DataFrame.from_dict(rows, orient="index", columns=names[model.modality])
    configs = {"model": config.to_dict()}
    configs |= {name: info[name] for name in ("train", "mask", "distill") if name in info}
    return _card(
        f"Autoencoder of {reads}",
        f"model, {info.get('made_by', 'untrained')}",
        facts,
        (f"{len(known)} session{'s' * (len(known) > 1)} it knows", known.to_html(max_rows=100)),
        ("Configs", f"<pre>{escape(json.dumps(configs, indent=1, default=str))}</pre>"),
    )


def scores_html(scores: pd.DataFrame) -> str:
    """Mean R² of each model and read-out on the test split, the split taken, and the table.

    A session weighs the same whatever its number of axes and seeds.
    """
    splits = list(scores["split"].astype(str).unique())
    split = "test" if "test" in splits else splits[0]
    used: Any = scores[scores["split"].astype(str) == split]
    by = [name for name in ("model", "readout") if name in scores]
    kind, within = f"{split} split", by
    if "session" in scores:
        kind, within = f"{kind} of {used['session'].nunique()} sessions", [*by, "session"]
    means: Any = used.groupby(within, sort=False, dropna=False)["r2"].mean()
    means = means.groupby(level=by, sort=False, dropna=False).mean().rename("mean R²")
    shown = means.reset_index().style.format(precision=2, escape="html", na_rep="no value")
    # a gray that is seen on white and on dark pages, and does not hide the number on it
    look = {"vmin": 0, "vmax": 1, "color": "rgba(128, 128, 128, 0.4)"}
    shown = shown.hide(axis="index").bar(subset=["mean R²"], **look)
    attrs, origin = scores.attrs, scores.attrs.get("split_from")
    if taken := [f"{k} {attrs[k]}" for k in ("scheme", "window_s", "seed") if k in attrs]:
        kind += f" ({', '.join(taken)}{f'; from {origin}' if origin else ''})"
    own = scores._repr_html_() or f"<pre>{escape(repr(scores))}</pre>"  # type: ignore[operator]
    return _card("Scores", kind, shown.to_html(), (f"Table, {len(scores)} rows", own))


def _card(title: str, kind: str, facts: Mapping[str, str] | str, *more: tuple[str, str]) -> str:
    """Title, kind and facts are text; tables, and what a click on a summary shows, are HTML."""
    if not isinstance(facts, str):
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
        facts = f"<table>{''.join(rows)}</table>"
    details = (f"<details><summary>{escape(k)}</summary>{inside}</details>" for k, inside in more)
    heading = f"<b>{escape(title)}</b> <span>{escape(kind)}</span>"
    return f'<div class="spikelfp-card">{heading}{facts}{"".join(details)}</div>'


def _time(data: Any) -> str:
    bin_size_s, bins = float(data.attrs["bin_size_s"]), data.sizes["time"]
    gaps = int((np.diff(data["time"].values) > GAP_BINS * bin_size_s).sum())
    length = f"{_duration(bins * bin_size_s)}: {bins:,} bins of {1000 * bin_size_s:g} ms"
    return f"{length}, {gaps or 'no'} gap{'s' * (gaps != 1)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    long = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    return long if minutes else f"{seconds:.3g} s"


def _count(data: Any, name: str) -> str:
    """What there is of a variable: a number of units or channels, or the axes' names."""
    if name not in data.data_vars:
        return "– none"
    names, dim = data[name][VARIABLES[name]].values.astype(str), VARIABLES[name]
    some = f"{names.size} {dim}{'s' * (names.size != 1)}"
    return f"✓ {', '.join(names) if name == 'behavior' else some}"


def _variable(data: xr.Dataset, name: str) -> str:
    """One line about a variable: size, kind and units, rates or what is missing."""
    about = [_count(data, name)]
    if name not in data.data_vars:
        return about[0]
    variable = data[name]
    about += [str(variable.attrs.get("kind", "")), units_of(variable)]
    if not variable.variable._in_memory:
        about.append("not in memory, so not read")
    elif name == "spikes":
        rates = variable.mean("time").values / float(data.attrs["bin_size_s"])
        low, middle, high = np.quantile(rates, [0, 0.5, 1])
        about.append(f"{middle:.3g} Hz at the median ({low:.2g} to {high:.3g} Hz)")
    else:
        missing = 100 * float(np.isnan(variable.values).mean())
        about.append(f"{missing:.2g} % missing" if missing else "none missing")
    return ", ".join(filter(None, about))
