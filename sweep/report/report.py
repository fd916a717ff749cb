"""The report of a study, read from the store alone: Table 1, the evidence behind it, and where every number is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from sweep.plan import Plan
from sweep.plan.looks import held_up_text, race_text
from sweep.report.evidence import Evidence, build_evidence
from sweep.report.gan_table import gan_section
from sweep.report.header import header_of, source_of
from sweep.report.html import html_of
from sweep.report.latex import latex_of
from sweep.report.results import Results, Row, read_results
from sweep.report.section import Section, marked
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["console", "md", "csv", "tex", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Report:
    """A study's Table 1, its verdict, and all other tables; each part is made once it is asked for."""

    results: Results
    evidence: Evidence | None
    """Of the arms with figures."""
    sought: float
    """True gain in sensitivity that needed seeds are counted for."""
    named: str
    """How commands name the study."""
    find_runs: FindRuns | None
    """Finds the MLflow runs of the evaluations; None to leave MLflow out."""

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.results.plan.study.name

    @property
    def rows(self) -> Sequence[Row]:
        """The arms of Table 1."""
        return self.results.arms

    @cached_property
    def table1(self) -> Table1:
        """Every arm that has figures."""
        return Table1(self.study, self.results, self.evidence)

    @cached_property
    def source(self) -> str:
        """Time of the newest result, cohort, version of metsweep."""
        return source_of(self.results)

    @cached_property
    def verdict(self) -> str:
        """What the study shows, in a sentence or two."""
        plan = self.results.plan
        shown = race_text(plan.study, plan.looks) if plan.looks else verdict(self.evidence, self.sought, self.named)
        return shown + held_up_text(plan.held_up_by)

    @cached_property
    def header(self) -> tuple[str, ...]:
        """Sentences: which slices, which matching rule, which fidelity, what is incomplete."""
        return tuple(header_of(self.results))

    @cached_property
    def forest(self) -> Section | None:
        """The gains at a glance, above Table 1."""
        return _marked(forest_section(self.evidence), self.results.mark) if self.evidence else None

    @cached_property
    def slices(self) -> Section | None:
        """What the arms find, below Table 1."""
        return _marked(slices_section(self.evidence), self.results.mark) if self.evidence else None

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """What follows."""
        return tuple(_sections(self.results, self.evidence, self.sought, self.named))

    @cached_property
    def runs(self) -> Mapping[str, str] | None:
        """Key of an evaluation -> id of the MLflow run that holds it; None without MLflow."""
        return self.find_runs(self.evaluated) if self.find_runs else None

    @cached_property
    def evaluated(self) -> Set[str]:
        """Keys of the evaluations that it shows."""
        return {artifact.manifest.key for row in self.results.rows for artifact in row.made.values()}

    @cached_property
    def trace(self) -> Section:
        """Where every number comes from."""
        return trace_section(self.results, self.runs)

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
    return Report(results, build_evidence(results), sought, study or plan.study.name, find_runs)


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
