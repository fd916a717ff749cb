"""The study: what to try, at which fidelity, on which cohort.

A study is read from a YAML file. Its values are layered: the paper's defaults of every config class, then the
fidelity's overrides, then the study's own, then `--set` from the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from trainers.config import Config
from trainers.data.prepare import PrepareConfig
from trainers.detector.config import DetectorConfig
from trainers.distributed import WorkerResources
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.config import RealismConfig
from trainers.exceptions import ConfigError
from trainers.gan.config import GANConfig, GANVariant
from trainers.gan.synthesis import SynthesisConfig

Variant = Literal["none", GANVariant]
SectionConfig = TypeVar("SectionConfig", bound=Config)
VARIANTS: tuple[str, ...] = ("none", *get_args(GANVariant))


class Arm(Config):
    """One or more rows of the ablation: a variant at one or several synthetic counts."""

    variant: Variant
    """The GAN that draws the synthetic slices; `none` is the real-only arm."""
    counts: tuple[NonNegativeInt, ...] = (0,)
    """Synthetic counts, in the paper's scale; the fidelity's `count_scale` multiplies them."""

    @model_validator(mode="after")
    def _counts_fit_variant(self) -> Arm:
        if self.variant == "none" and self.counts != (0,):
            raise ValueError("variant 'none' draws no slices, so its counts must be left out")
        if self.variant != "none" and (not self.counts or 0 in self.counts):
            raise ValueError(f"variant {self.variant!r} needs counts above 0; the real-only arm is variant 'none'")
        return self


class Resources(Config):
    """What each training stage occupies on the cluster."""

    gan: WorkerResources = WorkerResources()
    """One GAN training run."""
    detector: WorkerResources = WorkerResources()
    """One detector training run."""


class Study(Config):
    """A resolved study: every config complete, every value checked."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the MLflow experiment and of the report."""
    cohort: str
    """Folder of the cohort; a relative path counts from the working directory."""
    fidelity: str
    """Name of the set of overrides that shrinks or grows the study: `paper`, `gpu` or `laptop`."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """Rows of the ablation."""
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    """Each arm's detector is trained once a seed; its GAN is shared by all seeds."""
    count_scale: float = Field(default=1.0, gt=0)
    """Factor on every synthetic count, so that one study fits every fidelity."""
    prepare: PrepareConfig = PrepareConfig()
    """How volumes become slices."""
    gan: GANConfig = GANConfig()
    """How GANs are trained; each arm sets the variant."""
    variants: dict[GANVariant, dict[str, Any]] = Field(default_factory=dict)
    """Overrides of `gan` for one variant."""
    synthesis: SynthesisConfig = SynthesisConfig()
    """How synthetic slices are drawn."""
    detector: DetectorConfig = DetectorConfig()
    """How the detector is trained; each trial sets the seed."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How detections are scored."""
    realism: RealismConfig = RealismConfig()
    """How each GAN's slices are compared with real ones."""
    resources: Resources = Resources()
    """Workers, CPUs and GPUs of the training stages."""

    @model_validator(mode="after")
    def _sizes_and_arms_agree(self) -> Study:
        if self.prepare.size != self.gan.resolution:
            raise ValueError(
                f"prepare.size is {self.prepare.size} but gan.resolution is {self.gan.resolution}; they must be equal"
            )
        for arm in self.arms:
            lost = [count for count in arm.counts if count and not self.synthetic_count(count)]
            if lost:
                raise ValueError(
                    f"arms: {arm.variant} {lost[0]} is no slice at all at count_scale {self.count_scale:g}"
                )
        rows = [(arm.variant, self.synthetic_count(count)) for arm in self.arms for count in arm.counts]
        twice = [f"{variant} {count}" for variant, count in dict.fromkeys(rows) if rows.count((variant, count)) > 1]
        if twice:
            raise ValueError(f"arms: {', '.join(twice)} is there more than once, at count_scale {self.count_scale:g}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} holds a seed more than once")
        for variant in self.variants:
            self.gan_for(variant)
        on = self.resources.detector
        uneven = [n for n in range(on.min_workers or on.workers, on.workers + 1) if self.detector.batch % n]
        if uneven:
            raise ValueError(
                f"detector.batch is {self.detector.batch}, which {uneven[0]} workers cannot share evenly; allowed by "
                "resources.detector: numbers of workers (from min_workers, if set, to workers) that divide it"
            )
        return self

    def gan_for(self, variant: GANVariant) -> GANConfig:
        """The GAN config of one variant."""
        return GANConfig.model_validate(self.gan.model_dump() | self.variants.get(variant, {}) | {"variant": variant})

    def synthetic_count(self, count: int) -> int:
        """A count of the paper's scale at this study's scale."""
        return round(count * self.count_scale)


