"""The content of a sweep's runs in MLflow, read from the store as plain values: nothing here needs MLflow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.search import Prices
from sweep.machine_use import read_system_samples
from sweep.models.packaging import save_detector
from sweep.plan import Plan, Trial
from sweep.stages import PrepareStage, Stage
from sweep.stages.evaluate import read_metrics
from sweep.store import Artifact, Cost, Store
from sweep.tracking.compared import FINDINGS, HISTORY, SYSTEM, chosen, evaluation_figures, shown
from sweep.tracking.tags import (
    ARM,
    COLLAPSED,
    COST,
    CPU_SECONDS,
    CURRENCY,
    DETECTOR_KEY,
    FIDELITY,
    FOLD,
    GAN_KEY,
    GPU_SECONDS,
    KIND,
    OPTUNA_NUMBER,
    VARIANT,
)
from trainers.config import Config
from trainers.data.slice_set import open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.selection import read_selection
from trainers.evaluation.collapse import collapse
from trainers.evaluation.metrics_file import METRICS_FILE
from trainers.yaml_text import to_document

if TYPE_CHECKING:
    from mlflow.models import Model

LONGEST_PARAM = 500
"""Longer values are cut off, characters."""


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    name: str
    value: float
    time: float
    """When it was measured, unix seconds."""
    step: int = 0


@dataclass(frozen=True)
class Slices:
    """A slice set that a run trained on."""

    name: str
    key: str
    path: Path
    count: int


@dataclass(frozen=True)
class NetworkFiles:
    """A trained network and how to write it as an MLflow model."""

    name: str
    save: Callable[[Path, Model], None]
    """Writes it into a new folder, completing MLflow's description."""


@dataclass(frozen=True)
class Part:
    """Content that is written into a run at once, as soon as its artifact is in the store."""

    name: str
    """Word of the stage, with the shard if there are several."""
    params: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name of a file -> its content."""
    points: tuple[Point, ...] = ()
    slices: tuple[Slices, ...] = ()
    figures: Path | None = None
    """Folder of PNGs."""
    network: NetworkFiles | None = None
    note: str | None = None
    """Description of the run in MLflow."""
    judges_network: bool = False
    """Whether the points belong to the run's network as well as to the run."""


@dataclass(frozen=True)
class RunContent:
    """One run."""

    key: str
    """Stage key that identifies the run."""
    name: str
    tags: Mapping[str, str]
    """Set when the run is created."""
    costs: tuple[Cost, ...]
    """Of the run's own stages, so far; a GAN that several trials share counts in its own run alone."""
    parts: tuple[Part, ...]
    """Parts whose artifacts are in the store."""
    complete: bool
    """Whether all parts are present."""
    started: float
    """Unix seconds."""
    finished: float
    """Unix seconds."""


def trial_content(trial: Trial, plan: Plan, store: Store) -> RunContent | None:
    """The run of a trial, or None before its own goals are in the store."""
    stage = trial.evaluate.detector
    detector = store.find(stage.name, stage.key)
    prepared = store.find(stage.slices.name, stage.slices.key)
    goals = {goal: artifact for goal in trial.own_goals if (artifact := store.find(goal.name, goal.key))}
    if detector is None or prepared is None or len(goals) < len(trial.own_goals):
        return None
    evaluated = goals.pop(trial.evaluate)
    selected = read_selection(detector.path)
    assert selected is not None, "every detector artifact has one"
    slices = [real_slices(stage.slices, prepared)]
    configs: dict[str, Config] = {"detector": stage.config, "evaluation": trial.evaluate.config}
    configs["prepare"] = stage.slices.config
    arm = {"variant": trial.variant, "count": str(trial.count), "seed": str(trial.seed)}
    arm |= {} if trial.fold is None else {"fold": str(trial.fold)}
    knobs = {key: text for name, value in trial.params.items() for key, text in _flat(name, value).items()}
    tags = {KIND: "trial", ARM: trial.arm, VARIANT: trial.variant}
    tags |= {} if trial.fold is None else {FOLD: str(trial.fold)}
    tags |= {DETECTOR_KEY: stage.key, FIDELITY: plan.study.fidelity}
    # MLflow's UI unfolds the parents of such runs by itself.
    tags["mlflow.runType"] = "evaluation"
    if why := collapse(read_metrics(evaluated)):
        tags[COLLAPSED] = why
    if trial.number is not None:
        tags[OPTUNA_NUMBER] = str(trial.number)
    if trial.source is not None:
        configs["synthesis"] = stage.shards[0].config
        tags[GAN_KEY] = trial.source.key
        drawn = store.local / stage.shards[0].name / stage.shards[0].key
        slices.append(Slices(f"synthetic {trial.arm}", trial.source.key, drawn, trial.count))

    def save(out: Path, model: Model) -> None:
        slices = open_slice_set(prepared.path)
        save_detector(detector.path, slices, stage.slices.config, trial.evaluate.config.confidence, out, model)

    training = Part(
        "detector",
        params={**arm, **compared_params(configs, plan), **knobs},
        texts={**config_files(configs), **history_file(detector)},
        points=(
            *history_points(detector, "step", stage.name),
            *system_points(detector),
            Point("detector/selected_step", selected.step, detector.manifest.cost.finished),
        ),
        slices=tuple(slices),
        figures=detector.path / "figures",
        network=NetworkFiles("detector", save) if "model.pt" in detector.manifest.files else None,
    )
    return RunContent(
        key=trial.evaluate.key,
        name=trial.name,
        tags=tags,
        costs=tuple(artifact.manifest.cost for artifact in (detector, evaluated, *goals.values())),
        parts=(training, _evaluation_part(evaluated), *itertools.starmap(part_of, goals.items())),
        complete=True,
        started=detector.manifest.cost.started,
        finished=evaluated.manifest.cost.finished,
    )


