"""The report of a study, read from the store alone: Table 1, the evidence behind it, and where every number is from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sweep.plan import Plan
from sweep.report.evidence import Evidence, build_evidence
from sweep.report.gan_table import gan_section
from sweep.report.html import html_of
from sweep.report.latex import latex_of
from sweep.report.machines import machines_differ
from sweep.report.results import Results, Row, read_results
from sweep.report.section import Section
from sweep.report.sections.best import best_section, importance_section
from sweep.report.sections.cost import cost_section
from sweep.report.sections.detection import detection_sections
from sweep.report.sections.gains import SOUGHT, gain_sections, seeds_section
from sweep.report.sections.pareto import pareto_section
from sweep.report.sections.response import response_sections
from sweep.report.sections.trace import RunOf, trace_section
from sweep.report.table1 import Table1
from sweep.report.verdict import verdict
from sweep.store import Store
from sweep.text import count_text
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["console", "md", "csv", "tex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Report:
    """A study's Table 1, its verdict, and all other tables."""

    table1: Table1
    verdict: str
    """What the study shows, in a sentence or two."""
    header: tuple[str, ...]
    """Sentences: which slices, which matching rule, which fidelity, what is incomplete."""
    sections: tuple[Section, ...]
    """What follows Table 1."""
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
        """Of the complete arms."""
        return self.table1.evidence

    def markdown(self) -> str:
        """Verdict, header and Table 1."""
        _, _, table = self.table1.section().markdown().partition("\n")
        return "\n".join([f"# Table 1 of {self.study}", "", f"**{self.verdict}**", "", *self.header]) + "\n" + table

    @cached_property
    def pictures(self) -> Mapping[str, Figure]:
        """Pictures that belong to no table."""
        return self.evidence.figures() if self.evidence else {}

    def write(self, folder: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
        """Write the report into `folder`, made if needed; returns the paths written.

        `md` is `report.md`, `csv` is `table1.csv` and `tables/`, `tex` is `table1.tex`, `html` is `report.html`, which
        needs no other file; `md` and `html` come with the pictures in `figures/`. `console` writes nothing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        figures = dict(self._write_figures(folder / "figures")) if {"md", "html"} & {*formats} else {}
        texts: dict[str, str] = {}
        if "md" in formats:
            texts["report.md"] = self._whole_markdown()
        if "csv" in formats:
            texts["table1.csv"] = self.table1.section().csv()
            tables = [section for section in (*self.sections, self.trace) if section.lines]
            texts |= {f"tables/{table.name}.csv": table.csv() for table in tables}
            (folder / "tables").mkdir(exist_ok=True)
        if "tex" in formats:
            texts["table1.tex"] = latex_of(self.table1, self.header)
        if "html" in formats:
            anchors = {line.values["evaluate_key"] for line in self.trace.lines}
            content = {"report": self, "table1": self.table1.section(), "anchors": anchors}
            texts["report.html"] = html_of(content, figures)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [*(folder / name for name in texts), *figures.values()]

    def _whole_markdown(self) -> str:
        parts = [self.markdown(), *(section.markdown() for section in self.sections)]
        parts += [f"![{name}](figures/{name}.png)\n" for name in self.pictures]
        return "\n".join([*parts, f"{self.trace.note} All keys: `tables/trace.csv`.\n"])

    def _write_figures(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Name -> file of every picture."""
        folder.mkdir(exist_ok=True)
        drawn = [(section.name, section.draw) for section in self.sections if section.draw]
        for name, figure in (*((name, draw()) for name, draw in drawn), *self.pictures.items()):
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=120)
            yield name, path


def build_report(
    plan: Plan, store: Store, sought: float = SOUGHT, run_of: RunOf | None = None, study: str | None = None
) -> Report:
    """The report of a plan, as far as its trials are complete.

    Args:
        sought: true gain in sensitivity that needed seeds are counted for.
        run_of: stage key -> MLflow run; None to leave MLflow out.
        study: how commands name the study, if not by its name.
    """
    results = read_results(plan, store)
    evidence = build_evidence(results, store)
    return Report(
        Table1(plan.study.name, results, evidence),
        verdict(evidence, sought, study or plan.study.name),
        tuple(header_of(results)),
        tuple(_sections(results, evidence, store, sought, study or plan.study.name)),
        trace_section(results, run_of),
    )


def write_report(plan: Plan, store: Store, folder: Path) -> str:
    """Write a plan's report into `folder` in every format; returns its verdict, header and Table 1 as Markdown."""
    report = build_report(plan, store)
    report.write(folder)
    return report.markdown()


def _sections(
    results: Results, evidence: Evidence | None, store: Store, sought: float, study: str
) -> Iterator[Section]:
    """In the order in which they are read."""
    sections: list[Section | None] = []
    if evidence is not None:
        sections += [*gain_sections(evidence, sought), seeds_section(evidence, sought, study)]
        sections += [pareto_section(results, evidence), *response_sections(results, evidence)]
    sections += [best_section(results), importance_section(results)]
    if evidence is not None:
        sections += detection_sections(evidence)
    sections += [cost_section(results, evidence, store, results.plan.study.prices), gan_section(results.plan, store)]
    yield from filter(None, sections)


def header_of(results: Results) -> Iterable[str]:
    """Sentences on how to read the figures: which slices, which matching rule, which fidelity, what is incomplete."""
    study = results.plan.study
    row = next((row for row in results.rows if row.artifacts), None)
    if row is None:
        yield "No trial is complete yet."
    else:
        counts = next(iter(row.results[0]["test"].values()))
        patients, slices = count_text(counts["patients"], "patient"), count_text(counts["slices"], "slice")
        yield f"Test split: {patients}, {slices}, {count_text(counts['lesions'], 'lesion box', 'lesion boxes')}."
    yield (
        f"Detections with confidence of at least {study.evaluation.confidence:g} count. They are matched to lesion "
        "boxes one to one, greedily by confidence; all others are false positives."
    )
    yield (
        f"Mean ± standard deviation over {len(study.seeds)} detector seeds."
        if len(study.seeds) > 1
        else "Only one detector seed per arm: results hold for these trained detectors."
    )
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
    yield from _incomplete(results)


def _incomplete(results: Results) -> Iterable[str]:
    """Which arms and cells are incomplete, and what the report lacks without a real-only arm."""
    partial = [f"{row.arm} {row.seeds}" for row in results.arms if not row.complete]
    if partial:
        yield f"Incomplete, so without figures (seeds done): {', '.join(partial)}."
    unfinished = sum(not row.complete for row in results.drawn)
    if unfinished:
        yield f"{unfinished} of {len(results.drawn)} drawn cells are incomplete and left out."
    if not any(row.arm == REAL_ONLY for row in results.arms):
        yield (
            f"The study has no arm {REAL_ONLY}, so the report lacks gains, their p, curves of the synthetic count, "
            f"cost per gain and needed seeds. Add `- variant: {REAL_ONLY}` to the arms; finished stages are reused."
        )
