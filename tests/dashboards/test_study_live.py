"""A study that runs, is empty, damaged or away; what a page may change; names with markup in them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from sweep.plan import Trial
from sweep.store import MANIFEST, Store
from sweep.studies.outcome import Outcome
from sweep.studies.progress import StageProgress
from sweep.studies.records import Status, StudyRecord
from tests.dashboards.conftest import ACCESS, ServeStudies, launch, opened, settings_of
from tests.sweep.judged_study import copied, judged_plan, rewriting
from tests.sweep.publishing import publish_copy

LAST = "cpggan 8 seed 2"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture
def store(launched_store: Store, tmp_path: Path) -> Store:
    return copied(launched_store, tmp_path / "store")


@pytest.fixture
def record(store: Store) -> StudyRecord:
    return StudyRecord(store, "small")


def trial(name: str) -> Trial:
    return next(one for one in judged_plan((0, 1, 2)).trials if one.name == name)


def undo(store: Store, name: str) -> None:
    """Let a trial be unfinished."""
    stage = trial(name).evaluate
    store.set_aside_key(stage.name, stage.key, "a test makes it again")


def run(record: StudyRecord, *names: str, host: str = "gpu-7") -> None:
    """The launch reports that the detectors of these trials are half way."""
    now = time.time()
    figures = {"validation/sensitivity": 0.125, "kept_validation/sensitivity": 0.25}
    half = StageProgress("detector", "running", 5, 10, figures, (now - 60, 0))
    stages = {trial(name).evaluate.detector.key: half for name in names}
    record.keep_status(Status(updated=now, began=now - 100, host=host, pid=os.getpid(), running=names, stages=stages))


@contextmanager
def away(store: Store) -> Iterator[None]:
    """The store's folder is gone within the block."""
    elsewhere = store.local.with_name("elsewhere")
    store.local.rename(elsewhere)
    yield
    elsewhere.rename(store.local)


def test_a_running_study_is_followed_without_a_reload(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord
) -> None:
    evaluated = store.find("evaluate", trial("cpggan 8 seed 1").evaluate.key)
    assert evaluated is not None
    undo(store, LAST)
    run(record, LAST)
    opened(tab, serve_studies(store))
    expect(tab.locator("#progress")).to_contain_text("11 of 12 trials done, 1 running")
    expect(tab.locator("#arms-table .tabulator-row", has_text="cpggan 8").locator(".mark.running")).to_be_visible()
    row = tab.locator("#trials-table .tabulator-row", has_text=LAST)
    expect(row.locator("[tabulator-field=share]")).to_have_text("50 %")
    expect(row.locator("[tabulator-field=left]")).to_contain_text("1:0")
    expect(row.locator("[tabulator-field=best]")).to_have_text("0.250")
    expect(row.locator("[tabulator-field=last]")).to_have_text("0.125")
    expect(tab.locator("#gain-plot .row")).to_have_count(2)
    publish_copy(store, trial(LAST).evaluate, evaluated)
    run(record)
    expect(tab.locator("#gain-plot .row")).to_have_count(3)
    expect(tab.locator("#progress")).to_contain_text("12 of 12 trials done")
    expect(tab.locator("#arms-table .mark.running")).to_have_count(0)


def test_until_added_seeds_have_run_the_page_shows_those_before_and_says_so(
    tab: Page, serve_studies: ServeStudies, store: Store
) -> None:
    for one in judged_plan((0, 1, 2)).trials:
        if one.seed > 0:
            undo(store, one.name)
    opened(tab, serve_studies(store))
    expect(tab.locator("#verdict")).to_contain_text("Preliminary (1 of 3 seeds): ")
    expect(tab.locator("#gain-plot .row")).to_have_count(3)
    for part in ("arms", "gain", "front", "count", "curves"):
        expect(tab.locator(f"#{part}-title")).to_contain_text("(1 of 3 seeds)")
    tab.locator("#gains").scroll_into_view_if_needed()
    expect(tab.locator("#gains h3").first).to_contain_text("(1 of 3 seeds)")
    expect(tab.locator("#cost")).not_to_contain_text("of 3 seeds")


def test_an_empty_study_says_so(tab: Page, serve_studies: ServeStudies, store: Store, tmp_path: Path) -> None:
    empty = Store(tmp_path / "empty")
    plan = judged_plan((0, 1, 2))
    slices = store.find("prepare", plan.trials[0].evaluate.detector.slices.key)
    assert slices is not None
    publish_copy(empty, plan.trials[0].evaluate.detector.slices, slices)
    launch(empty)
    served = serve_studies(empty)
    tab.goto(f"{served.url}/study/small")
    expect(tab.locator("#verdict")).to_have_text("No verdict yet: no arm is complete.")
    expect(tab.locator("#progress")).to_contain_text("0 of 12 trials done, 12 waiting")
    expect(tab.locator("#arms-table .tabulator-row")).to_have_count(4)
    expect(tab.locator("#gain-plot")).to_contain_text("No arm can be compared")
    expect(tab.locator("#front-plot")).to_contain_text("No arm is complete yet.")
    tab.locator("#cost").scroll_into_view_if_needed()
    expect(tab.locator("#cost")).to_contain_text("Missing: stages that are not in the store")
    bare = Store(tmp_path / "bare")
    bare.write_text("note", "a store without studies")
    tab.goto(serve_studies(bare).url)
    expect(tab.locator("main")).to_contain_text("metsweep launch quickstart")


