"""The run of a source of synthetic slices in MLflow: what made it, the shards drawn from it, and their realism."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.models.packaging import save_generator
from sweep.plan import Plan
from sweep.stages import GANStage, SourceStage, Stage
from sweep.store import Artifact, Store
from sweep.tracking.run_content import (
    NetworkFiles,
    Part,
    RunContent,
    compared_params,
    config_files,
    history_file,
    history_points,
    part_of,
    real_slices,
    system_points,
)
from sweep.tracking.tags import DETECTOR_KEY, FIDELITY, FOLD, KIND, VARIANT
from trainers.config import Config
from trainers.data.slice_set import open_slice_set

if TYPE_CHECKING:
    from mlflow.models import Model


StagesAfter = Mapping[str, Stage]
"""Part -> stage, of the stages that belong to a source's run after itself."""


def source_content(stage: SourceStage, planned: StagesAfter, plan: Plan, store: Store) -> RunContent | None:
    """The run of a source, of the shards drawn from it and of their realism, or None before it is made."""
    artifact = store.find(stage.name, stage.key)
    prepared = store.find(stage.slices.name, stage.slices.key)
    if artifact is None or prepared is None:
        return None
    looked_up = {part: store.find(after.name, after.key) for part, after in planned.items()}
    made = {part: after for part, after in looked_up.items() if after is not None}
    tags = {KIND: stage.name, VARIANT: stage.variant, FIDELITY: plan.study.fidelity}
    if stage.slices.config.fold is not None:
        tags[FOLD] = str(stage.slices.config.fold.number)
    if isinstance(stage, GANStage):
        own = _training(stage, artifact, prepared, plan)
        tags |= {DETECTOR_KEY: stage.detector.key} if stage.detector else {}
    else:
        configs: dict[str, Config] = {stage.sections[-1]: stage.config, "prepare": stage.slices.config}
        own = replace(
            part_of(stage, artifact),
            params=compared_params(configs, plan),
            texts=config_files(configs),
            slices=(real_slices(stage.slices, prepared),),
        )
        if stage.trains:
            points = (*own.points, *history_points(artifact, "images", stage.name), *system_points(artifact))
            own = replace(own, texts={**own.texts, **history_file(artifact)}, points=points)
    costs = tuple(part.manifest.cost for part in (artifact, *made.values()))
    return RunContent(
        key=stage.key,
        name=stage.label,
        tags=tags,
        costs=costs,
        parts=(own, *(part_of(planned[part], after) for part, after in made.items())),
        complete=len(made) == len(planned),
        started=artifact.manifest.cost.started,
        finished=max(cost.finished for cost in costs),
    )


def _training(stage: GANStage, artifact: Artifact, prepared: Artifact, plan: Plan) -> Part:
    def save(out: Path, model: Model) -> None:
        save_generator(artifact.path, open_slice_set(prepared.path), out, model)

    configs: dict[str, Config] = {"gan": stage.config, "prepare": stage.slices.config}
    if stage.detector is not None:
        configs["detector"] = stage.detector.config
    return Part(
        stage.part,
        params=compared_params(configs, plan),
        texts={**config_files(configs), **history_file(artifact)},
        points=(*history_points(artifact, "images", stage.name), *system_points(artifact)),
        slices=(real_slices(stage.slices, prepared),),
        figures=artifact.path / "figures",
        network=NetworkFiles("generator", save) if "generator.pt" in artifact.manifest.files else None,
    )


def stages_after_sources(plan: Plan) -> dict[str, StagesAfter]:
    """Source's stage key -> the stages after it that belong to its run: the last source that each needs."""
    after: dict[str, dict[str, Stage]] = {key: {} for key in plan.sources}
    for stage in plan.stages.values():
        if stage.run_kind == "source" and stage.key not in after:
            # Of several GANs, an earlier one drew the slices of the detector from which the last one learnt.
            *_, source = (needed.key for needed in stage.inputs_first() if needed.key in after)
            after[source][stage.part] = stage
    return dict(after)
