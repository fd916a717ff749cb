"""The slice browser on a small study that the real trainers made: what it lists and draws, and how a person uses it."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from dashboards.slices.sets import Sets, synthetic_of
from sweep.stages import SynthesizeStage
from sweep.store import Store
from tests.dashboards.conftest import ServeStudies, launch
from tests.dashboards.served import Served
from tests.sweep.judged_study import copied, judged_plan, rewriting
from tests.sweep.publishing import publish_copy
from trainers.data.conditions import choose_annotation, draw_condition
from trainers.data.slice_set import open_slice_set
from trainers.evaluation.realism.embedding import embed

MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
SETS = ("cpggan", "image2image")
FIRST = 18
"""Row of the first slice of the test split; its four slices with a lesion come one after the other."""
PREPARED = judged_plan((0, 1, 2)).trials[0].evaluate.detector.slices
LAST = next(trial for trial in judged_plan((0, 1, 2)).trials if trial.name == "cpggan 8 seed 0")


@pytest.fixture
def small(serve_studies: ServeStudies, judged_store: Store) -> str:
    """Address of the slices of a finished study."""
    return f"{serve_studies(judged_store).url}/study/small/slices"


@pytest.fixture
def store(judged_store: Store, tmp_path: Path) -> Store:
    return copied(judged_store, tmp_path / "store")


def slices_of(served: Served) -> str:
    return f"{served.url}/study/small/slices"


def names(tab: Page) -> Locator:
    return tab.locator(".card .name")


def captions(tab: Page) -> dict[str, str]:
    """Title of each picture of the open slice -> what stands below it."""
    pictures = tab.locator("#pictures figure").all()
    return {one.locator("figcaption").inner_text(): one.locator(".words").inner_text() for one in pictures}


def picture(tab: Page, title: str) -> Locator:
    return tab.locator("#pictures figure").filter(has=tab.locator("figcaption", has_text=re.compile(f"^{title}$")))


def test_from_an_arm_to_the_lesions_that_only_synthetic_slices_find(tab: Page, small: str) -> None:
    tab.goto(small.removesuffix("/slices"))
    tab.get_by_role("link", name="slices under cpggan 8").click()
    expect(tab.locator(".card")).to_have_count(4)
    tab.get_by_label("Show").select_option("gained")
    expect(tab.locator(".card")).to_have_count(2)
    expect(names(tab)).to_have_text(["test-0-1", "test-0-2"])
    expect(tab.locator("#arm-1")).to_have_value("cpggan 8")
    tab.locator(".card").first.click()
    expect(tab.locator("#open-title")).to_have_text("test-0-1")
    shown = {"truth": "5 pixels", "none": "0 of 1 found, 1 FP", "cpggan 8": "1 of 1 found, 2 FPs"}
    assert captions(tab) == shown
    marks = {arm: [picture(tab, arm).locator(f"g.{kind}").count() for kind in ("missed", "hit", "fp")] for arm in shown}
    assert marks == {"truth": [0, 0, 0], "none": [1, 0, 1], "cpggan 8": [0, 1, 2]}
    expect(picture(tab, "cpggan 8").locator("g.hit title")).to_have_text("hit, confidence 0.9")
    address = tab.url
    tab.reload()
    assert (captions(tab), tab.url) == (shown, address), "the view is in the address"
    expect(tab.locator("[role=status]")).to_have_text("1 of 2")


def test_filters_narrow_the_list_and_stay_in_the_address(tab: Page, small: str) -> None:
    tab.goto(f"{small}?arm=none&arm=cpggan+8")
    for show, expected in {
        "missed": ["test-0-1", "test-0-2", "test-0-3"], "found": ["test-0-0", "test-0-1", "test-0-2"], "lost": [],
        "fp": [f"test-0-{i}" for i in range(5)], "all": [f"test-0-{i}" for i in range(5)],
    }.items():  # fmt: skip
        tab.get_by_label("Show").select_option(show)
        expect(tab).to_have_url(re.compile(f"show={show}"))
        expect(names(tab)).to_have_text(expected)
    tab.get_by_label("least size of lesions").fill("6")
    tab.get_by_label("largest size of lesions").fill("8")
    tab.keyboard.press("Enter")
    expect(tab.locator(".card")).to_have_count(2)
    tab.get_by_label("Seed").select_option("2")
    tab.get_by_label("Show").select_option("found")
    expect(tab.locator(".card .line").first).to_have_text("none: 1/1, 1 FP")
    expect(tab).to_have_url(f"{small}?show=found&least=6&most=8&arm=none&arm=cpggan+8&seed=2")
    tab.reload()
    expect(names(tab)).to_have_text(["test-0-0"])
    tab.get_by_label("Patient").fill("nobody")
    tab.keyboard.press("Enter")
    expect(tab.locator("#grid")).to_have_text("No slice fits.")


def test_a_confidence_hides_weaker_detections(tab: Page, small: str) -> None:
    tab.goto(f"{small}?slice={FIRST}&arm=cpggan+8")
    assert captions(tab)["cpggan 8"] == "1 of 1 found, 2 FPs"
    tab.get_by_label("Confidence from").fill("0.85")
    tab.keyboard.press("Enter")
    expect(picture(tab, "cpggan 8").locator(".words")).to_have_text("1 of 1 found, 0 FPs")


def test_the_keyboard_alone_suffices_and_contrast_stays(tab: Page, small: str) -> None:
    tab.goto(small)
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    expect(tab.locator("#open-title")).to_have_text("test-0-1")
    stage = tab.locator(".stage").first
    plain = stage.screenshot()
    for key in ("]", "]", "+"):
        tab.keyboard.press(key)
    assert stage.screenshot() != plain
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#open-title")).to_have_text("test-0-2")
    assert tab.evaluate("viewer.zoom") == 1.25
    expect(tab).to_have_url(re.compile(r"slice=20#0\.\d+,0\.\d+,1\.25,"))
    tab.reload()
    assert tab.evaluate("[viewer.zoom, viewer.low > 0]") == [1.25, True]
    tab.keyboard.press("B")
    expect(tab.locator(".marks").first).to_be_hidden()
    tab.keyboard.press("0")
    expect(tab).to_have_url(re.compile(r"slice=20$"))
    tab.keyboard.press("Escape")
    expect(tab.locator("#card-20")).to_be_focused()
    tab.go_back()
    expect(tab.locator("#open-title")).to_have_text("test-0-2")


def test_synthetic_slices_stand_beside_the_real_ones_that_lent_their_boxes(tab: Page, small: str) -> None:
    tab.goto(small)
    tab.locator("#source").select_option("cpggan")
    expect(tab.locator(".card")).to_have_count(8)
    expect(tab.locator(".card").first.locator("img")).to_have_count(2)
    tab.locator(".card").nth(5).click()
    expect(tab.locator("#pictures figcaption")).to_have_text(["cpggan", "real"])
    expect(tab.locator("#facts")).to_contain_text("visibility")
    assert [picture(tab, title).locator("rect").count() for title in ("cpggan", "real")] == [1, 1]


def test_boxes_come_from_the_annotation_that_is_shown(judged_store: Store) -> None:
    """As `synthesize` drew them: the same annotation gives the same boxes again."""
    plan, sets = judged_plan((0, 1, 2)), Sets()
    real = sets.real(judged_store, plan)
    for made in synthetic_of(plan).values():
        for shard in made.shards:
            assert isinstance(shard, SynthesizeStage)
            drawn = open_slice_set(judged_store.local / shard.name / shard.key)
            of_slice = drawn.boxes_by_slice()
            for row, (image, attempt) in enumerate(drawn.slices[["image_index", "attempt"]].to_numpy().tolist()):
                annotation, rng = choose_annotation(shard.config.seed, image, attempt, len(real.annotated))
                boxes = draw_condition(real.boxes(int(real.annotated[annotation])), drawn.size, shard.config, rng)
                assert np.array_equal(boxes, of_slice[row])


@pytest.mark.slow
def test_a_point_of_the_tsne_opens_its_slice(tab: Page, small: str) -> None:
    tab.goto(f"{small}/tsne")
    expect(tab.locator("#legend span")).to_have_text(["real (6)", "cpggan (6)", "image2image (4)"])
    points = tab.locator("#map path.point[data-k]")
    expect(points).to_have_count(16)
    points.nth(3).hover()
    words = tab.locator("#pointed a").inner_text()
    points.nth(3).click()
    expect(tab.locator("#open-title")).to_be_visible()
    assert f"slice={words.rpartition(' ')[2]}" in tab.url
    tab.go_back()
    tab.locator("[name=of]").select_option("slices")
    tab.get_by_label("image2image").uncheck()
    expect(tab.locator("#legend span")).to_have_text(["real (6)", "cpggan (6)"])
    expect(tab).to_have_url(re.compile(r"of=slices&set=cpggan$"))
    tab.locator("#map > svg").focus()
    before = tab.locator("#pointed a").get_attribute("href")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        tab.keyboard.press(key)
    href = tab.locator("#pointed a").get_attribute("href")
    assert href != before
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile(re.escape(str(href))))
    expect(tab.locator("#open-title")).to_be_visible()


@pytest.mark.slow
def test_a_tsne_that_waits_for_another_holds_no_thread(tab: Page, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is computed, others are told to ask again, as the page does; the order of sets makes no other one."""
    begun, gate, kinds = Event(), Event(), []

    def slow(parts: list[np.ndarray], *how: Any) -> tuple[list[np.ndarray], str]:
        begun.set()
        assert gate.wait(60)
        kinds.append(len(parts))
        return embed(parts, *how)

    monkeypatch.setattr("dashboards.slices.embedding.embed", slow)
    asked, twisted = (f"{small}/points?of=slices&set={'&set='.join(sets)}" for sets in (SETS, (*SETS[::-1], SETS[0])))
    with ThreadPoolExecutor(1) as elsewhere:
        first = elsewhere.submit(requests.get, asked)
        assert begun.wait(60)
        try:
            answers = [requests.get(address) for address in (asked, twisted, f"{small}/points?of=crops")]
            tab.goto(f"{small}/tsne")
            expect(tab.locator("#note")).to_contain_text("Waiting")
        finally:
            gate.set()
        assert [answer.status_code for answer in answers] == [202] * 3
        assert first.result().json() == requests.get(twisted).json()
    expect(tab.locator("#legend span")).to_have_text(["real (6)", "cpggan (6)", "image2image (4)"])
    assert kinds == [3, 3], "the one asked for first, and that of the page"


