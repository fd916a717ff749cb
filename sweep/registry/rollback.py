"""Makes the previous champion the champion again."""

from __future__ import annotations

from typing import NamedTuple

from sweep.registry.versions import Registry, Version
from trainers.exceptions import ConfigError, TrackingError


class Move(NamedTuple):
    """A change of champion."""

    now: Version
    """The champion before the change."""
    back: Version
    """The champion after the change."""


def planned(registry: Registry, name: str, to: str | None = None) -> Move:
    """The change that a rollback makes: to the newest former champion, or to `to`.

    After a rollback, that is the version that was rolled back: a second rollback undoes the first.

    Raises:
        TrackingError: the model has no champion, or no former one, or its version was deleted.
        ConfigError: `to` was never champion, or is the champion now.
    """
    now = registry.champion(name)
    if now is None:
        raise TrackingError(
            f"{name} has no champion, so nothing can be rolled back; `metsweep promote` makes a champion."
        )
    champions = dict.fromkeys(reign.version for reign in reversed(registry.history(name)))
    former = [number for number in champions if number != now.number]
    if not former:
        raise TrackingError(f"{name}: version {now.number} is its first champion, so nothing can be rolled back.")
    if to is not None and to not in former:
        raise ConfigError(
            f"--to {to}: allowed are versions of {name} that have been champion and are not now: {', '.join(former)}. "
            "Other versions must pass the gates: `metsweep promote`."
        )
    return Move(now, registry.find(name, to or former[0]))
