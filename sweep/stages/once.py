"""A property that is worked out once for each object, and objects that may be pickled meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801
    """`functools.cached_property` without its lock, which Python 3.11 takes at every first access.

    A plan of 100,000 trials has as many objects, each used by one thread.
    """

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> once[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: object | None, kind: type) -> once[T] | T:
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._work_out(owner)
        return value


class Steady:
    """Its attributes are copied before they are pickled: another thread may be working one of them out."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()
