"""Which files of reports are still those that would be written again: drawing their pictures takes seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sweep.report.report import Format, Report
from sweep.store.kept import Kept
from sweep.store.manifest import StoredFile
from sweep.versions import versions
from trainers.data.cohort_cache import digest_of


class WrittenReports:
    """Checksums of files that reports have written, kept by all that decides their content."""

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder)

    def files(self, report: Report, folder: Path, formats: Sequence[Format]) -> list[Path] | None:
        """What `report.write` returned when it wrote the files that now lie in `folder`; None if it must write them."""
        kept = self._kept.get(_identity(report, folder, formats))
        checksums: dict[str, str] = {} if kept is None else json.loads(kept)
        paths = {folder / name: checksum for name, checksum in checksums.items()}
        same = all(path.is_file() and StoredFile.at(path).sha256 == checksum for path, checksum in paths.items())
        return [*paths] if paths and same else None

    def add(self, report: Report, folder: Path, formats: Sequence[Format], written: Sequence[Path]) -> None:
        """Keep what was written, unless runs are still to appear in MLflow."""
        if report.find_runs is None or (report.runs is not None and report.evaluated <= report.runs.keys()):
            checksums = {path.relative_to(folder).as_posix(): StoredFile.at(path).sha256 for path in written}
            self._kept.put(_identity(report, folder, formats), json.dumps(checksums).encode())


def _identity(report: Report, folder: Path, formats: Sequence[Format]) -> str:
    plan = report.results.plan
    made = {key: [artifact.where, artifact.manifest.publication] for key, artifact in report.results.made.items()}
    return digest_of(
        [
            versions()["metsweep"], version("matplotlib"), str(folder.absolute()), sorted(formats),
            plan.study.model_dump(mode="json"), report.named, report.sought, repr(plan.looks),
            [trial.name for trial in plan.held_up_by],
            [[trial.cell, trial.number, trial.evaluate.key] for trial in plan.trials], made,
        ]
    )  # fmt: skip
