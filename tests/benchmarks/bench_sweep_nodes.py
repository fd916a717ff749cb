"""What many nodes and many trials cost: the launch of one study on eight nodes, beside the same on one node.

The nodes are Ray nodes of this machine, each a raylet with room for one trial; the one node has room for as many trials
as all others together. Each trial is a detector that sleeps as a plain Ray task, and its evaluation. A launch has a
process of its own, which reads its memory every second. Memory is flat if the last third of the run, by trials that
have ended, needs at most a tenth more than the middle third; the first third imports and connects.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_nodes --trials 1000 --nodes 1 8 --seconds 2
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.benchmarks.alone import alone
from tests.benchmarks.machine import machine

OVERHEAD_TARGET, MEMORY_TARGET = 1.2, 1.1
SMALL = {"width": 0.1}
"""A detector of which disks hold hundreds."""
CPUS = 2
"""Of a trial, as many as the slice set takes; they are Ray's, and nobody computes on them."""
THIRDS = ("first", "middle", "last")


class Sample(NamedTuple):
    """A launch at one moment."""

    ended: int
    """Trials evaluated so far."""
    seconds: float
    """Since the launch began."""
    driver_cpu_seconds: float
    all_cpu_seconds: float
    """Of the driver, Ray's daemons and all workers, each as far as it was seen."""
    megabytes: float
    """Resident, of the driver."""


class Pace(NamedTuple):
    """What a trial took between two samples, seconds."""

    wall: float
    driver_cpu: float
    all_cpu: float

    @staticmethod
    def between(first: Sample, last: Sample) -> Pace:
        trials = last.ended - first.ended
        took = (after - before for before, after in zip(first[1:4], last[1:4], strict=True))
        return Pace(*(seconds / trials for seconds in took))


def launched(folder: Path, trials: int, nodes: int, slots: int, seconds: float) -> list[Sample]:
    """Launch the study on so many nodes that run `slots` trials at once, in this process, which is a new one."""
    from sweep.console import TextConsole
    from sweep.engine.launch import launch
    from sweep.report.report import write_report
    from tests.sweep.fixed_time import timed_study
    from tests.sweep.task_stages import make_task_maker, set_seconds, settings_in

    set_seconds({"detector": seconds})
    worker = {"cpus_per_worker": CPUS}
    study = timed_study(
        folder,
        arms=[{"variant": "none"}],
        seeds=list(range(trials)),
        detector=SMALL,
        resources={"gan": worker, "detector": worker},
    )
    with (
        cluster_of(nodes, CPUS * slots // nodes) as address,
        (folder / "output.txt").open("w") as output,
        sampled(folder / "store" / "evaluate") as samples,
    ):
        settings = settings_in(folder).model_copy(update={"ray_address": address})
        done = launch(study, settings, TextConsole(file=output), write_report, maker=make_task_maker)
    assert not done.failed, done
    assert samples[-1].ended == trials
    return samples


@contextmanager
def cluster_of(nodes: int, cpus: int) -> Iterator[str]:
    """Address of a Ray of so many nodes of this machine with so many CPUs each."""
    from ray.cluster_utils import Cluster

    from tests.services.patient_ray import be_patient

    be_patient()
    node: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": 100_000_000, "include_dashboard": False}
    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield str(cluster.address)
    finally:
        cluster.shutdown()


@contextmanager
def sampled(evaluated: Path) -> Iterator[list[Sample]]:
    """Samples of this process, one a second while the block runs, and one after it."""
    samples: list[Sample] = []
    cpu_seconds: dict[psutil.Process, float] = {}
    over, driver, began = threading.Event(), psutil.Process(), time.perf_counter()

    def look() -> None:
        ended = len(list(evaluated.glob("*/manifest.json")))
        for process in [driver, *driver.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                cpu_seconds[process] = times.user + times.system
        seconds = time.perf_counter() - began
        resident = driver.memory_info().rss / 1e6
        samples.append(Sample(ended, seconds, cpu_seconds[driver], sum(cpu_seconds.values()), resident))

    def keep_looking() -> None:
        while not over.wait(1.0):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
        look()


def thirds_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """By trials that have ended, from the first to the last one that does."""
    last = samples[-1].ended
    running = [sample for sample in samples if sample.ended]
    over = next(place for place, sample in enumerate(running) if sample.ended == last)
    bounds = [round(third * last / 3) for third in range(4)]
    return [
        [sample for sample in running[: over + 1] if low <= sample.ended <= high]
        for low, high in itertools.pairwise(bounds)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    print(
        "| nodes | trials | overhead per trial and slot, s | CPU per trial, s | of the driver | driver's memory, MB |"
    )
    print("|---|---|---|---|---|---|")
    overhead: dict[int, float] = {}
    cpu: dict[int, float] = {}
    below: list[str] = []
    for nodes in asked.nodes:
        with tempfile.TemporaryDirectory() as folder:
            samples = alone(launched, Path(folder), asked.trials, nodes, asked.slots, asked.seconds)
        thirds = thirds_of(samples)
        whole = [sample for third in thirds for sample in third]
        memory = []
        for name, part in zip((*THIRDS, "all"), (*thirds, whole), strict=True):
            pace = Pace.between(part[0], part[-1])
            memory.append(statistics.median(sample.megabytes for sample in part))
            overhead[nodes], cpu[nodes] = pace.wall * asked.slots - asked.seconds, pace.all_cpu
            figures = f"{overhead[nodes]:.2f} | {pace.all_cpu:.2f} | {pace.driver_cpu:.3f} | {memory[-1]:.0f}"
            print(f"| {nodes} | {name} | {figures} |", flush=True)
        below.append(
            f"{nodes} nodes: {samples[-1].seconds:.0f} s in all, load {os.getloadavg()[0]:.1f}; memory of the last "
            f"third {memory[2] / memory[1]:.3f} times that of the middle third (target <= {MEMORY_TARGET})."
        )
    print("", *below, sep="\n")
    few, many = min(asked.nodes), max(asked.nodes)
    print(
        f"{asked.trials} trials of {asked.seconds:g} s, {asked.slots} at once, on {many} nodes and on {few}: overhead "
        f"{overhead[many] / overhead[few]:.2f} times (target <= {OVERHEAD_TARGET}), CPU {cpu[many] / cpu[few]:.2f} "
        f"times. {machine()}."
    )


if __name__ == "__main__":
    main()
