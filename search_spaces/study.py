"""Studies from YAML files, layered and checked.

The values of a study are layered: the paper's defaults of every config class, then the fidelity's overrides, then the
study's own, then `--set` from the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from search_spaces.layers import Layer, Layers, merged, override_layer, read_layer
from search_spaces.problems import did_you_mean, explain
from search_spaces.schema import Study
from search_spaces.values import SectionConfig
from trainers.documents import shown
from trainers.exceptions import ConfigError


@dataclass(frozen=True)
class Resolved:
    """A study and where its values come from."""

    study: Study
    layers: Layers


def shipped(folder: Literal["studies", "fidelities"]) -> dict[str, Path]:
    """Name -> file of the studies or fidelities that ship with metsweep."""
    return {path.stem: path for path in sorted(Path(str(files("search_spaces") / folder)).glob("*.yaml"))}


def is_study_file(name: str) -> bool:
    """Whether this is a shipped study's name or the path of an existing YAML file."""
    return _file(name, "studies") is not None


def read_study(name: str) -> Layer:
    """What a study's file alone says: unchecked, without its fidelity; ConfigError if it cannot be read."""
    return read_layer(_find(name, "studies"))


def unknown_study(name: str, elsewhere: Mapping[str, Iterable[str]]) -> ConfigError:
    """The error for an unknown study; `elsewhere`: words before more names -> the names."""
    return _unknown("study", name, {"": shipped("studies"), **elsewhere})


def load_study(
    name: str, *, fidelity: str | None = None, cohort: str | None = None, overrides: Sequence[str] = ()
) -> Study:
    """Read a study by its shipped name or by the path of its YAML file, and resolve it; see `resolve_study`."""
    return resolve_study(name, fidelity=fidelity, cohort=cohort, overrides=overrides).study


def study_name(study: str | Layer, overrides: Sequence[str] = ()) -> str | None:
    """The name that a study gives itself, before anything else is checked; None if the study gives none.

    Arguments as in `resolve_study`; ConfigError for an unknown study, or a file or override that cannot be read.
    """
    own = study if isinstance(study, Layer) else read_study(study)
    name = Layers((own, *map(override_layer, overrides)), own.source).values.get("name")
    return name if isinstance(name, str) else None


def resolve_study(
    study: str | Layer,
    *,
    fidelity: str | None = None,
    cohort: str | None = None,
    overrides: Sequence[str] = (),
    extension: Layer | None = None,
    own_values: Mapping[str, Any] | None = None,
) -> Resolved:
    """Read a study and keep where each value comes from.

    Args:
        study: name of a shipped study, or the path of a YAML file; or all values of a study that was resolved before,
            which hold its fidelity's already.
        fidelity, cohort: replace the study's own.
        overrides: `dotted.key=value` pairs, applied last; values are YAML.
        extension: what `metsweep extend` added, over the study's own and under `overrides`.
        own_values: what the study's own values mean, where that is not what they say, e.g. a relative path.

    Raises:
        ConfigError: unknown study, fidelity or key, or a value that is not allowed; names file, line and dotted key.
    """
    own = study if isinstance(study, Layer) else read_study(study)
    own = replace(own, values=merged(own.values, own_values or {}))
    options = [
        Layer(f"--{key} {value}", {key: value})
        for key, value in (("fidelity", fidelity), ("cohort", cohort))
        if value is not None
    ]
    added = [] if extension is None else [extension]
    above = (own, *options, *added, *map(override_layer, overrides))
    chosen = Layers(above, own.source)
    if not isinstance(chosen.values.get("fidelity"), str):
        got = f"got {shown(chosen.values['fidelity'])}" if "fidelity" in chosen.values else "is missing"
        where = chosen.where(("fidelity",))
        raise ConfigError(f"{where}: fidelity: {got}; allowed: {', '.join(shipped('fidelities'))} or a YAML file.")
    base = [] if isinstance(study, Layer) else [read_layer(_find(chosen.values["fidelity"], "fidelities"))]
    layers = Layers((*base, *above), own.source)
    try:
        return Resolved(Study.model_validate(layers.values), layers)
    except ValidationError as error:
        raise ConfigError(explain(layers.where, error, model=Study)) from None


def section_config(
    section: str,
    model: type[SectionConfig],
    *,
    fidelity: str,
    variant: str | None = None,
    overrides: Sequence[str] = (),
) -> SectionConfig:
    """The config of one stage that is run by hand: its defaults, then the fidelity's overrides, then `overrides`.

    Args:
        section: key of the study that holds it: `prepare`, `gan`, `synthesis`, `detector`, `evaluation` or `realism`.
        fidelity: `paper`, `gpu`, `laptop` or the path of a YAML file.
        variant: for the section `gan`; the fidelity's overrides for it come after those for all variants.
        overrides: `section.key=value` pairs, applied last; values are YAML.

    Raises:
        ConfigError: unknown fidelity or key, a key of another section, or a value that is not allowed.
    """
    base = read_layer(_find(fidelity, "fidelities"))
    layers = [base]
    if variant is not None:
        at = ("variants", variant)
        lines = {(section, *path[2:]): line for path, line in base.lines.items() if path[:2] == at}
        values = base.values.get("variants", {}).get(variant, {})
        layers += [Layer(base.source, {section: values}, lines), Layer("variant", {section: {"variant": variant}})]
    for override in overrides:
        layers.append(override_layer(override))
        if list(layers[-1].values) != [section]:
            raise ConfigError(
                f"--set {override!r}: allowed here are the keys {section}.*: {', '.join(model.model_fields)}."
            )
    layered = Layers(tuple(layers), base.source)
    try:
        return model.model_validate(layered.values.get(section, {}))
    except ValidationError as error:
        raise ConfigError(explain(layered.where, error, section, model)) from None


def _find(name: str, folder: Literal["studies", "fidelities"]) -> Path:
    if path := _file(name, folder):
        return path
    raise _unknown("study" if folder == "studies" else "fidelity", name, {"": shipped(folder)})


def _file(name: str, folder: Literal["studies", "fidelities"]) -> Path | None:
    files_of = shipped(folder)
    if name in files_of:
        return files_of[name]
    path = Path(name)
    try:
        return path if path.suffix in {".yaml", ".yml"} and path.is_file() else None
    except OSError:  # e.g. a name too long
        return None


def _unknown(kind: str, name: str, allowed: Mapping[str, Iterable[str]]) -> ConfigError:
    """`allowed`: words before some names -> the names."""
    names = {before: list(some) for before, some in allowed.items()}
    lists = [f"{before}{', '.join(some)}" for before, some in names.items() if some]
    hint = did_you_mean(name, list(chain.from_iterable(names.values())))
    return ConfigError(
        f"Unknown {kind} {shown(name)}.{hint} Allowed: {'; '.join(lists)}, or the path of an existing .yaml file."
    )
