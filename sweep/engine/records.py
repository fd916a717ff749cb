"""What the store keeps of a study beside its artifacts: how it was launched, how its trials ended, what it is asked.

Small documents below `studies/<name>/`, each replaced at once and whole. Only the process that launches the study
writes them, but for requests, which any command may leave for it.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter

from search_spaces.study import Study
from sweep.engine.board import StageProgress
from sweep.engine.outcome import Outcome
from sweep.plan import Plan
from sweep.store import Store
from trainers.config import Config

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

    def __str__(self) -> str:
        named = (("--fidelity", self.fidelity), ("--cohort", self.cohort), *(("--set", one) for one in self.overrides))
        return " ".join(f"{name} {value}" for name, value in named if value is not None)


class StudyRecord:
    """The documents of one study."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self._folder = f"studies/{name}"

    def study(self) -> dict[str, Any] | None:
        """The study as it was launched last, to compare with another's dump; None before the first launch."""
        values = self.launched()
        if values is not None:
            values.get("synthesis", {}).pop(REVIEW, None)
        return values

    def launched(self) -> dict[str, Any] | None:
        """All values of the study as it was launched last, which resolve to it again; None before the first launch."""
        text = self.store.read_text(f"{self._folder}/study.yaml")
        return None if text is None else yaml.safe_load(text)

    def keep_study(self, study: Study) -> None:
        """Keep the study that is launched now."""
        self.store.write_text(f"{self._folder}/study.yaml", as_yaml(study))

    def keep_needs(self, plan: Plan) -> None:
        """Keep which artifacts the study needs: `metsweep store gc` spares them."""
        keys: dict[str, list[str]] = {}
        for key, stage in plan.stages.items():
            keys.setdefault(stage.name, []).append(key)
        self.store.write_text(f"{self._folder}/needs.json", json.dumps({"study": plan.study.name, "keys": keys}))

    def needs(self) -> dict[str, set[str]]:
        """Stage name -> keys of what the study needed when it was launched last."""
        text = self.store.read_text(f"{self._folder}/needs.json")
        return {} if text is None else {name: set(keys) for name, keys in json.loads(text)["keys"].items()}

    def options(self) -> LaunchOptions:
        """Options of the last launch; other commands need not be given them again."""
        text = self.store.read_text(f"{self._folder}/options.json")
        return LaunchOptions() if text is None else LaunchOptions.model_validate_json(text)

    def keep_options(self, options: LaunchOptions) -> None:
        """Keep the options of the launch that begins now."""
        self.store.write_text(f"{self._folder}/options.json", options.model_dump_json())

    def extension(self) -> dict[str, Any]:
        """Values that `metsweep extend` put over the study file."""
        text = self.store.read_text(f"{self._folder}/extension.yaml")
        return {} if text is None else yaml.safe_load(text)

    def keep_extension(self, values: Mapping[str, Any]) -> None:
        """Put values over the study file from now on."""
        self.store.write_text(f"{self._folder}/extension.yaml", yaml.safe_dump(dict(values), sort_keys=False))

    def outcomes(self) -> dict[str, Outcome]:
        """Trial name -> how it ended last, of those that did not end well."""
        text = self.store.read_text(f"{self._folder}/outcomes.json")
        return {} if text is None else _OUTCOMES.validate_json(text)

    def keep_outcome(self, trial: str, outcome: Outcome) -> None:
        """Keep how a trial ended; one that ended well is no longer told of."""
        self.keep_outcomes({trial: outcome})

    def keep_outcomes(self, ended: Mapping[str, Outcome]) -> None:
        """`keep_outcome` of several at once."""
        before = self.outcomes()
        kept = {name: one for name, one in (before | dict(ended)).items() if one.state != "done"}
        if kept != before:
            self.store.write_text(f"{self._folder}/outcomes.json", _OUTCOMES.dump_json(kept, indent=2).decode())

    def forget_outcomes(self, trials: Iterable[str]) -> None:
        """Let trials run again at the next launch."""
        self.keep_outcomes(dict.fromkeys(trials, Outcome(state="done")))

    def status(self) -> Status | None:
        """What the newest launch told last."""
        text = self.store.read_text(f"{self._folder}/status.json")
        return None if text is None else Status.model_validate_json(text)

    def keep_status(self, status: Status) -> None:
        """Tell how this launch is getting on."""
        self.store.write_text(f"{self._folder}/status.json", status.model_dump_json())

    def ask(self, request: Request) -> None:
        """Leave a request for the running launch."""
        name = f"{self._folder}/requests/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
        self.store.write_text(name, request.model_dump_json())

    def take_requests(self) -> Generator[Request, None, None]:
        """Requests that nobody took yet, oldest first; each is gone once the next one is asked for."""
        for path in self.store.list(f"{self._folder}/requests"):
            text = self.store.read_text(path)
            try:
                if text is not None:
                    yield Request.model_validate_json(text)
            finally:
                self.store.remove(path)


def launched_studies(store: Store) -> list[str]:
    """Names of all studies that were launched with a store."""
    return [parts[1] for parts in (path.split("/") for path in store.list("studies")) if parts[2:] == ["study.yaml"]]


def as_yaml(study: Study) -> str:
    """A resolved study as YAML that loads again, in any working directory."""
    values = study.model_dump(mode="json", by_alias=True)
    if study.synthesis.review is not None:
        values["synthesis"][REVIEW] = os.path.abspath(study.synthesis.review)
    return yaml.safe_dump(values, sort_keys=False)


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
