"""What readers have answered: one file per reader, one line per answer, on disk before the next image is shown."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from threading import Lock
from typing import Annotated, TypeVar

from pydantic import Field

from dashboards.reader_study.study import READERS, Box, Definition, Kind, ReaderStudyError
from trainers.config import Config, Text
from trainers.documents import parsed

T = TypeVar("T", bound=Config)
Confidence = Annotated[int, Field(ge=1, le=5)]
"""1: a guess; 5: certain."""
MOST_MARKS = 100
"""Marks of a reader on one slice."""


class Mark(Config):
    """Where a reader sees a lesion."""

    box: Box
    confidence: Confidence


class Answer(Config):
    """What a reader said of one item."""

    test: Annotated[int, Field(ge=0)]
    item: Annotated[int, Field(ge=0)]
    """Position in the definition, not in the reader's order."""
    kind: Kind | None = None
    """Of a single image what the reader takes it for; of a pair what the image is that the reader took for the real
    one, so that `real` is right. None in the form `lesions`."""
    confidence: Confidence | None = None
    """None in the form `lesions`, where every mark has its own."""
    marks: tuple[Mark, ...] = Field(default=(), max_length=MOST_MARKS)
    time: float
    """Unix seconds."""


class Head(Config):
    """The first line of a reader's file."""

    reader: Text
    token: str
    """Of the reader's personal link."""


class Reader:
    """One reader and the answers given so far.

    A line is whole if it ends in a line break: of what a killed server was writing, only whole lines count, and the
    next answer replaces the rest.
    """

    def __init__(self, file: Path, number: int, definition: Definition) -> None:
        content = file.read_bytes()
        self._whole = content.rfind(b"\n") + 1
        lines = content[: self._whole].splitlines()
        head = _read(lines[0] if lines else b"", Head, file, 1)
        self.name, self.token, self.number = head.reader, head.token, number
        self.answers = [_read(line, Answer, file, place) for place, line in enumerate(lines[1:], start=2)]
        self._file, self._lock, self._definition = file, Lock(), definition
        self._order = [
            (test, int(item)) for test in range(len(definition.tests)) for item in definition.order(test, number)
        ]
        given = [(answer.test, answer.item) for answer in self.answers]
        if given != self._order[: len(given)]:
            raise ReaderStudyError(
                f"{file}: the answers are not in the order in which {self.name} was asked, so lines are missing, were "
                "added or belong to another study. Copy the file again."
            )

    @property
    def next(self) -> tuple[int, int] | None:
        """Test and item to ask now; None when all are answered."""
        return self._order[len(self.answers)] if len(self.answers) < len(self._order) else None

    def answer(self, place: int, answer: Answer) -> bool:
        """Append an answer, which is on disk when this returns; False, and nothing done, if it is not asked now.

        Args:
            place: number of answers that the reader had given when the item was shown.

        Raises:
            ReaderStudyError: the answer cannot be written.
        """
        with self._lock:
            if place != len(self.answers) or self.next != (answer.test, answer.item):
                return False
            line = answer.model_dump_json(exclude_defaults=True).encode() + b"\n"
            try:
                with self._file.open("r+b") as file:
                    file.truncate(self._whole)
                    file.seek(self._whole)
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise ReaderStudyError(
                    f"The answer cannot be saved ({error.strerror}). Ask who keeps the study, then open the link again."
                ) from None
            self._whole += len(line)
            self.answers.append(answer)
            return True


def readers_of(folder: Path, definition: Definition) -> list[Reader]:
    """All readers of a study, in the order in which they were added.

    Raises:
        ReaderStudyError: a file is damaged, or does not belong to the study.
    """
    files = sorted((folder / READERS).glob("*.jsonl"))
    return [Reader(file, int(file.stem), definition) for file in files]


def add_reader(folder: Path, definition: Definition, name: str) -> Reader:
    """A new reader with a fresh link."""
    (folder / READERS).mkdir(exist_ok=True)
    number = 1 + max((reader.number for reader in readers_of(folder, definition)), default=0)
    head = Head(reader=name, token=secrets.token_urlsafe(18))
    file = folder / READERS / f"{number:03d}.jsonl"
    with file.open("x") as opened:
        file.chmod(0o600)
        opened.write(head.model_dump_json() + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    return Reader(file, number, definition)


def now() -> float:
    """Unix seconds, to the millisecond."""
    return round(time.time(), 3)


def _read(line: bytes, model: type[T], file: Path, number: int) -> T:
    return parsed(line, model, f"{file}, line {number}", ReaderStudyError, "Copy the file again.")
