"""R² of predictions of the behavior, by split and axis."""

import numpy as np
import pandas as pd
import xarray as xr

from spikelfp_lab.analysis._inputs import behavior_of, features_of, too_few
from spikelfp_lab.errors import DataError
from spikelfp_lab.sessions import TEST, TRAIN, VAL, as_dataset

COLUMNS = ("readout", "split", "axis", "r2")
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}


def score_predicted(
    predicted: xr.DataArray,
    session: xr.Dataset | xr.DataTree,
    *,
    readout: str | None = None,
    protocol: str | None = None,
) -> pd.DataFrame:
    """R² of any prediction of the behavior on each split: the rows that :func:`decode` gives.

    Parameters
    ----------
    predicted : xr.DataArray
        (time, behavior_dim) with the coordinate ``split``, as :meth:`ReadOut.predict` and the
        decoders (:func:`wiener`, ...) return it. NaN, here or in the behavior, are left out.
    session, protocol
        As for :func:`decode`.
    readout : str, optional
        Name in the column ``readout``; by default the prediction's attribute of that name.
    """
    session = as_dataset(session)
    true, attrs = behavior_of(session), predicted.attrs
    readout = readout or str(attrs.get("readout", "predicted"))
    if set(predicted.dims) != {"time", "behavior_dim"} or "split" not in predicted.coords:
        raise DataError(
            "A prediction needs the dims 'time' and 'behavior_dim' and the coordinate 'split' "
            f"(time); this one has {predicted.dims} and {', '.join(map(str, predicted.coords))}. "
            "Add it: predicted.assign_coords(split=split_session(session, window_s=...))."
        )
    axes, own = (list(map(str, x["behavior_dim"].values)) for x in (predicted, session))
    if axes != own:
        raise DataError(
            f"The prediction is of {', '.join(axes)}, the session's behavior has "
            f"{', '.join(own)}: predict this very behavior."
        )
    values, _ = features_of(predicted, session, what="predictions")
    parts: dict[str, tuple[int, ...]] = {name: (code,) for name, code in SPLITS.items()}
    if protocol == "paper":
        parts["valtest"] = (VAL, TEST)
    scored = np.isfinite(true).all(axis=1) & np.isfinite(values).all(axis=1)
    rows = []
    for part, codes in parts.items():
        use = scored & np.isin(predicted["split"].values, codes)
        if not use.any():
            raise too_few(part, readout, attrs.get("lag_s", 0.0), attrs.get("window_s"))
        r2 = r2_by_axis(true[use], values[use])
        rows += [(readout, part, axis, float(value)) for axis, value in zip(axes, r2, strict=True)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def r2_by_axis(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """R² of each column (n, axis) -> (axis,), about the mean of ``true``; NaN for a constant one.

    Examples
    --------
    >>> r2_by_axis(np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [1.0]])).tolist()
    [0.5]
    """
    from sklearn.metrics import r2_score  # takes a second to import

    if len(true) < 2:
        return np.full(true.shape[1], np.nan)
    r2 = r2_score(true, predicted, multioutput="raw_values")
    return np.where(np.ptp(true, axis=0) > 0, r2, np.nan)
