"""Versions and aliases of metsweep's models in the MLflow Model Registry.

Every change of champion adds a tag `metsweep.champion.0001` (...) to the registered model; no such tag is ever removed,
so that rollbacks, too, can be rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from sweep.databases import will_be_made
from sweep.models.packaging import LICENCE_TAG
from sweep.redaction import without_secrets
from sweep.tracking.mlflow_client import connect, explained
from sweep.tracking.tags import REIGN, SOURCE_COMMIT, STAGE_KEY, read_tag, tag_text
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import RegisteredModel

DETECTOR, GENERATOR = "metsweep-detector", "metsweep-generator"
MODELS: dict[str, str] = {"detector": DETECTOR, "generator": GENERATOR}
DESCRIPTIONS = {
    DETECTOR: (
        "Finds brain metastases on axial MR slices (by YOLOv3, unless a version names another model). `predict` takes "
        "the path of a NIfTI volume, or slices (uint8, N x S x S), and returns boxes with their confidence. `metsweep "
        "detect` uses the champion."
    ),
    GENERATOR: (
        "Draws synthetic MR slices with tumours in given boxes (conditional GAN). `predict` takes a data frame of "
        "boxes (slice, x0, y0, x1, y1) and returns slices (uint8, N x S x S)."
    ),
}
"""What MLflow shows above the versions of a model."""
Alias = Literal["candidate", "champion"]
CANDIDATE, CHAMPION = "candidate", "champion"
LONGEST_DESCRIPTION = 5000
"""Characters that MLflow's databases hold of a description; records beyond it are in the tags alone."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: str
    tags: Mapping[str, str]
    description: str
    registered: datetime
    aliases: tuple[str, ...]

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True)
class Reign:
    """One entry of the champions' history."""

    version: str
    since: str
    """ISO 8601, UTC; empty if unknown, because something else moved the alias."""
    why: str


