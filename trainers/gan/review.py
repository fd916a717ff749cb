"""A human's keep/discard list, which overrides the curation's score.

The list is a CSV file with the columns `slice_id` and `decision` (`keep` or `discard`), and optionally `source` and
`reviewer`. A `slice_id` names one attempt at an image, `synthetic-000029-1` being the second at image 29. For another
GAN or synthesis seed it names another slice; `source`, as in a synthetic slice set's `meta.json`, says whose were
reviewed. Where reviewers differ, most of them decide; where they are evenly divided, the score does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Literal, cast, get_args

from trainers.documents import read_table, shown
from trainers.exceptions import ConfigError
from trainers.gan.config import SynthesisConfig
from trainers.variants import SYNTHETIC, SyntheticVariant

Decision = Literal["keep", "discard"]
DECISIONS = get_args(Decision)
NEEDED, OPTIONAL = ("slice_id", "decision"), ("source", "reviewer")
ATTEMPT_ID = re.compile(r"synthetic-(\d{6,18})-(\d{1,9})", re.ASCII)
SOURCE = re.compile(rf"({'|'.join(map(re.escape, SYNTHETIC))})-[0-9a-f]{{12}}")


def attempt_id(image: int, number: int) -> str:
    """The name of attempt `number` (0, 1, ...) at the synthetic image `image`."""
    return f"synthetic-{image:06d}-{number}"


@dataclass(frozen=True)
class ReviewedAttempt:
    """One decision."""

    image: int
    number: int
    decision: Decision
    source: str | None
    """Variant and 12 hexadecimal digits; None if the list does not say whose slices it is about."""


@dataclass(frozen=True)
class Review:
    """The decisions of a list, each once, in order of image and attempt; without any, the score alone decides."""

    path: Path | None = None
    attempts: tuple[ReviewedAttempt, ...] = ()

    @property
    def content(self) -> dict[str, Decision]:
        """The decisions, whatever the list's path, row order and repetitions; JSON-able."""
        return {
            f"{attempt.source or ''} {attempt_id(attempt.image, attempt.number)}".strip(): attempt.decision
            for attempt in self.attempts
        }

    def about(self, variant: SyntheticVariant, images: range) -> Review:
        """The decisions on some images of this variant (or of a variant that the list does not name)."""
        kept = (
            attempt
            for attempt in self.attempts
            if attempt.image in images and (attempt.source is None or attempt.source.rsplit("-", 1)[0] == variant)
        )
        return Review(self.path, tuple(kept))

    def check(self, source: str) -> None:
        """Raise ConfigError for the first decision on a slice of another source."""
        for attempt in self.attempts:
            if attempt.source not in (None, source):
                raise ConfigError(
                    f"{self.path}: the decision on {attempt_id(attempt.image, attempt.number)} is about slices of "
                    f"{attempt.source}, but these are of {source}: another GAN, annotation, synthesis seed or way to "
                    "draw boxes. Review the slices of this source, or draw without the list."
                )

    def candidates(self, image: int, most: int) -> list[int]:
        """The attempts that may fill an image: the kept one alone, or else the first `most` that are not discarded."""
        decided = {attempt.number: attempt.decision for attempt in self.attempts if attempt.image == image}
        kept = [number for number, decision in decided.items() if decision == "keep"]
        return kept or list(islice((number for number in count() if number not in decided), most))


def read_review(path: Path) -> Review:
    """Read a keep/discard list.

    Raises:
        ConfigError: the file cannot be read, lacks a column or has an unknown column, or a row is malformed,
            contradicts another of the same reviewer, or a second attempt at an image is kept; names file and line.
    """
    given: dict[tuple[str | None, str], dict[str, tuple[int, ReviewedAttempt]]] = {}
    for line, row in read_table(path, ConfigError, NEEDED, OPTIONAL):
        attempt = _parse(f"{path}, line {line}", row)
        of_slice = given.setdefault((attempt.source, row["slice_id"]), {})
        before, earlier = of_slice.setdefault(row.get("reviewer", ""), (line, attempt))
        if earlier != attempt:
            raise ConfigError(
                f"{path}, line {line}: {row['slice_id']} is marked {attempt.decision}, but {earlier.decision} in line "
                f"{before}; allowed: one decision per slice and reviewer."
            )
    attempts: list[ReviewedAttempt] = []
    kept: dict[tuple[str | None, int], int] = {}
    for line, attempt in filter(None, map(_most, given.values())):
        attempts.append(attempt)
        image = attempt.source, attempt.image
        if attempt.decision == "keep" and kept.setdefault(image, attempt.number) != attempt.number:
            second, first = (attempt_id(attempt.image, number) for number in (attempt.number, kept[image]))
            raise ConfigError(
                f"{path}, line {line}: {second} is kept, but so is {first}; only one attempt can fill image "
                f"{attempt.image}. Discard or leave out the other."
            )
    attempts.sort(key=lambda attempt: (attempt.source or "", attempt.image, attempt.number))
    return Review(path, tuple(attempts))


def _most(by_reviewer: Mapping[str, tuple[int, ReviewedAttempt]]) -> tuple[int, ReviewedAttempt] | None:
    """The decision of most reviewers of a slice, and its first line; None where they are evenly divided."""
    given = list(by_reviewer.values())
    fewer, more = sorted(([one for one in given if one[1].decision == side] for side in DECISIONS), key=len)
    return more[0] if len(more) > len(fewer) else None


def review_of(config: SynthesisConfig, variant: SyntheticVariant, shard: int) -> Review:
    """The decisions of the config's keep/discard list on a shard of a variant; none without a list.

    Raises:
        ConfigError: the list cannot be used; names file and line.
    """
    listed = Review() if config.review is None else read_review(Path(config.review))
    return listed.about(variant, config.images(shard))


def _parse(where: str, row: dict[str, str]) -> ReviewedAttempt:
    match = ATTEMPT_ID.fullmatch(row["slice_id"])
    if match is None or attempt_id(int(match[1]), int(match[2])) != row["slice_id"]:
        raise ConfigError(
            f"{where}: slice_id {shown(row['slice_id'])} names no synthetic slice; allowed: ids as in a synthetic "
            f"slice set's slices.parquet, e.g. {attempt_id(29, 1)}."
        )
    if row["decision"] not in DECISIONS:
        raise ConfigError(f"{where}: decision {shown(row['decision'])}; allowed: {', '.join(DECISIONS)}.")
    source = row.get("source") or None
    if source is not None and SOURCE.fullmatch(source) is None:
        raise ConfigError(
            f"{where}: source {shown(source)} names no source; allowed: `source` in the meta.json of the synthetic "
            "slice set, e.g. cpggan-0123456789ab, or nothing."
        )
    return ReviewedAttempt(int(match[1]), int(match[2]), cast(Decision, row["decision"]), source)
