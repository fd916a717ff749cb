"""How long `metsweep plan` works on a large study, in this process and with a store that holds a part of it.

    python -m tests.benchmarks.bench_plan [--trials 100000] [--done 300] [--repeats 5]

Prints one row of a Markdown table: medians of wall and CPU seconds. Reading the study and the cohort is not counted;
trials, stages and their keys are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from search_spaces.study import load_study
from sweep.cli import plan_tables
from sweep.plan import Plan, TrialMaker
from sweep.plan.estimate import Estimator
from sweep.plan.schedule import Jobs, schedule
from sweep.stages import PrepareStage
from sweep.store import Cost, Store

PARTS = ("trials and stages", "what is there", "estimates", "tables", "schedule")


def plan_of(trials: int) -> Plan:
    """`table1` at laptop fidelity with as many seeds as it takes."""
    study = load_study("table1", cohort="cohort", fidelity="laptop")
    study = study.model_copy(update={"seeds": tuple(range(-(-trials // len(study.cells()))))})
    maker = TrialMaker(study, PrepareStage(study.prepare, cohort=Path("cohort"), fingerprint="bench"))
    return Plan(study, tuple(trial for cell in study.cells() for trial in maker.trials(cell)))


def fill(store: Store, plan: Plan, most: int) -> None:
    """Publish the GANs, their shards and the first trials, so that every kind of stage has a history."""
    wanted = [stage for stage in plan.stages.values() if stage.name in ("prepare", "gan", "synthesize", "realism")]
    for trial in plan.trials[:most]:
        wanted += [trial.evaluate.detector, trial.evaluate]
    for number, stage in enumerate(wanted):
        with store.writing(stage.name, stage.key) as folder:
            (folder / "made").write_text(stage.name)
            cost = Cost(requested=0, started=1, finished=11 + number % 7, peak_memory_bytes=1, host="bench", cpus=1)
            store.publish(folder, stage.name, stage.key, stage.identity, cost)


def work(trials: int, store: Store, console: Console) -> list[float]:
    """Seconds after each part, from the start."""
    began = time.perf_counter()
    laps = []

    def lap() -> None:
        laps.append(time.perf_counter() - began)

    plan = plan_of(trials)
    _ = plan.stages
    lap()
    there = {name: store.keys(name) for name in plan.wanted}
    missing = {key: stage for key, stage in plan.stages.items() if key not in there[stage.name]}
    lap()
    estimator = Estimator(plan, store, there)
    estimator.total(missing.values())
    plan_tables.sharing(plan, estimator)
    lap()
    console.print(plan_tables.arms_table(plan, missing))
    console.print(plan_tables.stages_table(plan, missing, estimator))
    lap()
    schedule(Jobs(plan, missing, estimator).all, cpus=64, gpus=8)
    lap()
    return laps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--done", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output.txt").open("w") as output:
        store = Store(Path(folder) / "store")
        fill(store, plan_of(asked.trials), asked.done)
        walls, cpus = [], []
        for _ in range(asked.repeats):
            before = time.process_time()
            walls.append(work(asked.trials, store, Console(file=output, width=120)))
            cpus.append(time.process_time() - before)
    whole = statistics.median(laps[-1] for laps in walls)
    parts = []
    for number, name in enumerate(PARTS):
        took = [laps[number] - (laps[number - 1] if number else 0.0) for laps in walls]
        parts.append(f"{name} {statistics.median(took):.2f}")
    print("| trials | wall s | CPU s | parts, wall s |\n|---|---|---|---|")
    print(f"| {asked.trials:,} | {whole:.2f} | {statistics.median(cpus):.2f} | {', '.join(parts)} |")


if __name__ == "__main__":
    main()
