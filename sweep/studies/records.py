"""Documents that the store keeps of a study: how it was launched, how its trials ended, requests to its launch.

They lie below `studies/<name>/`, each replaced at once and whole. Only the process that launches the study writes them,
but for requests, which any command may leave for the launch, and for outcomes and extensions, which commands and pages
change beside it: such changes are made by comparing and swapping, so that none is lost.
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
from trainers.exceptions import ConfigError

logger = logging.getLogger(__name__)
T = TypeVar("T")
_OUTCOMES = TypeAdapter(dict[str, Outcome])
_OUTCOMES_REMEDY = "Remove it: trials that failed or were stopped are then run again by the next launch."
REVIEW = "review"
"""Key of `synthesis` that `study` leaves out: the content of the file decides the slices, not its name."""


class Request(Config):
    """A command's request to the process that launches the study."""

    action: Literal["stop", "retry"]
    trials: tuple[str, ...]
    """Names of trials."""


class Status(Config):
    """The progress of a launch."""

    updated: float
    """Unix seconds."""
    began: float
    """Unix seconds."""
    host: str
    pid: int
    running: tuple[str, ...] = ()
    """Names of the trials that Ray Tune runs."""
    stages: dict[str, StageProgress] = Field(default_factory=dict)
    """Stage key -> progress, of the stages that this launch considered."""
    finished: bool = False
    """Whether the launch has ended by itself."""


class LaunchOptions(Config):
    """Options of the command line at the last launch of a study."""

    fidelity: str | None = None
    cohort: str | None = None
    overrides: tuple[str, ...] = ()
    """Of `--set`."""
    places: dict[str, str] = Field(default_factory=dict)
    """Relative path, as the study's own file writes it -> the file or folder that it meant."""
    optuna: str | None = None
    """URI of Optuna's database, if it was an SQLite file."""

    def __str__(self) -> str:
        overrides = (("--set", override) for override in self.overrides)
        named = (("--fidelity", self.fidelity), ("--cohort", self.cohort), *overrides)
        return " ".join(f"{name} {value}" for name, value in named if value is not None)


class Extension(Config):
    """Additions of `metsweep extend`."""

    seeds: list[int] = Field(default_factory=list)
    trials: int = 0
    """Cells to draw in all."""
    arms: list[tuple[str, list[int]]] = Field(default_factory=list)
    """Variant and counts."""


_EXTENSION = TypeAdapter(Extension)
_EXTENSION_REMEDY = "Remove it, and run `metsweep extend` again."


class StudyRecord:
    """The documents of one study; DamagedDocument where one that is read does not hold what was written."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self._folder = f"studies/{name}"

    @property
    def is_launched(self) -> bool:
        """Whether the study was launched with this store."""
        return self.store.read_text(f"{self._folder}/study.yaml") is not None

    def study(self) -> dict[str, Any] | None:
        """The study as it was launched last, to compare with `lasting` of another; None if it was not launched."""
        values = self.launched()
        return values and _without_review(values)

    def launched(self) -> dict[str, Any] | None:
        """All values of the study as it was launched last, which resolve to it again; None before the first launch."""
        remedy = "Remove it and launch the study by its file again; what is done is not done again."
        return self._read("study.yaml", TypeAdapter(dict[str, Any]), remedy)

    def keep_study(self, study: Study) -> None:
        """Keep the study that is launched now."""
        self._write("study.yaml", relaunchable(study))

    def keep_needs(self, plan: Plan) -> None:
        """Keep the keys of the artifacts that the study needs: `metsweep store gc` spares them."""
        self._write("needs.json", Needs(study=plan.study.name, keys=plan.keys).model_dump())

    def needs(self) -> dict[str, set[str]]:
        """Stage name -> keys that the study needed when it was launched last."""
        needs = self._read("needs.json", TypeAdapter(Needs), "Launch the study again, which writes it.")
        return {} if needs is None else {name: set(keys) for name, keys in needs.keys.items()}

    def options(self) -> LaunchOptions:
        """Options of the last launch, which other commands use unless they are given their own."""
        remedy = "Remove it, and give the next launch the --fidelity, --cohort and --set of the last launch."
        return self._read("options.json", TypeAdapter(LaunchOptions), remedy) or LaunchOptions()

    def keep_options(self, options: LaunchOptions) -> None:
        """Keep the options of the launch that begins now."""
        self._write("options.json", options.model_dump())

    def extension(self) -> dict[str, Any]:
        """Values of `metsweep extend`, which override the study file."""
        extension = self._read("extension.yaml", _EXTENSION, _EXTENSION_REMEDY)
        return {} if extension is None else extension.model_dump(exclude_unset=True)

    def keep_extension(self, values: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Override the study file with these values from now on; ConfigError if it was not overridden as `before`."""

        def change(extension: Extension | None) -> Mapping[str, Any]:
            now = {} if extension is None else extension.model_dump(exclude_unset=True)
            if now != before:
                raise ConfigError("Another command has extended the study at the same time; look at it and try again.")
            return values

        self.store.change_document(f"{self._folder}/extension.yaml", _EXTENSION, _EXTENSION_REMEDY, change)

    def outcomes(self) -> dict[str, Outcome]:
        """Trial name -> how it ended last, of trials that failed or were stopped."""
        return self._read("outcomes.json", _OUTCOMES, _OUTCOMES_REMEDY) or {}

    def keep_outcomes(self, ended: Mapping[str, Outcome]) -> None:
        """Keep how trials ended, by their names; those that are done are no longer listed."""

        def change(outcomes: dict[str, Outcome] | None) -> Mapping[str, Any] | None:
            before = outcomes or {}
            kept = {name: outcome for name, outcome in (before | dict(ended)).items() if outcome.state != "done"}
            return _OUTCOMES.dump_python(kept, mode="json") if kept != before else None

        self.store.change_document(f"{self._folder}/outcomes.json", _OUTCOMES, _OUTCOMES_REMEDY, change)

    def forget_outcomes(self, trials: Iterable[str]) -> None:
        """Let trials run again at the next launch."""
        self.keep_outcomes(dict.fromkeys(trials, Outcome(state="done")))

    def status(self) -> Status | None:
        """The last report of the newest launch; None if it cannot be read, as the launch writes it anew."""
        try:
            return self._read("status.json", TypeAdapter(Status), "A running launch writes it anew.")
        except DamagedDocument as error:
            logger.warning(str(error))
            return None

    def keep_status(self, status: Status) -> None:
        """Report the progress of this launch."""
        stages = {key: stage.with_finite_metrics() for key, stage in status.stages.items()}
        self._write("status.json", status.model_copy(update={"stages": stages}).model_dump())

    def ask(self, request: Request) -> None:
        """Leave a request for the running launch."""
        self._write(f"requests/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json", request.model_dump())

    def take_requests(self) -> Generator[Request, None, None]:
        """Requests not taken yet, oldest first; each is removed once the next is taken."""
        for path in self.store.list(f"{self._folder}/requests"):
            try:
                request = self.store.read_document(
                    path, TypeAdapter(Request), "The request is removed; repeat the command."
                )
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
    """All values of a resolved study except its review, with absolute paths."""
    values = study.model_dump(mode="json", by_alias=True) | {"cohort": os.path.abspath(study.cohort)}
    return _without_review(values)


def relaunchable(study: Study) -> dict[str, Any]:
    """All values of a resolved study, which load in any working directory."""
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
    changed: dict[str, tuple[Any, Any]] = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed |= changes(old, new, f"{prefix}{key}.")
        elif old != new:
            changed[f"{prefix}{key}"] = (old, new)
    return changed
