"""How long a finished study takes to launch again, and in what memory.

A study of fixed-time stages is finished first, for each of two sizes: every artifact is published in the store, and
every run is delivered to MLflow (SQLite) by the writers that a launch uses. It is then launched in processes of their
own, each of which reads its peak memory from the system.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_relaunch --trials 100 1000 --repeats 3
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from search_spaces.study import Study
from sweep.report.report import write_report
from tests.benchmarks.machine import machine

TARGET_S, TARGET_MB = 20.0, 50.0
ARMS = 4


class Relaunch(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak_mb: float


def study_of(folder: Path, trials: int) -> Study:
    from tests.sweep.fixed_time import timed_study

    return timed_study(folder, seeds=list(range(trials // ARMS)))


def finish(folder: Path, trials: int) -> float:
    """Everything that a launch of the study leaves behind; returns the seconds that MLflow's part took."""
    from sweep.plan.plan import plan_with
    from sweep.store import Store
    from sweep.tracking.tracker import Tracker
    from tests.sweep.small_study import make
    from tests.sweep.task_stages import make_task_maker, settings_in

    study, settings = study_of(folder, trials), settings_in(folder)
    plan, store = plan_with(make_task_maker(study), study, ()), Store(settings.store)
    for stage in plan.stages.values():
        make(stage, store)
    began = time.perf_counter()
    tracker = Tracker(settings.tracking_uri, plan, store)
    tracker.open()
    tracker.record()
    tracker.close()
    return time.perf_counter() - began


def relaunch(folder: Path, trials: int) -> Relaunch:
    """Launch it in this process, which is a new one."""
    from sweep.console import TextConsole
    from sweep.engine.launch import launch
    from tests.sweep.task_stages import make_task_maker, settings_in

    study = study_of(folder, trials)
    with (folder / "output.txt").open("w") as output:
        began, worked = time.perf_counter(), time.process_time()
        console = TextConsole(file=output, width=200)
        launched = launch(study, settings_in(folder), console, write_report, maker=make_task_maker)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - worked
    assert not launched.failed
    told = (folder / "output.txt").read_text()
    assert f"{trials:,} trials, {2 * trials + 6:,} stages, {2 * trials + 6:,} already cached" in told, told
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return Relaunch(seconds, cpu_seconds, int(peak[1]) / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    peaks = []
    print("| trials | wall of a relaunch, s | CPU, s | peak memory, MB | first delivery to MLflow, s |")
    print("|---|---|---|---|---|")
    for trials in asked.trials:
        with tempfile.TemporaryDirectory() as folder:
            delivered = finish(Path(folder), trials)
            runs = [_alone(Path(folder), trials) for _ in range(asked.repeats)]
        cells = [
            f"{statistics.median(column):.1f} ({min(column):.1f}-{max(column):.1f})"
            for column in zip(*runs, strict=True)
        ]
        peaks.append(statistics.median(run.peak_mb for run in runs))
        print(f"| {trials:,} | {' | '.join(cells)} | {delivered:.0f} |", flush=True)
    print(
        f"\nPeak memory grows by {peaks[-1] - peaks[0]:.0f} MB from {asked.trials[0]:,} to {asked.trials[-1]:,} trials "
        f"(target < {TARGET_MB:g} MB; wall < {TARGET_S:g} s). {asked.repeats} repeats, each a process of its own: "
        f"median (range). {machine()}."
    )


def _alone(folder: Path, trials: int) -> Relaunch:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(relaunch, folder, trials).result()


if __name__ == "__main__":
    main()
