"""A reader study as a folder.

`study.json` holds what is asked and what is right, `images/` plain PNG files in random order, and `readers/` a file for
each reader. The definition never changes once it is written: who reads in which order follows from its seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from trainers.config import Config, Text
from trainers.documents import parsed, read_text
from trainers.exceptions import MetsweepError

Kind = Literal["real", "synthetic"]
Form = Literal["single", "pairs", "lesions"]
"""One image: real or synthetic? Two: which is real? One: where are lesions?"""
View = Literal["crop", "slice"]
"""What is shown of a slice: the content of one of its boxes, or all of it."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the image."""
DEFINITION, IMAGES, READERS = "study.json", "images", "readers"
SECRET_BITS = 128
"""Of a seed that nobody guesses."""
LARGEST = 256 * 2**20
"""Bytes of a definition."""
_FILE = r"[0-9a-f]{16}\.png"


class ReaderStudyError(MetsweepError):
    """The folder of a reader study cannot be used."""


class Picture(Config):
    """One image."""

    file: Annotated[str, Field(pattern=_FILE)]
    """In the folder `images`."""
    kind: Kind
    origin: str
    """Source, slice and box, for whoever keeps the study."""


class Lesion(Config):
    """One lesion of a slice."""

    box: Box
    lesion: float | None = None
    """Number of the 3-D lesion in its volume."""
    diameter_mm: float | None = None


class SliceTruth(Config):
    """Where the lesions of a slice are, and where a detector marks some."""

    slice_id: str
    patient_id: str
    scanner: str
    volume: str
    z: int
    lesions: tuple[Lesion, ...]
    marks: tuple[Box, ...]


class Item(Config):
    """What a reader is asked once."""

    pictures: tuple[Picture, ...] = Field(min_length=1, max_length=2)
    """One; of a pair the real one and then the synthetic one."""
    truth: SliceTruth | None = None
    """In the form `lesions` only."""


class ReadingTest(Config):
    """Items of one kind, which a reader sees in random order."""

    title: Text
    """For readers, so the sources are not named."""
    origin: Text
    """The sources, for whoever keeps the study."""
    form: Form
    size: int
    """Side of the images, pixels."""
    marked: bool = False
    """Whether a detector's marks are shown."""
    items: tuple[Item, ...] = Field(min_length=1)


class Definition(Config):
    """What is asked, in which order, and what is right."""

    seed: Annotated[int, Field(ge=0, lt=2**SECRET_BITS)]
    """Decides the selection, the names of the files, and each reader's order: who knows the seed knows the answers."""
    tests: tuple[ReadingTest, ...] = Field(min_length=1)
    """In the order in which readers take them."""

    def order(self, test: int, reader: int) -> np.ndarray:
        """The items of a test in the order in which reader number `reader` sees them."""
        return self._random(test, reader, 0).permutation(len(self.tests[test].items))

    def real_is_left(self, test: int, reader: int) -> np.ndarray:
        """For each pair whether that reader sees the real image on the left; bool."""
        return self._random(test, reader, 1).random(len(self.tests[test].items)) < 0.5

    def _random(self, *of: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 11, *of])


def read_definition(folder: Path) -> Definition:
    """The definition in a folder.

    Raises:
        ReaderStudyError: the folder holds no reader study, or a damaged one.
    """
    file = folder / DEFINITION
    if not file.is_file():
        raise ReaderStudyError(
            f"{folder} is no reader study: it lacks {DEFINITION}. `metsweep reader-study create` makes one."
        )
    text = read_text(file, ReaderStudyError, LARGEST)
    return parsed(text, Definition, file, ReaderStudyError, "Copy the whole folder again, or create the study anew.")
