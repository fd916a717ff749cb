"""Metrics for Prometheus: a launch has an address of its own, its workers report through Ray's metrics."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from sweep.setting_values import host_and_port
from sweep.store import Cost, Store
from sweep.studies.costs import LaunchCosts
from sweep.studies.progress import StageProgress, StageState
from trainers.detector.history import KEPT, SENSITIVITY
from trainers.exceptions import ConfigError

if TYPE_CHECKING:
    from ray.util.metrics import Counter as RayCounter
    from ray.util.metrics import Histogram as RayHistogram

    from sweep.plan import Plan

SHARED = "shared"
"""Label `variant` of a stage that trials of several variants need."""
STATES: tuple[str, ...] = get_args(get_args(StageState)[0])
SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
"""Bounds of the histograms of durations."""


class LaunchMetrics(Collector):
    """The state of a launch, as Prometheus reads it.

    Args:
        store: of the launch; what it holds when a stage is first planned is a cache hit.
        costs: of the stages that the launch has made.
        delivered: how many runs are complete in MLflow.
    """

    def __init__(self, store: Store, costs: LaunchCosts, delivered: Callable[[], int]) -> None:
        self._store, self._costs, self._delivered = store, costs, delivered
        self._hits: set[str] = set()
        self._state: _State | None = None

    def observe(self, plan: Plan, stages: Mapping[str, StageProgress]) -> None:
        """Show this state from now on.

        Args:
            plan: with the cells drawn so far.
            stages: stage key -> progress, of the stages that the launch considered.
        """
        if self._state is None or plan is not self._state.plan:
            before = self._state.plan.stages if self._state else {}
            new = {key: stage.name for key, stage in plan.stages.items() if key not in before}
            stored = {name: self._store.keys(name) for name in set(new.values())}
            self._hits = self._hits | {key for key, name in new.items() if key in stored[name]}
        self._state = _State(plan, stages, self._costs.look(plan, stages), self._hits)

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape; none before the first state."""
        if self._state is not None:
            yield from _of_stages(self._state)
            yield from _of_costs(self._state)
            yield from _of_results(self._state, self._delivered())


class _State(NamedTuple):
    """What one scrape shows."""

    plan: Plan
    stages: Mapping[str, StageProgress]
    costs: Mapping[str, Cost]
    hits: set[str]


def _of_stages(state: _State) -> Iterator[Metric]:
    hits = CounterMetricFamily("metsweep_stage_hits", "Stages whose artifact was in the store.", labels=["stage"])
    misses = CounterMetricFamily("metsweep_stage_misses", "Stages that this launch makes.", labels=["stage"])
    states = GaugeMetricFamily("metsweep_stages", "Stages that this launch makes.", labels=["stage", "state"])
    rates = GaugeMetricFamily("metsweep_images_per_second", "Images used in training.", labels=["stage"])
    steps = CounterMetricFamily("metsweep_steps", "Steps, images or slices that stages have done.", labels=["stage"])
    for kind, keys in state.plan.keys.items():
        missed = [key for key in keys if key not in state.hits]
        hits.add_metric([kind], len(keys) - len(missed))
        misses.add_metric([kind], len(missed))
        counts = Counter(state.stages[key].state if key in state.stages else "waiting" for key in missed)
        for name in STATES:
            states.add_metric([kind, name], counts[name])
        steps.add_metric([kind], sum(state.stages[key].done for key in missed if key in state.stages))
        if any(state.plan.stages[key].images_per_step for key in keys):
            rates.add_metric([kind], sum(_images_per_second(state, key) for key in missed))
    yield from (hits, misses, states, rates, steps)


def _images_per_second(state: _State, key: str) -> float:
    progress = state.stages.get(key)
    if progress is None or progress.state != "running" or progress.first_report is None:
        return 0.0
    began, done_then = progress.first_report
    steps_per_second = (progress.done - done_then) / max(1.0, time.time() - began)
    return state.plan.stages[key].images_per_step * steps_per_second


def _of_costs(state: _State) -> Iterator[Metric]:
    labels = ["stage", "variant"]
    gpu = CounterMetricFamily("metsweep_gpu_seconds", "GPUs x seconds of the stages made.", labels=labels)
    cpu = CounterMetricFamily("metsweep_cpu_seconds", "CPU cores x seconds of the stages made.", labels=labels)
    spent: dict[tuple[str, str], list[Cost]] = {}
    for key, cost in state.costs.items():
        variants = {trial.variant for trial in state.plan.users[key]}
        variant = variants.pop() if len(variants) == 1 else SHARED
        spent.setdefault((state.plan.stages[key].name, variant), []).append(cost)
    for labelled, costs in spent.items():
        gpu.add_metric(labelled, sum(cost.gpu_seconds for cost in costs))
        cpu.add_metric(labelled, sum(cost.cpu_seconds for cost in costs))
    yield from (gpu, cpu)


def _of_results(state: _State, delivered: int) -> Iterator[Metric]:
    made = state.hits | {key for key, stage in state.stages.items() if stage.state == "done"}
    runs = {*state.plan.sources, *(trial.evaluate.key for trial in state.plan.trials)} & made
    help_text = "Runs whose artifacts are in the store and that are not complete in MLflow."
    yield GaugeMetricFamily("metsweep_runs_undelivered", help_text, max(0, len(runs) - delivered))
    names = (SENSITIVITY, KEPT + SENSITIVITY)
    figures = [stage.metrics[name] for stage in state.stages.values() for name in names if name in stage.metrics]
    if figures:
        help_text = "Highest sensitivity on the validation split of the detectors that this launch trains."
        yield GaugeMetricFamily("metsweep_best_validation_sensitivity_ratio", help_text, max(figures))


@contextmanager
def serving(metrics: LaunchMetrics, address: str | None) -> Iterator[None]:
    """Serve `metrics` at http://ADDRESS/metrics within the block; nothing without an address.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    if address is None:
        yield
        return
    from prometheus_client import start_http_server

    host, port = host_and_port(address)
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            f"METSWEEP_METRICS_ADDRESS is {address!r}, where this launch cannot serve its metrics: {error}. Allowed: a "
            "free host:port of this machine, e.g. 127.0.0.1:9464, or unset."
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def timed(action: str, stage: str) -> Iterator[None]:
    """Report to Ray's metrics how long the block takes: `metsweep_<action>_seconds` by kind of stage."""
    began = time.monotonic()
    yield
    _histogram(action).observe(time.monotonic() - began, tags={"stage": stage})


def count_takeover(stage: str) -> None:
    """Report to Ray's metrics that a lease was taken over from a process that died."""
    _takeovers().inc(tags={"stage": stage})


@functools.cache
def _histogram(action: str) -> RayHistogram:
    from ray.util.metrics import Histogram

    description = f"Seconds that each {action} of a stage took."
    return Histogram(f"metsweep_{action}_seconds", description, boundaries=SECONDS, tag_keys=("stage",))


@functools.cache
def _takeovers() -> RayCounter:
    from ray.util.metrics import Counter

    return Counter("metsweep_lease_takeovers_total", "Leases taken over from a process that died.", tag_keys=("stage",))
