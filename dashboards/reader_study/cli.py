"""`metsweep reader-study`: make a study of readers, serve it, and score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dashboards.reader_study.study import Form, View
from dashboards.web.options import LOOPBACK, Host, Port, PublicUrl, people
from sweep.cli import talk
from sweep.cli.commands import Command, Group
from sweep.cli.options import AsJson, StoreUri

PORT = 8720
"""A fixed one: links outlive the server."""
app = typer.Typer(cls=Group, help="Ask readers to judge slices, and score them.", rich_markup_mode=None)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the reader study.")]


@app.command(cls=Command)
def create(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the study; must be empty or new.")],
    real: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="Real slices: STUDY/train, STUDY/validation, STUDY/test or a slice set."),
    ],
    synthetic: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Synthetic slices: STUDY/CELL or a slice set; may be repeated."),
    ] = None,
    form: Annotated[
        Form, typer.Option(help="single: real or synthetic? pairs: which is real? lesions: where are lesions?")
    ] = "single",
    view: Annotated[
        Literal["crop", "slice", "both"], typer.Option(help="crop: tumours, 32x32; slice: whole slices; both.")
    ] = "both",
    count: Annotated[int, typer.Option(min=1, max=5000, help="Images of either kind, pairs or slices per test.")] = 50,
    marks: Annotated[
        str | None,
        typer.Option(metavar="EVALUATION", help="Detector whose marks help in a second lesion test: STUDY/CELL."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Decides the images and their orders, so that who knows it knows the answers; default: a secret one.",
            show_default=False,
        ),
    ] = None,
    store: StoreUri = None,
) -> None:
    """Make a reader study: choose its images at random and write them as PNG files.

    Real against synthetic (Visual Turing Test): one test per view and synthetic source, in the given order; with the
    sources of the example, the four tests of the paper. No file gives the answer away by name, order, size or metadata;
    study.json holds the answers, so keep it from readers. Any source may stand on either side. With --form lesions,
    readers mark lesions on slices of --real, with --marks a second time with help.

    \b
    Example:
      metsweep reader-study create turing --real table1/train --synthetic table1/cpggan --synthetic table1/cpggan+normal
      metsweep reader-study create finding --form lesions --real quickstart/test --marks quickstart/none
    """
    import secrets

    from dashboards.reader_study.create import Gallery, lesion_tests, turing_tests, write_study
    from dashboards.reader_study.study import SECRET_BITS
    from dashboards.sources import evaluation_of, open_source
    from sweep.cli.result import result_folder
    from sweep.text import count_text
    from trainers.evaluation.outcome_files import read_outcomes

    _check_sources(synthetic, marks, form)
    views: tuple[View, ...] = ("crop", "slice") if view == "both" else (view,)
    seed = secrets.randbits(SECRET_BITS) if seed is None else seed
    gallery, source = Gallery(seed), open_source(real, store)
    if form == "lesions":
        outcomes = None
        if marks is not None:
            evaluated = evaluation_of(marks, store)
            outcomes = {split: read_outcomes(evaluated, split, [0.5])[0.5] for split in ("validation", "test")}
        tests = lesion_tests(source, outcomes, count, seed, gallery)
    else:
        drawn = [open_source(text, store) for text in synthetic or ()]
        tests = turing_tests(source, drawn, views, form == "pairs", count, seed, gallery)
    with result_folder(folder) as unfinished:
        write_study(unfinished.result, tests, seed, gallery)
    for number, test in enumerate(tests, start=1):
        talk.say(f"Test {number}: {test.title}, {count_text(len(test.items), 'item')} of {test.origin}")
    talk.note(f"Reader study: {folder}. Next: metsweep reader-study serve {folder} --reader NAME")


@app.command(cls=Command)
def serve(
    folder: Folder,
    reader: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Reader to add, unless known; may be repeated.")
    ] = None,
    host: Host = LOOPBACK,
    port: Port = PORT,
    public_url: PublicUrl = None,
) -> None:
    """Serve the study to its readers, each by a personal link.

    Prints every reader's link and progress; Ctrl-C stops the pages. Answers are on disk before the next image is shown:
    a reader may close the browser, and the server may be stopped or killed, at any time. Whoever has a link sees that
    reader's next item and nothing else.

    \b
    Example:
      metsweep reader-study serve turing --reader Ann --reader Ben
    """
    from filelock import FileLock, Timeout

    from dashboards.reader_study.answers import add_reader, readers_of
    from dashboards.reader_study.app import reader_app
    from dashboards.reader_study.study import ReaderStudyError, read_definition
    from dashboards.web.access import Access
    from dashboards.web.serving import serve as serve_pages

    definition, names = read_definition(folder), people(reader or (), "--reader")
    try:
        lock = FileLock(folder / "serving.lock").acquire(timeout=0)
    except Timeout:
        raise ReaderStudyError(f"{folder} is served by another process already; stop that one first.") from None
    with lock:
        known = {known.name for known in readers_of(folder, definition)}
        for name in names:
            if name not in known:
                add_reader(folder, definition, name)
        readers = readers_of(folder, definition)
        if not readers:
            raise ReaderStudyError(f"{folder} has no reader yet. Add --reader NAME, once per reader.")
        items = sum(len(test.items) for test in definition.tests)

        def ready(link: str) -> None:
            for member in readers:
                talk.say(f"{member.name} ({len(member.answers)} of {items} answered): {link}{member.token}")

        access = Access(host, None, public_url)
        serve_pages(reader_app(folder, definition, readers, access), access, port, "read/", ready)


@app.command(cls=Command)
def score(
    folder: Folder,
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores.json, answers.csv and curves; must be empty or new.")
    ] = None,
) -> None:
    """Score the answers given so far.

    Real against synthetic: for each reader accuracy, the cells of the paper's Table 2, d' and the area under the ROC
    curve by confidence; over all who finished a test, pooled accuracy, its test against 50 %, and Fleiss' kappa. All
    with 95 % intervals. Lesions: sensitivity and false positives per slice, counted as a detector's.

    \b
    Example:
      metsweep reader-study score turing --out scores
    """
    from dashboards.reader_study.answers import readers_of
    from dashboards.reader_study.scores import score as scored
    from dashboards.reader_study.study import ReaderStudyError, read_definition
    from dashboards.reader_study.tables import as_json as plain
    from dashboards.reader_study.tables import show, write
    from sweep.cli.console import output
    from sweep.cli.result import result_folder

    definition = read_definition(folder)
    readers = readers_of(folder, definition)
    if not any(reader.answers for reader in readers):
        raise ReaderStudyError(f"{folder}: no answer yet. `metsweep reader-study serve {folder}` shows the links.")
    scores = scored(definition, readers)
    if out is not None:
        with result_folder(out) as unfinished:
            write(unfinished.result, definition, readers, scores)
    if as_json:
        talk.say_json(plain(scores))
        return
    show(scores, readers, output())
    if out is not None:
        talk.note(f"Written: {out}")


def _check_sources(synthetic: list[str] | None, marks: str | None, form: Form) -> None:
    from trainers.exceptions import ConfigError

    if form == "lesions" and synthetic:
        raise ConfigError("--synthetic with --form lesions; allowed: none, as lesions are marked on real slices.")
    if form != "lesions" and not synthetic:
        raise ConfigError(f"--form {form} needs --synthetic; allowed: STUDY/CELL or the folder of a slice set.")
    if form != "lesions" and marks is not None:
        raise ConfigError(f"--marks with --form {form}; allowed with --form lesions.")