def test_images_are_the_pixels_of_the_set(small: str, judged_store: Store) -> None:
    root = small.partition("/study")[0]
    address = f"{root}/slices/prepare/{PREPARED.key}"
    answer = requests.get(f"{address}/{FIRST}")
    pixels = open_slice_set(judged_store.local / "prepare" / PREPARED.key).images[FIRST]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), pixels)
    assert "immutable" in answer.headers["cache-control"]
    detector = LAST.evaluate.detector.key
    for path in (f"{address}/23", f"{address}/-1", f"{root}/slices/prepare/x/0", f"{root}/slices/../{PREPARED.key}/0"):
        assert requests.get(path).status_code == 404, path
    assert requests.get(f"{root}/slices/detector/{detector}/0").status_code == 400


@pytest.mark.parametrize(
    "query",
    ["source=x", "show=x", "seed=9", "seed=x", "iou=0.3", "least=-1", "most=nan", "slice=23", "slice=x", "confidence=x",
     "confidence=0.01", "source=cpggan&slice=8", "arm=a&arm=b&arm=c&arm=d&arm=e"],
)  # fmt: skip
def test_what_an_address_may_not_say_is_named(small: str, query: str) -> None:
    answer = requests.get(f"{small}?{query}")
    assert answer.status_code == 400
    assert "allowed" in answer.text


