"""What the store keeps of a study beside its artifacts: how it was launched, how its trials ended, what it is asked.

Small documents below `studies/<name>/`, each replaced at once and whole. Only the process that launches the study
writes them, but for requests, which any command may leave for it.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field, TypeAdapter

from search_spaces.study import Study
from sweep.plan import Plan
from sweep.store import Store
from sweep.store.collect import Needs
from sweep.store.document import DamagedDocument
from sweep.studies.outcome import Outcome
from sweep.studies.progress import StageProgress
from trainers.config import Config

logger = logging.getLogger(__name__)
T = TypeVar("T")
_OUTCOMES = TypeAdapter(dict[str, Outcome])
REVIEW = "review"
"""Key of `synthesis` that a dump leaves out, as its file's content decides the slices, not its name."""


class Request(Config):
    """What a command asks of the process that launches the study."""

    action: Literal["stop", "retry"]
    trials: tuple[str, ...]
    """Names of trials."""


class Status(Config):
    """How a launch is getting on."""

    updated: float
    """Unix seconds."""
    began: float
    """Unix seconds."""
    host: str
    pid: int
    running: tuple[str, ...] = ()
    """Names of the trials that Ray Tune runs."""
    stages: dict[str, StageProgress] = Field(default_factory=dict)
    """Stage key -> progress, of the stages that this launch looked at."""
    finished: bool = False
    """Whether the launch has ended by itself."""


class LaunchOptions(Config):
    """Options of the command line that a study was launched with last."""

    fidelity: str | None = None
    cohort: str | None = None
    overrides: tuple[str, ...] = ()
    """Of `--set`."""
    places: dict[str, str] = Field(default_factory=dict)
    """Relative path of a cohort, as the study's own file writes it -> the folder that it meant."""
    optuna: str | None = None
    """URI of Optuna's database, if it was an SQLite file."""

    def __str__(self) -> str:
        named = (("--fidelity", self.fidelity), ("--cohort", self.cohort), *(("--set", one) for one in self.overrides))
        return " ".join(f"{name} {value}" for name, value in named if value is not None)


class Extension(Config):
    """What `metsweep extend` adds."""

    seeds: list[int] = Field(default_factory=list)
    trials: int = 0
    """Cells to draw in all."""
    arms: list[tuple[str, list[int]]] = Field(default_factory=list)
    """Variant and counts."""


