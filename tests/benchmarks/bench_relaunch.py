"""How long tracking takes when a study whose runs are all in MLflow is launched again, and what memory it adds.

One finished trial of the small study is copied, in the SQLite file, until there is one for each trial of a long study:
the same params, tags and metrics, other stage keys. No artifact of these trials exists, so none can be read.

    PYTHONPATH=. python tests/benchmarks/bench_relaunch.py --trials 1000
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.tracker import STAGE_KEY, Tracker
from tests.sweep.small_study import make, small_plan

TABLES = ("params", "tags", "latest_metrics", "metrics")


def with_finished_trials(folder: Path, plan: Plan) -> Store:
    """MLflow in `folder`, as if every trial of the plan had been delivered."""
    store = Store(folder / "store")
    first = plan.trials[0]
    for stage in first.stages.values():
        make(stage, store)
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", Plan(plan.study, (first,)), store)
    tracker.open()
    tracker.record()
    tracker.close()
    with sqlite3.connect(folder / "mlflow.db") as database:
        ((run,),) = database.execute("select run_uuid from tags where key = ?", (STAGE_KEY,)).fetchall()
        for trial in plan.trials[1:]:
            copy = uuid.uuid4().hex
            for table in ("runs", *TABLES):
                columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
                chosen = ", ".join("?" if name == "run_uuid" else name for name in columns)
                database.execute(f"insert into {table} select {chosen} from {table} where run_uuid = ?", (copy, run))
            database.execute(
                "update tags set value = ? where run_uuid = ? and key = ?", (trial.evaluate.key, copy, STAGE_KEY)
            )
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    asked = parser.parse_args()
    real_only = small_plan(seeds=tuple(range(asked.trials)))
    plan = Plan(real_only.study, real_only.trials[: asked.trials])
    with tempfile.TemporaryDirectory() as folder:
        store = with_finished_trials(Path(folder), plan)
        process = psutil.Process()
        memory = process.memory_info().rss
        began, worked = time.perf_counter(), time.process_time()
        tracker = Tracker(f"sqlite:///{folder}/mlflow.db", plan, store)
        tracker.open()
        opened = time.perf_counter()
        finished = tracker.record()
        recorded = time.perf_counter()
        worked = time.process_time() - worked
        added = (process.memory_info().rss - memory) / 1e6
        for _ in range(20):
            tracker.record()
        more = (process.memory_info().rss - memory) / 1e6 - added
    print(f"{asked.trials} finished trials, {finished} of them written again")
    print(f"open {opened - began:.2f} s, record {recorded - opened:.2f} s, CPU time of both {worked:.2f} s")
    print(f"memory: {added:.0f} MB more after both, {more:.1f} MB more after record twenty times again")


if __name__ == "__main__":
    main()
