"""A data set as it was downloaded -> a cohort: `cohort.json` names its volumes where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from trainers.data.annotation import read_boxes
from trainers.data.cohort import MANIFEST, MOST_REPORTED, Cohort, Subject, check_patients
from trainers.data.layouts.contract import Layout, Scan, Tree, Unwritten
from trainers.data.layouts.pseudonyms import source_of
from trainers.distributed import OnProgress
from trainers.documents import why
from trainers.exceptions import CohortError, NoLesionError

UNANNOTATED = "unannotated.csv"
"""A table of scans (layout table) whose column `mask` is to be filled in."""
NO_ANNOTATION = "no annotation"


@dataclass(frozen=True)
class Imported:
    """What became of the scans of a data set."""

    cohort: Cohort
    lesions: int
    """In all volumes."""
    left_out: Mapping[str, str]
    """Scan -> why."""
    unannotated: int
    """Volumes that were written and listed in `UNANNOTATED`, and wait for masks."""


@dataclass(frozen=True)
class _Place:
    """Where a cohort is written, and where it will lie."""

    folder: Path
    home: Path

    def named(self, file: Path) -> str:
        """A file as the manifest names it: relative where folder and file are likely to be moved together."""
        if file.is_relative_to(self.folder):
            return file.relative_to(self.folder).as_posix()
        if file.is_relative_to(self.home.parent):
            return (Path("..") / file.relative_to(self.home.parent)).as_posix()
        return str(file)

    def write(self, subfolder: str, name: str, content: Unwritten | pd.DataFrame) -> Path:
        """Write what cannot be used in place."""
        into = self.folder / subfolder
        try:
            into.mkdir(exist_ok=True)
            if isinstance(content, pd.DataFrame):
                content.to_csv(file := into / f"{name}.csv", index=False)
            else:
                content.image().to_filename(file := into / f"{name}.nii.gz")
        except OSError as error:
            raise CohortError(
                f"{into} cannot be written: {error.strerror or error}. Free space, then again."
            ) from error
        return file


@dataclass
class _Outcome:
    subjects: list[Subject] = field(default_factory=list)
    lesions: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unannotated: list[dict[str, str]] = field(default_factory=list)


def import_cohort(
    layout: Layout,
    tree: Tree,
    folder: Path,
    home: Path,
    on_progress: OnProgress,
    convert: bool = False,
    show: Callable[[str], None] = lambda _: None,
) -> Imported:
    """Write the cohort of the scans of `tree` into the existing, empty `folder`.

    Every mask and boxes file is read, every volume's header. A scan without annotation or lesion, or without T1, is
    left out; `cohort.json` lists these under `origin`. Of a private layout, volumes that lack annotation are written,
    too, and listed in `UNANNOTATED`.

    Args:
        home: where the cohort will lie; files beneath its parent are named relative to it, others absolutely.
        convert: write volumes that cannot be used in place as NIfTI into `folder`; a private layout's always are.
        show: gets the scans' notes before any volume is read.

    Raises:
        CohortError: two files for one scan, a damaged or contradictory file (all of them are listed), a name that no
            patient may have, volumes that need `convert`, or no scan that can be used.
    """
    place, outcome = _Place(folder, home.absolute()), _Outcome()
    scans = list(layout.scans(tree))
    _check_names(tree, scans)
    for line in (line for scan in scans for line in scan.notes):
        show(line)
    if not (convert or layout.private) and (unwritten := [scan for scan in scans if _needs_writing(scan)]):
        raise CohortError(
            f"{tree.root}: {len(unwritten)} volumes, {unwritten[0].name} first, are no NIfTI files and cannot be used "
            "in place. --convert writes them as NIfTI into the cohort's folder."
        )
    for number, scan in enumerate(scans, start=1):
        _add(outcome, scan, place, layout.private)
        on_progress(number, len(scans), {"volumes": len(outcome.subjects)})
    if outcome.problems:
        more = len(outcome.problems) - MOST_REPORTED
        raise CohortError("\n".join(outcome.problems[:MOST_REPORTED] + [f"And {more} more problems."] * (more > 0)))
    if outcome.unannotated:
        pd.DataFrame(outcome.unannotated).to_csv(folder / UNANNOTATED, index=False)
    elif not outcome.subjects:
        reasons = ", ".join(sorted(set(outcome.left_out.values()))) or "no file is named so"
        raise CohortError(
            f"{tree.root}: none of {len(scans)} scans can be used as {layout.name} ({reasons}); expected: "
            f"{layout.expects}."
        )
    subjects = tuple(outcome.subjects)
    check_patients(home / MANIFEST, subjects)
    source = {} if layout.private else {"source": str(tree.root)}
    origin = {"layout": layout.name, **source, "left_out": outcome.left_out}
    cohort = Cohort(home, home.absolute().name, origin, subjects)
    if subjects:
        cohort.write(folder)
    return Imported(cohort, outcome.lesions, outcome.left_out, len(outcome.unannotated))


def _check_names(tree: Tree, scans: list[Scan]) -> None:
    counts = Counter(scan.name for scan in scans)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise CohortError(f"{tree.root}: two scans are called {twice[0]}; allowed: one. Rename the other.")


def _needs_writing(scan: Scan) -> bool:
    return _missing(scan) is None and not isinstance(scan.volume, Path)


def _missing(scan: Scan) -> str | None:
    """Why a scan is left out; None if it is not, as far as names of files say."""
    if scan.left_out is not None:
        return scan.left_out
    if scan.volume is None:
        return "no T1 volume of the right sequence"
    if scan.kind == "tumour" and scan.mask is None and scan.boxes is None:
        return NO_ANNOTATION
    return None


def _add(outcome: _Outcome, scan: Scan, place: _Place, private: bool) -> None:
    """Add a scan's subject, or why it is left out or wrong."""
    if (reason := _missing(scan)) is not None:
        outcome.left_out[scan.name] = reason
        if private and reason == NO_ANNOTATION:
            _write_unannotated(outcome, scan, place)
        return
    written: dict[Path, Path | None] = {}

    def file_of(key: str, content: Path | Unwritten | pd.DataFrame | None) -> Path | None:
        if content is None or isinstance(content, Path):
            return content
        file = place.write(key, scan.name, content)
        written[file] = source_of(content)
        return file

    try:
        files = {key: file_of(key, getattr(scan, key)) for key in ("volume", "mask", "boxes", "brain")}
        subject = Subject.model_validate(
            {
                "patient_id": scan.patient_id,
                "kind": scan.kind,
                "split": scan.split,
                "scanner": scan.scanner,
                "mask_labels": scan.mask_labels if scan.mask is not None else None,
                "stripped": scan.stripped,
                **{key: str(file) for key, file in files.items() if file is not None},
            }
        )
        lesions = read_boxes(Cohort(place.folder, "", {}, (subject,)), subject)["lesion"].nunique()
    except NoLesionError:
        outcome.left_out[scan.name] = "no lesion in its mask or boxes"
        for file in written:
            file.unlink()
    except CohortError as error:
        problem = str(error)
        for file, source in written.items():  # the copy goes with the cohort
            problem = problem.replace(str(file), str(source or file))
        outcome.problems.append(problem)
    except ValidationError as error:
        outcome.problems.append(f"{scan.name}: {why(error)}. Rename its files, or list them in a table (layout table).")
    else:
        outcome.lesions += lesions
        names = {key: place.named(file) for key, file in files.items() if file is not None}
        outcome.subjects.append(subject.model_copy(update=names))


def _write_unannotated(outcome: _Outcome, scan: Scan, place: _Place) -> None:
    assert scan.volume is not None
    assert not isinstance(scan.volume, Path), "private layouts name no file that is used in place"
    try:
        volume = place.write("volume", scan.name, scan.volume).relative_to(place.folder).as_posix()
    except CohortError as error:
        outcome.problems.append(str(error))
    else:
        row = {"patient_id": scan.patient_id, "kind": scan.kind, "scanner": scan.scanner, "volume": volume, "mask": ""}
        outcome.unannotated.append(row)
