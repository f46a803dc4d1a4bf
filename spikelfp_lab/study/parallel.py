"""Jobs of a study in processes of their own, one a core, or by turns on a GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
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
    study: Study, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, desc: str,
    unit: str, done: Callable[..., object] | None = None,
) -> list[Any]:  # fmt: skip
    """``work(study, *job)`` for every job, with a progress bar; ``done(*job)`` after each.

    On a CPU one job a core (``LOKY_MAX_CPU_COUNT`` limits how many), one thread each, in processes
    that keep the study, its sessions and models between calls; on a GPU, and where there is one
    core or job, they take turns in this process.
    """
    bar = tqdm(total=len(jobs), desc=desc, unit=unit, disable=not study.progress)
    made: list[Any] = [None] * len(jobs)
    try:
        with bar:
            for place, result in _results(study, work, jobs):
                made[place] = result
                bar.update()
                if done:
                    done(*jobs[place])
    except BaseException:
        close_pool()
        raise
    return made


def _results(
    study: Study, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    """Place and result of each job, as they are done."""
    workers = min(cpu_count(), len(jobs))
    if workers <= 1 or pick_device(study.device).type == "cuda":
        yield from ((place, work(study, *job)) for place, job in enumerate(jobs))
        return
    quiet = replace(study, progress=False, _loaded={})
    if _kept.get("of") != (quiet, workers) or _kept["sessions"] is not study.sessions:
        close_pool()
        begin = _begin, (quiet, study.sessions)
        pool = ProcessPoolExecutor(workers, get_context("spawn"), *begin)
        _kept.update(of=(quiet, workers), sessions=study.sessions, pool=pool)
    places = {_kept["pool"].submit(_call, work, job): place for place, job in enumerate(jobs)}
    yield from ((places[each], each.result()) for each in as_completed(places))


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
