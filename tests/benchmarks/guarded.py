"""Calls that may fail, hang or take their process with them, none of which ends whoever asks for the next."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class FailedError(Exception):
    pass


class Guarded:
    """Makes calls in another process, the same one until one of them fails: after an error a GPU answers no more.

    It ends with the `with` statement that it is for.

    Args:
        seconds: how long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spawning = multiprocessing.get_context("spawn")
        self._process: Any = None

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, run: Callable[..., Any], *args: Any) -> Any:
        """What `run(*args)` returns; FailedError says why it returned nothing. Everything must be fit to be pickled."""
        if self._process is None:
            self._connection, theirs = self._spawning.Pipe()
            self._process = self._spawning.Process(target=_serve, args=(theirs,))
            self._process.start()
            theirs.close()
        self._connection.send((run, args))
        try:
            done, result = False, f"not done after {self._seconds:g} s"
            if self._connection.poll(self._seconds):
                done, result = self._connection.recv()
        except EOFError:
            result = "its process died"
        if not done:
            self._end()
            raise FailedError(result)
        return result

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(connection: Connection) -> None:
    while True:
        run, args = connection.recv()
        try:
            answer = True, run(*args)
        except Exception as error:
            answer = False, " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(answer)
