"""What pydantic cannot see of a study one value at a time; each check yields the problems."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from search_spaces.cell import Cell
from search_spaces.problems import Problem, complaints, did_you_mean
from search_spaces.search import MOST_TRIALS, SearchConfig
from search_spaces.values import StudyValues
from trainers.detector.architecture import DENSE, PAPER
from trainers.detector.buildable import why_not_buildable
from trainers.detector.config import AUGMENTATION, DetectorConfig
from trainers.detector.history import FPS, SENSITIVITY
from trainers.documents import shown
from trainers.gan.config import GANConfig
from trainers.inpainting.config import InpaintConfig
from trainers.pasting.config import PasteConfig
from trainers.variants import GANS, INPAINTED, PASTED, REAL, REAL_ONLY

VALIDATED = tuple(figure.removeprefix("validation/") for figure in (SENSITIVITY, FPS))
"""What detectors are validated by during training, at their `selection_iou`."""
NEEDS_DENSE = f"allowed: models with the last layer {DENSE}, as {PAPER}"
MOST_SHARDS = 100_000
"""Per arm: each is a stage of the plan."""


def sizes(study: StudyValues) -> Iterator[Problem]:
    """Sections that must agree with each other."""
    size, resolution = study.prepare.size, study.gan.resolution
    if size != resolution:
        message = f"prepare.size is {size} but gan.resolution is {resolution}; they must be equal"
        yield Problem(("prepare", "size"), message)
    if not study.used_variants.isdisjoint(INPAINTED) and study.inpaint.window > size:
        message = f"is {study.inpaint.window}, but slices are {size} pixels wide (prepare.size); allowed: up to that"
        yield Problem(("inpaint", "window"), message)
    on = study.resources.detector
    uneven = [n for n in range(on.min_workers or on.workers, on.workers + 1) if study.detector.batch % n]
    if uneven:
        message = (
            f"detector.batch is {study.detector.batch}, which {uneven[0]} workers cannot share evenly; allowed by "
            "resources.detector: numbers of workers (from min_workers, if set, to workers) that divide it"
        )
        yield Problem(("resources", "detector"), message)
    yield from _network(study)


def _network(study: StudyValues) -> Iterator[Problem]:
    """Whether the detector's network can be built, and trained by so many workers."""
    at, workers = ("detector", "model"), study.resources.detector.workers
    if not study.detector.dense and workers > 1:
        message = f"trains with one worker, but resources.detector.workers is {workers}; {NEEDS_DENSE}"
        yield Problem(at, message)
    if why := why_not_buildable(study.detector):
        yield Problem(at, why)


def feedback(study: StudyValues) -> Iterator[Problem]:
    """Variants that learn from the study's detector."""
    variants = study.used_variants
    for variant, gan in GANS.items():
        if gan.needs_detector and variant in variants and not study.detector.dense:
            yield Problem(("detector", "model"), f"{variant} cannot learn from it; {NEEDS_DENSE}")


def rows(study: StudyValues) -> Iterator[Problem]:
    """Arms and seeds."""
    seen: set[tuple[str, int]] = set()
    numbers = [number for arm in study.arms for number in arm.train_patients]
    if len(set(numbers)) < len(numbers):
        yield Problem(("arms",), f"train_patients lists a number more than once: {numbers}")
    if numbers and not study.search.draws and Cell(REAL_ONLY) not in study.cells():
        message = f"gains need `{REAL_ONLY}` with all patients, too; add `- variant: {REAL_ONLY}`"
        yield Problem(("arms",), f"train_patients: {message}")
    if study.prepare.train_patients in numbers:
        message = f"{study.prepare.train_patients} is prepare.train_patients, with which `{REAL_ONLY}` trains already"
        yield Problem(("arms",), f"train_patients: {message}")
    for index, arm in enumerate(study.arms):
        if arm.train_patients:
            continue
        for position, count in enumerate(arm.counts):
            at = ("arms", index, "counts", position) if count else ("arms", index)
            row = arm.variant, study.synthetic_count(count)
            if count and not row[1]:
                message = f"{arm.variant} {count} rounds to 0 slices at count_scale {study.count_scale:g}"
                yield Problem(at, message)
            elif row in seen:
                message = f"{arm.variant} {row[1]} is listed more than once, at count_scale {study.count_scale:g}"
                yield Problem(at, message)
            elif row[1] > MOST_SHARDS * study.synthesis.shard_size:
                message = f"{row[1]:,} slices are more than {MOST_SHARDS:,} shards of synthesis.shard_size; got {count}"
                yield Problem(at, message)
            seen.add(row)
    enumerated, drawn, seeds = len(study.cells()), study.search.left_to_draw(0), len(study.most_seeds)
    cells, folds = enumerated + drawn, len(study.splits)
    if cells * seeds * folds > MOST_TRIALS:
        times = f" times {folds} folds" if study.folds else ""
        trials = f"{cells:,} cells times {seeds:,} seeds{times} are {cells * seeds * folds:,} trials"
        most = ("search", "most_seeds") if study.search.races else ("seeds",)
        blamed = ("search", "trials") if drawn > max(enumerated, seeds) else most
        yield Problem(blamed, f"{trials}; allowed: up to {MOST_TRIALS:,} in a plan")
    if len(set(study.seeds)) < len(study.seeds):
        yield Problem(("seeds",), f"{list(study.seeds)} lists a seed more than once")


