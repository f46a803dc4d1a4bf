"""The page of a report: tables and pictures as one HTML text."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from spikelfp_lab import __version__
from spikelfp_lab.analysis import bootstrap_interval
from spikelfp_lab.plots import theme
from spikelfp_lab.plots.bars import plot_scores
from spikelfp_lab.plots.latents import plot_decoded
from spikelfp_lab.plots.session import plot_session
from spikelfp_lab.sessions import TEST, TRAIN, VAL, check_quality
from spikelfp_lab.study import Study

COLORS = {"gain": "#127a5c", "no gain": "#b9041f", "undecided": "#7a6200"}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;
color:#222;background:#fff}table{border-collapse:collapse;font-size:13px;margin:.6rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
img{max-width:100%}.verdict{border-left:.5rem solid;padding:.6rem 1rem;background:#f6f6f6}"""


def page(
    study: Study, files: pd.DataFrame, scores: pd.DataFrame, gains: pd.DataFrame,
    carried: pd.DataFrame, failed: dict[str, str], predicted: dict[str, xr.DataArray],
    verdict: str, sentence: str,
) -> str:  # fmt: skip
    """The whole page, as HTML that fetches nothing."""
    found = [check_quality(one).assign(session=name) for name, one in study.sessions.items()]
    alike = pd.concat(found).groupby(["session", "check", "meaning"], sort=False)["name"]
    quality = alike.agg(", ".join).reset_index()[["session", "check", "name", "meaning"]]
    split = {
        name: {part: f"{(study.split(name) == code).sum().item() * size / 60:.1f} min"
               for part, code in (("train", TRAIN), ("val", VAL), ("test", TEST))}
        for name in study.held_out
        if (size := study.sessions[name].attrs["bin_size_s"])
    }  # fmt: skip
    first, shown = study.held_out[0], ("Teacher", "Distilled", "SS-LFP")
    lines = {model: predicted[model] for model in shown if model in predicted}
    others = set(study.sessions) - set(study.held_out)
    title = f"spikelfp_lab report: {Path(study.cohort_name).name}"
    pages = [
        f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
        f"<p class=verdict style='border-color:{COLORS[verdict]}'><b>{verdict}</b>: ",
        f"{escape(sentence)}</p>",
        "<h2>What is in the files</h2>",
        _table(files.astype(object).fillna("").rename_axis("session").reset_index()),
        "<h2>What looks wrong in them</h2>" + (_table(quality) if len(quality) else "<p>Nothing."),
        f"<h2>Session {first}</h2>" + _picture(plot_session(study.sessions[first])),
        "<h2>How time was split</h2>",
        _table(pd.DataFrame(split).T.rename_axis("held-out session").reset_index()),
        f"<p>Pre-training: {', '.join(sorted(others)) or 'none, its own session alone'}.",
        "<h2>How well behavior is decoded</h2>",
        _picture(plot_scores(scores, cohort=Path(study.cohort_name).name)),
        _picture(plot_decoded(study.sessions[first], lines)),
    ]
    if len(gains):
        pages += ["<h2>Distilled against the best model of LFP alone</h2>", _picture(_drawn(gains))]
    if len(carried):
        own = carried.query("split == 'test'")
        by = ["readout", "model", "trained_on", "session"]
        table = own.pivot_table(index=by, columns="fitted", values="r2").round(3).reset_index()
        table = table.rename_axis(columns=None)
        about = "Read-outs of one held-out session on another that no model saw, nothing fitted."
        pages += [f"<h2>Frozen decoders</h2><p>{about}", _table(table)]
    if failed:
        reasons = pd.DataFrame([*failed.items()], columns=["what", "why not"])
        pages += ["<h2>What could not be done</h2>", _table(reasons)]
    preset = f"preset {study.preset}, seed 0, spikelfp_lab {__version__}"
    pages.append(f"<p><small>{preset}. One seed: another moves R² by a few hundredths.</small>")
    return "".join(pages)


def _drawn(gains: Any) -> Figure:
    """The difference in each block, and its mean with the interval."""
    low, high = bootstrap_interval(gains["difference"].to_numpy())
    with theme.style():
        figure = theme.new_figure(7.0, 1.0 + 0.35 * gains["session"].nunique())
        axes = figure.subplots()
        sns.stripplot(gains, x="difference", y="session", color="#8c8c8c", ax=axes, size=4)
        axes.axvspan(low, high, color="#d17f41", alpha=0.35, label="95 % interval of the mean")
        axes.axvline(gains["difference"].mean(), color="#d17f41", label="mean")
        axes.axvline(0, color=theme.INK, linewidth=0.8)
        axes.set_xlabel(
            "R² of Distilled less that of the best LFP model\n(a point: a block of test time)"
        )
        axes.set_ylabel("")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _table(table: Any) -> str:
    return table.to_html(index=False, border=0, na_rep="", float_format="{:.3g}".format)


def _picture(figure: Figure) -> str:
    data = io.BytesIO()
    with theme.style():
        figure.savefig(data, format="png", dpi=130)
    return (
        f"<p><img alt='' src='data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}'>"
    )
