"""The report of a study, read from the store alone: Table 1, the evidence behind it, and where every number is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from search_spaces.study import Study
from sweep.plan import Plan
from sweep.plan.looks import race_text
from sweep.report.evidence import Evidence, build_evidence
from sweep.report.gan_table import gan_section
from sweep.report.html import html_of
from sweep.report.latex import latex_of
from sweep.report.machines import machines_differ
from sweep.report.results import Results, Row, read_results
from sweep.report.section import KEY_DIGITS, Section, marked
from sweep.report.sections.best import best_section, importance_section
from sweep.report.sections.cost import cost_section
from sweep.report.sections.detection import detection_sections
from sweep.report.sections.finer import finer_gain_sections
from sweep.report.sections.gains import SOUGHT, gain_sections, seeds_section
from sweep.report.sections.pareto import pareto_section
from sweep.report.sections.patients import patients_sections
from sweep.report.sections.pictures import forest_section, picture_sections, slices_section
from sweep.report.sections.race import race_section
from sweep.report.sections.response import response_sections
from sweep.report.sections.trace import FindRuns, trace_section
from sweep.report.table1 import Table1
from sweep.report.verdict import verdict
from sweep.store import Store
from sweep.text import count_text
from sweep.versions import versions
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["console", "md", "csv", "tex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Report:
    """A study's Table 1, its verdict, and all other tables."""

    table1: Table1
    source: str
    """Time of the newest result, cohort, version of metsweep."""
    verdict: str
    """What the study shows, in a sentence or two."""
    header: tuple[str, ...]
    """Sentences: which slices, which matching rule, which fidelity, what is incomplete."""
    forest: Section | None
    """The gains at a glance, above Table 1."""
    slices: Section | None
    """What the arms find, below Table 1."""
    sections: tuple[Section, ...]
    """What follows."""
    trace: Section
    """Where every number comes from."""

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.table1.study

    @property
    def results(self) -> Results:
        """The study's results."""
        return self.table1.results

    @property
    def rows(self) -> Sequence[Row]:
        """The arms of Table 1."""
        return self.results.arms

    @property
    def evidence(self) -> Evidence | None:
        """Of the arms with figures."""
        return self.table1.evidence

    def markdown(self, pictures: bool = False) -> str:
        """What the study shows and Table 1.

        Args:
            pictures: with the files in `figures/`.
        """
        mark = self.results.mark
        _, _, table = self.table1.section().markdown().partition("\n")
        above, below = ([section.markdown()] if pictures and section else [] for section in (self.forest, self.slices))
        return "\n".join(
            [
                f"# Study {self.study}\n\n{self.source}\n\n**{self.verdict}**\n",
                *above,
                "\n".join([f"## Table 1{f' ({mark})' if mark else ''}\n", *self.header, table]),
                *below,
            ]
        )

    @cached_property
    def figures(self) -> Mapping[str, Figure]:
        """Section -> its picture."""
        sections = (self.forest, self.slices, *self.sections)
        return {section.name: section.draw() for section in sections if section and section.draw}

    def write(self, folder: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
        """Write the report into `folder`, made if needed; returns the paths written.

        `md` is `report.md` and the pictures in `figures/`, `csv` is `table1.csv` and `tables/`, `tex` is `table1.tex`,
        `html` is `report.html`, which needs no other file. `console` writes nothing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        texts: dict[str, str] = {}
        if "md" in formats:
            sections = [section.markdown() for section in self.sections]
            texts["report.md"] = "\n".join(
                [self.markdown(pictures=True), *sections, f"{self.trace.note} All keys: `tables/trace.csv`.\n"]
            )
        if "csv" in formats:
            texts["table1.csv"] = self.table1.section().csv()
            tables = [section for section in (*self.sections, self.trace) if section.lines]
            texts |= {f"tables/{table.name}.csv": table.csv() for table in tables}
            (folder / "tables").mkdir(exist_ok=True)
        if "tex" in formats:
            texts["table1.tex"] = latex_of(self.table1, self.source, self.header)
        if "html" in formats:
            anchors = {line.values["evaluate_key"] for line in self.trace.lines}
            content = {"report": self, "table1": self.table1.section(), "anchors": anchors}
            texts["report.html"] = html_of("report.html.jinja", content, self.figures)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        pictures = self._write_pictures(folder / "figures") if "md" in formats else ()
        return [*(folder / name for name in texts), *pictures]

    def _write_pictures(self, folder: Path) -> Iterator[Path]:
        folder.mkdir(exist_ok=True)
        for name, figure in self.figures.items():
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=120)
            yield path


def build_report(
    plan: Plan, store: Store, sought: float = SOUGHT, find_runs: FindRuns | None = None, study: str | None = None
) -> Report:
    """The report of a plan, as far as its trials are complete.

    Args:
        sought: true gain in sensitivity that needed seeds are counted for.
        find_runs: finds the MLflow runs of the evaluations; None to leave MLflow out.
        study: how commands name the study, if not by its name.
    """
    results = read_results(plan, store)
    evidence = build_evidence(results)
    evaluated = {artifact.manifest.key for row in results.rows for artifact in row.artifacts.values()}
    return Report(
        Table1(plan.study.name, results, evidence),
        _source(results),
        race_text(plan.study, plan.looks) if plan.looks else verdict(evidence, sought, study or plan.study.name),
        tuple(header_of(results)),
        _marked(forest_section(evidence), results.mark) if evidence else None,
        _marked(slices_section(evidence), results.mark) if evidence else None,
        tuple(_sections(results, evidence, sought, study or plan.study.name)),
        trace_section(results, find_runs(evaluated) if find_runs else None),
    )


def write_report(plan: Plan, store: Store, folder: Path) -> str:
    """Write a plan's report into `folder` in every format; returns its verdict, header and Table 1 as Markdown."""
    report = build_report(plan, store)
    report.write(folder)
    return report.markdown()


def _sections(results: Results, evidence: Evidence | None, sought: float, study: str) -> Iterator[Section]:
    """In the order in which they are read."""
    measured: list[Section | None] = []
    if evidence is not None:
        measured += gain_sections(evidence, sought)
        measured += [] if results.plan.study.search.races else [seeds_section(evidence, sought, study)]
        measured += [pareto_section(results, evidence), *response_sections(results, evidence)]
    measured += [best_section(results), importance_section(results)]
    if evidence is not None:
        measured += [*patients_sections(results, evidence), *finer_gain_sections(evidence)]
        measured += [*detection_sections(evidence), *picture_sections(evidence)]
    spent = [cost_section(results, evidence, results.plan.study.prices), gan_section(results)]
    figures = (_marked(section, results.mark) for section in measured)
    yield from filter(None, [race_section(results.plan), *figures, *spent])


def _marked(section: Section | None, mark: str) -> Section | None:
    return section and marked(section, mark)


def _source(results: Results) -> str:
    study = results.plan.study
    fingerprints = {trial.evaluate.detector.slices.fingerprint[:KEY_DIGITS] for trial in results.plan.trials}
    finished = [artifact.manifest.cost.finished for row in results.rows for artifact in row.artifacts.values()]
    newest = f"{datetime.fromtimestamp(max(finished), UTC):%Y-%m-%d %H:%M} UTC" if finished else "none yet"
    cohort = " ".join([Path(study.cohort).name, *(f"(fingerprint {digits})" for digits in fingerprints)])
    return f"Newest result: {newest}. Cohort: {cohort}. metsweep {versions()['metsweep']}."


def header_of(results: Results) -> Iterable[str]:
    """Sentences on how to read the figures: which slices, which matching rule, which fidelity, what is incomplete."""
    study = results.plan.study
    row = next((row for row in results.rows if row.artifacts), None)
    if row is None:
        yield "No trial is complete yet."
    else:
        counts = next(iter(next(iter(row.metrics.values()))["test"].values()))
        patients, slices = count_text(counts["patients"], "patient"), count_text(counts["slices"], "slice")
        yield f"Test split: {patients}, {slices}, {count_text(counts['lesions'], 'lesion box', 'lesion boxes')}."
    yield (
        f"Detections with confidence of at least {study.evaluation.confidence:g} count. They are matched to lesion "
        "boxes one to one, greedily by confidence; all others are false positives."
    )
    yield _over_seeds(study, len(results.seeds))
    if results.plan.gans:
        yield "Each GAN was trained once: results hold for these GANs."
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
    if seeds > 1:
        return f"Mean ± standard deviation over {seeds} detector seeds."
    return "Only one detector seed per arm: results hold for these trained detectors."


def _collapsed(results: Results) -> Iterable[str]:
    collapsed = [f"{row.name} seed {seed} ({why})" for row in results.rows for seed, why in row.collapsed.items()]
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
