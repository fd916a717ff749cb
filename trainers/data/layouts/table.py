"""A table of scans, CSV or Parquet: a line per volume, its columns the keys of a subject in `cohort.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet
from pydantic import ValidationError

from trainers.data.cohort import Subject
from trainers.data.layouts.contract import Layout, Scan, Tree, stem_of
from trainers.documents import read_table, shown, why
from trainers.exceptions import CohortError

NEEDED = ("patient_id", "volume")
OPTIONAL = tuple(name for name in Subject.model_fields if name not in NEEDED)
MOST_ROWS = 1_000_000
STRIPPED = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _table(tree: Tree) -> Path | None:
    return (
        tree.files[0] if len(tree.files) == 1 and tree.files[0].suffix.lower() in (".csv", ".tsv", ".parquet") else None
    )


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if file.suffix.lower() != ".parquet":
        yield from read_table(file, CohortError, NEEDED, OPTIONAL)
        return
    try:
        size = parquet.read_metadata(file).num_rows
        if size > MOST_ROWS:
            raise CohortError(f"{file}: holds {size:,} rows; allowed: up to {MOST_ROWS:,}.")
        table = parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise CohortError(f"{file}: cannot be read as Parquet ({error}).") from error
    missing, unknown = set(NEEDED) - set(table.column_names), set(table.column_names) - {*NEEDED, *OPTIONAL}
    if missing or unknown:
        raise CohortError(
            f"{file}: got the columns {', '.join(table.column_names)}; needed: {', '.join(NEEDED)}; allowed besides: "
            f"{', '.join(OPTIONAL)}."
        )
    for number, row in enumerate(table.to_pylist(), start=1):
        cells = {key: value for key, value in row.items() if value is not None}
        yield (
            number,
            {key: " ".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in cells.items()},
        )


def _scans(tree: Tree) -> Iterator[Scan]:
    file = _table(tree)
    if file is None:
        raise CohortError(f"{tree.root}: name the table itself; allowed: one file, .csv, .tsv or .parquet.")
    for number, cells in _rows(file):
        where = f"{file}, line {number}"
        values: dict[str, Any] = {key: cell for key, cell in cells.items() if cell}
        if "kind" not in values:
            if not values.keys() & {"mask", "boxes"}:
                raise CohortError(
                    f"{where}: patient {shown(cells['patient_id'])} has no mask, boxes or kind; needed: one of them. "
                    "Write normal as kind of a subject without lesions, tumour to leave the scan out as not annotated."
                )
            values["kind"] = "tumour"
        try:
            if "stripped" in values:
                values["stripped"] = STRIPPED[values["stripped"].lower()]
            if "mask_labels" in values:
                values["mask_labels"] = [int(label) for label in values["mask_labels"].replace("|", " ").split()]
            subject = Subject.model_validate(values)
        except ValidationError as error:
            raise CohortError(f"{where}: {why(error)}.") from error
        except (KeyError, ValueError) as error:
            raise CohortError(
                f"{where}: is {shown(cells)}; allowed: true or false as stripped, whole numbers with spaces between "
                "as mask_labels."
            ) from error
        files = {key: tree.root / values[key] for key in ("volume", "mask", "boxes", "brain") if key in values}
        for key, named in files.items():
            if not named.is_file():
                raise CohortError(f"{where}: {key} is {values[key]!r}, but there is no file {named}. Correct the path.")
        yield Scan(
            subject.patient_id,
            f"{subject.patient_id}: {stem_of(files['volume'])} of line {number}",
            files["volume"],
            kind=subject.kind,
            mask=files.get("mask"),
            mask_labels=subject.mask_labels,
            boxes=files.get("boxes"),
            brain=files.get("brain"),
            split=subject.split,
            scanner=subject.scanner,
            stripped=subject.stripped,
        )


TABLE = Layout(
    "table", f"a .csv, .tsv or .parquet with {' and '.join(NEEDED)}", lambda tree: bool(_table(tree)), _scans
)
