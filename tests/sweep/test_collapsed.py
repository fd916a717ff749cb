"""A detector that learnt nothing is named wherever its figures count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.cli.status_tables import as_dict, reasons
from sweep.report.report import header_of
from sweep.report.results import read_results
from sweep.report.table1 import Table1
from sweep.store import Store
from sweep.studies.overview import Observer
from tests.sweep.publishing import publishing
from tests.sweep.small_study import small_plan
from tests.sweep.summaries import summary
from trainers.evaluation.collapse import collapse
from trainers.evaluation.metrics_file import read_metrics

CHANCE = {"sensitivity": 0.04, "interval": [0.0, 0.1], "shuffles": 50}


def metrics_of(sensitivity: float, **changes: Any) -> str:
    """Of a detector whose test figures are good."""
    validation, test = summary(sensitivity, **changes), summary(0.6)
    return json.dumps(
        {"validation": {"iou50": validation, "iou25": summary(0.6)}, "test": {"iou50": test, "iou25": test}}
    )


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        (metrics_of(0.4, chance=CHANCE), None),
        (metrics_of(0.11, chance=CHANCE), None),
        (metrics_of(0.1, chance=CHANCE), "validation sensitivity 0.100, by chance up to 0.100"),
        (metrics_of(0.05), None),
        (metrics_of(0.0), "validation sensitivity 0.000, by chance up to 0.000"),
        (metrics_of(0.0, true_positives=0, false_positives=0, chance=CHANCE), "no detection on validation"),
        (metrics_of(float("nan"), chance=CHANCE), None),
    ],
)
def test_what_counts_as_collapsed(metrics: str, why: str | None) -> None:
    assert collapse(read_metrics(metrics, "here")) == why


def test_report_and_status_name_collapsed_detectors(tmp_path: Path) -> None:
    plan, store = small_plan(seeds=(0, 1)), Store(tmp_path)
    for trial in plan.trials:
        for goal in trial.goals:
            with publishing(store, goal) as folder:
                collapsed = trial.name == "cpggan 4 seed 1"
                (folder / "metrics.json").write_text(metrics_of(0.05 if collapsed else 0.4, chance=CHANCE))
    why = "validation sensitivity 0.050, by chance up to 0.100"
    results = read_results(plan, store)
    assert f"Collapsed detectors, included in every mean and deviation: cpggan 4 seed 1 ({why})." in header_of(results)
    lines = Table1(plan.study.name, results, None).section().lines
    assert [line.values["seeds_collapsed"] for line in lines] == [0, 1, 0, 0]
    overview = Observer(plan.study, store).look(plan)
    assert list(reasons(overview)) == [f"cpggan 4 seed 1 done: its detector collapsed: {why}"]
    assert [each["trial"] for each in as_dict(overview)["each"] if each["reason"]] == ["cpggan 4 seed 1"]
