"""The page of a cohort in a browser: it follows dark mode, fits a phone, and runs nothing from outside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from sweep.report.cohort.page import cohort_page
from tests.trainers.data.tiny_cohort import make_tiny_cohort
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.quality.cohort_facts import cohort_facts


def test_the_page_of_a_cohort(tab: Page, tmp_path: Path) -> None:
    folder = make_tiny_cohort(tmp_path / "cohort", 10, 2, name="<b id=hostile>$x</b>")
    tab.set_content(cohort_page(cohort_facts(open_cohort(folder), CohortCache(tmp_path / "cache"), lambda *_: None)))
    assert tab.locator("h1").inner_text() == "Cohort <b id=hostile>$x</b>"
    assert tab.locator("#hostile").count() == 0
    figure = tab.locator("#train figure").first
    box, picture = (part.bounding_box() for part in (figure.locator("rect").first, figure.locator("image")))
    assert box is not None
    assert picture is not None
    assert picture["x"] < box["x"] < box["x"] + box["width"] < picture["x"] + picture["width"]
    assert not tab.locator("#test figure").first.is_visible()
    tab.locator("#test summary").click()
    assert tab.locator("#test figure").first.is_visible()
    shown = [np.asarray(Image.open(io.BytesIO(tab.locator("#lesions img").first.screenshot())).convert("L")).mean()]
    tab.emulate_media(color_scheme="dark")
    shown.append(np.asarray(Image.open(io.BytesIO(tab.locator("#lesions img").first.screenshot())).convert("L")).mean())
    assert shown[0] > 180 > 100 > shown[1]
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
