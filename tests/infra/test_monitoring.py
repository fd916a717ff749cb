"""infra/monitoring: Prometheus accepts the files, and each alert fires when it must and only then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import ray
import yaml

from tests.infra.tools import INFRA, run_tool
from tests.source_files import ROOT

MONITORING = INFRA / "monitoring"
CASES = ROOT / "tests/infra/alerts.yaml"
ALERTS = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]


def test_prometheus_accepts_the_files() -> None:
    assert "SUCCESS" in run_tool("promtool", "check", "config", MONITORING / "prometheus.yml")


def test_alerts_fire_when_they_must() -> None:
    run_tool("promtool", "test", "rules", CASES)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    cases = [case for group in yaml.safe_load(CASES.read_text())["tests"] for case in group["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_read_metrics_that_ray_has(alert: dict[str, str]) -> None:
    agent = (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
    for metric in re.findall(r"\bray_(\w+)", alert["expr"]):
        assert f'"{metric}"' in agent


def test_the_list_of_nodes_is_asked_for_with_the_token() -> None:
    scrape, _ = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = scrape["http_sd_configs"]
    assert discovery["authorization"] == {"type": "Bearer", "credentials_file": "ray-token"}
    assert "credentials:" not in (MONITORING / "prometheus.yml").read_text()
