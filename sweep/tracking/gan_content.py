"""What MLflow holds of a GAN: its training, the shards drawn from it, and how real they look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.models.packaging import save_generator
from sweep.plan import Plan
from sweep.stages import GANStage, RealismStage, SynthesizeStage
from sweep.store import Artifact, Store
from sweep.tracking.run_content import (
    NetworkFiles,
    Part,
    Point,
    RunContent,
    cost_points,
    fidelity_tags,
    flat,
    history_points,
    real_slices,
    system_points,
)
from sweep.tracking.tags import DETECTOR_KEY, KIND, VARIANT
from trainers.data.slice_set import open_slice_set
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.realism.report import read_realism

if TYPE_CHECKING:
    from mlflow.models import Model


StagesAfter = Mapping[str, SynthesizeStage | RealismStage]
"""Part -> the stages that belong to a GAN's run, beside its training."""


def gan_content(stage: GANStage, planned: StagesAfter, plan: Plan, store: Store) -> RunContent | None:
    """The run of a GAN, of the shards drawn from it and of their realism, or None before it is trained."""
    artifact = store.find(stage.name, stage.key)
    prepared = store.find("prepare", stage.slices.key)
    if artifact is None or prepared is None:
        return None
    made = {name: found for name, one in planned.items() if (found := store.find(one.name, one.key))}

    def save(out: Path, model: Model) -> None:
        save_generator(artifact.path, open_slice_set(prepared.path), out, model)

    params = flat("gan", stage.config) | flat("prepare", stage.slices.config)
    tags = {KIND: "gan", VARIANT: stage.config.variant} | fidelity_tags(plan)
    if stage.detector is not None:
        params |= flat("detector", stage.detector.config)
        tags[DETECTOR_KEY] = stage.detector.key
    training = Part(
        "gan",
        params=params,
        points=(*history_points(artifact, "images", stage.name), *system_points(artifact), *cost_points(artifact)),
        slices=(real_slices(stage.slices, prepared),),
        figures=artifact.path / "figures",
        network=NetworkFiles("generator", save) if "generator.pt" in artifact.manifest.files else None,
    )
    return RunContent(
        key=stage.key,
        name=stage.label,
        tags=tags,
        costs=tuple(one.manifest.cost for one in (artifact, *made.values())),
        parts=(training, *(_part_after(name, planned[name], found) for name, found in made.items())),
        complete=len(made) == len(planned),
        started=artifact.manifest.cost.started,
        finished=max(one.manifest.cost.finished for one in (artifact, *made.values())),
    )


def stages_after_gans(plan: Plan) -> dict[str, StagesAfter]:
    """GAN's stage key -> what belongs to its run.

    Realism has its key in the name: with other settings it is made, and logged, again.
    """
    found: dict[str, dict[str, SynthesizeStage | RealismStage]] = {key: {} for key in plan.gans}
    for stage in plan.stages.values():
        if isinstance(stage, SynthesizeStage):
            found[stage.gan.key][f"synthesize-{stage.shard}"] = stage
        elif isinstance(stage, RealismStage):
            found[stage.gan.key][f"realism-{stage.key[:8]}"] = stage
    return dict(found)


def _part_after(name: str, stage: SynthesizeStage | RealismStage, artifact: Artifact) -> Part:
    if isinstance(stage, SynthesizeStage):
        return _shard_part(name, stage.shard, artifact)
    return _realism_part(name, artifact)


def _realism_part(name: str, artifact: Artifact) -> Part:
    report = read_realism(artifact.path)
    (gan,) = report.synthetic.values()
    numbers: dict[str, float] = {}
    for path, figures in (("realism", asdict(gan)), ("realism/held_out", asdict(report.real))):
        numbers |= _numbers(path, figures.pop("features")) | _numbers(path, figures)
    points = [Point(metric, value, artifact.manifest.cost.finished) for metric, value in numbers.items()]
    return Part(
        name,
        points=(*points, *cost_points(artifact)),
        figures=artifact.path / "figures",
        note=f"Do these slices give away patients of the training split? {gan.memorisation.verdict.sentence}.",
    )


def _numbers(path: str, value: Any) -> dict[str, float]:
    """The figures of nested mappings by their path, e.g. `realism/kid/mean`, an interval's as `low` and `high`."""
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: number for key, one in value.items() for name, number in _numbers(f"{path}/{key}", one).items()}
    return {path: float(value)} if isinstance(value, int | float) else {}


def _shard_part(name: str, number: int, artifact: Artifact) -> Part:
    meta = json.loads((artifact.path / "meta.json").read_text())
    finished = artifact.manifest.cost.finished
    values = {name: meta[name] for name in ("box_contrast", "box_contrast_real")}
    values["discard_rate"] = meta["curation"]["discard_rate"]
    values["unclear"] = meta["curation"]["unclear"] / meta["synthesis"]["shard_size"]
    quality = [Point(f"gan/{name}", value, finished, number) for name, value in values.items()]
    costs = [Point(point.name, point.value, point.time, number) for point in cost_points(artifact)]
    return Part(name, points=(*quality, *costs), figures=artifact.path / "figures")
