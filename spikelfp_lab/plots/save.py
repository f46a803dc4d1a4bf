"""A figure on disk: picture, vector drawing and the numbers in it."""

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab._files import whole
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots import theme

Folder = str | os.PathLike


def show(figure: Any, name: str, data: pd.DataFrame | None = None) -> Any:
    """Save a figure with its numbers and return it: the last line of a notebook's cell.

    They go to :func:`figures_folder`.

    Parameters
    ----------
    figure : Figure or pd.DataFrame
        A table is written as ``name.csv`` alone.
    name, data
        As of :func:`save_figure`.
    """
    if isinstance(figure, pd.DataFrame):
        save_table(figure, figures_folder(), name)
    else:
        save_figure(figure, figures_folder(), name, data=data)
    return figure


def figures_folder() -> Path:
    """Where figures go: ``figures/`` at the repository's root, unless ``FIGURES`` says otherwise.

    Other cohorts (``COHORT``) and presets (``PRESET``) than simulated and demo have subfolders, so
    have full runs (``FULL=1``). The root is the folder above when run in ``notebooks/``.
    """
    root = Path("..") if Path.cwd().name == "notebooks" else Path()
    cohort = Path(os.environ.get("COHORT", "simulated")).name
    preset = os.environ.get("PRESET", "demo")
    full = os.environ.get("FULL", "0") not in ("", "0")
    wanted = {"full": full, cohort: cohort != "simulated", preset: preset != "demo"}
    parts = [part for part, there in wanted.items() if there]
    return root / (os.environ.get("FIGURES") or Path("figures", *parts))


def save_figure(
    figure: Figure, folder: Folder, name: str, *, data: pd.DataFrame | None = None
) -> dict[str, Path]:
    """Write ``name.png`` (300 dpi), ``name.svg`` (text as text) and, with data, ``name.csv``.

    Writes are atomic, and the same figure gives the same bytes.

    Raises DataError: ``name`` is not a plain file name, or the files cannot be written.

    Parameters
    ----------
    figure, folder, name : Figure, path, str
        What is drawn, where (made if it does not exist), and the file's name without its ending.
    data : pd.DataFrame, optional
        The tidy numbers of the figure.

    Returns
    -------
    dict
        "png", "svg" and "csv" -> path.
    """
    paths = {} if data is None else {"csv": save_table(data, folder, name)}
    for ending, metadata in {"png": None, "svg": {"Date": None}}.items():
        paths[ending] = _place(folder, f"{name}.{ending}")
        with whole(paths[ending]) as partial, theme.style():
            figure.savefig(partial, format=ending, metadata=metadata)
    return paths


def save_table(data: pd.DataFrame, folder: Folder, name: str) -> Path:
    """Write ``name.csv`` atomically, without the index, numbers with six digits."""
    path = _place(folder, f"{name}.csv")
    with whole(path) as partial:
        data.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    return path


def _place(folder: Folder, file: str) -> Path:
    """Path of a file with a plain name."""
    if not re.fullmatch(r"\w[\w .+-]{0,99}\.\w+", file, re.ASCII):
        cure = "give the folder as folder, and at most 100 letters, digits and - _ + . or spaces"
        raise DataError(f"{file[:120]!r} is not a plain file name: {cure}.")
    return Path(folder, file)