def shipped(folder: Literal["studies", "fidelities"]) -> dict[str, Path]:
    """Name -> file of the studies or fidelities that ship with metsweep."""
    return {path.stem: path for path in sorted(Path(str(files("search_spaces") / folder)).glob("*.yaml"))}


def load_study(
    name: str, *, fidelity: str | None = None, cohort: str | None = None, overrides: Sequence[str] = ()
) -> Study:
    """Read a study by its shipped name or by the path of its YAML file, and resolve it.

    Args:
        name: `quickstart`, `table1`, `beyond` or a path.
        fidelity: replaces the study's fidelity.
        cohort: replaces the study's cohort folder.
        overrides: `dotted.key=value` pairs, applied last; values are YAML.

    Raises:
        ConfigError: unknown study, fidelity or key, or a value that is not allowed; names file and dotted key.
    """
    path = _find(name, "studies")
    own = _read(path)
    own |= {key: value for key, value in (("fidelity", fidelity), ("cohort", cohort)) if value is not None}
    if not isinstance(own.get("fidelity"), str):
        raise ConfigError(f"{path}: key 'fidelity' is missing; allowed: {', '.join(shipped('fidelities'))}.")
    layered = _merge(_read(_find(own["fidelity"], "fidelities")), own)
    for override in overrides:
        layered = _merge(layered, _parse_override(override))
    try:
        return Study.model_validate(layered)
    except ValidationError as error:
        raise ConfigError(explain(str(path), error)) from None


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
        model: the section's config class.
        fidelity: `paper`, `gpu`, `laptop` or the path of a YAML file.
        variant: for the section `gan`; the fidelity's overrides for it come after those for all variants.
        overrides: `section.key=value` pairs, applied last; values are YAML.

    Raises:
        ConfigError: unknown fidelity or key, a key of another section, or a value that is not allowed.
    """
    path = _find(fidelity, "fidelities")
    layers = _read(path)
    values = layers.get(section, {})
    if variant is not None:
        values = _merge(values, layers.get("variants", {}).get(variant, {})) | {"variant": variant}
    for override in overrides:
        parsed = _parse_override(override)
        if list(parsed) != [section]:
            raise ConfigError(
                f"--set {override!r}: allowed here are the keys {section}.*: {', '.join(model.model_fields)}."
            )
        values = _merge({section: values}, parsed)[section]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(f"{path} and the command line", error, section)) from None


def explain(where: str, error: ValidationError, section: str | None = None) -> str:
    """Pydantic's complaints as lines of: file, dotted key, what is wrong, what was got."""
    lines = []
    for problem in error.errors():
        loc = ([section] if section else []) + list(problem["loc"])
        key = ".".join(str(part) for part in loc) or "the study"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        got = "" if isinstance(problem["input"], dict) else f"; got {problem['input']!r}"
        lines.append(f"{where}: {key}: {message}{got}.")
    return "\n".join(lines)


def _find(name: str, folder: Literal["studies", "fidelities"]) -> Path:
    known = shipped(folder)
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    kind = "study" if folder == "studies" else "fidelity"
    raise ConfigError(
        f"Unknown {kind} {name!r}.{hint} Allowed: {', '.join(known)}, or the path of an existing .yaml file."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values, but holds {type(content).__name__}.")
    return content


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_mappings = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both_mappings else value
    return merged


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--set {text!r} is not of the form dotted.key=value, e.g. --set gan.learning_rate=1e-4.")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML.") from None
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested
