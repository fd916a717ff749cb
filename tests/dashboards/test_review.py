"""The review of synthetic slices: decisions on disk at once, several reviewers, undo, and synthesis that honours it."""

from __future__ import annotations

import csv
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page
from typer import Typer
from typer.testing import CliRunner

from dashboards.review.app import PER_PAGE, Slices, review_app
from dashboards.review.cli import review
from dashboards.review.decisions import Decisions, agreement
from dashboards.sources import Source, open_source
from dashboards.web.access import Access
from dashboards.web.options import people
from sweep.store import Store
from tests.dashboards.conftest import Serve
from tests.dashboards.killed import killed_writer
from tests.sweep.judged_study import copied
from tests.sweep.small_study import SHARD, make, small_plan
from trainers.data.slice_set import open_slice_set
from trainers.exceptions import ConfigError, MetsweepError
from trainers.gan.review import read_review

SOURCE = "cpggan-0123456789ab"


def ids(count: int) -> list[str]:
    return [f"synthetic-{image:06d}-0" for image in range(count)]


@pytest.fixture
def source(launched_store: Store) -> Source:
    """The 8 slices of a GAN."""
    return open_source("small/cpggan 8", launched_store.uri)


def test_decisions_are_in_the_list_that_synthesis_reads(tmp_path: Path) -> None:
    file, (first, second, third) = tmp_path / "list.csv", ids(3)
    made = Decisions(file, SOURCE)
    made.decide("Ann", first, "discard")
    made.decide("Ann", second, "keep")
    made.decide("Ann", second, "discard")
    assert read_review(file).content == {f"{SOURCE} {first}": "discard", f"{SOURCE} {second}": "discard"}
    assert made.undo("Ann") == second
    assert read_review(file).content[f"{SOURCE} {second}"] == "keep", "undo gives the decision before"
    assert made.undo("Ben") is None, "nobody undoes another's decision"
    again = Decisions(file, SOURCE)
    again.decide("Ben", first, "keep")
    assert again.of(first) == {"Ann": "discard", "Ben": "keep"}
    assert list(read_review(file).content) == [f"{SOURCE} {second}"], "evenly divided: the score decides"
    assert [made.undo("Ann"), made.undo("Ann"), made.undo("Ann")] == [second, first, None]
    assert again.of(third) == {}


def test_other_rows_of_a_list_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        "slice_id;decision;source\nsynthetic-000000-0;keep;image2image-ba9876543210\nsynthetic-000001-0;discard;\n"
    )
    made = Decisions(file, SOURCE)
    assert (made.of(ids(1)[0]), made.of(ids(2)[1])) == ({}, {"": "discard"})
    made.decide("Ann", ids(1)[0], "discard")
    with file.open() as opened:
        rows = [tuple(row.values()) for row in csv.DictReader(opened)]
    assert set(rows) == {
        ("synthetic-000000-0", "keep", "image2image-ba9876543210", ""),
        ("synthetic-000001-0", "discard", "", ""),
        ("synthetic-000000-0", "discard", SOURCE, "Ann"),
    }


def test_what_others_write_meanwhile_is_kept_and_so_is_the_mode(tmp_path: Path) -> None:
    file, (first, second, third) = tmp_path / "list.csv", ids(3)
    made = Decisions(file, SOURCE)
    made.decide("Ann", first, "keep")
    file.chmod(0o600)
    with file.open("a") as opened:
        opened.write(f"{second},discard,{SOURCE},Ben\n")
    made.decide("Ann", third, "discard")
    assert made.of(second) == {"Ben": "discard"}
    assert {*read_review(file).content} == {f"{SOURCE} {slice_id}" for slice_id in (first, second, third)}
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as opened:
        opened.write(f"{second},keep,{SOURCE},Eve\n")
    assert made.undo("Ann") == third
    assert made.of(second) == {"Ben": "discard", "Eve": "keep"}
    broken = file.read_text() + "nonsense,keep,,\n"
    file.write_text(broken)
    with pytest.raises(ConfigError, match="line 5"):
        made.decide("Ann", third, "keep")
    assert file.read_text() == broken, "nothing of it is lost"


def test_a_linked_list_stays_one_list(tmp_path: Path) -> None:
    file, link = tmp_path / "list.csv", tmp_path / "link.csv"
    link.symlink_to(file)
    made = Decisions(link, SOURCE)
    made.decide("Ann", ids(1)[0], "keep")
    assert made.file == Decisions(file, SOURCE).file, "so their locks are one, too"
    assert link.is_symlink()
    assert Decisions(file, SOURCE).of(ids(1)[0]) == {"Ann": "keep"}