def variant_overrides(study: StudyValues) -> Iterator[Problem]:
    """Overrides for one variant."""
    models = {
        **dict.fromkeys(PASTED, PasteConfig),
        **dict.fromkeys(INPAINTED, InpaintConfig),
        **dict.fromkeys(REAL, DetectorConfig),
    }
    for variant, values in study.variants.items():
        model = models.get(variant, GANConfig)
        unknown = [key for key in values if key not in model.model_fields]
        for key in unknown:
            hint = did_you_mean(key, model.model_fields)
            yield Problem(("variants", variant, key), f"unknown key; got {values[key]!r}.{hint}")
        if unknown:
            continue
        for key in [key for key in values if variant in REAL and key not in AUGMENTATION]:
            message = f"must be that of all arms; allowed for {variant}: augmentation ({', '.join(AUGMENTATION)})"
            yield Problem(("variants", variant, key), f"{message}; got {values[key]!r}")
        try:
            if variant in GANS:
                study.gan_for(variant)
            elif variant in PASTED:
                study.paste_for(variant)
            elif variant in INPAINTED:
                study.inpaint_for(variant)
            else:
                study.detector_for(Cell(variant))
        except ValidationError as error:
            yield from (Problem(("variants", variant, *path), message) for path, message in complaints(error))


def figures(study: StudyValues) -> Iterator[Problem]:
    """Objectives and constraints, which also rank and promote cells that are only enumerated."""
    ious = ", ".join(f"{iou:g}" for iou in study.evaluation.ious)
    for key in ("objectives", "constraints"):
        for index, figure in enumerate(getattr(study, key)):
            if study.search.draws and figure.of_slices and (real := set(REAL) & set(study.variants_to_draw())):
                message = (
                    f"{figure.metric} is a figure of synthetic slices, of which {' and '.join(sorted(real))} has none; "
                    "leave it out of space.variant (arms may list it), or use another metric"
                )
                yield Problem((key, index, "metric"), message)
            if figure.iou in study.evaluation.ious or not figure.has_iou:
                continue
            if key in study.model_fields_set:
                message = (
                    f"allowed are evaluation.ious: {ious}; got {figure.iou:g}. Use one of them, or add "
                    f"{figure.iou:g} to evaluation.ious"
                )
                yield Problem((key, index, "iou"), message)
            else:
                message = (
                    f"without objectives, evaluation.ious must list {figure.iou:g}, at which the default "
                    f"objective is measured; got {ious}. Add {figure.iou:g}, or set objectives"
                )
                yield Problem(("evaluation", "ious"), message)


def without_effect(study: StudyValues) -> Iterator[Problem]:
    """Keys that are drawn although they change nothing that a search for good slices learns.

    Whatever the count, a source is judged by the same first slices, and by the same detector.
    """
    if not study.search.draws or not all(figure.of_slices for figure in study.searched):
        return
    for key, drawn in study.space.items():
        if key.startswith("detector.") or (key == "count" and len(drawn.tried()) > 1):
            advice = "Draw one count, e.g. {choice: [8000]}" if key == "count" else "Leave it out"
            message = f"changes no objective and no constraint, which are all about slices. {advice}, or add a figure"
            yield Problem(("space", key), f"{message} of the detectors, e.g. the objective sensitivity")


