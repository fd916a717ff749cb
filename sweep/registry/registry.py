"""Promotes the best trial of a study to the MLflow Model Registry."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.models.packaging import LICENCE
from sweep.plan import Plan, Trial
from sweep.report.report import read_metrics
from sweep.store import Store
from sweep.tracking.mlflow_client import ENVIRONMENT, connect, explained
from sweep.tracking.tracker import STAGE_KEY, Tracker
from trainers.exceptions import ConfigError, StoreError, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DETECTOR, GENERATOR, CHAMPION = "metsweep-detector", "metsweep-generator", "champion"
GATE_SECONDS = 600
"""Longest time that loading the models and predicting once may take."""


@dataclass(frozen=True)
class Ranked:
    """A trial and its figures on the validation split at IoU 0.5."""

    trial: Trial
    sensitivity: float
    fps_per_slice: float


@dataclass(frozen=True)
class Entry:
    """A version in the registry."""

    name: str
    version: str
    trial: str
    """Name of the trial it comes from."""
    stage_key: str
    newly_champion: bool
    """False if it was the champion already."""

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}@{CHAMPION}"


@dataclass(frozen=True)
class Promotion:
    """What `promote` chose and registered."""

    best: Trial
    sensitivity: float
    """On the validation split, at IoU 0.5."""
    fps_per_slice: float
    """On the validation split, at IoU 0.5."""
    detector: Entry
    generator: Entry | None
    """None if no arm of the study has a GAN."""


def promote(plan: Plan, store: Store, tracker: Tracker) -> Promotion:
    """Make the best trial's detector, and the GAN behind it, the champions of the registry.

    The best trial has the highest validation sensitivity at IoU 0.5, among equals the fewest false positives per
    slice; the test split has no say. If it is the real-only arm, the generator is that of the best trial which has one.
    A model becomes champion only after it was loaded and predicted on the CPU of a fresh process. Promoting the same
    trial again changes nothing.

    Raises:
        StoreError: trials are missing.
        ConfigError: the study does not evaluate at IoU 0.5.
        TrackingError: MLflow cannot be reached or written, or a model does not pass.
    """
    ranked = ranking(plan, store)
    best, with_gan = ranked[0], next((one for one in ranked if one.trial.gan), None)

    tracker.open()
    tracker.record()
    tracker.close()
    client = connect(tracker.tracking_uri)
    chosen = [(DETECTOR, best, best.trial.evaluate.key)]
    if with_gan is not None and with_gan.trial.gan is not None:
        chosen.append((GENERATOR, with_gan, with_gan.trial.gan.key))
    with explained(tracker.tracking_uri):
        versions = {
            name: _registered(client, tracker, name, key, _lineage(plan, ranked)) for name, ranked, key in chosen
        }
        crowned = {name for name, version in versions.items() if _champion(client, name) != version}
    if crowned:
        _pass_gate(tracker.tracking_uri, [f"models:/{name}/{versions[name]}" for name in sorted(crowned)])
    with explained(tracker.tracking_uri):
        for name in crowned:
            client.set_registered_model_alias(name, CHAMPION, versions[name])
    entries = [Entry(name, versions[name], ranked.trial.name, key, name in crowned) for name, ranked, key in chosen]
    detector, generator = entries[0], entries[1] if len(entries) > 1 else None
    return Promotion(best.trial, best.sensitivity, best.fps_per_slice, detector, generator)


def ranking(plan: Plan, store: Store) -> list[Ranked]:
    """All trials, best first: by validation sensitivity at IoU 0.5, then by fewer false positives per slice there.

    Trials that are equal in both stay in the study's order.

    Raises:
        StoreError: trials are missing.
        ConfigError: the study does not evaluate at IoU 0.5.
    """
    _refuse_incomplete(plan, store)
    return sorted(
        (_ranked(trial, store) for trial in plan.trials), key=lambda one: (-one.sensitivity, one.fps_per_slice)
    )


def _refuse_incomplete(plan: Plan, store: Store) -> None:
    missing = [trial.name for trial in plan.trials if store.find("evaluate", trial.evaluate.key) is None]
    if missing:
        name = plan.study.name
        raise StoreError(
            f"Study {name}: {len(missing)} of {len(plan.trials)} trials are not in the store {store.uri} "
            f"(first: {missing[0]}); only a complete study is promoted. Run `metsweep launch {name}` first."
        )
    if 0.5 not in plan.study.evaluation.ious:
        raise ConfigError(
            f"Study {plan.study.name}: evaluation.ious is {list(plan.study.evaluation.ious)}; promotion compares at "
            "IoU 0.5, so it must hold 0.5."
        )


def _ranked(trial: Trial, store: Store) -> Ranked:
    artifact = store.find("evaluate", trial.evaluate.key)
    assert artifact is not None, "checked before"
    figures = read_metrics(artifact)["validation"]["iou50"]
    return Ranked(trial, figures["sensitivity"], figures["fps_per_slice"])


def _lineage(plan: Plan, ranked: Ranked) -> str:
    """Where a version comes from, for its description."""
    trial, stage = ranked.trial, ranked.trial.evaluate.detector
    lines = [
        f"Study {plan.study.name} at fidelity {plan.study.fidelity}, trial {trial.name}.",
        f"Validation at IoU 0.5: sensitivity {ranked.sensitivity:.3f}, {ranked.fps_per_slice:.2f} FPs per slice.",
        "Stage keys:",
        f"- evaluate {trial.evaluate.key}",
        f"- detector {stage.key}",
        *(f"- synthesize {shard.key}" for shard in stage.shards),
        *([f"- gan {trial.gan.key}"] if trial.gan else []),
        f"- prepare {stage.slices.key}",
        f"Licence: {LICENCE}. For research; not a medical device.",
    ]
    return "\n".join(lines)


def _registered(client: MlflowClient, tracker: Tracker, name: str, key: str, description: str) -> str:
    """The version that holds the model of a stage key, registered now if it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, tags={"license": LICENCE})
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(STAGE_KEY) == key:
            return str(version.version)
    model = tracker.model_of(key)
    created = client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id=model.source_run_id,
        tags={STAGE_KEY: key, "license": LICENCE},
        description=description,
        model_id=model.model_id,
    )
    return str(created.version)


def _champion(client: MlflowClient, name: str) -> str | None:
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else str(version)


def _pass_gate(tracking_uri: str, model_uris: list[str]) -> None:
    """Load every model in one fresh process without GPU, and predict once."""
    environment = {**ENVIRONMENT, **os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "sweep.models.gate", *model_uris]
    with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=GATE_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise TrackingError(f"{', '.join(model_uris)} did not predict within {GATE_SECONDS} s.") from None
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise TrackingError(
            f"A model did not pass the gate and was not made {CHAMPION}: {last}. To see more, run "
            f"MLFLOW_TRACKING_URI={tracking_uri} {' '.join(command)}"
        )
