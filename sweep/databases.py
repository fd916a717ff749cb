"""Databases of MLflow and Optuna: the file behind an SQLite URI, whether it is whole, and whose an error is."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sweep.redaction import without_secrets
from trainers.exceptions import TrackingError


class ReplacedDatabaseError(TrackingError):
    """The SQLite file that this process has open is not the one of that name any more; a new process opens that."""

    exit_code = 1


class DatabaseFile:
    """Notices that the file of an SQLite database was deleted or replaced: connections go on writing into the old one.

    Args:
        whose: the library that keeps it, for messages.
        uri: of the database; nothing is noticed of one that is no SQLite file.
        lost: what is missing unless the same file is put back, for messages.
    """

    def __init__(self, whose: str, uri: str, lost: str) -> None:
        self._whose, self._path, self._lost = whose, sqlite_file(uri), lost
        self._first: tuple[int, int] | None = None

    def check(self) -> None:
        """Look whether it is the file that was there when it was first looked at.

        Raises:
            ReplacedDatabaseError: it is not.
        """
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            now = None
        else:
            now = (found.st_dev, found.st_ino)
        self._first = self._first or now
        if now != self._first:
            raise ReplacedDatabaseError(
                f"{self._whose}'s database {self._path} was {'replaced' if now else 'deleted'} while this command used "
                f"it. Unless the same file is put back, {self._lost}."
            )


def split_sqlite(uri: str) -> tuple[str, str]:
    """`sqlite:///` (or with a driver) and the path of an SQLite URI; nothing and the URI itself for every other URI."""
    scheme, separator, path = uri.partition(":///")
    return (scheme + separator, path) if scheme.startswith("sqlite") and separator else ("", uri)


def absolute(uri: str) -> str:
    """The same URI, good in any working directory: the path of an SQLite file made absolute."""
    prefix, path = split_sqlite(uri)
    return f"{prefix}{Path(path).absolute()}" if prefix else uri


def sqlite_file(uri: str) -> Path | None:
    """Database file of an SQLite URI; None for every other URI."""
    prefix, path = split_sqlite(absolute(uri))
    return Path(path.partition("?")[0]) if prefix else None


def will_be_made(uri: str) -> bool:
    """Whether opening a database would make it: an SQLite file that does not exist."""
    file = sqlite_file(uri)
    return file is not None and not file.exists()


def refuse_damaged(whose: str, uri: str, tables: Collection[str], remedy: str) -> None:
    """Refuse an SQLite file whose pages do not fit together, or which has lost a table: libraries would go on without.

    Args:
        whose: the library that keeps it.
        uri: of a database; only of SQLite files anything is found.
        tables: what all versions of the library make.
        remedy: what to do, a sentence or two.

    Raises:
        TrackingError: it is no database, or damaged.
    """
    file = sqlite_file(uri)
    if file is not None and file.exists() and (found := damage_of(file, tables)):
        raise TrackingError(f"{whose}'s database {file} is damaged: {found}. {remedy}")


def damage_of(file: Path, tables: Collection[str] = ()) -> str | None:
    """What is wrong with an SQLite file; None if nothing, or if another process keeps it from looking.

    Args:
        file: one that is there; a new one is empty.
        tables: all of which it must have once it has one of them.
    """
    try:
        # Writable, so that what a killed process left half-written is rolled back.
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=60)) as connection:
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:  # whoever opens it to use it says so
        return None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
    if found != "ok":
        return " ".join(found.replace("*** in database main ***", "").split())
    lost = {*tables} - there if there & {*tables} else set()
    return f"it lacks the table {min(lost)}" if lost else None


def in_a_line(error: Exception, uri: str, libraries: Collection[str]) -> str:
    """What an error says, without the secrets of a URI; its kind, too, where it is none of the libraries' own."""
    text = without_secrets(error, uri).strip().partition("\n")[0].rstrip(".")
    own = type(error).__module__.partition(".")[0] in libraries or isinstance(error, OSError | ImportError)
    return text if own and text else f"{type(error).__name__}: {text}".rstrip(": ")


def came_from(error: Exception, libraries: Collection[str]) -> bool:
    """Whether an error was raised by, or below, a library: one that reads a damaged database may raise anything."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [type(error).__module__, *(str(frame.f_globals.get("__name__")) for frame in frames)]
    return any(name.partition(".")[0] in libraries for name in names)
