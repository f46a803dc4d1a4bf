"""Are the scores of this run those that are committed? compare_means.py COMMITTED THIS_RUN

Mean test R² of each model over sessions and axes, seed 0, within .03.
"""

import sys

import pandas as pd

LIMIT = 0.03


def means(path: str) -> pd.Series:
    """(read-out, model) -> mean R² on test time, seed 0."""
    scores = pd.read_csv(path).query("split == 'test' and seed == 0")
    return scores.groupby(["readout", "model"])["r2"].mean()


both = pd.DataFrame({"committed": means(sys.argv[1]), "this run": means(sys.argv[2])})
# written so that a model that is missing on one side, NaN, counts as off
off = ~((both["committed"] - both["this run"]).abs() <= LIMIT)
print(both.assign(off=off).round(3).to_string())
for (readout, model), row in both[off].iterrows():
    print(
        f"{model} ({readout}): R² {row['this run']:.3f} here, {row['committed']:.3f} committed; "
        f"they differ by more than {LIMIT}",
        file=sys.stderr,
    )
sys.exit(bool(off.any()))
