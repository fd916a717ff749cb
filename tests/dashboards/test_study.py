"""The pages of studies, on a small study that the real trainers made."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from dashboards.study.app import study_app
from dashboards.web.access import Access
from sweep.settings import Settings
from sweep.store import Store
from tests.dashboards.conftest import Serve
from tests.dashboards.served import Served

ACCESS = Access("127.0.0.1", "secret-token")


def settings_of(store: Store, folder: Path) -> Settings:
    """A store, and databases that do not exist."""
    return Settings(
        store=store.uri, tracking_uri=f"sqlite:///{folder}/mlflow.db", optuna_storage=f"sqlite:///{folder}/optuna.db"
    )


@pytest.fixture
def small(serve: Serve, launched_store: Store, tmp_path: Path) -> Served:
    return serve(study_app(settings_of(launched_store, tmp_path), ACCESS), ACCESS)


def test_list_leads_to_a_study_whose_verdict_comes_first(tab: Page, small: Served) -> None:
    tab.goto(small.url)
    expect(tab.get_by_role("row")).to_have_count(2)
    tab.get_by_role("link", name="small").click()
    expect(tab).to_have_url(f"{small.url}/study/small")
    expect(tab.get_by_role("heading", level=1)).to_have_text("small")
    expect(tab.locator("#verdict")).to_contain_text("test sensitivity at IoU 0.5.")
    expect(tab.get_by_role("table").get_by_role("row")).to_have_count(5)


def test_what_does_not_exist_is_a_page(small: Served) -> None:
    for path in ("study/none", "study/quickstart", "study/..%2Fsmall", "study/pyproject.toml", "study/%00"):
        assert requests.get(f"{small.url}/{path}").status_code == 404, path


def test_a_store_without_studies_says_what_to_do(serve: Serve, tmp_path: Path) -> None:
    served = serve(study_app(settings_of(Store(tmp_path / "empty"), tmp_path), ACCESS), ACCESS)
    assert "metsweep launch quickstart" in requests.get(served.url).text


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
