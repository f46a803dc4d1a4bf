"""A figure on disk: picture, vector drawing and the numbers in it."""

import os
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.plots.style import style


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
    if not name or Path(name).name != name:
        raise DataError(f"{name!r} is not a plain file name: give the folder as folder.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {ending: folder / f"{name}.{ending}" for ending in ("png", "svg", "csv")}
    for ending, path in paths.items():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            if ending == "csv":
                data.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")
            else:
                metadata = {"Date": None} if ending == "svg" else None
                with style():
                    figure.savefig(partial, format=ending, metadata=metadata)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return paths
