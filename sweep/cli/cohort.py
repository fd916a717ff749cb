"""`metsweep cohort ...`: make the demo cohort, merge, split and check cohorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import Out, ProcessCount
from sweep.text import count_text

if TYPE_CHECKING:
    from trainers.data.cohort import Cohort
    from trainers.data.stratified import Profile

Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="Folder with a cohort.json.")]


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new cohort.")],
    patients: Annotated[int, typer.Option(help="Patients with lesions.")] = 20,
    normals: Annotated[int, typer.Option(help="Subjects without lesions.")] = 4,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort.")] = 0,
    workers: ProcessCount = None,
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


def merge(
    cohorts: Annotated[list[Path], typer.Argument(metavar="COHORT...", help="Folders with a cohort.json.")],
    out: Out,
) -> None:
    """Merge cohorts, such as patients and normal subjects.

    Volumes stay where they are. A patient in two cohorts is refused: public sets share scans, BraTS-METS with
    Pretreat-MetsToBrain-Masks and with its own earlier years. Scans that were renamed are detected by `metsweep cohort
    check`, which compares their voxels.

    \b
    Example:
      metsweep cohort merge brats ixi --out patients-and-normals
    """
    from sweep.cli.result import result_folder
    from trainers.data.cohort import open_cohort
    from trainers.data.merging import merge_cohorts

    merged = merge_cohorts([open_cohort(folder) for folder in cohorts], out)
    with result_folder(out) as unfinished:
        merged.write(unfinished.result)
    patients = len({subject.patient_id for subject in merged.subjects})
    talk.say(f"{count_text(len(merged.subjects), 'volume')} of {count_text(patients, 'subject')}.")
    talk.note(f"Next: metsweep cohort split {out} --out {out}-split")


def split(
    cohort: Folder,
    out: Out,
    shares: Annotated[
        str | None, typer.Option(metavar="A/B/C", help="Per cent train/validation/test; default: 70/10/20.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Instead: a cohort per fold, OUT/fold1 and so on.")] = None,
    given: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Instead: splits as listed, columns patient_id, split.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same cohort and seed, same splits.")] = 0,
) -> None:
    """Split a cohort by patient.

    The splits are alike in lesion counts, lesion sizes and scanners: of 2,000 random divisions the most even one is
    taken. Splits that the cohort has already are replaced; normal subjects are in the training split.

    \b
    Example:
      metsweep cohort split demo-cohort --out demo-split --seed 1
    """
    from sweep.cli.console import progress
    from sweep.cli.result import result_folder
    from trainers.data import stratified
    from trainers.data.cohort import open_cohort
    from trainers.data.merging import moved
    from trainers.exceptions import ConfigError

    ways = {"--shares": shares, "--folds": folds, "--given": given}
    if len(chosen := [name for name, value in ways.items() if value is not None]) > 1:
        raise ConfigError(f"Got {' and '.join(chosen)}; allowed: one of them.")
    parts = (shares or "70/10/20").split("/")
    if not all(part.isdecimal() and len(part) < 4 for part in parts):
        raise ConfigError(f"--shares {shares}; allowed: whole per cents of train/validation/test, such as 70/10/20.")
    opened = open_cohort(cohort)
    with progress("cohort split") as on_progress:
        profiles = stratified.read_profiles(opened, on_progress)
    if folds is not None:
        divided = {f"fold{n}": c for n, c in enumerate(stratified.in_folds(opened, profiles, folds, seed), start=1)}
    elif given is not None:
        divided = {"": stratified.as_given(opened, given)}
    else:
        divided = {"": stratified.by_shares(opened, profiles, [int(part) for part in parts], seed)}
    with result_folder(out) as unfinished:
        for name, made in divided.items():
            (unfinished.result / name).mkdir(exist_ok=True)
            moved(made, out / name).write(unfinished.result / name)
    for name, made in divided.items():
        _show_splits(made, profiles, " ".join(filter(None, (f"Splits of {opened.name}", name))))
    talk.note(f"Next: metsweep cohort check {out / next(iter(divided))}")


def _show_splits(cohort: Cohort, profiles: Mapping[str, Profile], title: str) -> None:
    """A table of what the splits shall have alike."""
    from statistics import mean, median

    from sweep.cli.console import output
    from sweep.console import TextTable

    table = TextTable.of(title, ("split", "patients", "lesions per patient", "median diameter (mm)", "scanners"))
    for name in ("train", "validation", "test"):
        patients = {s.patient_id for s in cohort.subjects if s.split == name and s.kind == "tumour"}
        of_split = [profiles[patient] for patient in sorted(patients)]
        scanners = Counter(profile.scanner for profile in of_split)
        table.add_row(
            name,
            str(len(of_split)),
            f"{mean(profile.lesions for profile in of_split):.1f}",
            f"{median(profile.diameter_mm for profile in of_split):.1f}",
            ", ".join(f"{scanner} {count}" for scanner, count in sorted(scanners.items())),
        )
    output().print(table)


def check(cohort: Folder) -> None:
    """Check a cohort and show what it holds.

    Reads the manifest, all annotations and volumes, assigns the splits that the manifest leaves open, and refuses what
    `metsweep prepare` would refuse: a missing file, a patient in two splits, a split without lesions, volumes without
    content or brain, one volume under two patients, also if it was saved anew, flipped or cropped. Skulls are not
    stripped: what only that shows, `prepare` finds. Near duplicates are listed, and so are boxes that contradict their
    mask, and given masks of the brain that cut lesions away or look unlike the others. Files that have not changed are
    read once.

    \b
    Example:
      metsweep cohort check demo-cohort
    """
    from sweep.cli.console import output, progress
    from sweep.console import TextTable
    from sweep.settings import cache_folder
    from trainers.data.annotation_check import annotation_remarks
    from trainers.data.cohort import open_cohort
    from trainers.data.cohort_cache import CohortCache
    from trainers.data.prepare_volume import PrepareConfig
    from trainers.data.volume_check import check_volumes
    from trainers.data.volume_tasks import plan_volumes

    cache, config = CohortCache(cache_folder()), PrepareConfig()
    volumes = plan_volumes(open_cohort(cohort), config, cache)
    checked = volumes.cohort
    with progress("cohort check") as on_progress:
        near_duplicates = check_volumes(volumes, config, cache, on_progress)
        remarks = annotation_remarks(volumes.tasks, config, cache, on_progress)
    table = TextTable.of(f"Cohort {checked.name}", ("split", "patients", "normal subjects", "volumes", "lesions"))
    for split in ("train", "validation", "test"):
        subjects = [subject for subject in checked.subjects if subject.split == split]
        patients = {subject.patient_id for subject in subjects if subject.kind == "tumour"}
        normals = {subject.patient_id for subject in subjects if subject.kind == "normal"}
        lesions = sum(task.boxes["lesion"].nunique() for task in volumes.tasks if task.subject.split == split)
        table.add_row(split, *map(str, (len(patients), len(normals), len(subjects), lesions)))
    output().print(table)
    for remark in remarks:
        talk.say(f"Note: {remark}.")
    for pair in near_duplicates:
        talk.say(f"Near duplicates: {pair}. Copies that were processed? Keep one of them, or both for one patient.")
