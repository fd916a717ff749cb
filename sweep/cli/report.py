"""`metsweep report`: the results of a study, as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StudyOptions, spread
from trainers.exceptions import ConfigError

if TYPE_CHECKING:
    from sweep.report.report import Format, Report
    from sweep.report.sections.trace import FindRuns


@spread
def report(
    chosen: StudyOptions,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default: reports/STUDY in the store.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Formats, separated by commas: console, md, csv, tex, html.")
    ] = "console,md,csv,tex,html",
    full: Annotated[bool, typer.Option("--full", help="Print every table, not only Table 1.")] = False,
    gain: Annotated[
        float,
        typer.Option(min=0.001, max=1.0, help="True gain in sensitivity for which the needed seeds are estimated."),
    ] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Show a study's results: verdict, Table 1 and report.

    Table 1 gives, for every complete arm on the test split, sensitivity and false positives (FPs) per slice: mean,
    standard deviation over seeds, and 95% interval over patients (and seeds, if there are several). It compares each
    arm with the real-only arm: gain with adjusted p, also at equal FPs, and whether more seeds are needed. The files,
    and the console with --full, add the Pareto front; gain by synthetic count; the best cells of a search and the
    importance of hyperparameters; sensitivity at given FPs, for 3D lesions, by diameter and scanner, and by chance;
    cost; and the stage key, artifact and MLflow run behind every number.

    \b
    Example:
      metsweep report quickstart --out report --format console,html
    """
    wanted = _formats(formats)
    from sweep.cli.console import output
    from sweep.report.report import build_report
    from sweep.report.written import WrittenReports
    from sweep.settings import cache_folder

    opened = chosen.open()
    plan = opened.plan()
    made = build_report(plan, opened.store, gain, _finder(opened.settings.tracking_uri, plan.study.name), chosen.study)
    if as_json:
        talk.say_json(_as_dict(made))
        return
    console = output()
    if "console" in wanted:
        console.say(made.source)
        console.say(made.verdict)
        console.say("\n".join(made.header))
        console.print(made.table1.table(console.width))
        for section in made.sections if full else ():
            if not section.is_picture:
                console.print(section.table())
    to_write: list[Format] = [name for name in wanted if name != "console"]
    if not to_write:
        return
    target = out or opened.store.local / "reports" / plan.study.name
    before = WrittenReports(cache_folder() / "reports")
    unchanged = before.files(made, target, to_write)
    written = made.write(target, to_write) if unchanged is None else unchanged
    if unchanged is None:
        before.add(made, target, to_write, written)
    first = [str(path.relative_to(target)) for path in written if path.parent == target]
    more = f" and {len(written) - len(first)} more" if len(written) > len(first) else ""
    console.say(f"{'Written to' if unchanged is None else 'Unchanged in'} {target}: {', '.join(first)}{more}")
    if "console" in wanted and not full:
        html = target / "report.html"
        opened_in = f", or open {html}" if html in written else ""
        console.say(f"More tables: `metsweep report {chosen.study} --full`{opened_in}")


def _as_dict(made: Report) -> dict[str, Any]:
    """Every table of the report with its unrounded values; nothing is written."""
    tables = [made.table1.section(), *(section for section in made.sections if not section.is_picture), made.trace]
    return {
        "study": made.study,
        "source": made.source,
        "verdict": made.verdict,
        "header": list(made.header),
        "tables": {
            table.name: {
                "title": table.title,
                "note": table.note,
                "rows": [{**line.values, "stage_keys": list(line.keys)} for line in table.lines],
            }
            for table in tables
        },
    }


def _formats(text: str) -> list[Format]:
    """The formats of `--format`.

    Raises:
        ConfigError: a format is unknown.
    """
    from sweep.report.report import FORMATS

    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ConfigError(
            f"--format {text}: {unknown[0]!r} is not a format; allowed: {', '.join(FORMATS)}, separated by commas."
        )
    return cast("list[Format]", names)


def _finder(tracking_uri: str, study: str) -> FindRuns:
    """Finds the MLflow runs of a study; it says so where MLflow does not answer: the report does not depend on it."""

    def find(keys: Set[str]) -> Mapping[str, str] | None:
        from sweep.report.runs import runs_by_stage_key
        from trainers.exceptions import TrackingError

        try:
            return runs_by_stage_key(tracking_uri, study, keys)
        except TrackingError as error:
            talk.say(f"The report lists no MLflow runs: {error}", err=True)
            return None

    return find
