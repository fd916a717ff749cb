"""All pages in light and dark: text has contrast, nothing is cut off, the keyboard reaches all that a pointer does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page

from sweep.store import Store
from tests.dashboards.all_pages import reader_pages, review_pages, show, study_pages
from tests.dashboards.conftest import Serve, ServeStudies

pytestmark = pytest.mark.slow

SCRIPT = (Path(__file__).parent / "accessible.js").read_text()


def ask(tab: Page, function: str) -> Any:
    """The answer of a function of `accessible.js`."""
    return tab.evaluate(f"{SCRIPT.strip()}.{function}()")


@pytest.fixture(params=["studies", "readers", "review"])
def addresses(
    request: pytest.FixtureRequest, launched_store: Store, serve: Serve, serve_studies: ServeStudies, tmp_path: Path
) -> list[str]:
    """The pages of one application."""
    match request.param:
        case "studies":
            return study_pages(serve_studies(launched_store))
        case "readers":
            return reader_pages(serve, tmp_path / "reading")
        case _:
            return review_pages(serve, launched_store, tmp_path)


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "dark"), (390, 844, "light")])
def test_text_has_contrast_and_nothing_is_wider_than_the_page(
    tab: Page, addresses: list[str], problems: list[str], width: int, height: int, scheme: Literal["light", "dark"]
) -> None:
    tab.set_viewport_size({"width": width, "height": height})
    tab.emulate_media(color_scheme=scheme)
    for address in addresses:
        show(tab, address, problems)
        assert ask(tab, "faint") == [], address
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, address


def test_faint_text_is_seen(tab: Page, serve: Serve, tmp_path: Path) -> None:
    tab.goto(reader_pages(serve, tmp_path / "reading")[0])
    tab.evaluate("document.querySelector('h1').style.color = '#888'")
    assert "H1" in " ".join(ask(tab, "faint"))


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    tab: Page, addresses: list[str], problems: list[str]
) -> None:
    for address in addresses:
        show(tab, address, problems)
        parts = ask(tab, "reachable")
        reached: dict[str, bool] = {}
        for _ in range(2 * len(parts) + 10):
            tab.keyboard.press("Tab")
            part, outlined = ask(tab, "focused")
            if part is not None:
                reached[part] = outlined
            if len(reached) == len(parts):
                break
        assert [text for number, text in enumerate(parts) if str(number) not in reached] == [], address
        assert [parts[int(number)] for number, outlined in reached.items() if not outlined] == [], address
        assert ask(tab, "clickable") == [], address
