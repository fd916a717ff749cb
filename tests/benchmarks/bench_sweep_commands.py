"""What `status`, `report`, `plan` and `store ls` take on a large study in S3, MLflow and Optuna on PostgreSQL.

The study is finished: Table 1's ten arms and the cells of a search, five seeds each, 1,000 trials and about 2,000
artifacts; MLflow's server shows 5,000 runs. Each command is a process of its own, once with an empty METSWEEP_CACHE
and then with what that left.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_commands --trials 1000 --runs 5000 --repeats 3
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sweep.settings import Settings
from tests.benchmarks.machine import machine
from tests.services.mlflow_server import mlflow_server
from tests.services.postgresql import running_postgresql
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.sweep.large_study import NAME, fill_mlflow, finish, write_study

TARGET_S = 5.0
SEEDS, ARMS = 5, 10
COMMANDS = (("status", NAME), ("report", NAME), ("plan", NAME), ("store", "ls"))


@contextmanager
def study_in_s3(folder: Path, trials: int, runs: int) -> Iterator[dict[str, str]]:
    """The study, finished, with its services; yields the environment of commands."""
    s3 = SeaweedFS(folder / "seaweedfs")
    with running_postgresql() as database, mlflow_server(folder / "mlflow", database.mlflow) as server:
        try:
            s3.start()
            environment = {
                **s3.environment,
                "METSWEEP_STORE": f"s3://{BUCKET}/large",
                "METSWEEP_CACHE": str(folder / "cache"),
                "MLFLOW_TRACKING_URI": server.uri,
                "OPTUNA_STORAGE": database.optuna,
                "COLUMNS": "160",
                # As on a machine that has no other work.
                "OMP_NUM_THREADS": "1",
            }
            os.environ |= environment
            study = write_study(folder, SEEDS, trials // SEEDS - ARMS)
            plan = finish(study, Settings.from_environment(None), folder / "scratch").plan()
            fill_mlflow(database.mlflow, plan, runs - len(plan.trials))
            server.start()
            yield environment
        finally:
            s3.kill()


def timed(command: Sequence[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """Seconds by the clock and of CPU that a command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    program = [sys.executable, "-m", "sweep.cli", *command]
    subprocess.run(program, env=os.environ | environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "scratch").mkdir()
        with study_in_s3(folder, asked.trials, asked.runs) as environment:
            print("| command | first: wall s | CPU s | again: wall s | CPU s |\n|---|---|---|---|---|")
            for command in COMMANDS:
                shutil.rmtree(folder / "cache", ignore_errors=True)
                first, *rest = [timed(command, environment, folder) for _ in range(1 + asked.repeats)]
                again = [
                    f"{statistics.median(column):.1f} ({min(column):.1f}-{max(column):.1f})"
                    for column in zip(*rest, strict=True)
                ]
                cells = [f"{first[0]:.1f}", f"{first[1]:.1f}", *again]
                print(f"| `{' '.join(command)}` | {' | '.join(cells)} |", flush=True)
    print(f"\n{asked.trials:,} trials, {asked.runs:,} runs. Target: < {TARGET_S:g} s. {machine()}.")


if __name__ == "__main__":
    main()
