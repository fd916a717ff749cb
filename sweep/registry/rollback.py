"""Makes the previous champion the champion again."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.registry.versions import Registry, Version
from trainers.exceptions import ConfigError, TrackingError


@dataclass(frozen=True)
class Move:
    """A change of champion."""

    now: Version
    """The champion as long as nothing was moved."""
    back: Version
    """Who becomes it."""


def planned(registry: Registry, name: str, to: str | None = None) -> Move:
    """Where a rollback leads: to the newest of the history that is not the champion now, or to `to`.

    After a rollback that is the version which was rolled back, so a rollback of a rollback undoes it.

    Raises:
        TrackingError: there is no champion, no previous one, or its version was deleted.
        ConfigError: `to` has never been champion, or is it now.
    """
    now = registry.champion(name)
    if now is None:
        raise TrackingError(f"{name} has no champion, so there is nothing to roll back; `metsweep promote` makes one.")
    champions = dict.fromkeys(reign.version for reign in reversed(registry.history(name)))
    former = [number for number in champions if number != now.number]
    if not former:
        raise TrackingError(f"{name}: version {now.number} is its first champion; there is none to go back to.")
    if to is not None and to not in former:
        raise ConfigError(
            f"--to {to}: allowed are versions of {name} that have been champion and are not now: {', '.join(former)}. "
            "Others go through the gates: `metsweep promote`."
        )
    return Move(now, registry.find(name, to or former[0]))


def roll_back(registry: Registry, move: Move) -> None:
    """Carry it out and note it in the history."""
    registry.crown(move.back, f"rolled back from {move.now.number}")
