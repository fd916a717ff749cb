"""What pydantic cannot see of a study one value at a time; each check returns the problems."""

from __future__ import annotations

from pydantic import ValidationError

from search_spaces.problems import Problem, complaints, did_you_mean
from search_spaces.search import MOST_TRIALS
from search_spaces.values import StudyValues
from trainers.detector.history import FPS, SENSITIVITY
from trainers.gan.config import GANConfig

VALIDATED = tuple(figure.removeprefix("validation/") for figure in (SENSITIVITY, FPS))
"""What detectors are validated by during training, at their `selection_iou`."""
MOST_SHARDS = 100_000
"""Per arm: each is a stage of the plan."""


def sizes(study: StudyValues) -> list[Problem]:
    """Sections that must agree with each other."""
    problems, size, resolution = [], study.prepare.size, study.gan.resolution
    if size != resolution:
        message = f"prepare.size is {size} but gan.resolution is {resolution}; they must be equal"
        problems.append(Problem(("prepare", "size"), message))
    on = study.resources.detector
    uneven = [n for n in range(on.min_workers or on.workers, on.workers + 1) if study.detector.batch % n]
    if uneven:
        message = (
            f"detector.batch is {study.detector.batch}, which {uneven[0]} workers cannot share evenly; allowed by "
            "resources.detector: numbers of workers (from min_workers, if set, to workers) that divide it"
        )
        problems.append(Problem(("resources", "detector"), message))
    return problems


def rows(study: StudyValues) -> list[Problem]:
    """Arms and seeds."""
    problems = []
    seen: set[tuple[str, int]] = set()
    for index, arm in enumerate(study.arms):
        for position, count in enumerate(arm.counts):
            at = ("arms", index, "counts", position) if count else ("arms", index)
            row = arm.variant, study.synthetic_count(count)
            if count and not row[1]:
                message = f"{arm.variant} {count} rounds to 0 slices at count_scale {study.count_scale:g}"
                problems.append(Problem(at, message))
            elif row in seen:
                message = f"{arm.variant} {row[1]} is listed more than once, at count_scale {study.count_scale:g}"
                problems.append(Problem(at, message))
            elif row[1] > MOST_SHARDS * study.synthesis.shard_size:
                message = f"{row[1]:,} slices are more than {MOST_SHARDS:,} shards of synthesis.shard_size; got {count}"
                problems.append(Problem(at, message))
            seen.add(row)
    enumerated, drawn, seeds = len(study.cells()), study.search.left_to_draw(0), len(study.seeds)
    cells = enumerated + drawn
    if cells * seeds > MOST_TRIALS:
        trials = f"{cells:,} cells times {seeds:,} seeds are {cells * seeds:,} trials"
        blamed = ("search", "trials") if drawn > max(enumerated, seeds) else ("seeds",)
        problems.append(Problem(blamed, f"{trials}; allowed: up to {MOST_TRIALS:,} in a plan"))
    if len(set(study.seeds)) < seeds:
        problems.append(Problem(("seeds",), f"{list(study.seeds)} lists a seed more than once"))
    return problems


def variant_overrides(study: StudyValues) -> list[Problem]:
    """Overrides of `gan` for one variant."""
    problems = []
    for variant, values in study.variants.items():
        unknown = [key for key in values if key not in GANConfig.model_fields]
        for key in unknown:
            hint = did_you_mean(key, GANConfig.model_fields)
            problems.append(Problem(("variants", variant, key), f"unknown key; got {values[key]!r}.{hint}"))
        if unknown:
            continue
        try:
            study.gan_for(variant)
        except ValidationError as error:
            problems += [Problem(("variants", variant, *path), message) for path, message in complaints(error)]
    return problems


def figures(study: StudyValues) -> list[Problem]:
    """Objectives and constraints, which also rank and promote cells that are only enumerated."""
    problems = []
    ious = ", ".join(f"{iou:g}" for iou in study.evaluation.ious)
    for key in ("objectives", "constraints"):
        for index, figure in enumerate(getattr(study, key)):
            if figure.iou in study.evaluation.ious:
                continue
            if key in study.model_fields_set:
                message = (
                    f"allowed are evaluation.ious: {ious}; got {figure.iou:g}. Use one of them, or add "
                    f"{figure.iou:g} to evaluation.ious"
                )
                problems.append(Problem((key, index, "iou"), message))
            else:
                message = (
                    f"without objectives, evaluation.ious must list {figure.iou:g}, at which the default "
                    f"objective is measured; got {ious}. Add {figure.iou:g}, or set objectives"
                )
                problems.append(Problem(("evaluation", "ious"), message))
    return problems


def search(study: StudyValues) -> list[Problem]:
    """Whether the study has anything to run and anything to draw."""
    if not study.search.draws:
        if not study.arms:
            return [
                Problem(("arms",), "nothing to run; needs at least one arm, or a space and a search that draws from it")
            ]
        if study.space and "search" not in study.model_fields_set:
            message = (
                "no search draws from it. Add search: {method: tpe, trials: 40}, or method: ablation to run arms alone"
            )
            return [Problem(("space",), message)]
        return []
    if not study.space:
        message = f"{study.search.method!r} draws from space, which is missing; allowed without it: 'ablation'"
        return [Problem(("search", "method"), message)]
    problems = []
    if study.search.pruning != "none" and (why := _why_not_to_prune(study)):
        problems.append(Problem(("search", "pruning"), f"{why}; got {study.search.pruning!r}"))
    if len(set(study.objectives)) < len(study.objectives):
        problems.append(Problem(("objectives",), "an objective is listed more than once"))
    return problems


def _why_not_to_prune(study: StudyValues) -> str | None:
    """Why not: cells are pruned by what their detectors validate to during training, which must be the objective."""
    (objective, *others), iou = study.objectives, study.detector.selection_iou
    if others:
        return f"with {len(study.objectives)} objectives Optuna cannot prune; allowed: none"
    if objective.metric in VALIDATED and objective.iou == iou:
        return None
    return (
        f"pruning would compare cells by a figure other than the objective, {objective.metric} at IoU "
        f"{objective.iou:g}: during training, detectors are validated by {' or '.join(VALIDATED)} at IoU {iou:g} "
        "(detector.selection_iou). Allowed: none, or one of those as the objective"
    )
