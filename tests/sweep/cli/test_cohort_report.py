"""The page of a cohort, before it is prepared and after."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.sweep.cli.conftest import Metsweep
from tests.trainers.data.phantom import (
    make_cohort,
    read_manifest,
    save,
    stripped_brain,
    write_manifest,
)
from tests.trainers.data.tiny_cohort import make_tiny_cohort

DROP = "prepare.on_error=drop"
HOSTILE = "<img src=x onerror=alert(1)> $\\frac{"


def rows_of(page: str, section: str) -> list[list[str]]:
    """The cells of the tables of a section."""
    part = page[page.index(f'<section id="{section}">') :].partition("</section>")[0]
    rows = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", part))
    return [row for row in rows if row]


def report(metsweep: Metsweep, *arguments: object) -> str:
    ended = metsweep("cohort", "report", *arguments)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("cohort-report.html, ")
    return Path("cohort-report.html").read_text()


def test_before_preparation(metsweep: Metsweep, tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=4)
    subjects = read_manifest(folder)
    subjects[0]["scanner"] = HOSTILE
    left_out = {"scan 7": "no lesion in its mask or boxes"}
    write_manifest(folder, subjects, name=HOSTILE, origin={"merged": [{"name": "a", "origin": {"left_out": left_out}}]})
    page = report(metsweep, folder)
    assert rows_of(page, "counts") == [
        ["split", "patients", "normal subjects", "volumes", "slices with lesions", "slices without", "boxes",
            "lesions"],
        ["train", "2", "1", "3", "6", "114", "6", "2"],
        ["validation", "1", "0", "1", "3", "37", "3", "1"],
        ["test", "1", "0", "1", "3", "37", "3", "1"],
        ["all", "4", "1", "5", "12", "188", "12", "4"],
    ]  # fmt: skip
    assert rows_of(page, "left_out")[1:] == [["scan 7", "no lesion in its mask or boxes"]]
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert page.count('class="box"') == 4
    assert 'class="brain"' not in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)


def test_after_preparation(metsweep: Metsweep, tmp_path: Path) -> None:
    """P000 has a lesion that the given brain mask cuts, P001 a brain mask of two parts, and P004 no content."""
    folder = make_cohort(tmp_path / "cohort", patients=5, mask=True)
    subjects = read_manifest(folder)
    brain = (stripped_brain() > 0).astype(np.uint8)
    whole = brain.copy()
    brain[20:24, 30:33, 19:] = 0
    save(folder / "P000" / "brain.nii.gz", brain)
    whole[:, 40:43, :] = 0
    save(folder / "P001" / "brain.nii.gz", whole)
    for subject, split in zip(subjects, ("train", "train", "validation", "test", "train", "train"), strict=True):
        subject["split"] = split
    for subject in subjects[:2]:
        subject["brain"] = f"{subject['patient_id']}/brain.nii.gz"
    save(folder / "P004" / "t1c.nii.gz", np.zeros(stripped_brain().shape))
    write_manifest(folder, subjects)
    prepared = metsweep("prepare", folder, "--out", "slices", "--size", "64", "--workers", "1", "--set", DROP)
    assert prepared.code == 0, prepared.err
    page = report(metsweep, folder, "--slices", "slices")
    counts = json.loads(Path("slices/meta.json").read_text())["counts"]
    assert int(rows_of(page, "counts")[-1][4]) + int(rows_of(page, "counts")[-1][5]) == counts["slices"]
    assert int(rows_of(page, "counts")[-1][6]) == counts["boxes"]
    ((volume, why),) = rows_of(page, "left_out")[1:]
    assert volume == "P004/t1c.nii.gz"
    assert "all voxels are 0" in why
    ((volume, why),) = rows_of(page, "cut")[1:]
    assert volume == "P000/t1c.nii.gz"
    assert "it is given back" in why
    first = page[page.index('id="first"') : page.index('id="left_out"')]
    assert "brain mask: 2 parts" in first
    assert "the strip removes" in first
    assert page.count('class="brain"') == 5 + first.count("<figure>")
    assert "after: grey levels" not in page, "pictures are encoded"
    other = make_cohort(tmp_path / "other")
    refused = metsweep("cohort", "report", other, "--slices", "slices")
    assert refused.code == 2
    assert "was prepared from another cohort than" in refused.err


def test_an_outline_lies_on_the_brains_border(metsweep: Metsweep, cohort: Path, slices: Path) -> None:
    page = report(metsweep, cohort, "--slices", slices)
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)".*?class="brain" d="([^"]+)"', page, flags=re.DOTALL)
    assert view is not None
    outline = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", view[3]), dtype=float)
    assert outline.min(axis=0) == pytest.approx([0, 0], abs=10)
    assert outline.max(axis=0) == pytest.approx([float(view[1]), float(view[2])], abs=10)


def test_what_cannot_be_shown_is_refused(metsweep: Metsweep, cohort: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "nowhere",), "There is no cohort folder"),
        ((cohort, "--out", tmp_path), "allowed is a file in a folder that exists"),
        ((cohort, "--out", tmp_path / "no" / "page.html"), "allowed is a file in a folder that exists"),
        ((cohort, "--slices", cohort), "is not a slice set"),
    ):
        ended = metsweep("cohort", "report", *arguments)
        assert (ended.code, message in ended.err) == (2, True), ended.err
    copied = make_cohort(tmp_path / "copied")
    save(copied / "P001" / "t1c.nii.gz", stripped_brain(0)[::-1] * 3)
    ended = metsweep("cohort", "report", copied)
    assert ended.code == 2
    assert "two patients have the same volume" in ended.err


@pytest.mark.slow
def test_the_papers_counts_and_a_page_of_bounded_size(metsweep: Metsweep, tmp_path: Path) -> None:
    """180 patients and 193 normal subjects, split and with as many lesions as the demo; phantoms of 2,240 voxels."""
    folder = make_tiny_cohort(
        tmp_path / "cohort", 180, 193, origin={"left_out": {f"scan {n}": "x" * 999 for n in range(999)}}
    )
    page = report(metsweep, folder)
    counts = rows_of(page, "counts")
    assert [row[:3] for row in counts[1:4]] == [["train", "126", "193"], ["validation", "18", "0"], ["test", "36", "0"]]
    assert "126, 18 and 36 patients" in page
    assert len(page) < 2_000_000
    assert "And 899 more" in page
