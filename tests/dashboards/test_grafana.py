"""dashboards/grafana: every panel asks for metrics that a running study or Ray exports, in valid PromQL."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import ray
import yaml
from prometheus_client.core import Metric

from sweep.engine.metrics import LaunchMetrics
from sweep.plan.plan import plan_with
from sweep.store import Store
from sweep.studies.costs import LaunchCosts
from sweep.studies.progress import StageProgress
from tests.infra.tools import INFRA, run_tool
from tests.source_files import ROOT
from tests.sweep.fixed_time import make_timed_maker, timed_study

DASHBOARD = json.loads((ROOT / "dashboards" / "grafana" / "study.json").read_text())
EXPRESSIONS = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
VARIABLES = {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:ray_)?metsweep_\w+|\bray_\w+", text))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names that a launch serves, and those of its workers in Ray's metrics."""
    folder = tmp_path_factory.mktemp("metrics")
    study, store = timed_study(folder, resources={"gan": {"gpus_per_worker": 1}}), Store(folder / "store")
    plan = plan_with(make_timed_maker(study), study, ())
    metrics = LaunchMetrics(store, LaunchCosts(store, 0.0), lambda: 0)
    detector = plan.trials[0].evaluate.detector.key
    metrics.observe(plan, {detector: StageProgress("detector", "running", metrics={"validation/sensitivity": 0.5})})

    def name(metric: Metric) -> str:
        return f"{metric.name}_total" if metric.type == "counter" else metric.name

    actions = {
        action
        for file in (ROOT / "sweep").rglob("*.py")
        for action in re.findall(r'\btimed\("(\w+)"', file.read_text())
    }
    buckets = {f"ray_metsweep_{action}_seconds_bucket" for action in actions}
    return {*map(name, metrics.collect()), *buckets, "ray_metsweep_lease_takeovers_total"}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_panels_read_metrics_that_exist(expression: str, exported: set[str]) -> None:
    agent = (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
    assert names_in(expression)
    for metric in names_in(expression) - exported:
        assert metric.startswith("ray_"), metric
        assert f'"{metric.removeprefix("ray_")}"' in agent, metric
    assert set(re.findall(r"\$(\w+)", expression)) <= VARIABLES


def test_prometheus_accepts_the_expressions(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(EXPRESSIONS.values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run_tool("promtool", "check", "rules", file)


def test_alerts_and_variables_read_metrics_that_exist(exported: set[str]) -> None:
    rules = [
        rule
        for group in yaml.safe_load((INFRA / "monitoring/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    asked = {name for rule in rules for name in names_in(rule["expr"]) if name.startswith("metsweep_")}
    assert asked
    assert asked <= exported
    queries = " ".join(str(variable["query"]) for variable in DASHBOARD["templating"]["list"])
    assert {name for name in names_in(queries) if name.startswith("metsweep_")} <= exported


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
