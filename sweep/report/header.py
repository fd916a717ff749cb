"""Sentences above a report: what it is of, and how to read its figures."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from search_spaces.study import Study
from sweep.report.machines import machines_differ
from sweep.report.results import Results
from sweep.report.section import KEY_DIGITS
from sweep.stages import InpainterStage
from sweep.text import count_text
from sweep.versions import versions
from trainers.variants import REAL_ONLY


def source_of(results: Results) -> str:
    """Time of the newest result, cohort, version of metsweep."""
    study = results.plan.study
    fingerprints = {trial.evaluate.detector.slices.fingerprint[:KEY_DIGITS] for trial in results.plan.trials}
    finished = [artifact.manifest.cost.finished for row in results.rows for artifact in row.made.values()]
    newest = f"{datetime.fromtimestamp(max(finished), UTC):%Y-%m-%d %H:%M} UTC" if finished else "none yet"
    cohort = " ".join([Path(study.cohort).name, *(f"(fingerprint {digits})" for digits in fingerprints)])
    return f"Newest result: {newest}. Cohort: {cohort}. metsweep {versions()['metsweep']}."


def header_of(results: Results) -> Iterable[str]:
    """Sentences on how to read the figures: which slices, which matching rule, which fidelity, what is incomplete."""
    study = results.plan.study
    row = next((row for row in results.rows if row.artifacts), None)
    if row is None:
        yield "No trial is complete yet." if study.folds is None else "No seed has all of its folds yet."
    else:
        counts = next(iter(next(iter(row.metrics.values()))["test"].values()))
        patients, slices = count_text(counts["patients"], "patient"), count_text(counts["slices"], "slice")
        split = "Test split" if study.folds is None else f"Test splits of all {study.folds} folds"
        yield f"{split}: {patients}, {slices}, {count_text(counts['lesions'], 'lesion box', 'lesion boxes')}."
    yield (
        f"Detections with confidence of at least {study.evaluation.confidence:g} count. They are matched to lesion "
        "boxes one to one, greedily by confidence; all others are false positives."
    )
    yield _over_seeds(study, len(results.seeds))
    if study.folds is not None:
        yield (
            "Each fold has GANs, inpainters and detectors of its own, trained without its test patients. Intervals are "
            "over whole folds; that training patients of folds overlap is not in them."
        )
    elif results.plan.gans:
        yield "Each GAN was trained once: results hold for these GANs."
    if study.folds is None and any(isinstance(source, InpainterStage) for source in results.plan.sources.values()):
        yield "Each inpainter was trained once: results hold for these inpainters."
    slices = f"{study.prepare.size} x {study.prepare.size} pixel slices"
    if study.fidelity == "paper":
        yield f"Fidelity paper: {slices}."
    else:
        yield (
            f"Fidelity {study.fidelity}: {slices}, smaller networks, shorter training. Compare arms with each other, "
            "not with the paper."
        )
    yield from machines_differ(results.machines)
    yield from _collapsed(results)
    yield from _incomplete(results)


def _over_seeds(study: Study, seeds: int) -> str:
    if study.search.races:
        return (
            "Mean ± standard deviation over the detector seeds of each arm, which were added while its gain was not "
            "decided: its p and the interval of its gain are too certain below, and hold only under Looks of the race."
        )
    if seeds == 1 and study.folds is not None:
        return "One detector seed per arm and fold: what detectors of one seed have in common is not in the intervals."
    if seeds > 1:
        return f"Mean ± standard deviation over {seeds} detector seeds."
    return "Only one detector seed per arm: results hold for these trained detectors."


def _collapsed(results: Results) -> Iterable[str]:
    collapsed = [f"{name} ({why})" for row in results.rows for name, why in row.collapsed.items()]
    if collapsed:
        yield f"Collapsed detectors, included in every mean and deviation: {'; '.join(collapsed)}."


def _incomplete(results: Results) -> Iterable[str]:
    """Which arms and cells are incomplete, and what the report lacks without a real-only arm."""
    if results.mark:
        named = ", ".join(map(str, results.seeds))
        yield f"Every figure is of {results.mark} ({named}): the others have not run for all of these arms."
    partial = [f"{row.arm} {row.seeds}" for row in results.arms if not row.measured]
    if partial:
        yield f"Incomplete, so without figures (seeds done): {', '.join(partial)}."
    unfinished = sum(not row.measured for row in results.drawn)
    if unfinished:
        yield f"{unfinished} of {len(results.drawn)} drawn cells are incomplete and left out."
    if not any(row.arm == REAL_ONLY for row in results.arms):
        yield (
            f"The study has no arm {REAL_ONLY}, so the report lacks gains, their p, curves of the synthetic count, "
            f"cost per gain and needed seeds. Add `- variant: {REAL_ONLY}` to the arms; finished stages are reused."
        )
