"""Reader studies as files: images that give nothing away, and answers that survive a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dashboards.reader_study.answers import add_reader, readers_of
from dashboards.reader_study.create import CROP, Gallery, lesion_tests, turing_tests, write_study
from dashboards.reader_study.study import (
    DEFINITION,
    IMAGES,
    READERS,
    ReaderStudyError,
    read_definition,
)
from dashboards.sources import open_source
from sweep.store import Store
from tests.dashboards.killed import killed_writer
from tests.dashboards.reader_studies import reader_who, run, said, study, turing_test
from trainers.exceptions import ConfigError


def test_the_four_tests_of_the_paper_from_a_study(launched_store: Store, tmp_path: Path) -> None:
    store, folder = ("--store", launched_store.uri), tmp_path / "turing"
    sources = ("--synthetic", "small/cpggan", "--synthetic", "small/image2image 4")
    run("create", folder, "--real", "small/train", *sources, "--count", 4, *store)
    definition = read_definition(folder)
    slices, size = "small/train against small", 32
    assert [(test.size, test.origin) for test in definition.tests] == [
        (CROP, f"{slices}/cpggan"), (CROP, f"{slices}/image2image 4"),
        (size, f"{slices}/cpggan"), (size, f"{slices}/image2image 4"),
    ]  # fmt: skip
    for test in definition.tests:
        kinds = [item.pictures[0].kind for item in test.items]
        assert (kinds.count("real"), kinds.count("synthetic")) == (4, 4)
    for view in (definition.tests[:2], definition.tests[2:]):
        real = [item.pictures[0].origin for test in view for item in test.items if item.pictures[0].kind == "real"]
        assert len({origin.partition(",")[0] for origin in real}) == 8, "no real slice is shown twice"
    source = open_source("small/train", launched_store.uri)
    whole = next(item.pictures[0] for item in definition.tests[2].items if item.pictures[0].kind == "real")
    position = [source.value(i, "slice_id") for i in range(len(source.places))].index(whole.origin.split(": ")[1])
    assert np.array_equal(np.asarray(Image.open(folder / IMAGES / whole.file)), source.image(position))


def test_what_a_reader_sees_tells_no_answer_of_a_new_study(launched_store: Store, tmp_path: Path) -> None:
    """Neither seed nor places are known: whoever has the command line and the number of an image has no answer."""
    sources = ("--real", "small/train", "--synthetic", "small/cpggan", "--view", "slice", "--count", 8)
    made = []
    for name in ("a", "b", "c"):
        run("create", tmp_path / name, *sources, "--store", launched_store.uri)
        assert (tmp_path / name / DEFINITION).stat().st_mode & 0o77 == 0
        made.append(read_definition(tmp_path / name))
    assert len({definition.seed for definition in made}) == 3
    assert all(definition.seed > 2**64 for definition in made), "too large to try all"
    kinds = [tuple(item.pictures[0].kind for item in definition.tests[0].items) for definition in made]
    assert len(set(kinds)) > 1, "real and synthetic images stand at random places"
    assert len({tuple(definition.order(0, 1)) for definition in made}) == 3


def test_sources_that_share_slices_show_none_twice(launched_store: Store, tmp_path: Path) -> None:
    """An image in both roles would be right and wrong at once; the slices of `cpggan 4` are among those of `cpggan`."""
    synthetic = ("--synthetic", "small/train", "--synthetic", "small/cpggan", "--synthetic", "small/cpggan 4")
    options = ("--real", "small/train", *synthetic, "--view", "slice", "--count", 2, "--store", launched_store.uri)
    run("create", tmp_path / "s", *options)
    items = [item for test in read_definition(tmp_path / "s").tests for item in test.items]
    images = {(tmp_path / "s" / IMAGES / item.pictures[0].file).read_bytes() for item in items}
    assert len(images) == len(items) == 12


def test_a_crop_is_the_content_of_its_box(launched_store: Store, tmp_path: Path) -> None:
    source, gallery = open_source("small/train", launched_store.uri), Gallery(0)
    (test,) = turing_tests(source, [source], ["crop"], True, 3, 0, gallery)
    gallery.write(tmp_path)
    for item in test.items:
        crop = np.asarray(Image.open(tmp_path / item.pictures[0].file))
        # A bright disc fills its box: the middle is bright, as only the box's corners are not.
        assert crop.shape == (CROP, CROP)
        assert crop[12:20, 12:20].min() > 200 > crop[0, 0]


def test_files_give_nothing_away_but_pixels(launched_store: Store, tmp_path: Path) -> None:
    """Everything a file system shows of an image, and every byte but the pixels, is the same for both kinds."""
    real, drawn = (open_source(f"small/{part}", launched_store.uri) for part in ("train", "cpggan"))
    orders = []
    for seed in range(20):
        gallery, folder = Gallery(seed), tmp_path / str(seed)
        folder.mkdir()
        definition = write_study(folder, turing_tests(real, [drawn], ["slice"], False, 6, seed, gallery), seed, gallery)
        kind = {item.pictures[0].file: item.pictures[0].kind for item in definition.tests[0].items}
        files = sorted((folder / IMAGES).iterdir())
        assert len({file.stat().st_size for file in files}) == 1
        assert len({_without_pixels(file) for file in files}) == 1
        written = sorted(files, key=lambda file: file.stat().st_mtime_ns)
        assert [file.name for file in written] == [file.name for file in files], "written in the order of names"
        orders.append([kind[file.name] == "real" for file in files])
    share = np.mean(orders, axis=0)  # each place holds a real image about every other time
    assert 0.15 <= share.min() <= share.max() <= 0.85
    assert len({tuple(order) for order in orders}) == 20


def _without_pixels(file: Path) -> tuple[object, ...]:
    """Chunks of a PNG file but the content of IDAT; mode, size and metadata."""
    content, chunks, at = file.read_bytes(), [], 8
    while at < len(content):
        length, name = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        chunks.append((name, length, b"" if name == b"IDAT" else content[at + 8 : at + 8 + length]))
        at += 12 + length
    image = Image.open(file)
    return tuple(chunks), image.mode, image.size, tuple(image.info)


def test_orders_differ_between_readers_and_follow_the_seed(tmp_path: Path) -> None:
    definition = study(tmp_path / "s", partial(turing_test, count=30))
    first, second = definition.order(0, 1), definition.order(0, 2)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first.tolist() != second.tolist()
    assert read_definition(tmp_path / "s").order(0, 1).tolist() == first.tolist()
    # Real images come first in their half as often as chance has it.
    real_first = [np.mean(definition.order(0, reader)[:30] % 2 == 0) for reader in range(200)]
    assert np.mean(real_first) == pytest.approx(0.5, abs=0.02)


def test_answers_are_kept_and_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    definition = study(tmp_path / "s", partial(turing_test, count=3))
    reader = reader_who(tmp_path / "s", definition, "Ann", lambda *_: said("real"), most=4)
    file = next((tmp_path / "s" / READERS).iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"test":0,"item":1,"ki')
    (again,) = readers_of(tmp_path / "s", definition)
    assert (again.answers, again.next) == (reader.answers, reader.next)
    assert again.next is not None
    assert again.answer(4, said("synthetic").model_copy(update={"item": again.next[1]}))
    assert file.read_bytes().startswith(whole)
    assert len(readers_of(tmp_path / "s", definition)[0].answers) == 5
    assert file.stat().st_mode & 0o77 == 0, "the link in it is the reader's alone"


def test_only_what_is_asked_is_answered_and_once(tmp_path: Path) -> None:
    definition = study(tmp_path / "s", partial(turing_test, count=3))
    reader = add_reader(tmp_path / "s", definition, "Ann")
    assert reader.next is not None
    asked, other = reader.next[1], int(definition.order(0, reader.number)[1])
    assert not reader.answer(0, said("real").model_copy(update={"item": other}))
    assert reader.answer(0, said("real").model_copy(update={"item": asked}))
    assert not reader.answer(0, said("synthetic").model_copy(update={"item": asked})), "no going back"
    assert [answer.kind for answer in reader.answers] == ["real"]


def test_a_killed_writer_loses_no_answer_that_it_reported(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=2000))
    add_reader(folder, definition, "Ann")
    writes = (
        "import sys; from pathlib import Path\n"
        "from dashboards.reader_study.answers import Answer, readers_of\n"
        "from dashboards.reader_study.study import read_definition\n"
        "folder = Path(sys.argv[1]); definition = read_definition(folder)\n"
        "(reader,) = readers_of(folder, definition)\n"
        "while asked := reader.next:\n"
        "    answer = Answer(test=0, item=asked[1], kind='real', confidence=1, time=0)\n"
        "    reader.answer(len(reader.answers), answer)\n"
        "    print(len(reader.answers), flush=True)\n"
    )
    reported = killed_writer(writes, folder, lines=20)
    (reader,) = readers_of(folder, definition)
    assert reported <= len(reader.answers) <= reported + 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [lines[0], lines[2], lines[1]], "not in the order"),
        (lambda lines: [lines[0], lines[2]], "not in the order"),
        (lambda lines: [lines[0], b"{}\n"], "line 2 is damaged"),
        (lambda lines: lines[1:], "line 1 is damaged"),
    ],
)  # fmt: skip
def test_damaged_answers_are_refused(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    definition = study(tmp_path / "s", partial(turing_test, count=3))
    reader_who(tmp_path / "s", definition, "Ann", lambda *_: said("real"), most=3)
    file = next((tmp_path / "s" / READERS).iterdir())
    file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(ReaderStudyError, match=message):
        readers_of(tmp_path / "s", definition)


def test_damaged_and_missing_studies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReaderStudyError, match=r"lacks study\.json"):
        run("score", tmp_path)
    study(tmp_path / "s", partial(turing_test, count=3))
    with pytest.raises(ReaderStudyError, match="no answer yet"):
        run("score", tmp_path / "s")
    with pytest.raises(ReaderStudyError, match="no reader yet"):
        run("serve", tmp_path / "s")
    content = json.loads((tmp_path / "s" / DEFINITION).read_text())
    content["tests"][0]["items"][0]["pictures"][0]["file"] = "../../secret.png"
    (tmp_path / "s" / DEFINITION).write_text(json.dumps(content))
    with pytest.raises(ReaderStudyError, match="file"):
        read_definition(tmp_path / "s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--real", "nowhere", "--synthetic", "small/cpggan"), "neither a slice set nor part of a study"),
        (("--real", "small/train", "--synthetic", "small/none"), "has no synthetic slices"),
        (("--real", "small/train", "--synthetic", "small/nothing"), "it has none, cpggan 4, cpggan 8"),
        (("--real", "small/train", "--synthetic", "small/cpggan", "--count", 9), "8 slices with a box; needed: 9"),
        (("--real", "small/train", "--synthetic", "small/train", "--count", 8), "8 of them shown already; needed: 8"),
        (("--real", "small/train"), "needs --synthetic"),
        (("--real", "small/test", "--form", "lesions", "--synthetic", "small/cpggan"), "--synthetic with"),
        (("--real", "small/cpggan", "--form", "lesions", "--count", 2), "synthetic slices; needed: 2 real"),
        (("--real", "small/train", "--form", "lesions", "--count", 4, "--marks", "small/none"), "was not evaluated on"),
        (("--real", "small/train", "--synthetic", "small/cpggan", "--marks", "small/none"), "allowed with --form"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(
    launched_store: Store, tmp_path: Path, arguments: Sequence[object], message: str
) -> None:
    with pytest.raises((ConfigError, ReaderStudyError), match=message):
        run("create", tmp_path / "out", *arguments, "--store", launched_store.uri)
    assert not (tmp_path / "out").exists()


def test_lesion_study_of_a_store_shows_a_detectors_marks(launched_store: Store, tmp_path: Path) -> None:
    store = ("--store", launched_store.uri)
    options = ("--form", "lesions", "--real", "small/test", "--marks", "small/none", "--count", 4)
    run("create", tmp_path / "s", *options, *store)
    plain, marked = read_definition(tmp_path / "s").tests
    assert (plain.marked, marked.marked) == (False, True)
    assert [item.truth and item.truth.slice_id for item in plain.items] == [
        item.truth and item.truth.slice_id for item in marked.items
    ]
    lesions = [item.truth.lesions for item in plain.items if item.truth]
    assert sum(map(len, lesions)) >= 3
    assert not any(item.truth.marks for item in plain.items if item.truth)
    source = open_source("small/test", launched_store.uri)
    with pytest.raises(ReaderStudyError, match="needed: 50 real ones"):
        lesion_tests(source, None, 50, 0, Gallery(0))


def test_studies_are_the_same_by_seed(launched_store: Store) -> None:
    source, drawn = (open_source(f"small/{part}", launched_store.uri) for part in ("train", "cpggan"))
    made = [turing_tests(source, [drawn], ["slice"], False, 5, seed, Gallery(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
