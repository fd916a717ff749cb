"""Every page, with what a person would find on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from playwright.sync_api import Page, expect

from dashboards.reader_study.answers import Answer
from dashboards.reader_study.app import reader_app
from dashboards.reader_study.study import Item
from dashboards.review.app import Slices, review_app
from dashboards.review.decisions import Decisions
from dashboards.sources import open_source
from dashboards.web.access import Access
from sweep.store import Store
from tests.dashboards.conftest import Serve
from tests.dashboards.reader_studies import lesion_test, reader_who, said, study, turing_test
from tests.dashboards.served import Served
from trainers.gan.review import Decision

OF_STUDIES = (
    "/nothing", "/", "/study/small", "/study/small/slices", "/study/small/slices?slice=18",
    "/study/small/slices?source=cpggan", "/study/small/slices/tsne", "/study/small/volumes",
    "/study/small/volumes/patient-test",
)  # fmt: skip
NAME = "Ann-with-a-name-that-is-longer-than-the-line-of-any-phone"
PERSONAL = Access("127.0.0.1", None)


def study_pages(served: Served) -> list[str]:
    """Addresses of the pages of the study `small`, of the list of studies, and of an error."""
    return [f"{served.url}{path}" for path in OF_STUDIES]


def reader_pages(serve: Serve, folder: Path) -> list[str]:
    """Addresses of readers who are asked for an image, for a pair and for lesions, and of one who has read all."""
    tests = (partial(turing_test, count=1), partial(turing_test, count=1, form="pairs", number=2))
    definition = study(folder, *tests, partial(lesion_test, count=2, marked=True))

    def says(item: Item, _: int) -> Answer:
        return said("real") if item.truth is None else Answer(test=2, item=0, time=0)

    readers = [reader_who(folder, definition, f"{NAME} {most}", says, most) for most in (0, 2, 3, 5)]
    served = serve(reader_app(folder, definition, readers, PERSONAL), PERSONAL)
    return [f"{served.url}/read/{reader.token}" for reader in readers]


def review_pages(serve: Serve, store: Store, folder: Path) -> list[str]:
    """Addresses of a grid of undecided, agreed and disputed slices, and of an empty one."""
    source = open_source("small/cpggan 8", store.uri)
    decisions = Decisions(folder / "list.csv", source.sets[0].meta["source"])
    slices = Slices(source, decisions)
    given: dict[str, list[Decision]] = {NAME: ["keep", "discard", "keep"], "Ben": ["keep", "discard", "discard"]}
    for reviewer, decided in given.items():
        for slice_id, decision in zip(slices.ids, decided, strict=False):
            decisions.decide(reviewer, slice_id, decision)
    served = serve(review_app(source, decisions, {"a": NAME, "b": "Cleo"}, PERSONAL), PERSONAL)
    return [f"{served.url}/review/a?show=all", f"{served.url}/review/b?show=kept"]


def show(tab: Page, address: str, problems: list[str]) -> None:
    """Open a page, until its scripts have drawn it."""
    tab.goto(address)
    if address.endswith("/study/small"):
        expect(tab.locator("#curves-plot canvas")).to_be_visible()
        expect(tab.locator("#detection table").first).to_be_visible(timeout=60_000)
        tab.locator("#reading").evaluate("details => { details.open = true; }")
    elif tab.locator("#marks").count():
        for key in (" ", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", " "):
            tab.keyboard.press(key)
        expect(tab.locator("#marks li")).to_be_visible()
    problems[:] = [problem for problem in problems if "404" not in problem]  # of the page of an error
