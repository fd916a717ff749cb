"""Marking lesions in a browser, by mouse and by keyboard."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.dashboards.conftest import Serve
from tests.dashboards.reader_studies import SIZE, lesion_test, served_reader, study


def test_lesions_are_marked_by_mouse_and_by_keyboard(tmp_path: Path, serve: Serve, tab: Page) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(lesion_test, count=2, marked=True))
    reader, url = served_reader(folder, definition, serve)
    tab.goto(url)
    assert tab.locator(".box.given").count() == 1
    tab.keyboard.press("+")
    drag(tab, (4, 4), (8, 8))
    drag(tab, (9, 9), (12, 13))
    assert tab.locator(".mark .number").all_inner_texts() == ["1", "2"], "as in the list"
    for number in (0, 1):
        tab.get_by_label(f"Confidence of mark {number + 1}").focus()
        expect(tab.locator(".mark").nth(number)).to_have_class(re.compile("focused"))
        expect(tab.locator(".mark.focused")).to_have_count(1)
    tab.get_by_label("Confidence of mark 2").select_option("4")
    expect(tab.get_by_label("Confidence of mark 2")).to_be_focused()
    tab.locator("h1").click()
    expect(tab.locator(".mark.focused")).to_have_count(0)
    tab.keyboard.press("Backspace")
    tab.keyboard.press("5")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    (mark,) = reader.answers[0].marks
    assert mark.box == pytest.approx((4, 4, 8, 8), abs=0.1), "where it was drawn, although the image is enlarged"
    assert mark.confidence == 5
    for key in ("ArrowLeft", "ArrowUp", " ", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", " "):
        tab.keyboard.press(key)
    tab.get_by_label("Confidence of mark 1").select_option("2")
    tab.get_by_role("button", name="Save").click()
    tab.wait_for_selector("text=Thank you")
    (mark,) = reader.answers[1].marks
    assert (mark.box, mark.confidence) == ((7, 7, 9, 10), 2)


def drag(tab: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag from one pixel of the image to another, as it is enlarged now."""
    image = tab.locator(".stage img").bounding_box()
    assert image is not None
    (x0, y0), (x1, y1) = (
        (image["x"] + x / SIZE * image["width"], image["y"] + y / SIZE * image["height"]) for x, y in (start, end)
    )
    tab.mouse.move(x0, y0)
    tab.mouse.down()
    tab.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    tab.mouse.move(x1, y1)
    tab.mouse.up()


@pytest.mark.parametrize("marks", ["x", "[[1]]", "[[0,0,99,1,1]]", "[[5,5,5,9,1]]", "[[0,0,1,1,9]]", "[[0,0,NaN,1,1]]"])
def test_wrong_marks_are_refused(tmp_path: Path, serve: Serve, marks: str) -> None:
    folder = tmp_path / "s"
    reader, url = served_reader(folder, study(folder, partial(lesion_test, count=2)), serve)
    answer = httpx.post(url, data={"place": "0", "marks": marks}, headers={"Origin": url.partition("/read")[0]})
    assert (answer.status_code, reader.answers) == (400, [])


def test_no_mark_is_an_answer_only_if_the_page_says_so(tmp_path: Path, serve: Serve, tab: Page) -> None:
    """The script says what is marked: where it failed, as in a browser without scripts, nothing is an answer."""
    folder = tmp_path / "s"
    reader, url = served_reader(folder, study(folder, partial(lesion_test, count=2)), serve)
    origin = {"Origin": url.partition("/read")[0]}
    assert 'name="marks" value=""' in httpx.get(url).text
    for fields in ({}, {"marks": ""}):
        assert httpx.post(url, data={"place": "0", **fields}, headers=origin).status_code == 400
    assert reader.answers == []
    tab.goto(url)
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert [answer.marks for answer in reader.answers] == [()]
