"""`metsweep cohort import`: a data set as it was downloaded, or as a clinic exports it, becomes a cohort."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import talk
from sweep.text import count_text


def import_(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="auto, or a name that auto lists if it fails.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the data set, or a table's file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new cohort.")],
    convert: Annotated[
        bool, typer.Option("--convert", help="Write PNG slices and Analyze files as NIfTI into OUT.")
    ] = False,
    series: Annotated[
        list[str] | None, typer.Option(metavar="UID", help="dicom: take this series of its study.")
    ] = None,
    salt_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key that hashes names of patients; files are written anew.")
    ] = None,
) -> None:
    """Import a data set as it was downloaded.

    Layouts: brats-mets (2023, 2024, 2025), pretreat (Yale, TCIA), ucsf-bmsr, stanford, stanford-cube; of normal
    subjects ixi and oasis1; nnunet (raw data set), bids (with derivatives), table (CSV or Parquet); volumes with boxes
    on their slices as coco, yolo, voc or csv; dicom. Volumes and masks stay where they are; OUT holds the cohort.json
    that names them. Scans without annotation or lesion are left out and listed.

    Of DICOM the axial T1 after contrast of each study is converted; all series are listed with the reason why they
    were chosen or not. Names, dates and header text are not kept. A DICOM SEG of that series becomes its mask; volumes
    without one are listed in OUT/unannotated.csv, to which masks can be added. With --salt-file names, paths and header
    text of other layouts stay behind, too; DICOM gets a key that is forgotten if none is given.

    \b
    Example:
      metsweep cohort import auto ASNR-MICCAI-BraTS2023-MET-Challenge-TrainingData brats
    """
    from secrets import token_bytes

    from sweep.cli.console import progress
    from sweep.cli.result import result_folder
    from trainers.data.importing import UNANNOTATED, import_cohort
    from trainers.data.layouts.contract import Tree
    from trainers.data.layouts.dicom import DICOM, dicom
    from trainers.data.layouts.known import layout_of
    from trainers.data.layouts.pseudonyms import pseudonymised, read_salt
    from trainers.exceptions import ConfigError

    tree = Tree.of(source)
    chosen = layout_of(layout, tree)
    if series and chosen is not DICOM:
        raise ConfigError(f"--series is for the layout dicom; got {chosen.name}.")
    salt = None if salt_file is None else read_salt(salt_file, source, out)
    if chosen is DICOM:
        chosen = dicom(salt or token_bytes(32), series or ())
        talk.note(f"Reading the headers of {count_text(len(tree.files), 'file')}.", err=True)
    elif salt is not None:
        chosen = pseudonymised(chosen, salt)
    with result_folder(out, "OUT") as unfinished, progress("cohort import") as on_progress:
        imported = import_cohort(chosen, tree, unfinished.result, out, on_progress, convert, talk.say)
    subjects = imported.cohort.subjects
    patients = {kind: len({s.patient_id for s in subjects if s.kind == kind}) for kind in ("tumour", "normal")}
    talk.say(
        f"{chosen.name}: {count_text(len(subjects), 'volume')} of {count_text(patients['tumour'], 'patient')} with "
        f"{count_text(imported.lesions, 'lesion')} and {count_text(patients['normal'], 'normal subject')}."
    )
    for reason, count in Counter(imported.left_out.values()).items():
        first = next(name for name, why in imported.left_out.items() if why == reason)
        others = f" (all: {out / 'cohort.json'}, origin)" if subjects else ""
        talk.say(f"Left out, {reason}: {count_text(count, 'scan')}, {first} first{others}.")
    if chosen.remark is not None:
        talk.say(f"Note: {chosen.remark}")
    if imported.unannotated:
        table = out / UNANNOTATED
        talk.say(f"{count_text(imported.unannotated, 'volume')} without a mask; add masks to {table}.")
        talk.note(f"Next: metsweep cohort import table {table} ANNOTATED")
    if subjects:
        following = f"check {out}" if patients["tumour"] else f"merge PATIENTS {out} --out MERGED"
        talk.note(f"Next: metsweep cohort {following}")
