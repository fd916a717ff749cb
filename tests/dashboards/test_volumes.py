"""The pages of whole volumes: the scan in NiiVue with its boxes, and pictures where there is no WebGL or no scan."""

from __future__ import annotations

import gzip
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from nibabel.nifti1 import Nifti1Image
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.dashboards.conftest import ServeStudies
from tests.dashboards.scanned import make_scanned, scanned_study
from tests.dashboards.served import Served
from tests.made_once import made_once
from tests.sweep.judged_study import copied
from tests.trainers.data.phantom import save

PATIENT = "patient-test"
PLACE = "/study/small/volumes"
EXAMPLE = "P000"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make_scanned` leaves it; tests only read it."""
    return made_once(tmp_path_factory, "scanned", make_scanned)


@pytest.fixture
def with_scans(scanned: Path, serve_studies: ServeStudies) -> Served:
    return serve_studies(Store(scanned / "store"))


@pytest.fixture
def without(launched_store: Store, serve_studies: ServeStudies) -> Served:
    """A study of slices that were made of no volume."""
    return serve_studies(launched_store)


def test_without_the_scan_the_page_says_so_and_shows_pictures(tab: Page, without: Served) -> None:
    tab.goto(f"{without.url}/study/small")
    tab.get_by_role("link", name="Volumes").click()
    tab.get_by_role("link", name=PATIENT).click()
    expect(tab.locator("#problem")).to_contain_text("does not say where its slices lie")
    pictures = tab.locator(".pictures img")
    expect(pictures.first).to_be_visible()
    assert pictures.first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    assert tab.locator(".pictures rect").count() >= 4, "the lesions of the test split"
    expect(tab.locator("#volume")).to_have_count(0)


def test_another_trial_is_chosen_without_the_scan_too(tab: Page, without: Served) -> None:
    tab.goto(f"{without.url}{PLACE}/{PATIENT}")
    expect(tab.locator("#findings")).to_contain_text("By none, seed 0, at IoU 0.5")
    tab.locator("[name=arm]").select_option("cpggan 8")
    expect(tab.locator("#findings")).to_contain_text("By cpggan 8, seed 0")
    assert "arm=cpggan+8" in tab.url


def test_what_an_address_asks_for_is_checked(without: Served) -> None:
    def status(address: str) -> int:
        return requests.get(f"{without.url}{PLACE}{address}").status_code

    page, picture = f"/{PATIENT}", f"/{PATIENT}/0/slices"
    assert (status(""), status(page), status(f"{picture}/0.png")) == (200, 200, 200)
    for unknown in ("/nobody", "/patient-train", f"{page}?volume=1", f"{picture}/99.png", f"/{PATIENT}/1/slices/0.png"):
        assert status(unknown) == 404, unknown
    for wrong in ("arm=<b>", "seed=9", "iou=0.3", "confidence=2", "confidence=nan", "confidence=x"):
        assert status(f"{page}?{wrong}") == 400, wrong
    assert "&lt;b&gt;" in requests.get(f"{without.url}{PLACE}{page}?arm=<b>").text
    assert status(f"/{PATIENT}/0/scan.nii.gz") == status(f"/{PATIENT}/0/marks.nii.gz") == 400
    shown = Image.open(io.BytesIO(requests.get(f"{without.url}{PLACE}{picture}/0.png").content))
    assert (shown.size, shown.mode) == ((32, 32), "L")


def test_an_open_slice_leads_to_its_volume(tab: Page, without: Served) -> None:
    tab.goto(f"{without.url}/study/small/slices?slice=18&seed=1&iou=0.25&confidence=0.85")
    tab.locator("#volume").click()
    expect(tab.locator("h1")).to_have_text(PATIENT)
    assert "slice=test-0-0&arm=" in tab.url
    assert tab.url.endswith("&seed=1&iou=0.25&confidence=0.85")


def test_before_any_trial_is_evaluated_the_page_says_so(
    launched_store: Store, serve_studies: ServeStudies, tmp_path: Path
) -> None:
    store = copied(launched_store, tmp_path / "store")
    shutil.rmtree(store.local / "evaluate")
    page = requests.get(f"{serve_studies(store).url}{PLACE}/{PATIENT}")
    assert (page.status_code, "No trial of the study is evaluated yet." in page.text) == (200, True)


@pytest.mark.slow
def test_the_scan_is_the_cohorts_file_and_the_mask_lies_on_its_grid(with_scans: Served, scanned: Path) -> None:
    place, trial = f"{with_scans.url}{PLACE}/{EXAMPLE}/0", "arm=cpggan+4"
    file = scanned / "cohort" / EXAMPLE / "t1c.nii.gz"
    assert requests.get(f"{place}/scan.nii.gz").content == file.read_bytes()
    sent = requests.get(f"{place}/marks.nii.gz?{trial}").content
    mask, scan = (Nifti1Image.from_bytes(gzip.decompress(content)) for content in (sent, file.read_bytes()))
    assert mask.shape == scan.shape
    assert np.array_equal(np.asarray(mask.affine), np.asarray(scan.affine))
    numbers = np.asarray(mask.dataobj)
    assert np.unique(numbers).tolist() == [0, 2, 3, 4], "missed on two slices, hit on one, false positives"
    bright = np.argwhere(np.asarray(scan.dataobj) == 200)
    around = np.argwhere(numbers == 2)
    assert (around.min(axis=0) <= bright.min(axis=0)).all()
    assert (around.max(axis=0) >= bright.max(axis=0)).all()


def colours(page: Page) -> set[str]:
    """Names of the kinds whose colour is on the canvas."""
    drawn = np.asarray(Image.open(io.BytesIO(page.locator("#volume").screenshot())).convert("RGB")).reshape(-1, 3)
    style = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
    codes = {kind: page.evaluate(style.format(kind)) for kind in ("found", "missed", "hit", "false")}
    wanted = {kind: [int(code[i : i + 2], 16) for i in (1, 3, 5)] for kind, code in codes.items()}
    return {kind for kind, code in wanted.items() if (np.abs(drawn - np.array(code)).max(axis=1) < 12).sum() > 20}


def without_driver(problems: list[str]) -> None:
    """Forget what the driver says of its speed when pictures of the canvas are taken."""
    problems[:] = [problem for problem in problems if "GL Driver Message" not in problem]


@pytest.mark.slow
def test_the_scan_with_its_frames(tab: Page, with_scans: Served, problems: list[str]) -> None:
    tab.goto(f"{with_scans.url}{PLACE}/{EXAMPLE}?arm=cpggan+4")
    expect(tab.locator("#view")).to_have_attribute("data-ready", "true", timeout=60_000)
    expect(tab.locator("#place")).to_have_text("x -27, y -8, z -4 mm (RAS+)")
    assert {"hit", "false"} <= colours(tab)
    tab.keyboard.press(".")
    expect(tab.locator("#place")).to_contain_text("z 0 mm")
    tab.get_by_role("button", name="axial", exact=True).press("Enter")
    assert colours(tab) == {"missed", "false"}, "the slice above"
    tab.keyboard.press("B")
    assert colours(tab) == set()
    tab.keyboard.press("b")
    tab.locator("[name=arm]").select_option("none")
    expect(tab.locator("#findings")).to_contain_text("By none")
    tab.get_by_role("button", name="Show").press("Enter")
    expect(tab.locator("#place")).to_contain_text("z -4 mm")
    assert colours(tab) == {"missed"}
    tab.get_by_role("button", name="3D").click()
    tab.locator("#white").fill("0.5")
    without_driver(problems)


@pytest.mark.slow
def test_a_slice_opens_in_its_volume(tab: Page, with_scans: Served) -> None:
    tab.goto(f"{with_scans.url}{PLACE}/{EXAMPLE}?slice={EXAMPLE}-z020")
    expect(tab.locator("#place")).to_contain_text("z 0 mm", timeout=60_000)


@pytest.mark.slow
def test_without_webgl_pictures_stand_in(chromium: Browser, with_scans: Served) -> None:
    with chromium.browser_type.launch(
        executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-3d-apis"]
    ) as browser:
        page = browser.new_page()
        page.goto(f"{with_scans.url}{PLACE}/{EXAMPLE}?arm=cpggan+4")
        expect(page.locator("#problem")).to_contain_text("This browser has no WebGL 2")
        expect(page.locator("#volume")).not_to_be_visible()
        expect(page.locator(".pictures img").first).to_be_visible()


@pytest.mark.slow
def test_a_scan_that_is_gone_or_changed_is_said(scanned: Path, serve_studies: ServeStudies, tmp_path: Path) -> None:
    shutil.copytree(scanned, tmp_path / "own")
    own = Store(tmp_path / "own" / "store")
    StudyRecord(own, "small").keep_study(scanned_study(tmp_path / "own" / "cohort"))
    served = serve_studies(own)

    def said() -> str:
        page = requests.get(f"{served.url}{PLACE}/{EXAMPLE}")
        assert "slices/18.png" in page.text, "pictures stay"
        return page.text.partition('role="alert"')[2].partition("</p>")[0]

    assert said() == " hidden>"
    volume = tmp_path / "own" / "cohort" / EXAMPLE / "t1c.nii.gz"
    save(volume, np.ones((20, 20, 20), np.float32))
    assert "has (20, 20, 20) voxels, but had (70, 40, 60) when its slices were made" in said()
    volume.unlink()
    assert "The volume is not on this machine: there is no" in said()
    assert requests.get(f"{served.url}{PLACE}/{EXAMPLE}/0/scan.nii.gz").status_code == 400
