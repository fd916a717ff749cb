"""The pages of studies, on a small study that the real trainers made: what they show, and how a person uses them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from sweep.report.report import Report, build_report
from sweep.report.section import signed
from sweep.store import Store
from tests.dashboards.conftest import ServeStudies, opened
from tests.dashboards.searched import make_search
from tests.dashboards.served import Served
from tests.dashboards.taken import Taken
from tests.sweep.judged_study import judged_plan
from trainers.evaluation.measures import SENSITIVITY

ROWS = "#arms-table .tabulator-row"


@pytest.fixture
def small(serve_studies: ServeStudies, judged_store: Store) -> Served:
    return serve_studies(judged_store)


@pytest.fixture(scope="module")
def report(judged_store: Store) -> Report:
    return build_report(judged_plan((0, 1, 2)), judged_store)


def arms(tab: Page) -> list[str]:
    """The arms in the table's order."""
    return [
        name.strip().removesuffix(" (base)") for name in tab.locator(f"{ROWS} [tabulator-field=name]").all_inner_texts()
    ]


def row_of(tab: Page, arm: str) -> Locator:
    """An arm's row of the table."""
    name = tab.locator("[tabulator-field=name]", has_text=re.compile(rf"^\s*{arm}( \(base\))?$"))
    return tab.locator(ROWS).filter(has=name)


def test_list_leads_to_a_study_whose_verdict_comes_first(tab: Page, small: Served, report: Report) -> None:
    tab.goto(small.url)
    expect(tab.get_by_role("row")).to_have_count(2)
    tab.get_by_role("link", name="small").click()
    expect(tab).to_have_url(f"{small.url}/study/small")
    expect(tab.locator("#verdict")).to_have_text(report.verdict.replace("`", ""))
    assert tab.locator("#verdict code").count() == report.verdict.count("`") / 2
    top = {part: tab.locator(part).bounding_box() for part in ("#verdict", "#progress", "#arms-table")}
    heights = [box["y"] for box in top.values() if box]
    assert heights == sorted(heights)
    assert heights[0] < 200


def test_figures_are_those_of_the_report(tab: Page, small: Served, report: Report) -> None:
    opened(tab, small)
    assert arms(tab) == [row.arm for row in report.rows]
    assert report.evidence is not None
    for row in report.rows:
        cell = report.table1.cell(row, 0.5, SENSITIVITY)
        assert cell is not None
        shown = row_of(tab, row.arm).locator("[tabulator-field=sensitivity]")
        low, high = cell.interval or pytest.fail("no interval")
        expect(shown).to_have_text(f"{cell.mean:.3f} [{low:.3f}, {high:.3f}]")
    forest = tab.locator("#gain-plot .row")
    for arm, gain in report.evidence.gains[0.5].items():
        expect(forest.filter(has_text=re.compile(f"^{arm}"))).to_contain_text(signed(gain.plain))


def test_sorting_and_other_choices_stay_in_the_address(tab: Page, small: Served) -> None:
    opened(tab, small)
    tab.locator(".tabulator-col", has_text="FPs/slice").first.click()
    expect(tab).to_have_url(re.compile(r"sort=fps(\+|%20)asc"))
    by_fps = arms(tab)
    tab.locator("[name=iou]").select_option("0.25")
    tab.locator("[name=base]").select_option("cpggan 4")
    tab.locator("[name=all]").check()
    expect(tab.locator("#gain-plot")).to_contain_text("over cpggan 4, IoU 0.25")
    tab.reload()
    expect(tab.locator("#gain-plot")).to_contain_text("over cpggan 4, IoU 0.25")
    expect(tab.locator(f"{ROWS}.is-base")).to_contain_text("cpggan 4 (base)")
    expect(tab.locator(".tabulator-col", has_text="gain at equal FPs")).to_be_visible()
    assert arms(tab) == by_fps
    tab.locator("[name=filter]").fill("image2")
    expect(tab.locator(ROWS)).to_have_count(1)


def test_gains_over_another_base_are_computed_by_the_same_statistics(small: Served, report: Report) -> None:
    assert report.evidence is not None
    got = requests.get(f"{small.url}/study/small/evidence", params={"base": "cpggan 8"}).json()["gains"]["iou50"]
    expected = report.evidence.gains_over("cpggan 8")[0.5]
    assert got.keys() == expected.keys() == {"none", "cpggan 4", "image2image 4"}
    for arm, gain in expected.items():
        assert got[arm]["difference"] == pytest.approx(gain.plain.difference)
        assert got[arm]["p"] == pytest.approx(gain.p)
    over_none = report.evidence.gains[0.5]["cpggan 8"].plain.difference
    assert expected["none"].plain.difference == pytest.approx(-over_none)
    of_no_arm, of_none = (
        requests.get(f"{small.url}/study/small/evidence", params={"base": base}).json()["gains"]
        for base in ("no such", "none")
    )
    assert of_no_arm == of_none


@pytest.mark.parametrize("base", ["nonsense", "<b>x</b>"])
def test_a_base_that_is_no_arm_falls_back_to_none_and_says_so(tab: Page, small: Served, base: str) -> None:
    tab.goto(f"{small.url}/study/small?base={base}")
    expect(tab.locator("#no-base")).to_have_text(f"{base} is no arm with figures, so the base is none.")
    expect(tab.locator("#gain-plot .row")).to_have_count(3)
    assert "base=" not in tab.url


