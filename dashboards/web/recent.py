"""Values that take time to make: each is made once, and the ones used last are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `most` values by key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = Lock()

    def kept(self, key: Hashable) -> T | None:
        """The value of a key if it is made and kept; never waits."""
        with self._lock:
            future = self._kept.get(key)
        return future.result() if future is not None and future.done() and future.exception() is None else None

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; of all who ask for one that is not kept, the first makes it. Errors are not kept."""
        with self._lock:
            future = self._kept.get(key)
            if missing := future is None:
                future = self._kept[key] = Future()
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if missing:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._kept.get(key) is future:
                        del self._kept[key]
                future.set_exception(error)
        return future.result()
