"""`metsweep cohort ...`: make the demo cohort, check any cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import Processes
from sweep.text import count_text


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new cohort.")],
    patients: Annotated[int, typer.Option(help="Patients with lesions.")] = 20,
    normals: Annotated[int, typer.Option(help="Subjects without lesions.")] = 4,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort.")] = 0,
    workers: Processes = None,
) -> None:
    """Make the demo cohort: simulated patients on real heads.

    Every patient gets their own anatomy, scanner, lesions and bright vessels; the base heads lie inside installed
    Python packages, so nothing is downloaded. If interrupted, run the same command again to resume; a complete
    cohort is left unchanged.

    \b
    Example:
      metsweep cohort demo demo-cohort --patients 20 --normals 4 --seed 0
    """
    from pydantic import ValidationError

    from search_spaces.problems import explain
    from sweep.cli.console import progress
    from sweep.doctor import usable_cores
    from trainers.data.demo import DemoCohortConfig, make_demo_cohort
    from trainers.exceptions import ConfigError

    try:
        config = DemoCohortConfig.model_validate({"patients": patients, "normals": normals, "seed": seed})
    except ValidationError as error:
        raise ConfigError(explain("metsweep cohort demo", error)) from None
    with progress("cohort demo") as on_progress:
        make_demo_cohort(out, config, on_progress, workers or usable_cores())
    subjects = f"{count_text(patients, 'patient')} and {count_text(normals, 'normal subject')}"
    talk.note(f"{out} holds {subjects}. Next: metsweep cohort check {out}")


def check(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder with a cohort.json.")],
) -> None:
    """Check a cohort and show what it holds.

    Reads the manifest and all annotations, assigns the splits that the manifest leaves open, and refuses what `metsweep
    prepare` would refuse: a missing file, a patient in two splits, a split without lesions. Only the headers of volumes
    are read.

    \b
    Example:
      metsweep cohort check demo-cohort
    """
    from sweep.cli.console import output
    from sweep.console import TextTable
    from trainers.data.annotation import read_boxes
    from trainers.data.cohort import open_cohort
    from trainers.data.prepare import PrepareConfig, check_cohort

    checked = check_cohort(open_cohort(cohort), PrepareConfig())
    table = TextTable.of(f"Cohort {checked.name}", ("split", "patients", "normal subjects", "volumes", "lesions"))
    for split in ("train", "validation", "test"):
        subjects = [subject for subject in checked.subjects if subject.split == split]
        patients = {subject.patient_id for subject in subjects if subject.kind == "tumour"}
        normals = {subject.patient_id for subject in subjects if subject.kind == "normal"}
        lesions = sum(read_boxes(checked, subject)["lesion"].nunique() for subject in subjects)
        table.add_row(split, *map(str, (len(patients), len(normals), len(subjects), lesions)))
    output().print(table)
