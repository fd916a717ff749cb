"""How fast GPUs are, for estimates: measured on one family of cards, others by the rates in their data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from sweep.machine_use import usable_gpus

Precision = Literal["fp32", "tf32", "bf16"]
GPURates = Mapping[Precision, float]
"""FLOPs a second that a stage reaches on one MEASURED card."""


@dataclass(frozen=True)
class Card:
    """A family of GPUs of about the same speed."""

    names: tuple[str, ...]
    """Parts of the names by which torch calls them."""
    matrix: float
    """Dense matrix products of tf32 and bf16, as a share of the measured family's."""
    plain: float
    """Arithmetic in fp32, likewise."""

    def share(self, precision: Precision) -> float:
        """Speed beside that of the measured family."""
        return self.plain if precision == "fp32" else self.matrix


MEASURED = Card(("H200", "H100", "GH200"), 1.0, 1.0)
"""Measured: one H200. Data sheet: 989 bf16 and 67 fp32 TFLOP/s."""
CARDS = (
    MEASURED,
    Card(("B200", "B100", "GB200"), 2.2, 1.1),
    Card(("A100", "A800"), 0.32, 0.29),
    Card(("L40", "RTX 6000 Ada"), 0.37, 0.5),  # memory, a fifth as fast, limits fp32
    Card(("A40", "A6000", "A10", "RTX 4090", "RTX 3090", "L4"), 0.13, 0.3),
)
OTHER = Card(("an unknown card",), 0.1, 0.15)


@cache
def card_here() -> Card:
    """The family of this machine's first GPU; without a GPU the measured one, as cluster nodes are not asked."""
    if not usable_gpus():
        return MEASURED
    import torch

    return card_named(torch.cuda.get_device_name(0))


def card_named(name: str) -> Card:
    """The family of a GPU by torch's name for it; OTHER where it is unknown."""
    known = [(len(part), card) for card in CARDS for part in card.names if part in name]
    return max(known, key=lambda pair: pair[0])[1] if known else OTHER
