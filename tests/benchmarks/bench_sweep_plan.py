"""Seconds to plan a long study, and memory: `table1` with so many seeds that it has 10,000 trials (variant x count x
seed), of which none is in the store; each repeat in a process of its own, as a command would be.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_plan --trials 10000 --repeats 5
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from search_spaces.study import load_study
from sweep.plan import Plan, TrialMaker
from sweep.plan.estimate import Estimator
from sweep.plan.plan import plan_with
from sweep.plan.schedule import Jobs, schedule
from sweep.stages import PrepareStage
from sweep.store import Store
from tests.benchmarks.machine import machine

TARGET_S = 3.0


def planned(trials: int) -> dict[str, float]:
    """Part of the work -> seconds; in the end the process's CPU seconds for them, and its memory in MB."""
    took: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        took[part] = time.perf_counter() - began
        return result

    base = load_study("table1", cohort="nowhere")
    study = base.model_copy(update={"seeds": tuple(range(trials // len(base.cells())))})
    worked = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        prepared = PrepareStage(study.prepare, cohort=Path("nowhere"), fingerprint="none")
        made = timed("trials", lambda: plan_with(TrialMaker(study, prepared), study, ()))
        assert len(made.trials) == trials
        timed("unique stages, their keys, which are missing", lambda: made.missing(store))
        timed("saved by sharing", lambda: made.shared)
        took["the plan: CPU seconds"] = time.process_time() - worked
        took["the plan"] = sum(list(took.values())[:3])
        estimator = timed("FLOPs and GPU-hours", lambda: _estimator(made, store))
        timed("schedule on 64 GPUs", lambda: schedule(Jobs(made.stages, estimator).all, 512, 64))
    took["memory of the process, MB"] = psutil.Process().memory_info().rss / 1e6
    return took


def _estimator(plan: Plan, store: Store) -> Estimator:
    estimator = Estimator(plan, store)
    estimator.total(plan.stages.values())
    return estimator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = [pool.submit(planned, asked.trials).result() for _ in range(asked.repeats)]
    print("| part | seconds: median (range) |\n|---|---|")
    for part in runs[0]:
        values = [run[part] for run in runs]
        print(f"| {part} | {statistics.median(values):,.2f} ({min(values):,.2f}-{max(values):,.2f}) |")
    print(f"\n{asked.trials:,} trials, {asked.repeats} repeats. Target: the plan < {TARGET_S:g} s. {machine()}.")


if __name__ == "__main__":
    main()
