"""The verdict of a study: which arms help, by how much, how certain that is, what would settle it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sweep.report.evidence import Evidence, Gain
from sweep.report.section import p_text, sample_text, signed
from sweep.report.sections.gains import advice
from trainers.variants import REAL_ONLY

ALPHA = 0.05
"""Holm-adjusted p below which a gain counts as shown."""


def verdict(evidence: Evidence | None, sought: float, study: str) -> str:
    """The verdict of a study on its test split.

    Args:
        evidence: of the arms with figures.
        sought: true gain that needed seeds are counted for.
        study: how commands name the study.
    """
    if evidence is None:
        return "No verdict yet: no arm is complete."
    if not any(evidence.gains.values()):
        return f"No verdict: the arm {REAL_ONLY} and another arm need a complete seed in common."
    partial = f"Preliminary ({evidence.mark}): " if evidence.mark else ""
    return partial + " ".join(_sentences(evidence, sought, study))


def _sentences(evidence: Evidence, sought: float, study: str) -> Iterator[str]:
    gains = evidence.gains
    first, *others = gains
    shown, sample = _shown(gains[first]), sample_text(next(iter(gains[first].values())).plain)
    if shown:
        yield f"Test sensitivity over {REAL_ONLY} at IoU {first:g}: {'; '.join(shown)} ({sample})."
    else:
        best = max(gain.plain.difference for gain in gains[first].values())
        tied = {arm: gain for arm, gain in gains[first].items() if best - gain.plain.difference < 1e-9}
        named = "; ".join(f"{arm} {_figures(gain)}" for arm, gain in tied.items())
        yield f"No arm is shown to help or to harm test sensitivity at IoU {first:g}."
        largest = "Largest gain" if len(tied) == 1 else "Largest gains (tied)"
        yield f"{largest} over {REAL_ONLY}: {named} ({sample})."
        yield advice([gain.plain for gain in tied.values()], sought, study, evidence.planned)
    for iou in others:
        if _shown(gains[iou]) != shown:
            effects = "; ".join(_shown(gains[iou])) or "no arm is shown to help or to harm"
            yield f"At IoU {iou:g}: {effects}."


def _shown(gains: Mapping[str, Gain]) -> list[str]:
    """Arms whose gain is not chance, the largest first."""
    certain = {arm: gain for arm, gain in gains.items() if gain.p < ALPHA}
    by_gain = sorted(certain.items(), key=lambda pair: -pair[1].plain.difference)
    return [f"{arm} {'helps' if gain.plain.difference > 0 else 'harms'}, {_figures(gain)}" for arm, gain in by_gain]


def _figures(gain: Gain) -> str:
    if math.isnan(gain.p):
        return f"{signed(gain.plain)}, with too few data for an interval"
    return f"{signed(gain.plain)} (95% interval), Holm-adjusted p {p_text(gain.p, '= ')}"
