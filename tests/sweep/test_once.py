from __future__ import annotations

import pickle
from typing import Any

from sweep.stages.once import Steady, once


class Thing(Steady):
    def __init__(self) -> None:
        self.visitor = Visitor(self)
        self.name = "thing"

    @once
    def figure(self) -> int:
        return 42


class Visitor:
    """Has the thing's figure worked out in the middle of its being pickled, as another thread might."""

    def __init__(self, thing: Thing) -> None:
        self._thing = thing

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (self._thing.figure,)


def test_a_property_may_be_worked_out_while_its_object_is_pickled() -> None:
    thing = pickle.loads(pickle.dumps(Thing()))
    assert thing.visitor == 42
    assert thing.figure == 42
