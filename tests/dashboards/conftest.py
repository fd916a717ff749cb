from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.types import ASGIApp

from dashboards.study.app import study_app
from dashboards.study.studies import Studies
from dashboards.web.access import Access
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.dashboards.served import Served, served
from tests.services.results import closed_port, empty_database, plan, recorded_uri, seeded_store, small_store
from tests.sweep.judged_study import copied, judged_plan, set_found

__all__ = ["closed_port", "empty_database", "plan", "recorded_uri", "seeded_store", "small_store"]

Serve = Callable[[ASGIApp, Access], Served]
ServeStudies = Callable[..., Served]
PATIENCE_MS = 30_000
"""How long a page may take to show what a test expects, on a machine that runs many tests at once."""
expect.set_options(timeout=PATIENCE_MS)
ACCESS = Access("127.0.0.1", "secret-token")
NETWORK = "network.test"
"""Name by which the browser reaches this machine as over a network: it trusts it less, and sends no Sec-Fetch-Site."""
FOUND = {"none": (1, 2, 1), "cpggan 4": (2, 2, 1), "cpggan 8": (3, 3, 2), "image2image 4": (2, 1, 2)}
"""Arm -> lesions of the 4 that are found, by seed: detectors trained for seconds find none."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; of one file, as the event loop of Playwright would disturb other tests of the process."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {NETWORK} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
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
def tab(chromium: Browser, serve: Serve, problems: list[str]) -> Iterator[Page]:  # noqa: ARG001 - ends after the tab
    """A tab of 1280 x 800, closed before its server ends; the test fails if `problems` is not empty at its end."""
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.extend(_foreign(request.url)))
        yield page
    assert problems == []


def _foreign(url: str) -> list[str]:
    """A request that leaves this machine."""
    return [] if url.startswith(("http://127.0.0.1:", f"http://{NETWORK}:", "data:")) else [f"asked for {url}"]


@pytest.fixture
def serve_studies(serve: Serve, tmp_path: Path) -> ServeStudies:
    """Serves the pages of a store's studies: `serve_studies(store)`, with databases that do not exist, or settings."""

    def start(store: Store, settings: Settings | None = None) -> Served:
        return serve(study_app(Studies(settings or settings_of(store, tmp_path)), ACCESS), ACCESS)

    return start


def settings_of(store: Store, folder: Path, tracking_uri: str | None = None) -> Settings:
    """A store, and databases that do not exist."""
    return Settings(
        store=store.uri,
        tracking_uri=tracking_uri or f"sqlite:///{folder}/mlflow.db",
        optuna_storage=f"sqlite:///{folder}/optuna.db",
    )


def opened(tab: Page, served: Served, link: bool = False) -> None:
    """Open the page of the study `small`, and wait until its plots are drawn; with `link` as who may change it."""
    if link:
        tab.goto(served.link)
    tab.goto(f"{served.url}/study/small")
    expect(tab.locator("#curves-plot canvas")).to_be_visible()


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


@pytest.fixture(scope="session")
def judged_store(launched_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same study with arms that differ."""
    store = copied(launched_store, tmp_path_factory.mktemp("judged") / "store")
    for trial in judged_plan((0, 1, 2)).trials:
        set_found(store, trial, {"validation": 1, "test": FOUND[trial.arm][trial.seed]}, fps=1 + (trial.count == 8))
    return store
