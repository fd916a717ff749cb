"""Seconds to plan a long study, and memory: `table1` with so many seeds that it has 100,000 trials (variant x count x
seed), of which none is in the store.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_plan --trials 100000 --repeats 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
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


def planned(trials: int, folder: Path) -> dict[str, float]:
    """Part of the work -> seconds."""
    took: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        took[part] = time.perf_counter() - began
        return result

    base = load_study("table1", cohort="nowhere")
    study = base.model_copy(update={"seeds": tuple(range(trials // len(base.cells())))})
    store = Store(folder)

    def plan() -> Plan:
        prepared = PrepareStage(study.prepare, cohort=Path("nowhere"), fingerprint="none")
        made = plan_with(TrialMaker(study, prepared), study, ())
        assert len(made.trials) == trials
        return made

    made = timed("trials", plan)
    timed("unique stages and their keys, and which are missing", lambda: made.missing(store))
    timed("saved by sharing", lambda: made.shared)
    estimator = timed("FLOPs and GPU-hours", lambda: _estimator(made, store))
    timed("schedule on 64 GPUs", lambda: schedule(Jobs(made, made.stages, estimator).all, 512, 64))
    return took


def _estimator(plan: Plan, store: Store) -> Estimator:
    estimator = Estimator(plan, store)
    estimator.total(plan.stages.values())
    return estimator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [planned(asked.trials, Path(folder)) for _ in range(asked.repeats)]
    parts = {part: [run[part] for run in runs] for part in runs[0]}
    print("| part | seconds: median (range) |\n|---|---|")
    for part, values in parts.items():
        print(f"| {part} | {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f}) |")
    first = [sum(list(run.values())[:3]) for run in runs]
    for part, values in {"the plan: the first three": first, "all": [sum(run.values()) for run in runs]}.items():
        print(f"| {part} | {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f}) |")
    memory = psutil.Process().memory_info().rss / 1e6
    print(
        f"\n{asked.trials:,} trials, {asked.repeats} repeats in one process of {memory:,.0f} MB. "
        f"Target: the plan < {TARGET_S:g} s. {machine()}."
    )


if __name__ == "__main__":
    main()
