"""Table 1 from hand-written evaluations."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sweep.plan import Plan, Trial
from sweep.report.report import build_report
from sweep.store import Cost, Store
from tests.sweep.small_study import small_plan


def put(store: Store, trial: Trial, test: float, validation: float = 0.5, fps: float = 2.0) -> None:
    """Publish an evaluation with these sensitivities (at IoU 0.25: 0.1 more)."""

    def figures(sensitivity: float) -> dict[str, float]:
        return {"sensitivity": sensitivity, "fps_per_slice": fps, "lesions": 3094, "slices": 947, "patients": 2}

    metrics = {
        split: {"iou50": figures(value), "iou25": figures(value + 0.1)}
        for split, value in (("test", test), ("validation", validation))
    }
    stage = trial.evaluate
    with store.writing(stage.name, stage.key) as folder:
        (folder / "metrics.json").write_text(json.dumps(metrics))
        cost = Cost(requested=1.0, started=1.0, finished=2.0, peak_memory_bytes=1, host="here")
        store.publish(folder, stage.name, stage.key, stage.identity, cost)


@pytest.fixture
def two_seeds() -> Plan:
    return small_plan(seeds=(0, 1))


@pytest.fixture
def store(two_seeds: Plan, tmp_path: Path) -> Store:
    """Both seeds of `none` and `cpggan 4`, one of `cpggan 8`, none of `image2image 4`."""
    store = Store(tmp_path / "store")
    for trial, sensitivity in zip(two_seeds.trials, (0.6, 0.7, 0.7, 0.9, 0.8), strict=False):
        put(store, trial, sensitivity, fps=4.0 + trial.seed)
    return store


def test_cells_are_means_and_deviations_over_seeds(two_seeds: Plan, store: Store) -> None:
    report = build_report(two_seeds, store)
    cells = {row.arm: report.cells(row) for row in report.rows}
    keys = [trial.evaluate.key[:8] for trial in two_seeds.trials]
    none = ["none", "0.650 ± 0.071", "4.50 ± 0.71", "-", "0.750 ± 0.071", "4.50 ± 0.71", "-", "2/2"]
    assert cells["none"] == [*none, " ".join(keys[:2])]
    assert cells["cpggan 4"][1:4] == ["0.800 ± 0.141", "4.50 ± 0.71", "+0.150"]
    assert cells["cpggan 8"] == ["cpggan 8", *["-"] * 6, "1/2", " ".join(keys[4:6])]
    assert cells["image2image 4"][-2] == "0/2"
    assert list(cells) == ["none", "cpggan 4", "cpggan 8", "image2image 4"]


def test_one_seed_has_no_deviation_and_says_so(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    put(store, plan.trials[0], 0.67)
    report = build_report(plan, store)
    assert report.cells(report.rows[0])[1] == "0.670"
    assert any("One seed an arm" in line for line in report.header)


def test_gain_needs_a_complete_real_only_arm(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    put(store, plan.trials[1], 0.7)
    report = build_report(plan, store)
    assert report.cells(report.rows[1])[1:4] == ["0.700", "2.00", "-"]


def test_header_says_what_the_figures_are(two_seeds: Plan, store: Store) -> None:
    header = " ".join(build_report(two_seeds, store).header)
    for part in ("947 slices", "3,094 lesions", "2 patients", "50.00% confidence", "greedily", "laptop", "32 pixels"):
        assert part in header
    paper = small_plan(seeds=(0, 1), fidelity="paper")
    assert "Compare arms with each other" not in " ".join(build_report(paper, store).header)


def test_empty_store_gives_a_table_of_dashes(two_seeds: Plan, tmp_path: Path) -> None:
    report = build_report(two_seeds, Store(tmp_path))
    assert report.header[0] == "No trial is complete yet."
    assert all(report.cells(row)[1:7] == ["-"] * 6 for row in report.rows)


def test_files_hold_every_arm(two_seeds: Plan, store: Store, tmp_path: Path) -> None:
    markdown, table = build_report(two_seeds, store).write(tmp_path / "new" / "report")
    assert markdown.read_text().count("\n| ") == 2 + 4
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["count"], row["seeds_complete"]) for row in rows] == [
        ("none", "0", "2"), ("cpggan", "4", "2"), ("cpggan", "8", "1"), ("image2image", "4", "0"),
    ]  # fmt: skip
    assert float(rows[1]["test_sensitivity_iou50"]) == pytest.approx(0.8)
    assert float(rows[1]["test_sensitivity_iou50_gain_over_none"]) == pytest.approx(0.15)
    assert float(rows[1]["validation_fps_per_slice_iou50_sd"]) == pytest.approx(0.5**0.5)
    assert rows[2]["test_sensitivity_iou50"] == ""
    assert rows[1]["stage_keys"].split() == [trial.evaluate.key for trial in two_seeds.trials[2:4]]


def test_console_table_of_one_seed_fits_a_narrow_console(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    for trial in plan.trials:
        put(store, trial, 0.67, fps=14.11)
    report = build_report(plan, store)
    console = Console(width=80, file=io.StringIO())
    with console.capture() as shown:
        console.print(report.table())
    lines = [" ".join(line.split()) for line in shown.get().splitlines()]
    for row in report.rows:
        assert " ".join(report.cells(row)) in lines
