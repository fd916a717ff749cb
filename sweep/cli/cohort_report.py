"""`metsweep cohort report`: a page that shows what a cohort holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import talk
from sweep.text import bytes_text, count_text

DEFAULT = Path("cohort-report.html")


def report(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder with a cohort.json.")],
    slices: Annotated[
        Path | None, typer.Option(metavar="SLICES", help="Slice set that `metsweep prepare` made of the cohort.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="HTML", help="File to write; replaced if it exists.")] = DEFAULT,
) -> None:
    """Write a page to look at before training.

    One HTML file that needs no other: counts per split; sizes, places and numbers of lesions; voxels and scanners;
    intensities; slices with their boxes; volumes that differ most from the others; what was left out and why; near
    duplicates. With --slices also what preparation did: brain outlines, intensities after scaling, lesions that the
    strip cuts, odd brain masks. The page shows patients and paths as the cohort names them.

    \b
    Example:
      metsweep cohort report demo-cohort --out demo.html
    """
    from sweep.cli.checksums import checked
    from sweep.cli.console import progress
    from sweep.report.cohort.page import cohort_page
    from sweep.settings import cache_folder
    from trainers.data.cohort import open_cohort
    from trainers.data.cohort_cache import CohortCache
    from trainers.data.quality.cohort_facts import cohort_facts
    from trainers.data.slice_set import open_slice_set
    from trainers.exceptions import ConfigError

    opened = open_cohort(cohort)
    prepared = None if slices is None else open_slice_set(checked(slices))
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: allowed is a file in a folder that exists, such as {DEFAULT}.")
    with progress("cohort report") as on_progress:
        facts = cohort_facts(opened, CohortCache(cache_folder()), on_progress, prepared)
    page = cohort_page(facts).encode("utf-8", "backslashreplace")
    try:
        out.write_bytes(page)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}. Choose another file.") from None
    found = count_text(len(facts.outliers), "volume")
    talk.say(f"{out}, {bytes_text(len(page))}: {found} to look at first, {len(facts.dropped)} left out.")