class StudyRecord:
    """The documents of one study."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self._folder = f"studies/{name}"

    @property
    def is_launched(self) -> bool:
        """Whether the study was launched with this store."""
        return self.store.read_text(f"{self._folder}/study.yaml") is not None

    def study(self) -> dict[str, Any] | None:
        """The study as it was launched last, to compare with `lasting` of another; None before the first launch."""
        values = self.launched()
        if values is not None:
            _without_review(values)
        return values

    def launched(self) -> dict[str, Any] | None:
        """All values of the study as it was launched last, which resolve to it again; None before the first launch.

        Raises:
            DamagedDocument: it cannot be read.
        """
        return self._read(
            "study.yaml",
            TypeAdapter(dict[str, Any]),
            "Remove it and launch the study by its file again; what is done is not done again.",
        )

    def keep_study(self, study: Study) -> None:
        """Keep the study that is launched now."""
        self._write("study.yaml", relaunchable(study))

    def keep_needs(self, plan: Plan) -> None:
        """Keep which artifacts the study needs: `metsweep store gc` spares them."""
        keys: dict[str, list[str]] = {}
        for key, stage in plan.stages.items():
            keys.setdefault(stage.name, []).append(key)
        self._write("needs.json", Needs(study=plan.study.name, keys=keys).model_dump())

    def needs(self) -> dict[str, set[str]]:
        """Stage name -> keys of what the study needed when it was launched last.

        Raises:
            DamagedDocument: it cannot be read.
        """
        found = self._read("needs.json", TypeAdapter(Needs), "Launch the study again, which writes it.")
        return {} if found is None else {name: set(keys) for name, keys in found.keys.items()}

    def options(self) -> LaunchOptions:
        """Options of the last launch; other commands need not be given them again.

        Raises:
            DamagedDocument: they cannot be read.
        """
        remedy = "Remove it, and give --fidelity, --cohort and --set as at the last launch to the next one."
        return self._read("options.json", TypeAdapter(LaunchOptions), remedy) or LaunchOptions()

    def keep_options(self, options: LaunchOptions) -> None:
        """Keep the options of the launch that begins now."""
        self._write("options.json", options.model_dump())

    def extension(self) -> dict[str, Any]:
        """Values that `metsweep extend` put over the study file.

        Raises:
            DamagedDocument: they cannot be read.
        """
        found = self._read("extension.yaml", TypeAdapter(Extension), "Remove it, and run `metsweep extend` again.")
        return {} if found is None else found.model_dump(exclude_unset=True)

    def keep_extension(self, values: Mapping[str, Any]) -> None:
        """Put values over the study file from now on."""
        self._write("extension.yaml", values)

    def outcomes(self) -> dict[str, Outcome]:
        """Trial name -> how it ended last, of those that did not end well.

        Raises:
            DamagedDocument: they cannot be read.
        """
        remedy = "Remove it: trials that failed or were stopped are then run again by the next launch."
        return self._read("outcomes.json", _OUTCOMES, remedy) or {}

    def keep_outcome(self, trial: str, outcome: Outcome) -> None:
        """Keep how a trial ended; one that ended well is no longer told of."""
        self.keep_outcomes({trial: outcome})

    def keep_outcomes(self, ended: Mapping[str, Outcome]) -> None:
        """`keep_outcome` of several at once."""
        before = self.outcomes()
        kept = {name: one for name, one in (before | dict(ended)).items() if one.state != "done"}
        if kept != before:
            self._write("outcomes.json", _OUTCOMES.dump_python(kept, mode="json"))

    def forget_outcomes(self, trials: Iterable[str]) -> None:
        """Let trials run again at the next launch."""
        self.keep_outcomes(dict.fromkeys(trials, Outcome(state="done")))

    def status(self) -> Status | None:
        """What the newest launch told last; None where it cannot be read, for the launch tells it again."""
        try:
            return self._read("status.json", TypeAdapter(Status), "A launch that is at work writes it anew.")
        except DamagedDocument as error:
            logger.warning(str(error))
            return None

    def keep_status(self, status: Status) -> None:
        """Tell how this launch is getting on."""
        stages = {key: one.with_finite_metrics() for key, one in status.stages.items()}
        self._write("status.json", status.model_copy(update={"stages": stages}).model_dump())

    def ask(self, request: Request) -> None:
        """Leave a request for the running launch."""
        self._write(f"requests/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json", request.model_dump())

    def take_requests(self) -> Generator[Request, None, None]:
        """Requests that nobody took yet, oldest first; each is gone once the next one is asked for."""
        for path in self.store.list(f"{self._folder}/requests"):
            try:
                request = self.store.read_document(path, TypeAdapter(Request), "It is removed; ask again.")
                if request is not None:
                    yield request
            except DamagedDocument as error:
                logger.warning(str(error))
            finally:
                self.store.remove(path)

    def _read(self, name: str, model: TypeAdapter[T], remedy: str) -> T | None:
        return self.store.read_document(f"{self._folder}/{name}", model, remedy)

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        self.store.write_document(f"{self._folder}/{name}", values)


def launched_studies(store: Store) -> list[str]:
    """Names of all studies that were launched with a store."""
    return [parts[1] for parts in (path.split("/") for path in store.list("studies")) if parts[2:] == ["study.yaml"]]


def lasting(study: Study) -> dict[str, Any]:
    """All values of a resolved study but its review, with places that hold in any working directory."""
    values = study.model_dump(mode="json", by_alias=True) | {"cohort": os.path.abspath(study.cohort)}
    return _without_review(values)


def relaunchable(study: Study) -> dict[str, Any]:
    """All values of a resolved study, which load again in any working directory."""
    values = lasting(study)
    if study.synthesis.review is not None:
        values["synthesis"][REVIEW] = os.path.abspath(study.synthesis.review)
    return values


def _without_review(values: dict[str, Any]) -> dict[str, Any]:
    if isinstance(synthesis := values.get("synthesis"), dict):
        synthesis.pop(REVIEW, None)
    return values


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value before, value after), where two resolved studies differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changes(old, new, f"{prefix}{key}.")
        elif old != new:
            found[f"{prefix}{key}"] = (old, new)
    return found