@pytest.mark.parametrize("query", ["of=x", "of=crops&set=x", "of=slices" + "&set=cpggan" * 4])
def test_a_tsne_of_nonsense_is_refused(small: str, query: str) -> None:
    assert requests.get(f"{small}/points?{query}").status_code == 400


@pytest.mark.slow
def test_names_with_markup_are_text(tab: Page, serve_studies: ServeStudies, store: Store) -> None:
    prepared = store.find("prepare", PREPARED.key)
    assert prepared is not None
    with rewriting(store, prepared) as folder:
        table = pd.read_parquet(folder / "slices.parquet")
        table.loc[table["split"] == "test", "scanner"] = MARKUP
        table.loc[table["split"] == "test", "patient_id"] = f'"{MARKUP}'
        table.to_parquet(folder / "slices.parquet")
    tab.on("dialog", lambda _: pytest.fail("markup ran"))
    tab.goto(slices_of(serve_studies(store)))
    tab.get_by_label("Scanner").select_option(MARKUP)
    tab.get_by_label("Patient").fill(f'"{MARKUP}')
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile("patient="))
    tab.locator(".card").first.click()
    expect(tab.locator("#facts")).to_contain_text(f'patient "{MARKUP}, scanner {MARKUP}')
    tab.locator("#arm-0").fill(MARKUP)
    tab.keyboard.press("Enter")
    expect(picture(tab, re.escape(MARKUP)).locator(".words")).to_have_text("The study has no such arm.")
    assert tab.locator("main b, main img:not([src^='/slices/'])").count() == 0
    tab.locator("#volume").click()
    expect(tab.locator("h1")).to_have_text(f'"{MARKUP}')
    assert tab.locator("main b, main img:not([src^='/study/'])").count() == 0


