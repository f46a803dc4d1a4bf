"""A figure on disk: picture, vector drawing and the numbers in it."""

import os
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab._files import whole_file
from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import style

# What one system or another takes for more than a name, so that a figure has its name on all of them
_NOT_IN_NAMES = set('/\\:*?"<>|')
_DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
}
_LONGEST_NAME = 200  # bytes; the endings and those of unfinished files come on top, to 255


def save_figure(
    figure: Figure, folder: str | os.PathLike, name: str, *, data: pd.DataFrame
) -> dict[str, Path]:
    """Write ``name.png`` (300 dpi), ``name.svg`` (text as text) and ``name.csv``.

    Every file is written beside its place and then moved there, so that a run that is stopped
    leaves the old file or the new one, never half of one. The same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
        What is drawn.
    folder : path
        Made if it does not exist.
    name : str
        File name without its ending.
    data : pd.DataFrame
        The tidy numbers of the figure.

    Returns
    -------
    dict
        "png", "svg" and "csv" -> path.

    Raises
    ------
    DataError
        ``name`` is not a plain file name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = save_figure(Figure(), folder, "empty", data=pd.DataFrame({"r2": [0.5]}))
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['empty.csv', 'empty.png', 'empty.svg']
    """
    folder = _place(folder, name)
    paths = {"csv": save_table(data, folder, name)}
    for ending in ("png", "svg"):
        paths[ending] = folder / f"{name}.{ending}"
        metadata = {"Date": None} if ending == "svg" else None
        with whole_file(paths[ending]) as partial, style():
            figure.savefig(partial, format=ending, metadata=metadata)
    return paths


def save_table(data: pd.DataFrame, folder: str | os.PathLike, name: str) -> Path:
    """Write ``name.csv``, whole or not at all.

    Parameters
    ----------
    data : pd.DataFrame
        Without its index; numbers with six digits.
    folder : path
        Made if it does not exist.
    name : str
        File name without its ending.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        ``name`` is not a plain file name.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_table(pd.DataFrame({"r2": [0.5]}), folder, "means").read_text().split()
    ['r2', '0.5']
    """
    path = _place(folder, name) / f"{name}.csv"
    with whole_file(path) as partial:
        data.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
    return path


def _place(folder: str | os.PathLike, name: str) -> Path:
    device = name.partition(".")[0].rstrip().upper() in _DEVICES
    plain = name.isprintable() and not name.startswith(".") and not set(name) & _NOT_IN_NAMES
    if not name or device or not plain or len(name.encode()) > _LONGEST_NAME:
        raise DataError(
            f"{name[:100]!r} is not a plain file name: give the folder as folder, and a name of at most "
            f"{_LONGEST_NAME} bytes without a leading '.' and without {' '.join(sorted(_NOT_IN_NAMES))}."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
