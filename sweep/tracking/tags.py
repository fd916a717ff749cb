"""The tags that metsweep writes into MLflow: their names, and how those of the registry are read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from trainers.documents import why
from trainers.evaluation.outcome import name_of
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
IOU = 0.5
"""Threshold of the figures that the registry ranks, judges and shows."""

NOTE, SOURCE_COMMIT = "mlflow.note.content", "mlflow.source.git.commit"
"""MLflow's own: the description that its UI shows in Markdown, and the commit that wrote a run."""
KIND, STAGE_KEY, PARENT_RUN = "metsweep.kind", "metsweep.stage_key", "mlflow.parentRunId"
"""Of runs, which are found again by them: the parent alone is of kind `sweep`, a child has the key of its stage."""
WRITTEN = "metsweep.written"
"""Of runs: the names of the parts that have been written, comma-separated."""
ARM, VARIANT, OPTUNA_NUMBER = "metsweep.arm", "metsweep.variant", "metsweep.optuna_number"
FOLD = "metsweep.fold"
"""Of trials and sources of a study with folds: the number of theirs, from 1."""
COLLAPSED = "metsweep.collapsed"
"""Of trials whose detector learnt nothing: why it counts as collapsed."""
DETECTOR_KEY, GAN_KEY = "metsweep.detector_key", "metsweep.gan_key"
FIDELITY, CLUSTER = "metsweep.fidelity", "metsweep.cluster"
GPU_SECONDS, CPU_SECONDS = "metsweep.gpu_seconds", "metsweep.cpu_seconds"
COST, CURRENCY = "metsweep.cost", "metsweep.currency"

ARMS, SEEDS, TRIALS = "metsweep.arms", "metsweep.seeds", "metsweep.trials"
"""Of a study's parent run, as the next four."""
BEST_TRIAL, BEST_RUN = "metsweep.best_trial", "metsweep.best_run"
STUDY_VERSION, STUDY_DIGEST = "metsweep.study_version", "metsweep.study_digest"

STUDY, TRIAL = "metsweep.study", "metsweep.trial"
"""Of registered versions, as all that follow."""
CELL_KEYS = "metsweep.arm_keys"
COHORT, PREPARE_KEY = "metsweep.cohort_fingerprint", "metsweep.prepare_key"
PREPARE, EVALUATION = "metsweep.prepare", "metsweep.evaluation"
COMMIT = "metsweep.commit"
GATE, FORCED, JUDGED = "metsweep.gate", "metsweep.forced", "metsweep.judged"
"""A gate as JSON, the reason for overriding gates, and the time of the judgement with the names of its gates."""
REIGN = "metsweep.champion."
"""Of a registered model: prefix of the tags that keep the history of its champions."""


def validation_tag(figure: str) -> str:
    """The tag of a version that holds a figure of Table 1 on the validation split, at IOU."""
    return f"metsweep.validation.{figure}_{name_of(IOU)}"


QUALITY = validation_tag("quality")
"""Of the version's detector, a `quality.Quality` as JSON."""


def tag_text(value: DataclassInstance) -> str:
    """A value of the registry's tags, as `read_tag` reads it."""
    return json.dumps(asdict(value))


def read_tag(tags: Mapping[str, str], name: str, model: type[T]) -> T:
    """The value of a tag of the registry, where anyone may write; `tags` must contain it.

    Raises:
        TrackingError: the value is not JSON of that form.
    """
    try:
        return TypeAdapter(model).validate_json(tags[name])
    except ValidationError as error:
        raise TrackingError(
            f"The registry's tag {name} is not what metsweep wrote there: {why(error)}. Restore or remove it in MLflow."
        ) from None
