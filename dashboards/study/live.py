"""A study as it is now: looked at again when a page asks; results are computed once until something new is done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any, TypeVar

from dashboards.study.sound import SoundStore, whole
from dashboards.web.recent import Recent
from sweep.plan import Plan
from sweep.report.evidence import Evidence, build_evidence
from sweep.report.results import Results, Row, compare, read_results
from sweep.studies.opened import OpenedStudy
from sweep.studies.overview import Overview
from sweep.studies.watched_study import WatchedStudy

T = TypeVar("T")
FRESH_S = 1.0
"""A look at the study serves all requests that come so soon after it, or as long as the look itself took."""
MOST_KEPT = 4096
"""Results of one state that are kept; a page asks for some tens, and for a curve per arm."""
DOCUMENTS = ("study.yaml", "options.json", "extension.yaml")
"""What decides a study's trials; commands and launches change it."""


class State:
    """The results of a study while nothing new is evaluated, drawn or added."""

    def __init__(self, version: str, opened: OpenedStudy, plan: Plan, store: SoundStore) -> None:
        self.version, self.opened, self.plan, self.store = version, opened, plan, store
        self._made: Recent[Any] = Recent(MOST_KEPT)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The value of `compute`, computed by the first of all requests that ask for this name."""
        return self._made.get(name, compute)

    @property
    def results(self) -> Results:
        """Figures of all complete trials whose evaluations are sound."""
        return self.once("results", self._sound_results)

    @property
    def evidence(self) -> Evidence | None:
        """Of the arms with figures; None without any."""
        return self.once("evidence", lambda: build_evidence(self.results))

    @property
    def damage(self) -> Mapping[str, str]:
        """Stage key -> what is wrong with an artifact of the study, as far as they were read."""
        return {key: problem for key, problem in self.store.damage.items() if key in self.plan.stages}

    def _sound_results(self) -> Results:
        """The evidence reads every file of the arms' evaluations; of drawn cells only figures are read."""

        def sound(row: Row) -> Row:
            if row.number is not None:
                return row
            made = row.made.items()
            return replace(row, made={key: one for key, one in made if self.store.is_sound(one, whole)})

        results = read_results(self.plan, self.store)
        rows = compare([*map(sound, results.rows)], races=self.plan.study.search.races)
        return replace(results, rows=rows)


class Live:
    """One study.

    Args:
        name: of the study.
        store: holds its documents.
        open_: opens it anew.
    """

    def __init__(self, name: str, store: SoundStore, open_: Callable[[], OpenedStudy]) -> None:
        self._folder, self._store, self._open = f"studies/{name}", store, open_
        self._lock = Lock()
        self._documents: list[str | None] | None = None
        self._fresh_until = 0.0

    def now(self) -> tuple[Overview, State]:
        """The state of every trial, and the results so far.

        Raises:
            MetsweepError: the study, its store or its database cannot be read.
        """
        with self._lock:
            began = time.monotonic()
            if began > self._fresh_until:
                self._look_again()
                ended = time.monotonic()
                self._fresh_until = ended + max(FRESH_S, ended - began)
            return self._overview, self._state

    def forget(self) -> None:
        """Look again at the next request: a command has changed the study."""
        with self._lock:
            self._fresh_until = 0.0

    def _look_again(self) -> None:
        documents = [self._store.read_text(f"{self._folder}/{name}") for name in DOCUMENTS]
        if documents != self._documents:
            opened = self._open()
            self._opened, self._watched = opened, WatchedStudy(opened)
            self._documents = documents
        self._overview = self._watched.now()
        version = _version(documents, self._overview, self._store.damage)
        if getattr(self, "_state", None) is None or self._state.version != version:
            self._state = State(version, self._opened, self._watched.plan, self._store)


def _version(documents: list[str | None], overview: Overview, damage: Container[str]) -> str:
    """The same as long as the study has the same trials, and the same of them are done and not known to be damaged."""
    trials = [
        f"{state.trial.evaluate.key} {state.state == 'done'} {state.trial.evaluate.key in damage}"
        for state in overview.trials
    ]
    return hashlib.sha256("\n".join([*map(str, documents), *trials]).encode()).hexdigest()[:16]
