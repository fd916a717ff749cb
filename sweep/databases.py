"""Databases of MLflow and Optuna: the file behind an SQLite URI, its damage, and the origin of errors."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sweep.redaction import without_secrets
from trainers.exceptions import MetsweepError, TrackingError


class ReplacedDatabaseError(TrackingError):
    """The open SQLite file was deleted or replaced; a new process opens the new file."""

    exit_code = 1


class DatabaseFile:
    """Notices that an SQLite file was deleted or replaced: open connections continue to write into the old file.

    Args:
        whose: the library that owns the database, for messages.
        uri: of the database; other URIs than those of SQLite files are not checked.
        lost: what is lost unless the same file is restored, for messages.
    """

    def __init__(self, whose: str, uri: str, lost: str) -> None:
        self._whose, self._uri, self._path, self._lost = whose, uri, sqlite_file(uri), lost
        self._first: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise ReplacedDatabaseError unless the file is the one that the first check saw."""
        if self._path is None:
            return
        now = file_now(self._uri)
        self._first = self._first or now
        if now != self._first:
            raise ReplacedDatabaseError(
                f"{self._whose}'s database {self._path} was {'replaced' if now else 'deleted'} while this command used "
                f"it. Unless the same file is restored, {self._lost}."
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


def file_now(uri: str) -> tuple[int, int] | None:
    """What stays the same of an SQLite file until another takes its place; None for every other URI, or without one."""
    path = sqlite_file(uri)
    try:
        status = None if path is None else path.stat()
    except FileNotFoundError:
        return None
    return status and (status.st_dev, status.st_ino)


def refuse_damaged(whose: str, uri: str, tables: Collection[str], remedy: str) -> None:
    """Refuse an SQLite file whose pages do not fit together, or which has lost a table: libraries would go on without.

    Args:
        whose: the library that owns the database.
        uri: of a database; only SQLite files are checked.
        tables: those that all versions of the library make.
        remedy: what to do, a sentence or two.

    Raises:
        TrackingError: the file is damaged or not a database.
    """
    file = sqlite_file(uri)
    if file is not None and file.exists() and (damage := damage_of(file, tables)):
        raise TrackingError(f"{whose}'s database {file} is damaged: {damage}. {remedy}")


def damage_of(file: Path, tables: Collection[str] = ()) -> str | None:
    """The damage of an SQLite file; None if it is intact, or if another process blocks the check.

    Args:
        file: an existing file; a new database is empty.
        tables: the file must have all of them once it has any.
    """
    try:
        # Writable, so that the half-written changes of a killed process are rolled back.
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=60)) as connection:
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            present = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:  # whoever opens the file to use it reports that
        return None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
    if verdict != "ok":
        return " ".join(verdict.replace("*** in database main ***", "").split())
    lost = {*tables} - present if present & {*tables} else set()
    return f"the table {min(lost)} is missing" if lost else None


def in_a_line(error: Exception, uri: str, libraries: Collection[str]) -> str:
    """An error's first line without the secrets of a URI; with its kind unless it is a library's own error."""
    text = without_secrets(error, uri).strip().partition("\n")[0].rstrip(".")
    own = type(error).__module__.partition(".")[0] in libraries or isinstance(error, OSError | ImportError)
    return text if own and text else f"{type(error).__name__}: {text}".rstrip(": ")


@contextmanager
def explaining(libraries: Collection[str], meaning: Callable[[Exception], MetsweepError]) -> Iterator[None]:
    """Turns errors of libraries, and of the system, within the block into what they mean for a person.

    Args:
        libraries: packages; also whatever is raised below them, for one that reads a damaged database may raise
            anything.
        meaning: the error to raise instead.
    """
    try:
        yield
    except MetsweepError:
        raise
    except Exception as error:
        if not isinstance(error, OSError | ImportError) and not _came_from(error, libraries):
            raise
        raise meaning(error) from None


def _came_from(error: Exception, libraries: Collection[str]) -> bool:
    """Whether an error was raised by, or below, a library."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [type(error).__module__, *(str(frame.f_globals.get("__name__")) for frame in frames)]
    return any(name.partition(".")[0] in libraries for name in names)
