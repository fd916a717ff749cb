"""The origin of a version: as tags for programs, as a description for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweep.models.packaging import LICENCE, LICENCE_TAG
from sweep.plan import Plan, Trial
from sweep.registry.quality import Quality
from sweep.registry.selection import Ranked
from sweep.tracking.tags import (
    CELL_KEYS,
    COHORT,
    COMMIT,
    EVALUATION,
    FIDELITY,
    PREPARE,
    PREPARE_KEY,
    QUALITY,
    STAGE_KEY,
    STUDY,
    TRIAL,
    tag_text,
    validation_tag,
)
from trainers.documents import shown
from trainers.evaluation.measures import TABLE1
from trainers.exceptions import TrackingError


def evaluations(cell: Sequence[Trial]) -> dict[int, str]:
    """Seed -> evaluate stage key, of the trials of a cell."""
    return {trial.seed: trial.evaluate.key for trial in cell}


def tags_of(plan: Plan, ranked: Ranked, key: str, commit: str) -> dict[str, str]:
    """Tags of a version whose model has the stage key `key`; MLflow's values hold 5,000 characters."""
    trial = ranked.trial
    prepared = trial.evaluate.detector.slices
    cell = evaluations(plan.cells[trial.cell])
    return {
        STAGE_KEY: key,
        STUDY: plan.study.name,
        FIDELITY: plan.study.fidelity,
        TRIAL: trial.name,
        CELL_KEYS: ",".join(f"{seed}:{evaluation}" for seed, evaluation in cell.items()),
        **{validation_tag(measure.name): f"{ranked.figures[measure.name]:.6f}" for measure in TABLE1},
        QUALITY: tag_text(Quality.measured(ranked.measured, trial.evaluate.config.confidence)),
        PREPARE_KEY: prepared.key,
        PREPARE: prepared.config.model_dump_json(),
        EVALUATION: trial.evaluate.config.model_dump_json(),
        COHORT: prepared.fingerprint,
        COMMIT: commit,
        **LICENCE_TAG,
    }


def cell_keys(tags: Mapping[str, str]) -> dict[int, str]:
    """Seed -> evaluate stage key, of a version's cell.

    Raises:
        TrackingError: the tag CELL_KEYS is not of this form.
    """
    text = tags.get(CELL_KEYS, "")
    try:
        return {int(seed): key for seed, _, key in (part.partition(":") for part in text.split(","))}
    except ValueError:
        raise TrackingError(
            f"The registry's tag {CELL_KEYS} is {shown(text)}; needed: SEED:KEY, with commas. Restore it in MLflow."
        ) from None


def description_of(plan: Plan, ranked: Ranked, commit: str) -> str:
    """The description of a version, Markdown; its judgement follows (`records`)."""
    trial, stage = ranked.trial, ranked.trial.evaluate.detector
    keys = [
        f"- evaluate {trial.evaluate.key}",
        f"- detector {stage.key}",
        *(f"- {shard.name} {shard.key}" for shard in stage.shards),
        *([f"- {trial.source.name} {trial.source.key}"] if trial.source else []),
        f"- prepare {stage.slices.key}",
    ]
    paragraphs = (
        f"Study {plan.study.name} at fidelity {plan.study.fidelity}, trial {trial.name}, model "
        f"{stage.config.model_name}.",
        f"Validation at IoU 0.5: {ranked.text()}.",
        "Stage keys:",
        "\n".join(keys),
        f"Cohort {stage.slices.fingerprint}; metsweep at commit {commit}.",
        f"Licence: {LICENCE}. For research; not a medical device.",
    )
    return "\n\n".join(paragraphs)
