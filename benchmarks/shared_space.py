"""Can spike latents of several days share a space without LFP? Two ways that are tried elsewhere,
beside none and beside the LFP as anchor, on simulated subject V.

    python -m benchmarks.shared_space      # after benchmarks.report, whose models it reads

A one-frame read-out of one held-out session's teacher latents is applied, frozen, to another's,
after these were brought over without labels: by z-scoring, by their covariance (whitened, then
colored as the other's), or by optimal transport (assignment of moments and a rotation, in turns,
from the ten leading components). R² on test time. Writes ``results/shared_space.csv``.
"""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import spikelfp_lab as sl
from benchmarks.report import asked_study
from spikelfp_lab.sessions import TRAIN
from spikelfp_lab.study import Study, model_specs

COMPONENTS, MOMENTS, TURNS = 10, 600, 30
Way = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]


def z_scored(there: np.ndarray, here: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Means and SDs of one session (time, latent) for those of another."""
    return lambda x: (x - there.mean(0)) / there.std(0) * here.std(0) + here.mean(0)


def components(latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(latent, latent) principal directions, the greatest first, and SDs along them."""
    values, directions = np.linalg.eigh(np.cov(latents.T))
    return directions[:, ::-1], np.sqrt(np.maximum(values[::-1], 1e-9))


def colored(there: np.ndarray, here: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Whitened by one session's covariance, colored by another's (CORAL)."""
    (white, theirs), (color, own) = components(there), components(here)
    through = white / theirs @ white.T @ (color * own) @ color.T
    return lambda x: (x - there.mean(0)) @ through + here.mean(0)


def transported(there: np.ndarray, here: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Assignment of moments and rotation in turns, in whitened leading components."""
    (white, theirs), (color, own) = components(there), components(here)
    white, color = (a[:, :COMPONENTS] for a in (white, color))
    theirs, own = theirs[:COMPONENTS], own[:COMPONENTS]
    rng = np.random.default_rng(0)
    x, y = ((each - each.mean(0)) @ basis / sd
            for each, basis, sd in ((there, white, theirs), (here, color, own)))  # fmt: skip
    # a direction's sign is arbitrary: that of its skewness
    sign = np.sign((x**3).mean(0)) * np.sign((y**3).mean(0))
    turn = np.diag(sign)
    for _ in range(TURNS):
        some, other = (rng.choice(each, MOMENTS, replace=False) for each in (x, y))
        rows, columns = linear_sum_assignment(cdist(some @ turn, other, "sqeuclidean"))
        turn = orthogonal_procrustes(some[rows], other[columns])[0]
    through = white / theirs @ turn @ (color * own).T
    return lambda z: (z - there.mean(0)) @ through + here.mean(0)


WAYS: dict[str, Way] = {
    "nothing done": lambda there, here: lambda x: x,
    "z-scored": z_scored,
    "covariance": colored,
    "optimal transport": transported,
}


def carried(study: Study, seed: int, name: str, other: str) -> list[dict]:
    """R² on ``other`` of a read-out of ``name``, way by way."""
    specs, latents, student = model_specs(study, "unsupervised", name, seed), {}, {}
    model, rows = study.model(specs["MS-Distilled"]), []
    for one in (name, other):
        teacher = study.model(model_specs(study, "comparison", one, seed)["Teacher"])
        session = study.sessions[one]
        latents[one] = study.encode(teacher, session).drop_attrs()
        student[one] = study.encode(model, session, as_session=name).drop_attrs()
    splits = {one: study.split(one, seed) for one in latents}
    train = {one: x.values[splits[one].values == TRAIN] for one, x in latents.items()}

    def r2(fitted_on: xr.DataArray, read: xr.DataArray, of: str) -> float:
        readout = sl.fit_readout(
            fitted_on, study.sessions[name], kind="one_frame", split=splits[name]
        )
        scores = sl.decode(read, study.sessions[of], readout=readout, split=splits[of])
        return float(scores.query("split == 'test'")["r2"].mean())

    for way, fit in WAYS.items():
        brought = latents[other].copy(data=fit(train[other], train[name])(latents[other].values))
        rows.append({"way": way, "r2": r2(latents[name], brought, other)})
    both = {
        one: sl.anchor(x, student[one], split=splits[one]).apply(x) for one, x in latents.items()
    }
    rows.append({"way": "LFP as anchor", "r2": r2(both[name], both[other], other)})
    rows.append({"way": "own session", "r2": r2(latents[name], latents[name], name)})
    return [row | {"trained_on": name, "session": other, "seed": seed} for row in rows]


def main() -> None:
    """All pairs of held-out sessions."""
    study = asked_study(__doc__)
    pairs = [(seed, *pair) for seed in study.seeds for pair in permutations(study.held_out, 2)]
    table = pd.DataFrame([row for pair in pairs for row in carried(study, *pair)])
    table.round(4).to_csv(Path(__file__).parent / "results" / "shared_space.csv", index=False)
    print(table.groupby("way", sort=False)["r2"].agg(["mean", "min", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
