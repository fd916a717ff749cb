"""The run of a GAN in MLflow: its training, the shards drawn from it, and their realism."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.models.packaging import save_generator
from sweep.plan import Plan
from sweep.stages import GANStage, Stage
from sweep.store import Store
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
from sweep.tracking.tags import DETECTOR_KEY, FIDELITY, KIND, VARIANT
from trainers.config import Config
from trainers.data.slice_set import open_slice_set

if TYPE_CHECKING:
    from mlflow.models import Model


StagesAfter = Mapping[str, Stage]
"""Part -> stage, of the stages that belong to a GAN's run after its training."""


def gan_content(stage: GANStage, planned: StagesAfter, plan: Plan, store: Store) -> RunContent | None:
    """The run of a GAN, of the shards drawn from it and of their realism, or None before it is trained."""
    artifact = store.find(stage.name, stage.key)
    prepared = store.find(stage.slices.name, stage.slices.key)
    if artifact is None or prepared is None:
        return None
    looked_up = {part: store.find(after.name, after.key) for part, after in planned.items()}
    made = {part: after for part, after in looked_up.items() if after is not None}

    def save(out: Path, model: Model) -> None:
        save_generator(artifact.path, open_slice_set(prepared.path), out, model)

    configs: dict[str, Config] = {"gan": stage.config, "prepare": stage.slices.config}
    tags = {KIND: "gan", VARIANT: stage.config.variant, FIDELITY: plan.study.fidelity}
    if stage.detector is not None:
        configs["detector"] = stage.detector.config
        tags[DETECTOR_KEY] = stage.detector.key
    training = Part(
        "gan",
        params=compared_params(configs, plan),
        texts={**config_files(configs), **history_file(artifact)},
        points=(*history_points(artifact, "images", stage.name), *system_points(artifact)),
        slices=(real_slices(stage.slices, prepared),),
        figures=artifact.path / "figures",
        network=NetworkFiles("generator", save) if "generator.pt" in artifact.manifest.files else None,
    )
    costs = tuple(part.manifest.cost for part in (artifact, *made.values()))
    return RunContent(
        key=stage.key,
        name=stage.label,
        tags=tags,
        costs=costs,
        parts=(training, *(part_of(planned[part], after) for part, after in made.items())),
        complete=len(made) == len(planned),
        started=artifact.manifest.cost.started,
        finished=max(cost.finished for cost in costs),
    )


def stages_after_gans(plan: Plan) -> dict[str, StagesAfter]:
    """GAN's stage key -> the stages after its training that belong to its run: the last GAN that each needs."""
    after: dict[str, dict[str, Stage]] = {key: {} for key in plan.gans}
    for stage in plan.stages.values():
        if stage.run_kind == "gan" and stage.key not in after:
            # Of several GANs, an earlier one drew the slices of the detector from which the last one learnt.
            *_, gan = (needed.key for needed in stage.inputs_first() if needed.key in after)
            after[gan][stage.part] = stage
    return dict(after)
