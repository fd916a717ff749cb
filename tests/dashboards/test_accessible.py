"""Pages of studies in light and dark: text has contrast, and the keyboard reaches all that a pointer does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from sweep.store import Store
from tests.dashboards.conftest import ServeStudies, opened
from tests.dashboards.served import Served

pytestmark = pytest.mark.slow

SCRIPT = (Path(__file__).parent / "accessible.js").read_text()
PAGES = (
    "/nothing", "/", "/study/small", "/study/small/slices", "/study/small/slices?slice=18", "/study/small/slices/tsne",
    "/study/small/volumes", "/study/small/volumes/patient-test",
)  # fmt: skip


def ask(tab: Page, function: str) -> Any:
    """The answer of a function of `accessible.js`."""
    return tab.evaluate(f"{SCRIPT.strip()}.{function}()")


@pytest.fixture
def served(launched_store: Store, serve_studies: ServeStudies) -> Served:
    return serve_studies(launched_store)


def show(tab: Page, served: Served, page: str, problems: list[str]) -> None:
    """Open a page, until its scripts have drawn it."""
    if page == "/study/small":
        opened(tab, served)
        expect(tab.locator("#detection table").first).to_be_visible(timeout=60_000)
        tab.locator("#reading").evaluate("details => { details.open = true; }")
    else:
        tab.goto(served.url + page)
    problems[:] = [problem for problem in problems if "404" not in problem]  # of the first page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(tab: Page, served: Served, problems: list[str], scheme: Literal["light", "dark"]) -> None:
    tab.emulate_media(color_scheme=scheme)
    for page in PAGES:
        show(tab, served, page, problems)
        assert ask(tab, "faint") == [], page


def test_faint_text_is_seen(tab: Page, served: Served) -> None:
    tab.goto(served.url)
    tab.evaluate("document.querySelector('h1').style.color = '#888'")
    assert "H1" in " ".join(ask(tab, "faint"))


def test_the_keyboard_reaches_everything_and_shows_where_it_is(tab: Page, served: Served, problems: list[str]) -> None:
    for page in PAGES:
        show(tab, served, page, problems)
        parts = ask(tab, "reachable")
        reached: dict[str, bool] = {}
        for _ in range(2 * len(parts) + 10):
            tab.keyboard.press("Tab")
            part, outlined = ask(tab, "focused")
            if part is not None:
                reached[part] = outlined
            if len(reached) == len(parts):
                break
        assert [text for number, text in enumerate(parts) if str(number) not in reached] == [], page
        assert [parts[int(number)] for number, outlined in reached.items() if not outlined] == [], page
        assert ask(tab, "clickable") == [], page
