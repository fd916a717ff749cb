"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

import search_spaces
from sweep.cli import talk

if TYPE_CHECKING:
    from sweep.studies.opened import OpenedStudy
    from sweep.studies.records import LaunchOptions


def _shipped(folder: str) -> list[str]:
    """Names of what is shipped, listed without importing their reader: a shell waits for them."""
    return [file.stem for file in (Path(search_spaces.__file__).parent / folder).glob("*.yaml")]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _studies(incomplete: str) -> list[str]:
    """Shipped studies, and studies launched with a store that is a folder."""
    from sweep.settings import Settings
    from trainers.exceptions import ConfigError

    try:
        store = Path(Settings.from_environment().store)
    except ConfigError:
        store = Path("metsweep-store")
    return _beginning(incomplete, [*_shipped("studies"), *(folder.name for folder in (store / "studies").glob("*"))])


def _fidelities(incomplete: str) -> list[str]:
    return _beginning(incomplete, _shipped("fidelities"))


StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A shipped study (metsweep study list), a YAML file, or the name of a launched study.",
        autocompletion=_studies,
    ),
]
StudyFidelity = Annotated[
    str | None,
    typer.Option(
        "--fidelity",
        help="paper, gpu, laptop or a YAML file; overrides the study file's value.",
        autocompletion=_fidelities,
    ),
]
StudyCohort = Annotated[Path | None, typer.Option("--cohort", help="Cohort folder; overrides the study file's value.")]
StoreUri = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FOLDER|S3",
        help="Folder or s3://bucket/prefix of the artifacts; default: METSWEEP_STORE, else ./metsweep-store.",
    ),
]
Fidelity = Annotated[
    str, typer.Option(help="Preset to start from: paper, gpu, laptop or a YAML file.", autocompletion=_fidelities)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting by its dotted key; may be repeated."),
]

AsWritten = Annotated[
    bool, typer.Option("--as-written", help="Ignore the --fidelity, --cohort and --set of the last launch.")
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="Ray cluster by its dashboard, e.g. http://head:8265."),
]
Workers = Annotated[int, typer.Option(min=1, help="Ray Train workers; 1 trains in this process, without Ray.")]
ProcessCount = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; default: as many as this machine has room for.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read every file of the cohort, even if read before.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Model = Literal["detector", "generator", "both"]
RegisteredModel = Annotated[Model, typer.Option("--model", help="Which model, or both.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the result; must be empty or new.")]
Slices = Annotated[Path, typer.Argument(metavar="SLICES", help="Slice set that `metsweep prepare` made.")]


@dataclass(frozen=True)
class StudyFileOptions:
    """Which study file, and what counts instead of its values."""

    study: StudyName
    fidelity: StudyFidelity = None
    cohort: StudyCohort = None
    overrides: Overrides = None

    @property
    def given(self) -> LaunchOptions:
        """The options without the study."""
        from sweep.studies.records import LaunchOptions

        cohort = None if self.cohort is None else str(self.cohort)
        return LaunchOptions(fidelity=self.fidelity, cohort=cohort, overrides=tuple(self.overrides or ()))


@dataclass(frozen=True)
class StudyOptions(StudyFileOptions):
    """Which study, and in which store."""

    store: StoreUri = None

    @property
    def arguments(self) -> list[str]:
        """The same on a command line."""
        named = {"--fidelity": self.fidelity, "--cohort": self.cohort, "--store": self.store}
        options = [f"{name}={value}" for name, value in named.items() if value is not None]
        return [self.study, *options, *(f"--set={override}" for override in self.overrides or ())]

    def open(self, *, launched: bool = True, as_written: bool = False, verify: bool = False) -> OpenedStudy:
        """As `sweep.studies.opened.open_study`; its notes go to stderr."""
        from sweep.settings import Settings
        from sweep.studies.opened import open_study

        return open_study(
            self.study,
            self.given,
            Settings.from_environment(self.store),
            partial(talk.note, err=True),
            launched=launched,
            as_written=as_written,
            verify=verify,
        )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a dataclass of options takes its fields as options of the command line."""
    block, *own = inspect.signature(command, eval_str=True).parameters.values()
    hints = get_type_hints(block.annotation, include_extras=True)
    shared = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if option.default is MISSING else option.default,
            annotation=hints[option.name],
        )
        for option in fields(block.annotation)
    ]

    @wraps(command)
    def run(**values: Any) -> None:
        chosen = block.annotation(**{option.name: values.pop(option.name) for option in shared})
        command(chosen, **values)

    study, *rest = shared  # the argument STUDY stands before a command's own arguments
    parameters = [study, *(option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in own), *rest]
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return run