def test_two_arms_are_compared_by_their_froc_curves(tab: Page, small: Served) -> None:
    opened(tab, small)
    legend = tab.locator("#curves-plot .u-legend .u-series:not(.quiet)")
    expect(legend).to_have_count(3)  # the axis, the base, and the arm that gains most
    for arm in arms(tab):
        box = row_of(tab, arm).get_by_role("checkbox")
        box.set_checked(arm in ("cpggan 4", "image2image 4"))
    expect(legend).to_have_count(3)
    expect(legend.nth(1)).to_contain_text("cpggan 4")
    assert "arm=cpggan+4&arm=image2image+4" in tab.url
    refused = requests.get(f"{small.url}/study/small/froc", params={"iou": "0.5", "arm": ["a"] * 9})
    assert refused.status_code == 400
    assert requests.get(f"{small.url}/study/small/froc", params={"iou": "0.7"}).status_code == 400


def test_pointing_at_a_mark_says_what_it_is_and_a_click_adds_it_to_the_curves(tab: Page, small: Served) -> None:
    opened(tab, small)
    marks = tab.locator("#front-plot .row")
    expect(marks).to_have_count(4)
    unchosen = tab.locator("#front-plot .row[aria-label^='image2image 4']")
    unchosen.hover()
    expect(tab.locator("#front-plot .pointed")).to_contain_text("image2image 4: sensitivity")
    before = tab.url
    unchosen.locator("circle").click()
    expect(tab).not_to_have_url(before)


def test_keyboard_alone_suffices(tab: Page, small: Served) -> None:
    opened(tab, small)
    tab.keyboard.press("Tab")
    expect(tab.locator(".skip")).to_be_focused()
    reached = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.name"))
        if tab.evaluate("document.activeElement.getAttribute('tabulator-field')") == "gain":
            break
    assert {"iou", "base", "filter", "all"} <= reached
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile(r"sort=gain"))
    mark = tab.locator("#front-plot .row").first
    mark.focus()
    expect(tab.locator("#front-plot .pointed")).to_contain_text("FPs per slice")


def test_every_section_has_its_content(tab: Page, small: Served) -> None:
    opened(tab, small)
    for name in ("cost", "gans", "gains", "detection"):
        section = tab.locator(f"#{name}")
        section.scroll_into_view_if_needed()
        expect(section.locator(".tables table").first).to_be_visible()
    expect(tab.locator("#distance-plot canvas")).to_be_visible()
    expect(tab.locator("#count-plot canvas")).to_be_visible()
    expect(tab.locator("#search")).to_be_hidden()
    expect(tab.locator("#trials-table .tabulator-row")).to_have_count(12)
    key = judged_plan((0, 1, 2)).trials[0].evaluate.key
    expect(tab.locator("#trials-table code").first).to_have_attribute("title", key)


def test_what_does_not_exist_is_a_page(small: Served) -> None:
    for path in ("none", "quickstart", "..%2Fsmall", "pyproject.toml", "%00", "small/none", "small/table/none"):
        assert requests.get(f"{small.url}/study/{path}").status_code in (404, 405), path


def test_the_command_prints_a_link_and_ends_with_ctrl_c(launched_store: Store, tmp_path: Path) -> None:
    run = "import sys; from dashboards.study.cli import dashboard; import typer; typer.run(dashboard)"
    command = [sys.executable, "-c", run, "small", "--store", launched_store.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        link = re.search(r"http://127\.0\.0\.1:\d+/study/small\?token=\S+", process.stdout.readline())
        assert link is not None
        assert "<h1>small</h1>" in requests.get(link[0], timeout=60).text
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (130, -signal.SIGINT)


@pytest.mark.slow
@pytest.mark.long
def test_a_study_of_1000_trials_shows_within_two_seconds(
    tab: Page, serve_studies: ServeStudies, tmp_path: Path
) -> None:
    settings = make_search(tmp_path, 996)
    served = serve_studies(Store(settings.store), settings)
    requests.get(f"{served.url}/study/small/evidence?base=none")  # as the command does before it prints its link
    taken, later = Taken(tab), []
    # A plot that takes seconds, and is asked for once verdict and table are shown.
    tab.route("**/response?*", lambda route: later.append(route))
    with taken("first view", 2):
        tab.goto(f"{served.url}/study/small")
        expect(tab.locator(ROWS).nth(10)).to_be_visible()
        expect(tab.locator("#verdict strong")).to_be_visible()
    expect(tab.locator("#gain-plot .row, #gain-plot p").first).to_be_visible()
    for route in later:
        route.continue_()
    expect(tab.locator("#detection table").first).to_be_visible(timeout=120_000)  # all is computed
    with taken("filter", 0.3):
        tab.locator("[name=filter]").fill("t995")
        expect(tab.locator(ROWS)).to_have_count(1)
    expect(tab.locator("#parallel-plot .cell")).to_have_count(996)
    expect(tab.locator(".tabulator-col", has_text="detector.learning_rate")).to_be_attached()