@pytest.mark.parametrize("file", ["metrics.json", "detections.parquet", MANIFEST])
def test_a_damaged_evaluation_is_named_and_the_rest_of_the_page_stays(
    tab: Page, serve_studies: ServeStudies, store: Store, file: str
) -> None:
    """Whichever file of it: the arm lacks a seed, and all others have their figures and gains."""
    key = trial(LAST).evaluate.key
    damaged = store.local / "evaluate" / key / file
    sound = damaged.read_bytes()
    damaged.write_bytes(b"x" + sound[1:])
    opened(tab, serve_studies(store))
    expect(tab.locator("#progress .problem")).to_contain_text(f"store verify {key[:12]} --repair")
    expect(tab.locator("#trials-table .tabulator-row", has_text=LAST)).to_contain_text("damaged")
    expect(tab.locator("#progress")).to_contain_text("11 of 12 trials done, 1 waiting")
    expect(tab.locator("#progress")).not_to_contain_text("cell cpggan 8,")
    expect(tab.locator("#arms-table .tabulator-row", has_text="cpggan 8")).to_contain_text("2/3")
    expect(tab.locator("#gain-plot .row")).to_have_count(2)
    tab.locator("#cost").scroll_into_view_if_needed()
    expect(tab.locator("#cost table").first).to_be_visible()


@pytest.mark.slow
def test_a_repaired_evaluation_counts_again(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord
) -> None:
    stage = trial(LAST).evaluate
    file = store.local / "evaluate" / stage.key / "metrics.json"
    kept = store.find(stage.name, stage.key)
    assert kept is not None
    copy = shutil.copytree(file.parent, store.local / "tmp" / "kept", ignore=shutil.ignore_patterns(MANIFEST))
    file.write_text("nonsense")
    run(record, LAST)
    opened(tab, serve_studies(store))
    expect(tab.locator("#progress .problem")).to_be_visible()
    expect(tab.locator("#progress")).to_contain_text("11 of 12 trials done")
    undo(store, LAST)
    store.publish(copy, stage.name, stage.key, stage.identity, kept.manifest.cost)
    expect(tab.locator("#progress")).to_contain_text("12 of 12 trials done")
    expect(tab.locator("#progress .problem")).to_have_count(0)
    expect(tab.locator("#gain-plot .row")).to_have_count(3)


def test_damaged_gans_and_slices_leave_the_rest_alone(tab: Page, serve_studies: ServeStudies, store: Store) -> None:
    gan = trial(LAST).gan
    assert gan is not None
    (store.local / "gan" / gan.key / "history.jsonl").write_text("nonsense")
    (store.local / "prepare" / gan.slices.key / "images.npy").write_bytes(b"nonsense")
    opened(tab, serve_studies(store))
    expect(tab.locator("#progress .problem")).to_contain_text(gan.key[:12])
    expect(tab.locator("#distance-plot .u-legend")).to_contain_text("image2image")
    expect(tab.locator("#distance-plot .u-legend")).not_to_contain_text("cpggan")
    expect(tab.locator("#gain-plot .row")).to_have_count(3)


def test_a_store_that_is_away_is_said_and_seen_again(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord, problems: list[str]
) -> None:
    run(record)
    served = serve_studies(store)
    opened(tab, served)
    with away(store):
        expect(tab.locator("#progress .problem")).to_contain_text("There is no store")
        expect(tab.locator("#gain-plot .row")).to_have_count(3)
        for address in (served.url, f"{served.url}/study/small"):
            answer = requests.get(address)
            assert (answer.status_code, "There is no store" in answer.text) == (503, True)
    run(record)
    tab.reload()
    expect(tab.locator("#progress")).to_contain_text("12 of 12 trials done")
    problems.clear()


def test_a_server_that_has_ended_is_said(
    tab: Page, serve_studies: ServeStudies, store: Store, problems: list[str]
) -> None:
    opened(tab, serve_studies(store))
    tab.route("**/evidence?*", lambda route: route.abort())
    tab.locator("[name=base]").select_option("cpggan 8")
    expect(tab.locator("#verdict")).to_contain_text("The server does not answer.")
    problems.clear()


def test_runs_of_mlflow_are_linked(
    tab: Page, serve_studies: ServeStudies, store: Store, recorded_uri: str, tmp_path: Path
) -> None:
    opened(tab, serve_studies(store, settings_of(store, tmp_path, recorded_uri)))
    expect(tab.locator("#runs-note code")).to_have_text("metsweep ui")
    run_of_first = tab.locator("#trials-table .tabulator-row [tabulator-field=run]").first
    assert len(run_of_first.inner_text()) == 8


