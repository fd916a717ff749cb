"""What pydantic cannot see of a study one value at a time; each check returns its complaints, none = all is well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.cell import Cell
from search_spaces.problems import KeyPath, MisfitError, Problem, complaints, did_you_mean, first_message
from search_spaces.search import MOST_TRIALS
from search_spaces.space import Choice, Dimension, FloatRange, IntRange
from trainers.config import Config
from trainers.detector.config import DetectorConfig
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.variants import GANS, REAL_ONLY, VARIANTS, Variant

if TYPE_CHECKING:
    from search_spaces.schema import Study

SECTIONS: dict[str, type[Config]] = {"gan": GANConfig, "synthesis": SynthesisConfig, "detector": DetectorConfig}
"""Configs whose keys may be drawn."""
VALIDATED = ("sensitivity", "fps_per_slice")
"""What detectors are validated by along the way, at their `selection_iou`."""
MOST_SHARDS = 100_000
"""Of an arm: each is a stage of the plan."""
MOST_SLICES = 10_000_000
"""Of an arm, in the paper's scale: of 256 x 256 pixels they take 655 GB."""
NOT_DRAWN = {
    "gan.variant": "the variant is drawn by the key 'variant'",
    **dict.fromkeys(
        ("seed", "seeds", "detector.seed"),
        "seeds are not searched; every cell is trained with each of the study's seeds",
    ),
}


def drawable() -> dict[str, str]:
    """Every dotted key that `space` may hold -> its description."""
    return {
        f"{section}.{name}": field.description or ""
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if f"{section}.{name}" not in NOT_DRAWN
    }


def sizes(study: Study) -> list[Problem]:
    """Sections that must agree with each other."""
    problems = []
    if study.prepare.size != study.gan.resolution:
        message = (
            f"prepare.size is {study.prepare.size} but gan.resolution is {study.gan.resolution}; they must be equal"
        )
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


def rows(study: Study) -> list[Problem]:
    """Arms and seeds."""
    problems = []
    seen: set[tuple[str, int]] = set()
    for index, arm in enumerate(study.arms):
        for position, count in enumerate(arm.counts):
            at = ("arms", index, "counts", position) if count else ("arms", index)
            row = arm.variant, study.synthetic_count(count)
            if count and not row[1]:
                message = f"{arm.variant} {count} is no slice at all at count_scale {study.count_scale:g}"
                problems.append(Problem(at, message))
            elif row in seen:
                message = f"{arm.variant} {row[1]} is there more than once, at count_scale {study.count_scale:g}"
                problems.append(Problem(at, message))
            elif row[1] > MOST_SHARDS * study.synthesis.shard_size:
                message = f"{row[1]:,} slices are more than {MOST_SHARDS:,} shards of synthesis.shard_size; got {count}"
                problems.append(Problem(at, message))
            seen.add(row)
    cells = len(study.cells()) + study.search.left_to_draw(0)
    if cells * len(study.seeds) > MOST_TRIALS:
        message = (
            f"{cells:,} cells times {len(study.seeds):,} seeds are {cells * len(study.seeds):,} trials; allowed: up to "
            f"{MOST_TRIALS:,}, which a plan is made for"
        )
        most_are_drawn = study.search.left_to_draw(0) > max(len(study.cells()), len(study.seeds))
        blamed = ("search", "trials") if most_are_drawn else ("seeds",)
        problems.append(Problem(blamed, message))
    if len(set(study.seeds)) < len(study.seeds):
        problems.append(Problem(("seeds",), f"{list(study.seeds)} holds a seed more than once"))
    return problems


def variant_overrides(study: Study) -> list[Problem]:
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


def figures(study: Study) -> list[Problem]:
    """Objectives and constraints, which also rank and promote cells that are only enumerated."""
    problems = []
    ious = ", ".join(f"{iou:g}" for iou in study.evaluation.ious)
    for key in ("objectives", "constraints"):
        for index, figure in enumerate(getattr(study, key)):
            if figure.iou in study.evaluation.ious:
                continue
            if key in study.model_fields_set:
                message = (
                    f"allowed are evaluation.ious: {ious}; got {figure.iou:g}. Take one of them, or add "
                    f"{figure.iou:g} to evaluation.ious"
                )
                problems.append(Problem((key, index, "iou"), message))
            else:
                message = (
                    f"without objectives, it must hold {figure.iou:g}, at which the default one is measured; got "
                    f"{ious}. Add it, or set objectives"
                )
                problems.append(Problem(("evaluation", "ious"), message))
    return problems