def test_a_list_that_synthesis_would_refuse_is_never_written(tmp_path: Path) -> None:
    made = Decisions(tmp_path / "list.csv", SOURCE)
    made.decide("Ann", "synthetic-000003-0", "keep")
    with pytest.raises(ConfigError, match="synthetic-000003-0, another attempt at the same image, is kept"):
        made.decide("Ben", "synthetic-000003-1", "keep")
    made.decide("Ben", "synthetic-000003-1", "discard")
    read_review(made.file)
    (tmp_path / "bad.csv").write_text("slice_id,decision\nx,keep\n")
    with pytest.raises(ConfigError, match="line 2"):
        Decisions(tmp_path / "bad.csv", SOURCE)
    with pytest.raises(ConfigError, match="folder does not exist"):
        Decisions(tmp_path / "none" / "list.csv", SOURCE)


def test_a_killed_reviewer_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    writes = (
        "import sys; from pathlib import Path; from dashboards.review.decisions import Decisions\n"
        "made = Decisions(Path(sys.argv[1]), 'cpggan-0123456789ab')\n"
        "for image in range(10**6):\n"
        "    made.decide('Ann', f'synthetic-{image:06d}-0', 'keep')\n"
        "    print(image, flush=True)\n"
    )
    reported = killed_writer(writes, file, lines=30)
    assert reported <= len(read_review(file).attempts) <= reported + 1


def test_agreement_by_hand(tmp_path: Path) -> None:
    made, (a, b, c, d) = Decisions(tmp_path / "list.csv", SOURCE), ids(4)
    for slice_id, decisions in ((a, "kk"), (b, "dd"), (c, "kd"), (d, "k")):
        for reviewer, letter in zip(("Ann", "Ben"), decisions, strict=False):
            made.decide(reviewer, slice_id, "keep" if letter == "k" else "discard")
    agreed = agreement(made.given(set(ids(4))))
    assert (agreed.several, agreed.unanimous) == (3, 2)
    # Of 6 answers 3 keep: by chance they agree on 1/2, in fact on 2/3.
    assert agreed.kappa.value == pytest.approx((2 / 3 - 1 / 2) / (1 / 2))


def test_the_least_visible_come_first_and_no_page_skips_any(source: Source, tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "list.csv", SOURCE)
    slices = Slices(source, decisions)
    scores = [slices.card(slices.at(rank), "Ann").visibility for rank in slices.shown("Ann", "all", 0)]
    assert scores == sorted(scores)
    assert len(scores) == 2 * SHARD < PER_PAGE
    for rank in range(3):
        decisions.decide("Ann", slices.ids[slices.at(rank)], "keep")
    assert slices.shown("Ann", "undecided", 0) == list(range(3, 8))
    assert slices.shown("Ann", "undecided", 5) == [5, 6, 7], "what was decided before moves no slice to another page"
    assert slices.shown("Ann", "kept", 0) == [0, 1, 2]
    assert slices.shown("Ben", "kept", 0) == []


def test_review_with_undo_then_synthesis(launched_store: Store, tmp_path: Path, serve: Serve, tab: Page) -> None:
    """Ann discards the least visible slice, keeps the next, and undoes the third; the next launch draws accordingly."""
    store, file = copied(launched_store, tmp_path / "store"), tmp_path / "list.csv"
    source = open_source("small/cpggan 8", store.uri)
    reviewed = source.sets[0].meta["source"]
    decisions = Decisions(file, reviewed)
    slices, access = Slices(source, decisions), Access("127.0.0.1", None)
    order = [slices.ids[slices.at(rank)] for rank in range(8)]
    served = serve(review_app(source, decisions, {"a": "Ann", "b": "Ben"}, access), access)
    tab.goto(f"{served.url}/review/a")
    assert tab.locator(".card").count() == 8
    tab.keyboard.press("D")
    tab.keyboard.press("k")
    tab.keyboard.press("d")
    tab.wait_for_selector("#summary:has-text('1 kept, 2 discarded, 5 of 8 undecided')")
    assert decisions.of(order[2]) == {"Ann": "discard"}
    tab.keyboard.press("U")
    tab.wait_for_selector("#summary:has-text('1 kept, 1 discarded, 6 of 8 undecided')")
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"{order[2]}, visibility")
    assert Decisions(file, reviewed).of(order[2]) == {}
    tab.reload()
    assert tab.locator(".card").count() == 6, "what is decided is not asked again"

    tab.goto(f"{served.url}/review/b?show=all")
    assert "Ann" not in tab.inner_text("#grid"), "no reviewer follows another"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("d")
    tab.wait_for_selector(".card .note:has-text('Ann: discard')")
    assert "agree on 1 of 1" in tab.inner_text("#summary")
    tab.locator(".card").nth(1).get_by_role("button", name="Discard").click()
    tab.wait_for_selector(".card .differs:has-text('Ann: keep')")
    assert "agree on 1 of 2" in tab.inner_text("#summary")
    tab.get_by_role("button", name="Undo").click()
    tab.wait_for_selector("#summary:has-text('agree on 1 of 1')")

    plan = small_plan(synthesis={"shard_size": SHARD, "batch_size": 4, "review": str(file)})
    (trial,) = [trial for trial in plan.trials if trial.arm == "cpggan 8"]
    for shard in trial.evaluate.detector.shards:
        if store.find(shard.name, shard.key) is None:
            make(shard, store)
    made = [store.local / shard.name / shard.key for shard in trial.evaluate.detector.shards]
    drawn = {row for folder in made for row in _slice_ids(folder)}
    assert order[0] not in drawn
    assert set(order[1:]) <= drawn
    (instead,) = drawn - set(order)
    assert instead.rpartition("-")[0] == order[0].rpartition("-")[0], "another attempt at the same image"