def test_what_is_missing_or_damaged_is_said_and_the_rest_shown(
    tab: Page, serve_studies: ServeStudies, store: Store
) -> None:
    store.set_aside_key("evaluate", LAST.evaluate.key, "a test makes it again")
    other = next(trial for trial in judged_plan((0, 1, 2)).trials if trial.name == "image2image 4 seed 0")
    (store.local / "evaluate" / other.evaluate.key / "detections.parquet").write_bytes(b"nonsense")
    tab.goto(f"{slices_of(serve_studies(store))}?slice={FIRST}&arm=none&arm=cpggan+8&arm=image2image+4")
    shown = captions(tab)
    assert (shown["none"], shown["cpggan 8"]) == ("1 of 1 found, 1 FP", "Seed 0 is not evaluated yet.")
    assert f"store verify {other.evaluate.key[:12]} --repair" in shown["image2image 4"]
    tab.keyboard.press("Escape")
    expect(tab.locator(".card")).to_have_count(4)
    expect(tab.locator("#count")).to_contain_text("cpggan 8: Seed 0 is not evaluated yet.")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["images.npy", "boxes.parquet"])
def test_damaged_slices_are_named(serve_studies: ServeStudies, store: Store, file: str, tab: Page) -> None:
    path = store.local / "prepare" / PREPARED.key / file
    path.write_bytes(path.read_bytes()[:-9])
    tab.goto(slices_of(serve_studies(store)))
    expect(tab.locator("#problem")).to_contain_text(PREPARED.key[:12])
    tab.locator("#source").select_option("cpggan")
    expect(tab.locator("#problem")).to_contain_text(PREPARED.key[:12])


@pytest.mark.slow
def test_a_study_without_slices_says_so(tab: Page, serve_studies: ServeStudies, store: Store, tmp_path: Path) -> None:
    prepared = store.find("prepare", PREPARED.key)
    assert prepared is not None
    empty = Store(tmp_path / "empty")
    publish_copy(empty, PREPARED, prepared)
    launch(empty)
    served = serve_studies(empty)
    tab.goto(f"{slices_of(served)}?show=missed")
    expect(tab.locator("#count")).to_contain_text("None of the arms is evaluated.")
    tab.locator("#source").select_option("cpggan")
    expect(tab.locator("#count")).to_contain_text("0 slices. None is made yet: a launch makes them.")
