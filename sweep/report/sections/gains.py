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
    over,
    p_text,
    sample_text,
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
COLUMNS = "arm", "gain", "p", "p\n(Holm)", "gain at equal FPs", "p (Holm,\nequal FPs)", "min.\ndetectable\ngain"


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
            (*COLUMNS, f"seeds\nneeded\n(gain {sought:g})"),
            lines,
            _note(next(iter(gains.values())).plain) if iou == tuple(evidence.by_iou)[-1] else "",
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
            seeds, enough = gain.plain.seeds, MISSING if needed is None else str(needed)
            cells = [arm, f"{iou:g}", signed(gain.plain), str(seeds), "unknown" if seeds == 1 else enough]
            values: dict[str, Value] = {"arm": arm, "iou": iou, "seeds": seeds, "seeds_needed": needed}
            lines.append(Line(cells, values, evidence.keys[arm] + evidence.keys[REAL_ONLY]))
            undecided.append(gain.plain)
    if not lines:
        return None
    return Section(
        "more_seeds",
        "More detector seeds needed?",
        ("arm", "IoU", "gain", "seeds", "needed"),
        lines,
        f"Comparisons whose interval includes 0. {evidence.covers} Needed: detector seeds for 80% power at a "
        f"true gain of {sought:g} (p < 0.05), if seeds and patients vary as here. "
        f"{advice(undecided, sought, study, evidence.planned)}",
    )


def advice(undecided: Sequence[Comparison], sought: float, study: str, planned: int) -> str:
    """What would settle undecided comparisons; of several commands that add seeds, the one that adds most.

    Args:
        sought: true gain that is to be shown.
        study: how commands name the study.
        planned: seeds that the study has for each arm already, run or not.
    """
    most_first = sorted(undecided, key=lambda comparison: -(seeds_needed(comparison, sought) or 0))
    texts: dict[Remedy, str] = {}
    for comparison in most_first:
        texts.setdefault(remedy(comparison, sought), _advice(comparison, sought, study, planned))
    return " ".join(texts.values())


def _advice(comparison: Comparison, sought: float, study: str, planned: int) -> str:
    """The commands that add seeds, or why none would help."""
    match remedy(comparison, sought):
        case Remedy.PATIENTS:
            fewer = "patients, or folds," if comparison.folds else "test patients"
            return f"More detector seeds would not settle this; more {fewer} would."
        case Remedy.NOTHING:
            return f"A true gain of {sought:g} would most likely have shown with these seeds."
        case Remedy.FIRST_SEEDS:
            aim, seeds = "To measure the variation between detector seeds", FIRST_SEEDS
        case Remedy.MORE_SEEDS:
            aim, seeds = f"For 80% power at a true gain of {sought:g}", seeds_needed(comparison, sought)
    if seeds is not None and seeds <= planned:
        return f"{aim}, run the study's other seeds: `metsweep launch {study}`."
    return f"{aim}, run `metsweep extend {study} --seeds {seeds}`, then `metsweep launch {study}`."


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
        **({"fold_seed_variance": plain.fold_seed_variance} if plain.folds else {}),
    }


def _note(example: Comparison) -> str:
    """How the table was made."""
    texts = [
        f"Paired comparison ({sample_text(example)}) with {over(example.seeds, example.folds)} as "
        f"{'clusters (two-way, jackknife)' if example.folds else 'random effects (Obuchowski-Rockette)'}. "
        f"{covers(example.seeds, example.folds)} Holm: adjusted for all arms of the table.",
        f"At equal FPs: both detectors are thresholded to the FPs per slice of the arm {REAL_ONLY} in Table 1 (or to "
        "the end of the shorter FROC curve).",
        f"Min. detectable gain, seeds needed: 80% power at p < 0.05; {MISSING}: unknown, or only more patients help.",
    ]
    if warning := few_patients(example.patients):
        texts.append(warning)
    return " ".join(texts)