def compared_params(configs: Mapping[str, Config], plan: Plan) -> dict[str, str]:
    """The values of configs that are params of a run: dotted key -> text."""
    values = {}
    for name, config in configs.items():
        values |= _flat(name, config.model_dump(mode="json"))
        if isinstance(config, DetectorConfig):  # the dump leaves the default out, and holds all of a network's file
            values["detector.model"] = config.model_name
    return chosen(values, plan.study.space)


def config_files(configs: Mapping[str, Config]) -> dict[str, str]:
    """Every value of configs, as files."""
    return {f"config/{name}.yaml": to_document(config.model_dump(mode="json")) for name, config in configs.items()}


def cost_tags(costs: Sequence[Cost], prices: Prices) -> dict[str, str]:
    """Tags of a run whose stages took `costs`."""
    gpu_seconds = sum(cost.gpu_seconds for cost in costs)
    cpu_seconds = sum(cost.cpu_seconds for cost in costs)
    tags = {GPU_SECONDS: f"{gpu_seconds:.1f}", CPU_SECONDS: f"{cpu_seconds:.1f}"}
    cost = prices.cost(gpu_seconds, cpu_seconds)
    return tags if cost is None else {**tags, COST: f"{cost:.4f}", CURRENCY: prices.currency}


def part_of(stage: Stage, artifact: Artifact) -> Part:
    """The part of a run that shows a stage: its findings."""
    findings, finished = stage.findings(artifact.path), artifact.manifest.cost.finished
    points = [
        Point(name, value, finished, findings.step) for name, value in findings.metrics.items() if shown(name, FINDINGS)
    ]
    texts = {} if findings.document is None else {"figures.json": findings.document}
    return Part(stage.part, points=tuple(points), texts=texts, figures=artifact.path / "figures", note=findings.note)


def system_points(artifact: Artifact) -> list[Point]:
    """Samples of the machine, as metrics for MLflow's tab of system metrics; none in older artifacts."""
    return [
        Point(f"system/{name}", value, sample["time"], step)
        for step, sample in enumerate(read_system_samples(artifact.path))
        for name, value in sample.items()
        if shown(name, SYSTEM)
    ]


def _evaluation_part(artifact: Artifact) -> Part:
    finished = artifact.manifest.cost.finished
    points = [Point(name, value, finished) for name, value in evaluation_figures(read_metrics(artifact)).items()]
    texts = {"figures.json": artifact.text(METRICS_FILE)}
    return Part("evaluate", points=tuple(points), texts=texts, figures=artifact.path / "figures", judges_network=True)


def history_points(artifact: Artifact, step: str, stage: str) -> list[Point]:
    """The values of `history.jsonl` that are compared.

    They are named below the stage: figures during training must not hide the run's own.
    """
    points = []
    for line in (artifact.path / "history.jsonl").read_text().splitlines():
        report = json.loads(line)
        at, time = int(report.pop(step)), report.pop("time")
        for name, value in report.items():
            if not shown(name, HISTORY):
                continue
            own = name.partition("/")[0] == stage
            points.append(Point(name if own else f"{stage}/{name}", value, time, at))
    return points


def history_file(artifact: Artifact) -> dict[str, str]:
    """Every value of `history.jsonl`, as a file."""
    return {f"history/{artifact.manifest.stage}.jsonl": artifact.text("history.jsonl")}


def real_slices(stage: PrepareStage, artifact: Artifact) -> Slices:
    """The slice set of a run."""
    return Slices("real", stage.key, artifact.path, len(open_slice_set(artifact.path).slices))


def _flat(prefix: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {key: text for name, inner in value.items() for key, text in _flat(f"{prefix}.{name}", inner).items()}
    return {prefix: (value if isinstance(value, str) else json.dumps(value))[:LONGEST_PARAM]}