def search(study: StudyValues) -> Iterator[Problem]:
    """Whether the study has anything to run and anything to draw."""
    if not study.search.draws and not study.arms:
        yield Problem(("arms",), "nothing to run; needs at least one arm, or a space and a search that draws from it")
    elif not study.search.draws and study.space and "search" not in study.model_fields_set:
        advice = "Add search: {method: tpe, trials: 40}, or method: ablation to run arms alone"
        yield Problem(("space",), f"no search draws from it. {advice}")
    elif study.search.draws and not study.space:
        message = f"{study.search.method!r} draws from space, which is missing; allowed without it: 'ablation'"
        yield Problem(("search", "method"), message)
    elif study.search.draws:
        if study.search.pruning != "none" and (why := _why_not_to_prune(study)):
            yield Problem(("search", "pruning"), f"{why}; got {study.search.pruning!r}")
        if study.search.first_from is not None and study.search.first_from.study == study.name:
            message = f"is this study itself; allowed: another study that draws; got {study.name!r}"
            yield Problem(("search", "first_from", "study"), message)
        if len(set(study.objectives)) < len(study.objectives):
            yield Problem(("objectives",), "an objective is listed more than once")


def idle(study: StudyValues) -> Iterator[Problem]:
    """Keys of `search` that its method does not read; any may stay while the study is run as an ablation."""
    search, default = study.search, SearchConfig()
    keys, of = (), ""
    if search.races:
        keys, of = ("first", "first_from", "patience", "trials", "pruning"), "'random' or 'tpe'"
    elif search.draws:
        keys, of = ("gain", "most_seeds"), "'race'"
    for key in [key for key in keys if getattr(search, key) != getattr(default, key)]:
        message = f"does nothing with search.method {search.method!r}, only with {of}; allowed: its default, "
        yield Problem(("search", key), f"{message}{shown(getattr(default, key))}; got {shown(getattr(search, key))}")


def race(study: StudyValues) -> Iterator[Problem]:
    """Whether there is a base, an arm to compare with it, and a variance to see."""
    if not study.search.races:
        return
    if len(study.cells()) < 2 or Cell(REAL_ONLY) not in study.cells():
        message = f"a race compares arms with {REAL_ONLY}; needs `- variant: {REAL_ONLY}` and at least one other arm"
        yield Problem(("arms",), message)
    if not 2 <= len(study.seeds) <= study.search.most_seeds:
        message = (
            f"the first look of a race is at {len(study.seeds)} seeds; allowed: at least 2, which show how seeds "
            f"differ, better 3, and at most search.most_seeds, {study.search.most_seeds}"
        )
        yield Problem(("seeds",), message)
    if study.space:
        yield Problem(("space",), "a race draws nothing from it; leave it out, or use another search.method")


def folds(study: StudyValues) -> Iterator[Problem]:
    """What needs a single split."""
    if study.folds is None:
        return
    if study.search.method != "ablation":
        message = (
            f"folds are for enumerated arms (search.method 'ablation'); got {study.search.method!r}. Search or race on "
            "one split, without folds; then run the arms that matter with folds, in a study of another name"
        )
        yield Problem(("folds",), message)
    if study.prepare.fold is not None:
        yield Problem(("prepare", "fold"), f"is one fold alone, but the study has all of its {study.folds} folds")


def _why_not_to_prune(study: StudyValues) -> str | None:
    """Why not: cells are pruned by what their detectors validate to during training, which must be the objective."""
    (objective, *others), iou = study.objectives, study.detector.selection_iou
    if others:
        return f"with {len(study.objectives)} objectives Optuna cannot prune; allowed: none"
    if objective.metric in VALIDATED and objective.iou == iou:
        return None
    return (
        f"pruning would compare cells by a figure other than the objective, {objective.label}: during training, "
        f"detectors are validated by {' or '.join(VALIDATED)} at IoU {iou:g} (detector.selection_iou). Allowed: none, "
        "or one of those as the objective"
    )
