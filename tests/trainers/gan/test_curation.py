"""The human's list, alone and together with the score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.gan.tiny_shards import STRICT, changed, shard
from trainers.data.slice_set import SliceSet
from trainers.exceptions import ConfigError
from trainers.gan.config import SynthesisConfig
from trainers.gan.review import Review, attempt_id, read_review

Write = Callable[..., Path]


@pytest.fixture
def listed(tmp_path: Path) -> Write:
    def write(*rows: str, header: str = "slice_id,decision", name: str = "list.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join((header, *rows)) + "\n")
        return path

    return write


def reviewed(config: SynthesisConfig, path: Path) -> SynthesisConfig:
    return changed(config, review=str(path))


def test_discarded_attempts_are_skipped_and_kept_ones_fill_their_image(
    gan: Path, faint: SliceSet, tmp_path: Path, listed: Write
) -> None:
    plain = shard(gan, faint, STRICT, 0, tmp_path / "plain")
    taken = plain.slices["attempt"].tolist()
    first, later = taken.index(0), next(i for i, number in enumerate(taken) if number > 0)
    path = listed(
        f"{attempt_id(first, 0)},discard",
        f"{attempt_id(later, 0)},keep",
        f"{attempt_id(9, 6)},keep",
        f"{attempt_id(8, 3)},keep",
        f"{attempt_id(99, 0)},discard",
    )
    curated = shard(gan, faint, reviewed(STRICT, path), 0, tmp_path / "curated")
    attempts = curated.slices["attempt"].tolist()
    assert attempts[first] > 0
    assert attempts[later] == 0
    assert attempts[8:] == [3, 6]
    assert curated.meta["curation"]["kept_by_review"] == 3
    assert curated.meta["curation"]["discarded_by_review"] == 1
    others = [i for i in range(8) if i not in (first, later)]
    np.testing.assert_array_equal(curated.images[others], plain.images[others])

    raw = shard(gan, faint, changed(STRICT, curate=False), 0, tmp_path / "raw")
    np.testing.assert_array_equal(curated.images[later], raw.images[later])
    by_hand = shard(gan, faint, reviewed(changed(STRICT, curate=False), path), 0, tmp_path / "by_hand")
    assert by_hand.slices["attempt"].tolist() == [1 if i == first else 0 for i in range(8)] + [3, 6]
    np.testing.assert_array_equal(by_hand.images[8:], curated.images[8:])


def test_an_image_whose_every_attempt_is_discarded_is_drawn_further(
    gan: Path, faint: SliceSet, tmp_path: Path, listed: Write
) -> None:
    path = listed(*(f"{attempt_id(2, number)},discard" for number in range(6)))
    config = reviewed(changed(STRICT, threshold_quantile=0.99, max_attempts=2), path)
    made = shard(gan, faint, config, 0, tmp_path / "out")
    assert made.slices["attempt"].iloc[2] in (6, 7)


def test_what_a_human_kept_is_not_unclear(gan: Path, slices: SliceSet, tmp_path: Path, listed: Write) -> None:
    """No synthetic tumour is as clear as those of `slices`."""
    path = listed(f"{attempt_id(1, 0)},keep", f"{attempt_id(2, 1)},keep")
    config = changed(STRICT, max_attempts=2)
    curation = shard(gan, slices, reviewed(config, path), 0, tmp_path / "out").meta["curation"]
    assert curation["unclear"] == 8
    assert curation["attempts"] == 2 + 2 * 8


def test_list_for_another_gan(gan: Path, faint: SliceSet, tmp_path: Path, listed: Write) -> None:
    source = shard(gan, faint, STRICT, 0, tmp_path / "plain").meta["source"]
    assert source.startswith("cpggan-")
    rows = [f"{attempt_id(1, 0)},discard,{source}", f"{attempt_id(1, 0)},keep,image2image-0123456789ab"]
    mine = listed(*rows, header="slice_id,decision,source")
    made = shard(gan, faint, reviewed(STRICT, mine), 0, tmp_path / "mine")
    assert made.slices["attempt"].iloc[1] > 0
    assert made.meta["curation"]["kept_by_review"] == 0

    for number, config in enumerate((changed(STRICT, seed=8), changed(STRICT, max_shift=0.2))):
        with pytest.raises(ConfigError, match=f"synthetic-000001-0 is about slices of {source}"):
            shard(gan, faint, reviewed(config, mine), 0, tmp_path / f"other{number}")
    unaffected = shard(gan, faint, reviewed(changed(STRICT, seed=8), mine), 1, tmp_path / "later")
    assert len(unaffected.images) == 10


def test_content_does_not_depend_on_order_repetition_or_path(listed: Write) -> None:
    one = read_review(listed(f"{attempt_id(3, 0)},discard", f"{attempt_id(2, 1)},keep"))
    rows = (f"{attempt_id(2, 1)},keep", f"{attempt_id(3, 0)},discard", f"{attempt_id(2, 1)},keep")
    other = read_review(listed(*rows, name="other.csv"))
    assert one.content == other.content == {"synthetic-000002-1": "keep", "synthetic-000003-0": "discard"}
    assert one.about("cpggan", range(3)).content == {"synthetic-000002-1": "keep"}
    assert Review().content == {}


def test_most_reviewers_decide_and_a_tie_leaves_it_to_the_score(listed: Write) -> None:
    rows = (
        (0, "keep", "Ann"), (0, "discard", "Ben"), (0, "discard", "Cem"),
        (1, "keep", "Ann"), (1, "discard", "Ben"),
        (2, "keep", ""), (2, "keep", "Ben"), (2, "discard", "Cem"),
    )  # fmt: skip
    lines = [f"{attempt_id(image, 0)},{decision},{name}" for image, decision, name in rows]
    review = read_review(listed(*lines, header="slice_id,decision,reviewer"))
    assert review.content == {attempt_id(0, 0): "discard", attempt_id(2, 0): "keep"}
    contradicting = listed(*lines, f"{attempt_id(0, 0)},keep,Cem", header="slice_id,decision,reviewer")
    with pytest.raises(ConfigError, match=r"line 10: .* but discard in line 4; allowed: one decision per slice and"):
        read_review(contradicting)


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (["synthetic-000001-0,reject"], ("line 2", "'reject'", "keep, discard")),
        (["synthetic-1-0,keep"], ("line 2", "'synthetic-1-0'", "synthetic-000029-1")),
        (["synthetic-000001-0,keep", "synthetic-000002-01,keep"], ("line 3", "'synthetic-000002-01'")),
        (["P001-z014,keep"], ("line 2", "'P001-z014' names no synthetic slice")),
        (["synthetic-000001-0,keep", "synthetic-000001-0,discard"], ("line 3", "marked discard", "keep in line 2")),
        (["synthetic-000001-0,keep", "synthetic-000001-2,keep"], ("line 3", "synthetic-000001-0", "one attempt")),
        (["synthetic-000001-0"], ("line 2", "2 cells")),
        (["synthetic-000001-0,keep,why"], ("line 2", "2 cells")),
    ],
)
def test_bad_rows_are_refused(rows: list[str], parts: tuple[str, ...], listed: Write) -> None:
    refused(listed(*rows), parts)


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("slice_id,decision,comment", ("line 1", "comment", "source")),
        ("slice_id", ("line 1", "needed: slice_id, decision")),
        ("slice_id,decision,decision", ("line 1", "decision, decision")),
        ("", ("line 1", "got no columns")),
    ],
)
def test_bad_columns_are_refused(header: str, parts: tuple[str, ...], listed: Write) -> None:
    refused(listed(header=header), parts)


def test_bad_sources_and_files_are_refused(listed: Write, tmp_path: Path) -> None:
    rows = ["synthetic-000001-0,keep,cyclegan-0123456789ab"]
    refused(listed(*rows, header="slice_id,decision,source"), ("line 2", "cyclegan", "meta.json"))
    refused(tmp_path / "missing.csv", ("missing.csv", "cannot be read"))
    (tmp_path / "list.csv").write_bytes(b"slice_id,decision\n\xff\xfe,keep\n")
    refused(tmp_path / "list.csv", ("list.csv", "UTF-8"))


def refused(path: Path, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        read_review(path)
    for part in (path.name, *parts):
        assert part in str(raised.value)
