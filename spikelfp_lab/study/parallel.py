"""Jobs of a study in processes of their own, one a core, or by turns on a GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any

import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from spikelfp_lab.models.device import pick_device

if TYPE_CHECKING:
    from spikelfp_lab.study.study import Study

_kept: dict[str, Any] = {}  # the pool of the last call and its study; in a worker its study


def in_parallel(
    study: Study, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, desc: str, unit: str
) -> list[Any]:
    """``work(study, *job)`` for every job, with a progress bar.

    On a CPU one job a core (``LOKY_MAX_CPU_COUNT`` limits how many), one thread each, in processes
    that keep the study, its sessions and models between calls; on a GPU, and where there is one
    core or job, they take turns in this process.
    """
    workers = min(cpu_count(), len(jobs))
    if workers <= 1 or pick_device(study.device).type == "cuda":
        results = (work(study, *job) for job in jobs)
    else:
        quiet = replace(study, progress=False, _loaded={})
        if _kept.get("of") != (quiet, workers):
            close_pool()
            begin = {"initializer": _begin, "initargs": (quiet, study.sessions)}
            pool = ProcessPoolExecutor(workers, get_context("spawn"), **begin)
            _kept.update(of=(quiet, workers), pool=pool)
        results = _kept["pool"].map(_call, repeat(work), jobs)
    options = {"total": len(jobs), "desc": desc, "unit": unit, "disable": not study.progress}
    try:
        return list(tqdm(results, **options))
    except BaseException:
        close_pool()
        raise


def close_pool() -> None:
    """End the worker processes; what they have not begun is cancelled."""
    if _kept:
        _kept["pool"].shutdown(wait=True, cancel_futures=True)
        _kept.clear()


def _begin(study: Study, sessions: dict[str, Any]) -> None:
    """The start of a worker: one thread, and an end with its parent, however that ends."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # without a traceback of its own
    torch.set_num_threads(1)
    vars(study)["sessions"] = sessions
    _kept.update(study=study, limits=threadpool_limits(1))
    parent = parent_process()
    assert parent is not None
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _call(work: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    return work(_kept["study"], *job)