def test_mlflow_away_is_said_and_nothing_else_is_missing(
    tab: Page, serve_studies: ServeStudies, store: Store, tmp_path: Path, closed_port: int
) -> None:
    uri = f"http://me:hunter2@127.0.0.1:{closed_port}"
    served = serve_studies(store, settings_of(store, tmp_path, uri))
    opened(tab, served)
    expect(tab.locator("#runs-note")).to_contain_text("MLflow's runs are not shown", timeout=30_000)
    assert "hunter2" not in requests.get(f"{served.url}/study/small/runs").text
    expect(tab.locator("#trials-table .tabulator-row")).to_have_count(12)


def test_trials_are_stopped_and_retried_from_the_page(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord
) -> None:
    undo(store, LAST)
    run(record, LAST)
    opened(tab, serve_studies(store), link=True)
    stop, retry = (tab.get_by_role("button", name=name, exact=True) for name in ("Stop", "Retry"))
    expect(stop).to_be_disabled()
    tab.locator("#trials-table .tabulator-row", has_text=LAST).get_by_role("checkbox").check()
    tab.once("dialog", lambda dialog: dialog.dismiss())
    stop.click()
    assert [*record.take_requests()] == [], "not confirmed"
    tab.once("dialog", lambda dialog: dialog.accept())
    stop.click()
    expect(tab.locator("#changed")).to_contain_text(f"Asked the launch to stop 1 trial ({LAST}).")
    assert [(request.action, request.trials) for request in record.take_requests()] == [("stop", (LAST,))]
    assert record.outcomes()[LAST].state == "stopped"
    run(record)
    expect(tab.locator("#trials-table .tabulator-row", has_text=LAST)).to_contain_text("stopped by hand")
    tab.once("dialog", lambda dialog: dialog.accept())
    retry.click()
    expect(tab.locator("#changed")).to_contain_text(f"Asked the launch to run 1 trial ({LAST}) again.")
    assert [(request.action, request.trials) for request in record.take_requests()] == [("retry", (LAST,))]
    assert record.outcomes() == {}


def test_a_study_is_extended_from_the_page(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord, problems: list[str]
) -> None:
    opened(tab, serve_studies(store), link=True)
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_text("Extend the study").click()
    tab.locator("[name=seeds]").fill("two")
    tab.get_by_role("button", name="Extend", exact=True).click()
    expect(tab.locator("#changed .problem")).to_contain_text("seeds is 'two'; allowed: a whole number")
    tab.locator("[name=seeds]").fill("4")
    tab.get_by_role("button", name="Extend", exact=True).click()
    expect(tab.locator("#changed")).to_contain_text("now has 16 trials: 4 more", timeout=30_000)
    assert record.extension() == {"seeds": [3]}
    expect(tab.locator("#progress")).to_contain_text("12 of 16 trials done", timeout=20_000)
    problems.clear()


def test_without_the_link_nothing_can_be_changed(
    tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord
) -> None:
    undo(store, LAST)
    served = serve_studies(store)
    opened(tab, served)
    expect(tab.get_by_role("button", name="Stop")).to_have_count(0)
    expect(tab.locator("#running")).to_contain_text("open the whole link that the command printed")
    foreign = {"Origin": "http://evil.example"}
    own = {"Origin": served.url}
    cookie = {ACCESS.cookie: ACCESS.token or ""}
    address = f"{served.url}/study/small/stop"
    for headers, cookies in ((own, {}), (foreign, cookie), ({}, cookie)):
        assert requests.post(address, {"trial": LAST}, headers=headers, cookies=cookies).status_code == 403
    assert record.outcomes() == {}
    done = requests.post(address, {"trial": "none seed 0"}, headers=own, cookies=cookie)
    assert (done.status_code, "already done" in done.text) == (400, True)
    assert requests.post(f"{served.url}/study/small/remove", headers=own, cookies=cookie).status_code == 404


def test_names_with_markup_are_text(tab: Page, serve_studies: ServeStudies, store: Store, record: StudyRecord) -> None:
    for made in judged_plan((0, 1, 2)).trials:
        evaluated = store.find("evaluate", made.evaluate.key)
        assert evaluated is not None
        with rewriting(store, evaluated) as folder:
            metrics = json.loads((folder / "metrics.json").read_text())
            for figures in metrics["test"].values():
                figures["by_scanner"] = dict.fromkeys((MARKUP, "other"), next(iter(figures["by_scanner"].values())))
            (folder / "metrics.json").write_text(json.dumps(metrics))
    undo(store, LAST)
    record.keep_outcomes({LAST: Outcome(state="failed", error=MARKUP)})
    run(record, host=MARKUP)
    tab.on("dialog", lambda _: pytest.fail("markup ran"))
    opened(tab, serve_studies(store))
    expect(tab.locator("#progress")).to_contain_text(f"host {MARKUP}")
    expect(tab.locator("#trials-table .tabulator-row", has_text=LAST)).to_contain_text(MARKUP)
    tab.locator("#detection").scroll_into_view_if_needed()
    expect(tab.locator("#detection th", has_text=MARKUP).first).to_be_visible()
    assert tab.locator("main b, main img").count() == 0
