"""The check of `space`: keys, the variants and counts that they are drawn for, and the values that they may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic import ValidationError

from search_spaces.cell import Cell
from search_spaces.checks import sizes
from search_spaces.problems import KeyPath, MisfitError, Problem, did_you_mean, first_message
from search_spaces.space import Choice, Dimension, FloatRange, IntRange
from search_spaces.values import MOST_SLICES, StudyValues, applies
from trainers.config import Config
from trainers.detector.architecture import NetworkFile
from trainers.detector.config import DetectorConfig
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.inpainting.config import InpaintConfig
from trainers.pasting.config import PasteConfig
from trainers.variants import REAL, VARIANTS, Variant

SECTIONS: dict[str, type[Config]] = {
    "gan": GANConfig,
    "paste": PasteConfig,
    "inpaint": InpaintConfig,
    "synthesis": SynthesisConfig,
    "detector": DetectorConfig,
}
"""Configs whose keys may be drawn."""
NOT_DRAWN = {
    **dict.fromkeys(("gan.variant", "paste.variant", "inpaint.variant"), "the variant is drawn by the key 'variant'"),
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


def space(study: StudyValues) -> list[Problem]:
    """Keys of the space, the variants and counts that they are drawn for, and the values that they may take."""
    return (
        [problem for key, drawn in study.space.items() for problem in _key_problems(key, drawn)]
        or list(_variant_problems(study))
        or list(_count_problems(study))
        or list(_value_problems(study))
        or list(_first_cells(study) if study.search.draws else ())
    )


def _key_problems(key: str, drawn: Dimension) -> Iterator[Problem]:
    at = ("space", key)
    if key in NOT_DRAWN:
        yield Problem(at, f"cannot be drawn: {NOT_DRAWN[key]}")
    elif key not in {"variant", "count", *drawable()}:
        names = [*drawable(), "variant", "count"]
        hint = (
            did_you_mean(key, names)
            or " Allowed: variant, count and the keys of gan., paste., inpaint., synthesis. and detector."
        )
        yield Problem(at, f"unknown key.{hint}")
    elif key == "variant":
        yield from _choice_of_variants(drawn)
    elif key == "count":
        yield from _whole_counts(drawn)
    elif drawn.when is not None:
        for variant in drawn.when.variant:
            if not applies(key, variant):
                message = f"the key decides nothing about the variant {variant!r}, so it is never drawn for it"
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


def _first_cells(study: StudyValues) -> Iterator[Problem]:
    """Cells to draw first: within the space, and allowed together."""
    variants = study.variants_to_draw()
    first = study.search.first
    for position, cell in enumerate(first):
        at = ("search", "first", position)
        variant = cell.get("variant", None if "variant" in study.space else variants[0])
        if variant not in variants:
            got = f"; got {variant!r}" if variant is not None else ""
            yield Problem((*at, "variant"), f"allowed: one of {', '.join(variants)}, as space draws the variant{got}")
            continue
        drawn = study.dimensions(cast(Variant, variant))
        for key, value in cell.items():
            if key not in drawn and key != "variant":
                allowed = ", ".join(key for key in study.space if key in drawn or key == "variant")
                yield Problem((*at, key), f"is not drawn for {variant}; allowed: {allowed}")
            elif key != "variant" and not drawn[key].holds(value):
                form = drawn[key].model_dump(exclude_none=True, exclude_defaults=True)
                yield Problem((*at, key), f"allowed is a value that space.{key} draws, {form}; got {value!r}")
        if cell in first[:position] and drawn.keys() <= cell.keys():
            yield Problem(at, f"is cell {first.index(cell)} once more; allowed: every cell once; got {cell}")
    if len(first) > study.search.trials:
        message = f"lists {len(first)} cells; allowed: up to search.trials, {study.search.trials}"
        yield Problem(("search", "first"), message)


def _variant_problems(study: StudyValues) -> Iterator[Problem]:
    if not study.search.draws:
        return
    variants = study.variants_to_draw()
    if "variant" not in study.space and len(variants) != 1:
        listed = f"arms lists {', '.join(variants)}" if variants else "arms lists no variant with synthetic slices"
        message = f"the variant to draw for is ambiguous: {listed}. Add variant: {{choice: [...]}}, or leave one there"
        yield Problem(("space",), message)
        return
    for key, drawn in study.space.items():
        never = [variant for variant in (drawn.when.variant if drawn.when else ()) if variant not in variants]
        if never:
            message = f"{', '.join(never)} is never drawn; the search draws {', '.join(variants)}"
            yield Problem(("space", key, "when", "variant"), message)


def _count_problems(study: StudyValues) -> Iterator[Problem]:
    if "count" in study.space:
        for count, at in study.space["count"].tried().items():
            if not study.synthetic_count(count):
                message = f"{count} rounds to 0 slices at count_scale {study.count_scale:g}"
                yield Problem(("space", "count", *at), message)
    for variant in study.variants_to_draw() if study.search.draws else ():
        if variant in REAL or "count" in study.dimensions(variant):
            continue
        counts = [count for arm in study.arms if arm.variant == variant for count in arm.counts]
        if len(counts) != 1:
            listed = f"arms lists {', '.join(map(str, counts))}" if counts else "arms lists no count"
            message = (
                f"the count to draw {variant} with is ambiguous: {listed}. Add count: {{int: [low, high]}}, or leave "
                "one there"
            )
            yield Problem(("space",), message)


def _value_problems(study: StudyValues) -> Iterator[Problem]:
    """Every key's ends or choices, alone and with all other keys at their first and at their last value, which
    shows what a value or two keys cannot have. A value that is refused everywhere is blamed, not those beside it."""
    together: list[Problem] = []
    blamed: set[KeyPath] = set()
    for variant in study.variants_to_draw():
        drawn = {key: dimension for key, dimension in study.dimensions(variant).items() if key != "count"}
        corners = [{key: list(dimension.tried())[end] for key, dimension in drawn.items()} for end in (0, -1)]
        for key, dimension in drawn.items():
            for value, place in dimension.tried().items():
                at = ("space", key, *place)
                refusals = [_refusal(study, variant, {**others, key: value}, key) for others in ({}, *corners)]
                if refusals[0] and all(refusals) and at not in blamed:
                    blamed.add(at)
                    yield Problem(at, refusals[0])
                together += [Problem(at, f"beside other keys of space, {text}") for text in refusals[1:] if text]
    if not blamed:
        yield from together[:1]


def _refusal(study: StudyValues, variant: Variant, params: dict[str, Any], key: str) -> str | None:
    """Why a key's value among `params` is not allowed."""
    section, _, name = key.partition(".")
    value = params[key]
    try:
        applied = study.applied(Cell(variant, 0, tuple(params.items())))
    except ValidationError as error:
        return f"{value!r} is not allowed for {variant}: {first_message(error)}"
    if problems := list(sizes(applied)):
        return f"{value!r} is not allowed for {variant}: {MisfitError(problems)}"
    got = getattr(getattr(applied, section), name)
    if isinstance(got, NetworkFile):  # what the value, a path, leads to
        return None
    if got != value:
        return f"{value!r} is read as {got!r}; write {got!r}"
    if isinstance(study.space[key], FloatRange) and isinstance(got, int):
        return f"{key} is a whole number; allowed is {{int: [low, high]}}"
    if isinstance(study.space[key], IntRange) and isinstance(got, bool):
        return f"{key} is true or false; allowed is {{choice: [true, false]}}"
    return None
