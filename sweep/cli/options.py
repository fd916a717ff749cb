"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A shipped study (metsweep study list), a YAML file, or the name of a study that was launched.",
        show_default=False,
    ),
]
StudyFidelity = Annotated[
    str | None, typer.Option("--fidelity", help="paper, gpu, laptop or a YAML file, instead of the study's own.")
]
StudyCohort = Annotated[Path | None, typer.Option("--cohort", help="Cohort folder, instead of the study's own.")]
StoreUri = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER|S3",
        help="Folder or s3://bucket/prefix of the artifacts; else METSWEEP_STORE, else ./metsweep-store.",
    ),
]
Fidelity = Annotated[str, typer.Option(help="Whose settings to start from: paper, gpu, laptop or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="A setting by its dotted key; may be repeated.", show_default=False
    ),
]
AsWritten = Annotated[
    bool, typer.Option("--as-written", help="Leave aside the --fidelity, --cohort and --set of the last launch.")
]
Workers = Annotated[int, typer.Option(help="Ray Train workers; 1 runs in this process, without Ray.")]
Processes = Annotated[
    int | None, typer.Option("--workers", help="Processes; default: as many as fit this machine.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, and nothing else there.")]
RegisteredModel = Annotated[str, typer.Option("--model", help="detector, generator or both.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the result; must be empty or not there yet.")]
Slices = Annotated[
    Path, typer.Argument(metavar="SLICES", help="Slice set that `metsweep prepare` made.", show_default=False)
]


def refuse_below(least: int, **options: int | None) -> None:
    """Refuse options whose value is less than `least`; None means that an option was not given.

    Raises:
        ConfigError: names the first such option.
    """
    from trainers.exceptions import ConfigError

    for name, value in options.items():
        if value is not None and value < least:
            raise ConfigError(f"--{name} is {value}; allowed: {least} or more.")
