"""Table 1 from hand-written evaluations."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweep.console import TextConsole
from sweep.plan import Plan
from sweep.report.latex import latex_of
from sweep.report.report import FORMATS, Report, build_report
from sweep.report.results import read_results
from sweep.report.written import WrittenReports
from sweep.store import Store
from tests.sweep.evaluated import put
from tests.sweep.small_study import small_plan


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


def cells_of(report: Report) -> dict[str, Sequence[str]]:
    return {line.cells[0]: line.cells for line in report.table1.section().lines}


def test_cells_are_means_and_deviations_over_seeds(two_seeds: Plan, store: Store) -> None:
    report = build_report(two_seeds, store)
    cells = cells_of(report)
    assert cells["none"] == [
        "none", "0.650 ± 0.071", "4.50 ± 0.71", "-", "-", "0.750 ± 0.071", "4.50 ± 0.71", "-", "-", "2/2",
    ]  # fmt: skip
    assert cells["cpggan 4"][1:4] == ["0.800 ± 0.141", "4.50 ± 0.71", "+0.150"]
    assert cells["cpggan 8"] == ["cpggan 8", *["-"] * 8, "1/2"]
    assert cells["image2image 4"][-1] == "0/2"
    assert report.table1.section().lines[0].keys == tuple(trial.evaluate.key for trial in two_seeds.trials[:2])
    assert list(cells) == ["none", "cpggan 4", "cpggan 8", "image2image 4"]


def test_one_seed_has_no_deviation_and_says_so(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    put(store, plan.trials[0], 0.67)
    report = build_report(plan, store)
    assert cells_of(report)["none"][1] == "0.670"
    assert any("Only one detector seed per arm" in line for line in report.header)


def test_gain_needs_a_complete_real_only_arm(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    put(store, plan.trials[1], 0.7)
    report = build_report(plan, store)
    assert cells_of(report)["cpggan 4"][1:4] == ["0.700", "2.00", "-"]


def test_header_says_what_the_figures_are(two_seeds: Plan, store: Store) -> None:
    header = " ".join(build_report(two_seeds, store).header)
    for part in (
        "2 patients, 947 slices, 3,094 lesion boxes.", "confidence of at least 0.5 count", "greedily", "laptop",
        "32 x 32 pixel slices", "Each GAN was trained once",
    ):  # fmt: skip
        assert part in header
    paper = small_plan(seeds=(0, 1), fidelity="paper")
    assert "Compare arms with each other" not in " ".join(build_report(paper, store).header)


def test_empty_store_gives_a_table_of_dashes(two_seeds: Plan, tmp_path: Path) -> None:
    report = build_report(two_seeds, Store(tmp_path))
    assert report.header[0] == "No trial is complete yet."
    assert all(cells[1:9] == ["-"] * 8 for cells in cells_of(report).values())


def test_files_hold_every_arm(two_seeds: Plan, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    written = build_report(two_seeds, store).write(out)
    assert "Newest result: " in (out / "report.md").read_text().splitlines()[2]
    markdown = (out / "report.md").read_text().partition("\n## Table 1")[2].partition("\n## ")[0]
    assert markdown.count("\n| ") == 2 + 4
    assert {str(path.relative_to(out)) for path in written} == {
        "report.md", "table1.csv", "tables/cost.csv", "tables/trace.csv", "table1.tex", "report.html",
    }  # fmt: skip
    with (out / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["count"], row["seeds_complete"]) for row in rows] == [
        ("none", "0", "2"), ("cpggan", "4", "2"), ("cpggan", "8", "1"), ("image2image", "4", "0"),
    ]  # fmt: skip
    assert float(rows[1]["test_sensitivity_iou50"]) == pytest.approx(0.8)
    assert float(rows[1]["test_sensitivity_iou50_gain_over_none"]) == pytest.approx(0.15)
    assert float(rows[1]["validation_fps_per_slice_iou50_sd"]) == pytest.approx(0.5**0.5)
    assert rows[2]["test_sensitivity_iou50"] == ""
    assert rows[1]["stage_keys"].split() == [trial.evaluate.key for trial in two_seeds.trials[2:4]]


def test_files_are_written_again_where_their_content_would_differ(
    two_seeds: Plan, store: Store, tmp_path: Path
) -> None:
    before, out = WrittenReports(tmp_path / "kept"), tmp_path / "report"
    report = build_report(two_seeds, store)
    assert before.files(report, out, FORMATS) is None
    written = report.write(out)
    before.add(report, out, FORMATS, written)
    again = build_report(two_seeds, store)
    assert before.files(again, out, FORMATS) == written
    assert again.__dict__.keys().isdisjoint({"sections", "trace", "figures", "runs"}), "they take long"
    for differs in (
        before.files(again, out, ["html"]),
        before.files(again, tmp_path / "other", FORMATS),
        before.files(build_report(two_seeds, store, sought=0.2), out, FORMATS),
        before.files(build_report(two_seeds, store, study="mine.yaml"), out, FORMATS),
    ):
        assert differs is None
    (out / "table1.csv").write_text("the user's own")
    assert before.files(again, out, FORMATS) is None
    report.write(out)
    assert before.files(again, out, FORMATS) == written
    put(store, two_seeds.trials[5], 0.9)
    assert before.files(build_report(two_seeds, store), out, FORMATS) is None


def test_a_report_whose_runs_are_yet_to_appear_in_mlflow_is_written_again(
    two_seeds: Plan, store: Store, tmp_path: Path
) -> None:
    before = WrittenReports(tmp_path / "kept")
    evaluated = build_report(two_seeds, store).evaluated
    answers = (None, {}, dict.fromkeys([*evaluated][1:], "run"), dict.fromkeys(evaluated, "run"))
    kept = []
    for runs in answers:
        report = build_report(two_seeds, store, find_runs=lambda _, runs=runs: runs)
        before.add(report, tmp_path, ["tex"], report.write(tmp_path, ["tex"]))
        kept.append(before.files(report, tmp_path, ["tex"]))
    assert kept == [None, None, None, [tmp_path / "table1.tex"]]


def test_console_table_of_one_seed_fits_a_narrow_console(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    for trial in plan.trials:
        put(store, trial, 0.67, fps=14.11)
    report = build_report(plan, store)
    console = TextConsole(width=80, file=io.StringIO())
    with console.capture() as shown:
        console.print(report.table1.table())
    text = shown.get()
    assert max(map(len, text.splitlines())) <= 80
    for row in report.rows:
        for cell in (row.arm, "0.670", "14.11", row.keys[0][:8]):
            assert cell in text


def test_only_what_is_asked_for_is_written(two_seeds: Plan, store: Store, tmp_path: Path) -> None:
    report = build_report(two_seeds, store)
    assert [path.name for path in report.write(tmp_path / "tex", ["tex", "console"])] == ["table1.tex"]
    assert report.write(tmp_path / "none", ["console"]) == []


def test_what_is_not_complete_is_told(two_seeds: Plan, store: Store) -> None:
    header = build_report(two_seeds, store).header[-1]
    assert header == "Incomplete, so without figures (seeds done): cpggan 8 1/2, image2image 4 0/2."


@pytest.mark.parametrize(
    ("done", "compared"),
    [
        ({"none": (0, 1), "cpggan 4": (0, 1), "cpggan 8": (0,)}, {"none": (0, 1), "cpggan 4": (0, 1)}),
        ({"none": (0, 1), "cpggan 4": (0,), "cpggan 8": (0,)}, dict.fromkeys(("none", "cpggan 4", "cpggan 8"), (0,))),
        ({"none": (0,), "cpggan 4": (0, 1)}, dict.fromkeys(("none", "cpggan 4"), (0,))),
        ({"none": (1,), "cpggan 4": (0,), "cpggan 8": (0,)}, {"none": (1,)}),
        ({"cpggan 4": (1,), "cpggan 8": (0,)}, {"cpggan 8": (0,)}),
    ],
    ids=["one arm lacks a seed", "a seed was added", "never more seeds than none has", "none decides", "no none"],
)  # fmt: skip
def test_figures_are_over_the_seeds_that_most_trials_share(
    two_seeds: Plan, tmp_path: Path, done: dict[str, tuple[int, ...]], compared: dict[str, tuple[int, ...]]
) -> None:
    store = Store(tmp_path)
    for trial in two_seeds.trials:
        if trial.seed in done.get(trial.arm, ()):
            put(store, trial, 0.6 + 0.1 * trial.seed)
    results = read_results(two_seeds, store)
    assert {row.arm: row.compared for row in results.measured} == compared
    (seeds,) = {*compared.values()}
    assert results.mark == ("" if len(seeds) == 2 else "1 of 2 seeds")
    assert results.measured[0].mean("test", "iou50", "sensitivity") == pytest.approx(
        0.6 + 0.1 * sum(seeds) / len(seeds)
    )


def test_without_a_real_only_arm_what_is_lost_is_told(two_seeds: Plan, store: Store) -> None:
    plan = Plan(two_seeds.study, two_seeds.trials[2:4])
    report = build_report(plan, store)
    assert "no arm none, so the report lacks gains" in report.header[-1]
    assert cells_of(report)["cpggan 4"][3] == "-"


def test_latex_of_every_arm_compiles_to_the_last_row(two_seeds: Plan, store: Store, tmp_path: Path) -> None:
    report = build_report(two_seeds, store)
    source = latex_of(report.table1, report.source, [*report.header, r"100% & _odd_ {names} #1 $ ~ ^ \ <tag>"])
    body = [line for line in source.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert [line.count("&") for line in body] == [9] * 5
    for name in ("table*", "tabular"):
        assert source.count(rf"\begin{{{name}}}") == source.count(rf"\end{{{name}}}") == 1
    assert re.sub(r"\\[{}]", "", source).count("{") == re.sub(r"\\[{}]", "", source).count("}")
    assert r"0.800 $\pm$ 0.141" in source
    assert two_seeds.trials[0].evaluate.key in source
    if shutil.which("pdflatex"):
        (tmp_path / "whole.tex").write_text(
            r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
            f"{source}"
            r"\end{document}"
        )
        ran = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"],
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-2000:]


def test_html_needs_nothing_else_and_links_rows_to_trials(two_seeds: Plan, store: Store, tmp_path: Path) -> None:
    build_report(two_seeds, store).write(tmp_path, ["html"])
    page = Page()
    page.feed((tmp_path / "report.html").read_text())
    assert not page.open, "every element is closed"
    assert not [link for link in page.links if not link.startswith(("#", "data:"))], "nothing from elsewhere"
    anchors = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert anchors <= page.ids
    assert {trial.evaluate.key for trial in two_seeds.trials} <= anchors


class Page(HTMLParser):
    """What a page links to, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.ids |= {values["id"]} if "id" in values else set()
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
