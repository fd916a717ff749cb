"""A launch's metrics, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import socket
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sweep.engine.metrics import LaunchMetrics, serving
from sweep.plan.plan import plan_with
from sweep.stages import Stage
from sweep.store import Cost, Machine, Store
from sweep.studies.costs import LaunchCosts
from sweep.studies.progress import StageProgress
from tests.sweep.fixed_time import make_timed_maker, timed_study
from trainers.exceptions import ConfigError

Samples = dict[tuple[str, ...], float]


def test_a_scrape_shows_hits_states_costs_and_figures_of_a_launch(tmp_path: Path) -> None:
    store, began = Store(tmp_path / "store"), time.time()
    study = timed_study(tmp_path, resources={"gan": {"gpus_per_worker": 1}})
    plan = plan_with(make_timed_maker(study), study, ())
    prepared = next(stage for stage in plan.stages.values() if stage.name == "prepare")
    gan, detector = next(iter(plan.gans.values())), plan.trials[-1].evaluate.detector
    variant = next(trial.variant for trial in plan.trials if trial.gan is gan)
    _publish(store, prepared, began - 1000)
    metrics = LaunchMetrics(store, LaunchCosts(store, began), lambda: 0)
    metrics.observe(plan, {})
    _publish(store, gan, began)
    running = StageProgress(
        "detector",
        "running",
        done=30,
        total=90,
        metrics={"validation/sensitivity": 0.4, "kept_validation/sensitivity": 0.7},
        first_report=(time.time() - 10, 10),
    )
    metrics.observe(plan, {gan.key: StageProgress("gan", "done"), detector.key: running})
    samples = _scrape(metrics)
    assert samples["metsweep_stage_hits_total", "prepare"] == 1
    assert samples["metsweep_stage_misses_total", "prepare"] == 0
    assert samples["metsweep_stages", "gan", "done"] == 1
    assert samples["metsweep_stages", "detector", "running"] == 1
    detectors = sum(stage.name == "detector" for stage in plan.stages.values())
    assert samples["metsweep_stages", "detector", "waiting"] == detectors - 1
    assert samples["metsweep_gpu_seconds_total", "gan", variant] == pytest.approx(60)
    assert ("metsweep_gpu_seconds_total", "prepare", "shared") not in samples  # made by an earlier launch
    assert samples["metsweep_images_per_second", "detector"] == pytest.approx(2 * detector.config.batch, rel=0.1)
    assert samples["metsweep_steps_total", "detector"] == 30
    assert samples["metsweep_runs_undelivered",] == 1
    assert samples["metsweep_best_validation_sensitivity_ratio",] == 0.7


def test_cells_that_a_search_draws_later_are_hits_if_the_store_holds_them(tmp_path: Path) -> None:
    store, study = Store(tmp_path / "store"), timed_study(tmp_path, seeds=[0, 1])
    plan = plan_with(make_timed_maker(study), study, ())
    first = plan_with(make_timed_maker(timed_study(tmp_path, seeds=[0])), timed_study(tmp_path, seeds=[0]), ())
    metrics = LaunchMetrics(store, LaunchCosts(store, 0.0), lambda: 0)
    metrics.observe(first, {})
    added = next(stage for key, stage in plan.stages.items() if key not in first.stages and stage.name == "detector")
    planned_before = first.trials[0].evaluate.detector
    _publish(store, added, 0.0)
    _publish(store, planned_before, 0.0)
    metrics.observe(plan, {})
    assert _scrape(metrics)["metsweep_stage_hits_total", "detector"] == 1


def test_an_address_that_cannot_be_listened_on_is_refused(tmp_path: Path) -> None:
    metrics = LaunchMetrics(Store(tmp_path), LaunchCosts(Store(tmp_path), 0.0), lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"METSWEEP_METRICS_ADDRESS.*host:port"), serving(metrics, address):
            pass


def _publish(store: Store, stage: Stage, started: float) -> None:
    cost = Cost(requested=started, started=started, finished=started + 60, peak_memory_bytes=0, host="h", gpus=1)
    with store.writing(stage.name, stage.key) as folder:
        (folder / "file").write_text("x")
        store.publish(folder, stage.name, stage.key, stage.identity, cost, Machine.this(0))


def _scrape(metrics: LaunchMetrics) -> Samples:
    """Name and labels' values -> value."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with serving(metrics, f"127.0.0.1:{port}"):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
