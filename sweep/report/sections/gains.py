"""Gains over the real-only arm, and whether more seeds are needed to settle them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto

from sweep.report.evidence import Evidence, Gain
from sweep.report.section import (
    MISSING,
    Line,
    Section,
    Value,
    covers,
    decimal,
    interval_values,
    p_text,
    seeds_text,
    signed,
)
from trainers.evaluation.comparison import Comparison, seeds_needed
from trainers.evaluation.outcome import name_of
from trainers.evaluation.summary import few_patients
from trainers.variants import REAL_ONLY

SOUGHT = 0.1
"""The gain that needed seeds are counted for by default: the paper's ten points of sensitivity."""
FIRST_SEEDS = 3
"""Seeds to begin with, instead of a single seed."""


class Remedy(Enum):
    """What would settle an undecided comparison."""

    FIRST_SEEDS = auto()
    MORE_SEEDS = auto()
    PATIENTS = auto()
    NOTHING = auto()


def gain_sections(evidence: Evidence, sought: float) -> Iterator[Section]:
    """One table per IoU threshold, with both comparisons of every arm."""
    for iou, gains in evidence.gains.items():
        if not gains:
            continue
        lines = [
            Line(_cells(arm, gain, sought), _values(arm, gain, sought), evidence.keys[arm] + evidence.keys[REAL_ONLY])
            for arm, gain in gains.items()
        ]
        yield Section(
            f"gain_{name_of(iou)}",
            f"Gain in sensitivity over {REAL_ONLY}, IoU {iou:g}",
            ("arm", "gain", "p", "p Holm", "gain at equal FPs", "p Holm", "detectable", f"seeds for {sought:g}"),
            lines,
            _note(next(iter(gains.values())).plain, sought) if iou == tuple(evidence.by_iou)[-1] else "",
        )


def seeds_section(evidence: Evidence, sought: float, study: str) -> Section | None:
    """One line per undecided comparison: its interval includes 0, or is unknown."""
    lines: list[Line] = []
    undecided: list[Comparison] = []
    for iou, gains in evidence.gains.items():
        for arm, gain in gains.items():
            if decided(gain.plain):
                continue
            needed = seeds_needed(gain.plain, sought)
            cells = [arm, f"{iou:g}", signed(gain.plain), str(gain.plain.seeds), _needed(gain.plain, needed)]
            values: dict[str, Value] = {"arm": arm, "iou": iou, "seeds": gain.plain.seeds, "seeds_needed": needed}
            lines.append(Line(cells, values, evidence.keys[arm] + evidence.keys[REAL_ONLY]))
            undecided.append(gain.plain)
    if not lines:
        return None
    return Section(
        "more_seeds",
        "More seeds needed?",
        ("arm", "IoU", "gain", "seeds", "needed"),
        lines,
        f"Comparisons whose interval includes 0. {covers(evidence.seeds)} Needed: seeds that would show a true "
        f"gain of {sought:g} (p < 0.05) four times in five, if seeds and patients vary as they did here. "
        f"{_advice_once(undecided, sought, study)}",
    )


def advice(comparison: Comparison, sought: float, study: str) -> str:
    """What would settle an undecided comparison: the command that adds seeds, or why none would help."""
    match remedy(comparison, sought):
        case Remedy.FIRST_SEEDS:
            return f"With one seed, run-to-run variation is unknown: `metsweep extend {study} --seeds {FIRST_SEEDS}`."
        case Remedy.PATIENTS:
            return "More seeds would not settle this; more test patients would."
        case Remedy.NOTHING:
            return f"A true gain of {sought:g} would most likely have shown with these seeds."
        case Remedy.MORE_SEEDS:
            return f"To add them: `metsweep extend {study} --seeds {seeds_needed(comparison, sought)}`."


def remedy(comparison: Comparison, sought: float) -> Remedy:
    """What would settle an undecided comparison, if a true gain of `sought` is to be shown."""
    if comparison.seeds == 1:
        return Remedy.FIRST_SEEDS
    needed = seeds_needed(comparison, sought)
    if needed is None:
        return Remedy.PATIENTS
    return Remedy.NOTHING if needed <= comparison.seeds else Remedy.MORE_SEEDS


def decided(comparison: Comparison) -> bool:
    """Whether the interval of a difference excludes 0."""
    return comparison.interval.low > 0 or comparison.interval.high < 0


def _advice_once(undecided: Sequence[Comparison], sought: float, study: str) -> str:
    """What would settle them all; of several commands that add seeds, the one that adds most."""
    most_first = sorted(undecided, key=lambda comparison: -(seeds_needed(comparison, sought) or 0))
    texts: dict[Remedy, str] = {}
    for comparison in most_first:
        texts.setdefault(remedy(comparison, sought), advice(comparison, sought, study))
    return " ".join(texts.values())


def _needed(comparison: Comparison, needed: int | None) -> str:
    return "unknown" if comparison.seeds == 1 else MISSING if needed is None else str(needed)


def _cells(arm: str, gain: Gain, sought: float) -> list[str]:
    return [
        arm,
        signed(gain.plain),
        p_text(gain.plain.p),
        p_text(gain.p),
        signed(gain.equal),
        p_text(gain.equal_p),
        decimal(gain.plain.minimum_detectable),
        str(seeds_needed(gain.plain, sought) or MISSING),
    ]


def _values(arm: str, gain: Gain, sought: float) -> dict[str, Value]:
    plain, equal = gain.plain, gain.equal
    return {
        "arm": arm,
        **interval_values("gain", plain.difference, plain.interval),
        "p": plain.p,
        "p_holm": gain.p,
        **interval_values("gain_at_equal_fps", equal.difference, equal.interval),
        "p_at_equal_fps": equal.p,
        "p_holm_at_equal_fps": gain.equal_p,
        "minimum_detectable": plain.minimum_detectable,
        "seeds_needed": seeds_needed(plain, sought),
        "seeds": plain.seeds,
        "patients": plain.patients,
        "seed_variance": plain.seed_variance,
        "patient_variance": plain.patient_variance,
    }


def _note(example: Comparison, sought: float) -> str:
    """How the table was made."""
    texts = [
        f"Paired over {example.patients} patients with lesions and {seeds_text(example.seeds)}, taken as drawn at "
        f"random (Obuchowski-Rockette). {covers(example.seeds)} p Holm: adjusted for all arms of a column.",
        f"At equal FPs: both detectors of a pair are compared where they make no more false positives per slice than "
        f"{REAL_ONLY} at Table 1's confidence, or where the arm's curve ends if it ends earlier.",
        "Detectable: the true gain that a study of this size would show (p < 0.05) four times in five. "
        f"Seeds for {sought:g}: how many would show a true gain of {sought:g}; {MISSING}: unknown, or only more "
        "patients would help.",
    ]
    if example.seeds == 1:
        texts.append("With one seed, these trained detectors are compared, not the arms.")
    if warning := few_patients(example.patients):
        texts.append(warning)
    return " ".join(texts)
