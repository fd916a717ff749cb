"""Costs of arms, and where every number comes from."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from search_spaces.search import Prices
from sweep.plan import Plan
from sweep.report.results import read_results
from sweep.report.runs import runs_by_stage_key
from sweep.report.section import Section
from sweep.report.sections.cost import cost_section
from sweep.report.sections.trace import trace_section
from sweep.store import Store
from tests.sweep.evaluated import spend
from tests.sweep.small_study import small_plan

HOURS = {"prepare": 0.4, "gan": 6.0, "synthesize": 0.2, "detector": 1.0, "evaluate": 0.5}


@pytest.fixture(scope="module")
def two_seeds() -> Plan:
    return small_plan(seeds=(0, 1))


def paid(two_seeds: Plan, folder: Path, cpus: float = 2) -> Store:
    store = Store(folder)
    for key, stage in two_seeds.stages.items():
        assert key == stage.key
        spend(store, stage, HOURS[stage.name], cpus=cpus)
    return store


def costs(two_seeds: Plan, store: Store, prices: Prices | None = None) -> Section:
    found = cost_section(read_results(two_seeds, store), None, prices or Prices())
    assert found is not None
    return found


def test_shared_stages_are_split_equally_among_arms(two_seeds: Plan, tmp_path: Path) -> None:
    """`prepare` serves four arms; CPGGAN and its first shard both counts; every arm has two detectors."""
    table = costs(two_seeds, paid(two_seeds, tmp_path))
    hours = {line.values["arm"]: line.values["hours"] for line in table.lines}
    assert hours["none"] == pytest.approx(2 * 1.5 + 0.1)
    assert hours["cpggan 4"] == pytest.approx(2 * 1.5 + 0.1 + 6 / 2 + 0.2 / 2)
    assert hours["cpggan 8"] == pytest.approx(2 * 1.5 + 0.1 + 6 / 2 + 0.2 / 2 + 0.2)
    assert hours["image2image 4"] == pytest.approx(2 * 1.5 + 0.1 + 6 + 0.2)
    total = sum(HOURS[stage.name] for stage in two_seeds.stages.values())
    assert hours["all"] == pytest.approx(total)
    assert sum(float(hours[row] or 0) for row in hours if row != "all") == pytest.approx(total)
    line = table.lines[0].values
    assert (line["cpu_hours"], line["gpu_hours"]) == (pytest.approx(6.2), pytest.approx(3.1))
    assert "gan cpggan (6.000 hours, 2 arms)" in table.note


def test_money_needs_prices(two_seeds: Plan, tmp_path: Path) -> None:
    store = paid(two_seeds, tmp_path)
    priced = costs(two_seeds, store, Prices(gpu_hour=2.0, cpu_hour=0.1, currency="EUR"))
    assert priced.lines[0].values["money"] == pytest.approx(3.1 * 2.0 + 6.2 * 0.1)
    assert "EUR" in priced.columns
    assert costs(two_seeds, store).rows[0][5] == "-"


def test_old_artifacts_tell_hours_only(two_seeds: Plan, tmp_path: Path) -> None:
    old = costs(two_seeds, paid(two_seeds, tmp_path, cpus=0), Prices(cpu_hour=1.0))
    assert old.rows[0][1:4] == ["-", "-", "3.100"]
    assert old.rows[0][5] == "-"
    assert "did not record CPUs and GPUs" in old.note


def test_what_has_not_run_is_counted_as_missing(two_seeds: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert cost_section(read_results(two_seeds, store), None, Prices()) is None
    spend(store, two_seeds.trials[0].evaluate.detector, 1.0)
    rows = {row[0]: row for row in costs(two_seeds, store).rows}
    assert rows["none"][3] == "1.000"
    assert rows["none"][-1] == "4"


def test_trace_names_every_stage_of_every_trial(two_seeds: Plan, tmp_path: Path) -> None:
    runs = {two_seeds.trials[0].evaluate.key: "run-of-the-first"}
    table = trace_section(read_results(two_seeds, paid(two_seeds, tmp_path)), runs)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert len(rows) == len(two_seeds.trials)
    for row, trial in zip(rows, two_seeds.trials, strict=True):
        assert row["evaluate_key"] == trial.evaluate.key
        assert row["detector_key"] == trial.evaluate.detector.key
        assert row["gan_key"] == (trial.gan.key if trial.gan else "")
        assert Path(row["artifact"]).is_dir()
    assert [row["mlflow_run_id"] for row in rows] == ["run-of-the-first", *[""] * 7]
    assert "lists no MLflow runs" in trace_section(read_results(two_seeds, Store(tmp_path)), None).note


def test_runs_are_found_by_their_stage_keys(recorded_uri: str) -> None:
    recorded = small_plan()
    keys = {trial.evaluate.key for trial in recorded.trials} | set(recorded.gans)
    for study in (recorded.study.name, "another that shares its stages"):
        found = runs_by_stage_key(recorded_uri, study, keys | {"of no run"})
        assert found is not None
        assert set(found) == keys
    assert set(runs_by_stage_key(recorded_uri, recorded.study.name, set(recorded.gans)) or {}) == set(recorded.gans)


def test_asking_for_runs_makes_no_database(tmp_path: Path) -> None:
    assert runs_by_stage_key(f"sqlite:///{tmp_path / 'mlflow.db'}", "small", {"a key"}) is None
    assert not list(tmp_path.iterdir())
