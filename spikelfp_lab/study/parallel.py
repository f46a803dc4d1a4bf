"""Jobs of a study in processes of their own, one a core, or by turns on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

from spikelfp_lab.models.device import pick_device

if TYPE_CHECKING:
    from spikelfp_lab.study.core import Study


def in_parallel(
    study: Study,
    work: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    *,
    desc: str,
    unit: str,
) -> list[Any]:
    """``work(study, *job)`` for every job, in whatever order they end, with a bar that says what is left.

    On a CPU one job a core, one thread each; on a GPU they take turns. Inside ``joblib.parallel_config(backend="dask")`` the jobs go to that cluster,
    whose workers must share the study's ``runs`` folder; with any other backend that is set there, to that one.
    """
    chosen = type(get_active_backend()[0]).__name__
    cluster = chosen == "DaskDistributedBackend"
    workers = 1
    if cluster:
        workers = -1
    elif pick_device(study.device).type != "cuda":
        workers = min(cpu_count(), len(jobs)) or 1
    each = replace(study, progress=study.progress and workers == 1, _loaded={})
    options = {} if cluster else {"backend": "loky", "inner_max_num_threads": 1}
    with (
        tqdm(total=len(jobs), desc=desc, unit=unit, disable=not study.progress) as bar,
        parallel_config(**options),  # pyright: ignore[reportArgumentType]
    ):
        done = []
        for result in Parallel(n_jobs=workers, return_as="generator_unordered")(
            delayed(work)(each, *job) for job in jobs
        ):
            done.append(result)
            bar.update()
    return done
