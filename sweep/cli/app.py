"""All commands; what they need is imported when they run, so that help appears at once."""

from __future__ import annotations

import typer

from sweep.cli import (
    by_hand,
    cohort,
    control,
    detect,
    machine,
    promote,
    realism,
    registry,
    report,
    score,
    store,
    study,
    study_files,
    track,
)

# Plain help: it keeps the examples' lines as they are, and importing rich for it would double its time.
app = typer.Typer(
    name="metsweep",
    help="Find out which synthetic MR slices make a brain-metastasis detector miss fewer lesions.\n\n"
    "To begin: `metsweep doctor`, `metsweep cohort demo demo-cohort`, `metsweep launch quickstart`.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cohorts = typer.Typer(help="Make and check cohorts.", rich_markup_mode=None)
studies = typer.Typer(help="Write, check and list study files.", rich_markup_mode=None)
stores = typer.Typer(help="Look into the store of artifacts, check it and clear it up.", rich_markup_mode=None)
training = typer.Typer(help="Train a GAN or a detector by hand.", rich_markup_mode=None)

app.add_typer(cohorts, name="cohort")
cohorts.command("demo")(cohort.demo)
cohorts.command("check")(cohort.check)

app.add_typer(stores, name="store")
stores.command("ls")(store.ls)
stores.command("du")(store.du)
stores.command("verify")(store.verify)
stores.command("gc")(store.gc)

app.command("prepare")(by_hand.prepare)
app.add_typer(training, name="train")
training.command("gan")(by_hand.train_gan)
training.command("detector")(by_hand.train_detector)
app.command("synthesize")(by_hand.synthesize)
app.command("evaluate")(by_hand.evaluate)
app.command("realism")(realism.realism)
app.command("score")(score.score)
app.command("detect")(detect.detect)

app.add_typer(studies, name="study")
studies.command("new")(study_files.new)
studies.command("list")(study_files.list_studies)
studies.command("show")(study_files.show)
studies.command("schema")(study_files.schema)

app.command("plan")(study.plan)
app.command("launch")(study.launch)
app.command("status")(control.status)
app.command("watch")(control.watch)
app.command("stop")(control.stop)
app.command("retry")(control.retry)
app.command("extend")(control.extend)
app.command("track")(track.track)
app.command("report")(report.report)
app.command("promote")(promote.promote)
app.command("registry")(registry.registry)
app.command("rollback")(registry.rollback)
app.command("compare")(registry.compare)

app.command("ui")(machine.ui)
app.command("doctor")(machine.doctor)