def _slice_ids(folder: Path) -> list[str]:
    return open_slice_set(folder).slices["slice_id"].tolist()


def test_pages_are_the_reviewers_alone_and_refuse_nonsense(source: Source, tmp_path: Path, serve: Serve) -> None:
    decisions, access = Decisions(tmp_path / "list.csv", SOURCE), Access("127.0.0.1", None)
    served = serve(review_app(source, decisions, {"a": "<b>Ann</b>"}, access), access)
    with httpx.Client(base_url=served.url, headers={"Origin": served.url}) as browser:
        assert "&lt;b&gt;Ann&lt;/b&gt;" in browser.get("/review/a").text
        assert browser.get("/review/a/image/0").headers["content-type"] == "image/png"
        for path in ("/", "/review/x", "/review/x/image/0", "/review/a/image/8", "/review/a?show=x"):
            assert browser.get(path).status_code == 404, path
        assert browser.get("/review/a?from=x").status_code == browser.get("/review/a?from=999").status_code == 200
        for fields in ({}, {"place": "0"}, {"place": "8", "decision": "keep"}, {"place": "0", "decision": "x"}):
            assert browser.post("/review/a/decide", data=fields).status_code == 400
        assert browser.post("/review/x/decide", data={"place": "0", "decision": "keep"}).status_code == 404
        assert browser.post("/review/a/undo").status_code == 200
        elsewhere = browser.post("/review/a/undo", headers={"Origin": "http://else"})
        assert elsewhere.status_code == 403
    assert not decisions.file.exists()


def test_a_list_that_cannot_be_written_is_said(
    source: Source, tmp_path: Path, serve: Serve, tab: Page, problems: list[str]
) -> None:
    """A folder takes the place of the list."""
    decisions, access = Decisions(tmp_path / "list.csv", SOURCE), Access("127.0.0.1", None)
    served = serve(review_app(source, decisions, {"a": "Ann"}, access), access)
    tab.goto(f"{served.url}/review/a")
    (tmp_path / "list.csv" / "in the way").mkdir(parents=True)
    tab.keyboard.press("k")
    tab.wait_for_selector("#problem:has-text('decision is not saved')")
    assert tab.locator(".card.keep").count() == 0
    assert len(problems) == 1, "the browser logs the refusal"
    problems.clear()


def test_what_cannot_be_reviewed_is_refused(launched_store: Store, tmp_path: Path) -> None:
    app = Typer()
    app.command()(review)
    for gan, message in (
        ("small/train", "no slices of a GAN"),
        ("small/none", "no synthetic slices"),
        ("x", "neither"),
    ):
        options = ["--store", launched_store.uri, "--out", str(tmp_path / "list.csv")]
        failed = CliRunner().invoke(app, [gan, *options]).exception
        assert isinstance(failed, MetsweepError)
        assert message in str(failed)
    assert not (tmp_path / "list.csv").exists()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "\x1b[2J"])
def test_names_of_people_are_a_line(name: str) -> None:
    with pytest.raises(ConfigError, match="--reader"):
        people(["Ann", name], "--reader")
    assert people([" Ann", "Ben", "Ann "], "--reader") == ["Ann", "Ben"]
