"""The registry of variants: complete, and the only place that knows their names."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from trainers.detector.config import DetectorConfig
from trainers.gan.checkpoint import NETWORKS
from trainers.gan.config import GANConfig
from trainers.variants import (
    GANS,
    INPAINTED,
    PASTED,
    REAL,
    REAL_ONLY,
    SECTIONS,
    SYNTHETIC,
    VARIANTS,
    GANVariant,
    InpaintedVariant,
    Networks,
    PastedVariant,
    RealVariant,
    Variant,
)

ROOT = Path(__file__).parents[2]


def test_every_variant_that_a_study_may_name_is_registered() -> None:
    assert tuple(GANS) == get_args(GANVariant)
    assert tuple(PASTED) == get_args(PastedVariant)
    assert tuple(INPAINTED) == get_args(InpaintedVariant)
    assert tuple(REAL) == get_args(RealVariant)
    assert get_args(Variant) == VARIANTS
    assert [*SYNTHETIC] == [variant for variants in SECTIONS.values() for variant in variants]
    assert tuple(NETWORKS) == get_args(Networks)


@pytest.mark.parametrize("variant", GANS)
def test_the_config_of_a_gan_describes_every_variant(variant: GANVariant) -> None:
    config = GANConfig(variant=variant)
    assert config.traits is GANS[variant]
    assert f"{variant}, {config.traits.description}" in str(GANConfig.model_fields["variant"].description)


@pytest.mark.parametrize("room", ["trainers", "search_spaces", "sweep", "dashboards"])
def test_no_file_compares_names_of_variants(room: str) -> None:
    compared = [
        f"{file}:{node.lineno}"
        for file in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if {part.value for part in ast.walk(side) if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        & ({*VARIANTS} - {REAL_ONLY})
    ]
    assert compared == []


def test_the_values_of_a_variant_without_synthetic_slices_are_allowed() -> None:
    for traits in REAL.values():
        assert (
            DetectorConfig.model_validate(traits.detector).model_dump(include=set(traits.detector)) == traits.detector
        )