class Registry:
    """The registry at one tracking URI.

    Raises TrackingError wherever MLflow cannot be reached, read or written.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._client = connect(tracking_uri)

    @staticmethod
    def existing(tracking_uri: str) -> Registry | None:
        """The registry, or None if its SQLite file is missing: a query would create it."""
        return None if will_be_made(tracking_uri) else Registry(tracking_uri)

    def versions(self, name: str) -> list[Version]:
        """All versions of a model, newest first; none of an unregistered model."""
        aliases: dict[str, list[str]] = {}
        for alias, number in self._aliases(name).items():
            aliases.setdefault(number, []).append(alias)
        with explained(self.tracking_uri):
            registered = self._client.search_model_versions(f"name = '{name}'")
        versions = [
            Version(
                name,
                str(version.version),
                dict(version.tags),
                version.description or "",
                datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, UTC),
                tuple(sorted(aliases.get(str(version.version), ()))),
            )
            for version in registered
        ]
        return sorted(versions, key=lambda version: -int(version.number))

    def find(self, name: str, which: str) -> Version:
        """A version by alias or number.

        Raises:
            TrackingError: also if the model has no such version.
        """
        versions = self.versions(name)
        for version in versions:
            if which == version.number or which in version.aliases:
                return version
        allowed = ", ".join(" = ".join((version.number, *version.aliases)) for version in reversed(versions))
        raise TrackingError(
            f"The registry at {without_secrets(self.tracking_uri)} has no {name} {which!r}; allowed: "
            f"{allowed or 'none yet, `metsweep promote STUDY` registers one'}."
        )

    def champion(self, name: str) -> Version | None:
        """The version that has the alias champion, or None."""
        return next((version for version in self.versions(name) if CHAMPION in version.aliases), None)

    def logged_model(self, experiment: str, stage_key: str) -> LoggedModel | None:
        """The model of a stage key in an experiment, as the tracker wrote it; None without one."""
        with explained(self.tracking_uri):
            of_study = self._client.get_experiment_by_name(experiment)
            if of_study is None:
                return None
            ids = [of_study.experiment_id]
            for run in self._client.search_runs(ids, f"tags.`{STAGE_KEY}` = '{stage_key}'"):
                models = self._client.search_logged_models(ids, f"source_run_id = '{run.info.run_id}'")
                if models:
                    return models[0]
        return None

    def commit_of(self, model: LoggedModel) -> str:
        """Commit of metsweep that wrote the model's run; `unknown` if metsweep did not run from a clone."""
        with explained(self.tracking_uri):
            tags = self._client.get_run(model.source_run_id or "").data.tags
        return tags.get(SOURCE_COMMIT, "unknown")

    def register(self, name: str, model: LoggedModel, tags: Mapping[str, str], description: str) -> Version:
        """The version of a stage key (in the tags), registered now if it is missing.

        An existing version is left as it is; only tags that it lacks, because they are newer, are added.
        """
        with explained(self.tracking_uri):
            registered = self._registered(name)
            if registered is None:
                self._client.create_registered_model(name, LICENCE_TAG, DESCRIPTIONS[name])
            elif not registered.description:
                self._client.update_registered_model(name, DESCRIPTIONS[name])
            existing = next((old for old in self.versions(name) if old.tags.get(STAGE_KEY) == tags[STAGE_KEY]), None)
            if existing is None:
                number = self._client.create_model_version(
                    name,
                    f"models:/{model.model_id}",
                    run_id=model.source_run_id,
                    tags=dict(tags),
                    description=description,
                    model_id=model.model_id,
                ).version
                return self.find(name, str(number))
            for key in tags.keys() - existing.tags.keys():
                self._client.set_model_version_tag(name, existing.number, key, tags[key])
        return self.find(name, existing.number)

    def add_record(self, version: Version, tags: Mapping[str, str], text: str) -> None:
        """Add tags to a version, and a text to its description if that has room."""
        longer = f"{version.description}\n\n{text}"
        with explained(self.tracking_uri):
            if len(longer) <= LONGEST_DESCRIPTION:
                self._client.update_model_version(version.name, version.number, longer)
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, version.number, key, value)

    def set_candidate(self, version: Version) -> None:
        """Give a version the alias candidate."""
        with explained(self.tracking_uri):
            self._client.set_registered_model_alias(version.name, CANDIDATE, version.number)

    def crown(self, version: Version, why: str) -> None:
        """Make a version the champion, no longer the candidate, and record that in the history."""
        before = self.champion(version.name)
        history = self.history(version.name)
        with explained(self.tracking_uri):
            # The alias first: killed in between, the history lacks the newest champion, which the next change adds.
            self._client.set_registered_model_alias(version.name, CHAMPION, version.number)
            if CANDIDATE in self.find(version.name, version.number).aliases:
                self._client.delete_registered_model_alias(version.name, CANDIDATE)
            if before is not None and (not history or history[-1].version != before.number):
                self._note(version.name, len(history), Reign(before.number, "", "found as champion"))
                history = self.history(version.name)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._note(version.name, len(history), Reign(version.number, now, why))

    def history(self, name: str) -> list[Reign]:
        """All champions of a model, oldest first."""
        model = self._registered(name)
        tags = model.tags if model else {}
        return [read_tag(tags, key, Reign) for key in sorted(tags) if key.startswith(REIGN)]

    def _note(self, name: str, position: int, reign: Reign) -> None:
        self._client.set_registered_model_tag(name, f"{REIGN}{position + 1:04d}", tag_text(reign))

    def _aliases(self, name: str) -> dict[str, str]:
        """Alias -> version number."""
        if self._registered(name) is None:
            return {}
        with explained(self.tracking_uri):  # the search leaves aliases out
            aliases = self._client.get_registered_model(name).aliases
        return {alias: str(number) for alias, number in aliases.items()}

    def _registered(self, name: str) -> RegisteredModel | None:
        with explained(self.tracking_uri):
            models = self._client.search_registered_models(f"name = '{name}'")
        return models[0] if models else None


def tags_of_model(uri: str, tracking_uri: str) -> Mapping[str, str]:
    """Tags of the version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means; none for another kind of URI."""
    name, _, which = uri.removeprefix("models:/").replace("@", "/").partition("/")
    return Registry(tracking_uri).find(name, which).tags if which else {}
