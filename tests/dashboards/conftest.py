from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.types import ASGIApp

from dashboards.web.access import Access
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.dashboards.served import Served, served
from tests.services.results import empty_database, plan, recorded_uri, seeded_store, small_store
from tests.sweep.judged_study import copied, judged_plan

__all__ = ["empty_database", "plan", "recorded_uri", "seeded_store", "small_store"]

Serve = Callable[[ASGIApp, Access], Served]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; of one file, as the event loop of Playwright would disturb other tests of the process."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves applications until the test ends: `serve(app, access)`."""
    with ExitStack() as stack:
        yield lambda app, access: stack.enter_context(served(app, access))


@pytest.fixture
def problems() -> list[str]:
    """Errors that pages log, and what they ask of other places; a test that provokes some clears the list."""
    return []


@pytest.fixture
def tab(chromium: Browser, problems: list[str]) -> Iterator[Page]:
    """A tab of 1280 x 800; the test fails if `problems` is not empty at its end."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.extend(_foreign(request.url)))
        yield page
    assert problems == []


def _foreign(url: str) -> list[str]:
    """A request that leaves this machine."""
    return [] if url.startswith(("http://127.0.0.1:", "data:")) else [f"asked for {url}"]


@pytest.fixture(scope="session")
def launched_store(seeded_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The study `small` as a launch left it: four arms, three seeds, every stage done; to copy."""
    store = copied(seeded_store, tmp_path_factory.mktemp("launched") / "store")
    launch(store)
    return store


def launch(store: Store) -> None:
    """Keep the documents of a launch of `judged_plan`, whose cohort folder no longer exists."""
    record, made = StudyRecord(store, "small"), judged_plan((0, 1, 2))
    record.keep_study(made.study)
    record.keep_needs(made)
