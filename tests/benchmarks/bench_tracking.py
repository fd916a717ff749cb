"""Metric points per second into MLflow: our RunWriter against Ray's MLflowLoggerCallback, the same points.

Each repeat logs one run of the same points with either, taking turns, into an SQLite file and through a real
`mlflow server` of one worker; the median and the range are printed as a Markdown table.

    PYTHONPATH=. python tests/benchmarks/bench_tracking.py --points 1000 --repeats 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from sweep.tracking.mlflow_client import connect
from sweep.tracking.run_content import Part, Point
from sweep.tracking.run_writer import RunWriter
from tests.services.mlflow_server import mlflow_server

METRICS = 5
"""Of one report, as a detector's losses are."""
Log = Callable[[str, int], None]
"""Logs so many points into the MLflow at an address, as one run."""


def ours(uri: str, points: int) -> None:
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("ours")
    writer = RunWriter(client, experiment.experiment_id if experiment else client.create_experiment("ours"))
    run = writer.create("trial", {}, time.time())
    made = [
        Point(f"detector/loss{metric}", step + metric / 10, 1e9 + step, step)
        for step in range(points // METRICS)
        for metric in range(METRICS)
    ]
    writer.write(run, [Part("detector", params={"seed": "0"}, points=tuple(made))])
    writer.end(run, "FINISHED", time.time())


def rays(uri: str, points: int) -> None:
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.experiment import Trial

    callback = MLflowLoggerCallback(uri, experiment_name="ray")
    callback.setup()
    trial = Trial("nothing", config={"seed": 0}, stub=True)
    callback.log_trial_start(trial)
    for step in range(points // METRICS):
        report = {f"detector/loss{metric}": step + metric / 10 for metric in range(METRICS)}
        callback.log_trial_result(step, trial, {**report, "training_iteration": step})
    callback.log_trial_end(trial)


def logged(uri: str, experiment: str, points: int) -> bool:
    """Whether the newest run of an experiment holds every point."""
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id] if found else [], max_results=1)
    names = [name for name in run.data.metrics if name.startswith("detector/")]
    return sum(len(client.get_metric_history(run.info.run_id, name)) for name in names) == points


def measure(uri: str, points: int, repeats: int) -> dict[str, list[float]]:
    """Contender -> points per second of each repeat."""
    rates: dict[str, list[float]] = {"ours": [], "ray": []}
    contenders: dict[str, Log] = {"ours": ours, "ray": rays}
    for log in contenders.values():  # imports, connections, experiments
        log(uri, METRICS)
    for _ in range(repeats):
        for name, log in contenders.items():
            began = time.perf_counter()
            log(uri, points)
            rates[name].append(points / (time.perf_counter() - began))
            assert logged(uri, name, points), f"{name} did not log every point"
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder) / "server") as server:
        connect(server.database)
        server.start()
        places = {"SQLite file": f"sqlite:///{folder}/mlflow.db", "mlflow server, 1 worker": server.uri}
        print("| into | RunWriter, points/s | MLflowLoggerCallback, points/s | times as fast |")
        print("|---|---|---|---|")
        for place, uri in places.items():
            connect(uri)
            rates = measure(uri, asked.points, asked.repeats)
            medians = {name: statistics.median(values) for name, values in rates.items()}
            cells = [f"{medians[name]:,.0f} ({min(values):,.0f}-{max(values):,.0f})" for name, values in rates.items()]
            print(f"| {place} | {' | '.join(cells)} | {medians['ours'] / medians['ray']:.1f} |", flush=True)
    print(f"\n{asked.points} points a run, {asked.repeats} repeats: median (range). {os.cpu_count()} CPU cores.")


if __name__ == "__main__":
    main()
