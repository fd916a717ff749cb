"""Garbage collection: what can be removed from a store, and why."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import TypeAdapter

from sweep.store import lease
from sweep.store.backend import Unavailable
from sweep.store.lease import Watch
from sweep.store.patience import PATIENCE_S
from sweep.store.store import Store
from sweep.store.survey import Survey, survey
from sweep.text import count_text
from trainers.config import Config
from trainers.exceptions import ConfigError, StoreError

DAY_S = 24 * 3600.0
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}


class Needs(Config):
    """Content of `studies/<name>/needs.json`: which artifacts a study needs, written by its launch."""

    study: str
    """Name of the study."""
    keys: dict[str, list[str]]
    """Stage -> its keys."""


@dataclass(frozen=True)
class Garbage:
    """Something that can be removed; `remove` may have to be retried."""

    what: str
    """For people: its kind and name."""
    why: str
    size: int
    """Bytes."""
    remove: Callable[[], None]


def parse_age(text: str) -> float:
    """Seconds of an age like 7d, 12h, 30m or 45s; ConfigError for any other text."""
    if match := re.fullmatch(r"(\d+)([smhd])", text):
        return int(match[1]) * UNITS_S[match[2]]
    raise ConfigError(f"--older-than is {text!r}; allowed: a number and s, m, h or d, e.g. 7d.")


def find_garbage(store: Store, registered: set[str], older_than_s: float) -> list[Garbage]:
    """What nothing needs; removes nothing. Takes as long as a lease needs to lapse if any is held.

    Needed are the keys of every study, of held leases, and the `registered` keys, each with all its ancestors.

    Args:
        registered: stage keys of the registry's models.
        older_than_s: younger artifacts stay, needed or not.

    Raises:
        StoreError: a study's needs or a manifest cannot be read.
    """
    held = held_leases(store)
    seen = survey(store)
    if seen.damaged:
        raise StoreError(f"{seen.damaged[0].reason} Nothing is removed: the inputs of this artifact are unknown.")
    keys = {key for _, key in held} | registered | _needed_by_studies(store)
    needed, now = seen.ancestors(keys), time.time()
    return [
        *_half_written(store, seen, held, now),
        *_damaged(store),
        *_checkpoints(store, seen),
        *_unneeded(store, seen, needed, now - older_than_s),
    ]


def held_leases(store: Store) -> set[tuple[str, str]]:
    """Stage and key of every lease whose holder lives, found as a waiter would: by watching whether it changes."""
    watches = {name: Watch(store.backend) for name in store.list(lease.FOLDER) if name.endswith(".json")}
    held = set[str]()
    end = time.monotonic() + PATIENCE_S
    while watches:
        for name, watch in [*watches.items()]:
            try:
                content = store.backend.read(name)
                if content is None or watch.holder_died(content):
                    del watches[name]
            except Unavailable:
                watch.start_again()
            if watch.renewed or time.monotonic() > end:
                held.add(name)
                watches.pop(name, None)
        time.sleep(lease.POLL_S)
    return {(name.split("/")[1], name.split("/")[2].removesuffix(".json")) for name in held}


def _needed_by_studies(store: Store) -> set[str]:
    keys: set[str] = set()
    for name in store.list("studies"):
        if not name.endswith("/needs.json"):
            continue
        needs = store.read_document(
            name,
            TypeAdapter(Needs),
            "Nothing is removed: the artifacts that this study needs are unknown. Launch the study again, which writes "
            "the file anew, or remove the file if the study is no longer needed.",
        )
        if needs is not None:  # else removed since it was listed
            keys.update(*needs.keys.values())
    return keys


def _half_written(store: Store, seen: Survey, held: set[tuple[str, str]], now: float) -> list[Garbage]:
    publications = {artifact.manifest.publication for artifact in seen.artifacts.values()}
    return [
        Garbage(
            f"half-written {half.name}",
            "its publisher stopped more than a day ago",
            half.size,
            lambda name=half.name: store.backend.remove_below(name),
        )
        for half in store.patiently("list what is half-written", lambda: list(store.backend.half_written(publications)))
        if half.modified < now - DAY_S and half.stage_and_key not in held
    ]


def _damaged(store: Store) -> list[Garbage]:
    entries = store.patiently("list what is damaged", lambda: list(store.backend.entries("damaged")))
    names = {"/".join(entry.name.split("/")[1:3]) for entry in entries}
    if not names:
        return []
    listed = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    what = f"{count_text(len(names), 'damaged artifact')} ({listed})"
    why, size = "quarantined; a launch makes them again where needed", sum(entry.size for entry in entries)
    return [Garbage(what, why, size, lambda: store.backend.remove_below("damaged"))]


def _checkpoints(store: Store, seen: Survey) -> list[Garbage]:
    sizes = Counter[str]()
    for entry in store.patiently("list the checkpoints", lambda: list(store.backend.entries("checkpoints"))):
        sizes[entry.name.split("/")[1]] += entry.size
    return [
        Garbage(f"checkpoints {key[:12]}", "their artifact is complete", size, store.checkpoints(key).clear)
        for key, size in sizes.items()
        if key in seen.artifacts
    ]


def _unneeded(store: Store, seen: Survey, needed: set[str], finished_before: float) -> list[Garbage]:
    return [
        Garbage(
            f"artifact {artifact.manifest.stage} {key[:12]} {seen.made_by(artifact)}".rstrip(),
            "no study, lease or registered model needs it",
            artifact.manifest.size,
            lambda stage=artifact.manifest.stage, key=key: store.backend.remove_artifact(stage, key),
        )
        for key, artifact in seen.artifacts.items()
        if key not in needed and artifact.manifest.cost.finished < finished_before
    ]
