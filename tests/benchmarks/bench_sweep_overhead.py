"""What the engine adds to a trial, beside the same fixed-time function in a bare `tune.Tuner`.

200 trials of one arm: a detector that sleeps as a plain Ray task, and its evaluation. The bare tuner runs a function
that sleeps as long, with Tune's defaults and with reused actors. Each contender has a process of its own and two trials
at once. Its time counts from before Ray starts until after it has ended; ours includes all that a launch does: plan,
leases, artifacts with checksums, tables of outcomes, delivery to MLflow (SQLite), Optuna's record, the final report.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_overhead --trials 200 --seconds 0.5 --repeats 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.report.report import write_report
from tests.benchmarks.alone import alone
from tests.benchmarks.machine import machine

AT_ONCE = 2
SMALL = {"width": 0.1}
"""A detector of which disks hold hundreds."""
TARGET = 1.2
Contender = Callable[[Path, int, float], float]
"""Runs so many trials that sleep so long in a folder; returns seconds."""


def ours(folder: Path, trials: int, seconds: float) -> float:
    from sweep.console import TextConsole
    from sweep.engine.launch import launch
    from tests.sweep.fixed_time import timed_study
    from tests.sweep.task_stages import make_task_maker, set_seconds, settings_in

    set_seconds({"detector": seconds})
    study = timed_study(folder, arms=[{"variant": "none"}], seeds=list(range(trials)), detector=SMALL)
    with (folder / "output.txt").open("w") as output:
        began = time.perf_counter()
        launched = launch(study, settings_in(folder), TextConsole(file=output), write_report, maker=make_task_maker)
        took = time.perf_counter() - began
    assert not launched.failed, launched
    assert len(list((folder / "store" / "evaluate").glob("*/manifest.json"))) == trials
    return took


def bare(folder: Path, trials: int, seconds: float, **config: Any) -> float:
    import ray
    from ray import tune

    def function(drawn: dict[str, Any]) -> dict[str, float]:
        time.sleep(seconds)
        return {"sensitivity": 0.3 + 0.001 * (drawn["seed"] % 7)}

    began = time.perf_counter()
    ray.init("local", num_cpus=AT_ONCE, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        function,
        param_space={"seed": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(**config),
        run_config=tune.RunConfig(storage_path=str(folder / "tune")),
    )
    results = tuner.fit()
    ray.shutdown()
    took = time.perf_counter() - began
    assert len(results) == trials
    assert not results.errors
    return took


def bare_reusing_actors(folder: Path, trials: int, seconds: float) -> float:
    return bare(folder, trials, seconds, reuse_actors=True)


CONTENDERS: dict[str, Contender] = {"launch": ours, "tuner": bare, "reused": bare_reusing_actors}
NAMES = {
    "launch": "metsweep launch",
    "tuner": "tune.Tuner, its defaults",
    "reused": "tune.Tuner, reuse_actors=True",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    asked = parser.parse_args()
    walls: dict[str, list[float]] = {name: [] for name in asked.contenders}
    for _ in range(asked.repeats):
        for name in asked.contenders:
            with tempfile.TemporaryDirectory() as folder:
                walls[name].append(alone(CONTENDERS[name], Path(folder), asked.trials, asked.seconds))
            print(f"{NAMES[name]}: {walls[name][-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    print("\n| | wall, s: median (range) | a trial, s of one slot | of it overhead, s | wall, in times of ours |")
    print("|---|---|---|---|---|")
    first = statistics.median(walls[asked.contenders[0]])
    for name, values in walls.items():
        wall = statistics.median(values)
        each = wall * AT_ONCE / asked.trials
        print(
            f"| {NAMES[name]} | {wall:.1f} ({min(values):.1f}-{max(values):.1f}) | {each:.2f} | "
            f"{each - asked.seconds:.2f} | {wall / first:.2f} |"
        )
    print(
        f"\n{asked.trials} trials of {asked.seconds:g} s, {AT_ONCE} at once, {asked.repeats} repeats. Target: ours at "
        f"most {TARGET} times as long as the bare tuner with its defaults. {machine()}."
    )


if __name__ == "__main__":
    main()
