"""The studies of a store as their pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Literal

from starlette.exceptions import HTTPException

from dashboards.study.data import evidence
from dashboards.study.live import Live
from dashboards.study.sound import SoundStore
from dashboards.web.pages import shown
from sweep.settings import Settings
from sweep.studies.opened import OpenedStudy, open_study
from sweep.studies.overview import launch_state
from sweep.studies.records import LaunchOptions, StudyRecord, launched_studies
from trainers.exceptions import MetsweepError
from trainers.variants import REAL_ONLY

PATIENCE_S = 2.0
"""How long a page waits for a store that is away, before it says so."""


@dataclass(frozen=True)
class Listed:
    """A study in the list."""

    name: str
    launch: Literal["never", "alive", "ended", "gone"]
    """State of its last launch."""
    updated: float
    """Unix seconds of that launch's last report; 0 if unknown."""
    problem: str = ""
    """Why its documents cannot be read."""


class Studies:
    """The studies that were launched with a store."""

    def __init__(self, settings: Settings) -> None:
        self.store = SoundStore(settings.store, PATIENCE_S)
        self.settings = settings
        self._live: dict[str, Live] = {}
        self._lock = Lock()

    def list(self) -> list[Listed]:
        """All of them: those that run first, then the newest report first; StoreError if the store does not exist."""
        self.store.check_there()
        listed = [self._listed(name) for name in launched_studies(self.store)]
        return sorted(listed, key=lambda study: (study.launch != "alive", -study.updated))

    def open(self, name: str) -> OpenedStudy:
        """A study by its name.

        Raises:
            HTTPException: none of that name was launched with the store.
            StoreError: the store does not exist, or is away.
            MetsweepError: it cannot be read, as `open_study`.
        """
        self._check(name)
        return open_study(name, LaunchOptions(), self.settings, lambda _: None, store=self.store)

    def live(self, name: str) -> Live:
        """A study as it is now; HTTPException as `open`."""
        self._check(name)
        with self._lock:
            return self._live.setdefault(name, Live(name, self.store, lambda: self.open(name)))

    def read(self, name: str) -> None:
        """Read what the page of a study begins with, so that its first view waits for nothing; errors as `open`."""
        _, state = self.live(name).now()
        evidence(state, REAL_ONLY)

    def _check(self, name: str) -> None:
        if name not in launched_studies(self.store):
            self.store.check_there()
            raise HTTPException(404, "No study of that name was launched with this store")

    def _listed(self, name: str) -> Listed:
        record = StudyRecord(self.store, name)
        status = record.status()
        problem = ""
        try:
            record.launched()
        except MetsweepError as error:
            problem = shown(error)
        return Listed(name, launch_state(status), status.updated if status else 0.0, problem)
