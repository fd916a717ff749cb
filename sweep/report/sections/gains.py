"""Gains over the real-only arm, and whether more seeds are needed to decide about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    seeds_told,
    signed,
)
from trainers.evaluation.comparison import Comparison, seeds_needed
from trainers.evaluation.outcome import name_of
from trainers.evaluation.summary import few_patients
from trainers.variants import REAL_ONLY

SOUGHT = 0.1
"""The gain that the column of seeds is about unless another is asked for: the paper's ten points of sensitivity."""
FIRST_SEEDS = 3
"""Seeds to begin with where one seed tells nothing of how seeds differ."""


def gain_sections(evidence: Evidence, sought: float) -> Iterator[Section]:
    """One table for each IoU threshold, with both comparisons of every arm."""
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
    """One line for each comparison that is undecided: its interval holds 0, or is not known."""
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
        f"Comparisons whose interval holds 0. {covers(evidence.seeds)} Needed: seeds that show a true gain of "
        f"{sought:g} (p < 0.05) four times in five, if seeds and patients vary as they did here. "
        f"{_advice_once(undecided, sought, study)}",
    )


def advice(comparison: Comparison, sought: float, study: str) -> str:
    """What would settle an undecided comparison: the command that adds seeds, or why none would help."""
    needed = seeds_needed(comparison, sought)
    if comparison.seeds == 1:
        return f"One seed cannot tell how seeds differ: `metsweep extend {study} --seeds {FIRST_SEEDS}`."
    if needed is None:
        return "More seeds do not settle it; more test patients would."
    if needed <= comparison.seeds:
        return f"A true gain of {sought:g} would most likely have shown with these seeds."
    return f"To add them: `metsweep extend {study} --seeds {needed}`."


def decided(comparison: Comparison) -> bool:
    """Whether the interval of a difference excludes 0."""
    return comparison.interval.low > 0 or comparison.interval.high < 0


def _advice_once(undecided: Sequence[Comparison], sought: float, study: str) -> str:
    """What would settle them all; of several commands that add seeds, the one that adds most."""
    most = sorted(undecided, key=lambda one: -(seeds_needed(one, sought) or 0))
    told: dict[str, str] = {}
    for comparison in most:
        text = advice(comparison, sought, study)
        told.setdefault(text.partition(":")[0], text)
    return " ".join(told.values())


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
        f"Paired over {example.patients} patients with lesions and {seeds_told(example.seeds)}, taken as drawn at "
        f"random (Obuchowski-Rockette). {covers(example.seeds)} p Holm: adjusted for all arms of a column.",
        f"At equal FPs: both detectors of a pair are read where they make no more false positives per slice than "
        f"{REAL_ONLY} at Table 1's confidence, or at the end of the arm's curve if it ends before.",
        "Detectable: the true gain that a study of this size shows (p < 0.05) four times in five. "
        f"Seeds for {sought:g}: how many show a true gain of {sought:g}; {MISSING}: not known, or only more patients "
        "help.",
    ]
    if example.seeds == 1:
        texts.append("One seed: what is compared are these trained detectors, not the arms.")
    if warning := few_patients(example.patients):
        texts.append(warning)
    return " ".join(texts)
