"""The report's page in a browser: what comes first, what fits, what follows dark mode."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page

from sweep.report.report import build_report
from sweep.store import Store
from tests.sweep.judged_study import judged_plan


@pytest.fixture(scope="module")
def html(launched_store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    build_report(judged_plan((0, 1, 2)), launched_store).write(folder, ["html"])
    return (folder / "report.html").read_text()


def brightness(part: Locator) -> float:
    return float(np.asarray(Image.open(io.BytesIO(part.screenshot())).convert("L")).mean())


def test_the_verdict_comes_first_then_gains_table_and_slices(html: str, tab: Page) -> None:
    tab.set_content(html)
    parts = ("h1", "p.source", "p.verdict", "#gains img", "#table1 table", "#gained img", "#gain_iou50 summary")
    tops = [box["y"] for part in parts if (box := tab.locator(part).bounding_box())]
    assert len(tops) == len(parts)
    assert tops == sorted(tops)
    assert tops[3] < 400, "the gains are seen without scrolling"


def test_table_1_fits_and_the_other_tables_fold(html: str, tab: Page) -> None:
    tab.set_content(html)
    fits = "table => table.scrollWidth <= table.parentElement.clientWidth"
    assert tab.locator("#table1 table").evaluate(fits)
    assert not tab.locator("#gain_iou50 table").is_visible()
    tab.locator("#gain_iou50 summary").click()
    assert tab.locator("#gain_iou50 table").is_visible()
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390, "on a phone, wide tables scroll by themselves"


def test_a_stage_key_opens_its_row_of_the_provenance(html: str, tab: Page) -> None:
    tab.set_content(html)
    key = tab.locator("#table1 td.keys a").first.get_attribute("href")
    assert key is not None
    row = tab.locator(f"[id='{key.removeprefix('#')}']")
    assert not row.is_visible()
    tab.locator("#table1 td.keys a").first.click()
    row.wait_for(state="visible")


def test_plots_follow_dark_mode(html: str, tab: Page) -> None:
    tab.set_content(html)
    plot = tab.locator("#gains img")
    tab.emulate_media(color_scheme="light")
    light = brightness(plot)
    tab.emulate_media(color_scheme="dark")
    assert light > 200
    assert brightness(plot) < 80