def search(study: Study) -> list[Problem]:
    """Whether there is something to run and something to draw."""
    if not study.search.draws:
        if not study.arms:
            return [
                Problem(("arms",), "nothing to run; needs at least one arm, or a space and a search that draws from it")
            ]
        if study.space and "search" not in study.model_fields_set:
            message = (
                "nothing draws from it. Add search: {method: tpe, trials: 40}, or method: ablation to run arms alone"
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
        problems.append(Problem(("objectives",), "an objective is there more than once"))
    return problems


def _why_not_to_prune(study: Study) -> str | None:
    """Cells are ended by what their detectors validate to along the way, which must be what the search is after."""
    (objective, *others), iou = study.objectives, study.detector.selection_iou
    if others:
        return f"with {len(study.objectives)} objectives Optuna cannot prune; allowed: none"
    if objective.metric in VALIDATED and objective.iou == iou:
        return None
    return (
        f"cells would end early by another figure than the objective, {objective.metric} at IoU {objective.iou:g}: "
        f"detectors validate along the way to {' or '.join(VALIDATED)} at IoU {iou:g} (detector.selection_iou). "
        "Allowed: none, or one of those as the objective"
    )


def space(study: Study) -> list[Problem]:
    """Keys of the space, the variants and counts that they are drawn for, and the values that they may take."""
    return (
        [problem for key, drawn in study.space.items() for problem in _key_problems(key, drawn)]
        or list(_variant_problems(study))
        or list(_count_problems(study))
        or list(_value_problems(study))
    )


def _key_problems(key: str, drawn: Dimension) -> Iterator[Problem]:
    at = ("space", key)
    if key in NOT_DRAWN:
        yield Problem(at, f"cannot be drawn: {NOT_DRAWN[key]}")
    elif key not in {"variant", "count", *drawable()}:
        names = [*drawable(), "variant", "count"]
        hint = did_you_mean(key, names) or " Allowed: variant, count and the keys of gan., synthesis. and detector."
        yield Problem(at, f"unknown key.{hint}")
    elif key == "variant":
        yield from _choice_of_variants(drawn)
    elif key == "count":
        yield from _whole_counts(drawn)
    elif not key.startswith("detector.") and drawn.when is not None:
        for variant in drawn.when.variant:
            if variant not in GANS:
                message = f"the variant {variant!r} has no GAN, so this key is never drawn for it"
                yield Problem((*at, "when", "variant"), message)


def _choice_of_variants(drawn: Dimension) -> Iterator[Problem]:
    at = ("space", "variant")
    if drawn.when is not None:
        yield Problem((*at, "when"), "the variant is drawn first and cannot depend on itself")
    if not isinstance(drawn, Choice):
        yield Problem(at, f"allowed is {{choice: [...]}} of {', '.join(VARIANTS)}")
        return
    for position, variant in enumerate(drawn.choice):
        if variant not in VARIANTS:
            hint = did_you_mean(str(variant), VARIANTS)
            yield Problem((*at, "choice", position), f"allowed are {', '.join(VARIANTS)}; got {variant!r}.{hint}")


def _whole_counts(drawn: Dimension) -> Iterator[Problem]:
    if isinstance(drawn, FloatRange):
        yield Problem(
            ("space", "count", "float"), "counts are whole numbers; allowed is {int: [low, high]} or a choice"
        )
        return
    for count, at in drawn.tried().items():
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_SLICES:
            message = f"allowed: whole numbers above 0, up to {MOST_SLICES:,}; got {count!r}"
            yield Problem(("space", "count", *at), message)


def _variant_problems(study: Study) -> Iterator[Problem]:
    if not study.search.draws:
        return
    variants = study.variants_to_draw()
    if "variant" not in study.space and len(variants) != 1:
        has = f"arms has {', '.join(variants)}" if variants else "arms has none"
        message = f"which variant to draw for is open: {has}. Add variant: {{choice: [...]}}, or leave one in arms"
        yield Problem(("space",), message)
        return
    for key, drawn in study.space.items():
        never = [variant for variant in (drawn.when.variant if drawn.when else ()) if variant not in variants]
        if never:
            message = f"{', '.join(never)} is never drawn; drawn are {', '.join(variants)}"
            yield Problem(("space", key, "when", "variant"), message)


def _count_problems(study: Study) -> Iterator[Problem]:
    if "count" in study.space:
        for count, at in study.space["count"].tried().items():
            if not study.synthetic_count(count):
                message = f"{count} is no slice at all at count_scale {study.count_scale:g}"
                yield Problem(("space", "count", *at), message)
    for variant in study.variants_to_draw() if study.search.draws else ():
        if variant == REAL_ONLY or "count" in study.dimensions(variant):
            continue
        counts = [count for arm in study.arms if arm.variant == variant for count in arm.counts]
        if len(counts) != 1:
            has = f"arms has {', '.join(map(str, counts))}" if counts else "arms has none"
            message = (
                f"which count to draw {variant} with is open: {has}. Add count: {{int: [low, high]}}, or leave one"
            )
            yield Problem(("space",), message)


def _value_problems(study: Study) -> Iterator[Problem]:
    """Every key's ends or choices, alone and with all other keys at their first and at their last value: whatever one
    value or two keys cannot have shows. A value that is allowed nowhere is the culprit, not those beside it."""
    together: list[Problem] = []
    blamed: set[KeyPath] = set()
    for variant in study.variants_to_draw():
        drawn = {key: one for key, one in study.dimensions(variant).items() if key != "count"}
        corners = [{key: list(one.tried())[end] for key, one in drawn.items()} for end in (0, -1)]
        for key, one in drawn.items():
            for value, place in one.tried().items():
                at = ("space", key, *place)
                refusals = [_refusal(study, variant, {**others, key: value}, key) for others in ({}, *corners)]
                if refusals[0] and all(refusals) and at not in blamed:
                    blamed.add(at)
                    yield Problem(at, refusals[0])
                together += [Problem(at, f"beside other keys of space, {text}") for text in refusals[1:] if text]
    if not blamed:
        yield from together[:1]


def _refusal(study: Study, variant: Variant, params: dict[str, Any], key: str) -> str | None:
    """Why a key's value among `params` is not allowed."""
    section, _, name = key.partition(".")
    value = params[key]
    try:
        got = getattr(getattr(study.applied(Cell(variant, 0, tuple(params.items()))), section), name)
    except ValidationError as error:
        return f"{value!r} is not allowed for {variant}: {first_message(error)}"
    except MisfitError as error:
        return f"{value!r} is not allowed for {variant}: {error}"
    if got != value:
        return f"{value!r} is read as {got!r}; write it so"
    if isinstance(study.space[key], FloatRange) and isinstance(got, int):
        return f"{key} is a whole number; allowed is {{int: [low, high]}}"
    if isinstance(study.space[key], IntRange) and isinstance(got, bool):
        return f"{key} is true or false; allowed is {{choice: [true, false]}}"
    return None
