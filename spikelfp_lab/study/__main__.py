"""Train all that the notebooks of the study that the environment asks for need.

With ``--notebooks`` run these too, two at a time: what ``make figures`` does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pandas as pd
import torch
from joblib import cpu_count
from torch.utils.benchmark import Timer
from tqdm.auto import tqdm

from spikelfp_lab.models import Autoencoder
from spikelfp_lab.models.autoencoder import is_model
from spikelfp_lab.plots.save import figures_folder
from spikelfp_lab.sessions import bins_in
from spikelfp_lab.study import Study
from spikelfp_lab.study.parallel import close_pool

# Minutes of each notebook, of two at a time on two cores, where a second of recording takes
# REFERENCE_S to be trained on; the main one comes first, 11 draws from the tables of the others.
MINUTES = {
    "05": 4, "08": 4, "10": 6, "13": 4, "09": 2, "14": 2, "12": 3, "07": 2, "04": 1, "02": 1,
    "03": 1, "06": 1, "01": 1, "11": 1,
}  # fmt: skip
REFERENCE_S = 2.5e-3
# and how many times as long other kinds of training take: of LFP with its band power, of both
SLOWER = {"spikes": 1.0, "lfp": 1.8, "both": 3.2, "distill": 1.2}
PROBE_S = 10.0
BUILT = Path("build/notebooks")


def probe(study: Study) -> float:
    """Seconds that a second of the first session takes to be trained on, by one CPU thread."""
    session, configs = study.sessions[study.having("spikes")[0]], study.configs("spikes")
    units, bin_size_s = session.sizes["unit"], float(session.attrs["bin_size_s"])
    size = configs.train.batch, bins_in(configs.train.window_s, bin_size_s=bin_size_s), units
    sizes = {"sessions": {"probe": units}, "bin_size_s": bin_size_s}
    model = Autoencoder(configs.model, modality="spikes", **sizes)
    names = {"model": model, "values": torch.ones(size), "mask": configs.mask}
    timer = Timer("model.masked_loss(values, 'probe', mask=mask).backward()", globals=names)
    step_s = timer.blocked_autorange(min_run_time=PROBE_S).mean
    return step_s / (configs.train.batch * configs.train.window_s)


def execute(path: Path) -> None:
    """Run a notebook; with half of the cores, because two run at a time."""
    half = str(max(1, cpu_count() // 2))
    kernel = "--ExecutePreprocessor.extra_arguments=--IPKernelApp.log_level=ERROR"
    command = [sys.executable, "-m", "nbconvert", "--to=notebook", "--execute", "--log-level=WARN"]
    command += ["--ExecutePreprocessor.timeout=7200", kernel, f"--output-dir={BUILT}", str(path)]
    environment = os.environ | {"LOKY_MAX_CPU_COUNT": half, "OMP_NUM_THREADS": half}
    if subprocess.run(command, env=environment).returncode:
        raise RuntimeError(f"{path} failed; see above, and call again: what is trained is kept")


def run_all(notebooks: list[Path], done: Callable[[float], object]) -> None:
    """All notebooks, two at a time, 11 after the others; the first error ends it."""
    order = sorted(notebooks, key=lambda path: [*MINUTES].index(path.stem[:2]))
    last = [path for path in order if path.stem.startswith("11")]
    for group in ([path for path in order if path not in last], last):
        with ThreadPoolExecutor(2) as pool:
            running = {pool.submit(execute, path): path for path in group}
            try:
                for one in as_completed(running):
                    one.result()
                    done(MINUTES[running[one].stem[:2]])
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def tick(bar: tqdm) -> None:
    """Let the bar's clock go on while nothing is done, until the bar is closed."""
    while not bar.disable:
        bar.refresh()
        time.sleep(10)


def main() -> None:
    """Say how long it takes, show one bar over everything, and what came out at the end."""
    core, study = os.environ.get("CORE", "") not in ("", "0"), Study.from_environment()
    parts = ("comparison",) if core else ()
    if "--notebooks" not in sys.argv:
        study.train(*parts)
        return
    study = replace(study, progress=False)
    notebooks = sorted(Path("notebooks").glob("0[1-6]*.ipynb" if core else "[0-9]*.ipynb"))
    each_s = probe(study)
    slow = each_s / REFERENCE_S
    todo = [s for s in study.specs(*parts) if not is_model(study.folder / s.folder)]
    minute = each_s / cpu_count() / 60
    costs = {s.folder: minute * SLOWER[s.role] * s.work(study) for s in todo}
    half = slow / min(2, cpu_count())
    total = sum(costs.values()) + half * sum(MINUTES[path.stem[:2]] for path in notebooks)
    what = f"{len(todo)} models to train, {len(notebooks)} notebooks"
    print(f"{what}: about {total:.0f} minutes here")
    look = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} < {remaining}"
    with tqdm(total=total, desc="make figures", bar_format=look) as bar:
        Thread(target=tick, args=[bar], daemon=True).start()

        def advance(minutes: float) -> None:
            bar.update(min(minutes, total - bar.n))  # or rounding ends in a warning

        study.train(*parts, done=lambda spec, _: advance(costs.get(spec.folder, 0.0)))
        close_pool()
        try:
            run_all(notebooks, lambda minutes: advance(half * minutes))
        except RuntimeError as error:
            sys.exit(str(error))
    folder = figures_folder()
    if (table := folder / "comparison.csv").exists():
        tested = pd.read_csv(table).query("split == 'test'")
        means = tested.pivot_table(index="model", columns="readout", values="r2").round(3)
        print(means.sort_values(by="lagged", ascending=False).to_string())
    print(f"{len([*folder.glob('*.png')])} figures in {folder}/, executed notebooks in {BUILT}/")


if __name__ == "__main__":
    main()
