"""What a search may draw: choices and ranges, each in a short form of its own."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from search_spaces.problems import MisfitError, Problem
from trainers.config import Config
from trainers.variants import Variant

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

SCALARS = bool | int | float | str | None
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Exact = Annotated[int, Field(ge=-(2**53), le=2**53)]
MOST_TRIED = 100
"""A range of at most so many values is checked value by value."""
MOST_STEPS = 1_000_000_000


def _single(value: Any) -> Any:
    """Refuses lists and the like once; a union would refuse them once for each of its types."""
    if not isinstance(value, SCALARS):
        raise ValueError(f"allowed is a single value: text, a number, true, false or null; got {value!r}")
    return value


def _all_differ(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if any(value in values[:position] for position, value in enumerate(values)):
        raise ValueError("lists a value more than once")
    return values


def _ordered(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    if bounds[0] >= bounds[1]:
        raise ValueError("allowed is [low, high] with low below high; a single value is {choice: [value]}")
    return bounds


Scalar = Annotated[SCALARS, BeforeValidator(_single)]
Choices = Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MOST_TRIED), AfterValidator(_all_differ)]


class When(Config):
    """The condition under which a key is drawn at all."""

    variant: tuple[Variant, ...] = Field(min_length=1)
    """Variants that the key is drawn for."""


class Drawn(Config):
    """What every form has in common."""

    model_config = ConfigDict(serialize_by_alias=True)

    when: When | None = None
    """Condition under which the key is drawn; none = whenever the variant reads it."""


class Choice(Drawn):
    """One of several values: `{choice: [1, match]}`."""

    choice: Choices
    """The values, without order between them; at most 100, as each is checked beside the other keys."""

    def distribution(self) -> BaseDistribution:
        """Optuna's form."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choice)

    def suggest(self, trial: BaseTrial, name: str) -> Any:
        """Draw a value for the parameter `name`."""
        return trial.suggest_categorical(name, self.choice)

    def tried(self) -> Mapping[Any, tuple[str | int, ...]]:
        """Values that stand for all when these are checked -> where each is written."""
        return {value: ("choice", position) for position, value in enumerate(self.choice)}

    def holds(self, value: Any) -> bool:
        """Whether the value can be drawn."""
        return any(value == choice and type(value) is type(choice) for choice in self.choice)


class IntRange(Drawn):
    """A whole number, both ends included: `{int: [400, 12000], step: 400}`."""

    bounds: Annotated[tuple[Exact, Exact], AfterValidator(_ordered)] = Field(alias="int")
    """Lowest and highest value; up to 2^53, where databases of Optuna hold whole numbers exactly."""
    step: Exact | None = Field(default=None, gt=0)
    """Distance between neighbouring values, from the lowest; a range that it does not divide ends below its highest
    value. None = 1."""
    log: bool = False
    """Draw the logarithm evenly; the lowest value must then be above 0, and `step` is not allowed."""

    @model_validator(mode="after")
    def _fits_together(self) -> IntRange:
        _check_range("int", self.bounds, self.step, self.log)
        return self

    @property
    def ends(self) -> tuple[int, int]:
        """Lowest and highest value that can be drawn."""
        low, high = self.bounds
        return low, high - (high - low) % (self.step or 1)

    def distribution(self) -> BaseDistribution:
        """Optuna's form."""
        from optuna.distributions import IntDistribution

        return IntDistribution(*self.ends, log=self.log, step=self.step or 1)

    def suggest(self, trial: BaseTrial, name: str) -> int:
        """Draw a value for the parameter `name`."""
        return trial.suggest_int(name, *self.ends, step=self.step or 1, log=self.log)

    def tried(self) -> Mapping[Any, tuple[str | int, ...]]:
        """Values that stand for all when these are checked -> where each is written."""
        low, high = self.ends
        values = range(low, high + 1, self.step or 1)
        between = dict.fromkeys(values, ("int",)) if len(values) <= MOST_TRIED else {}
        return {**between, low: ("int", 0), high: ("int", 1)}

    def holds(self, value: Any) -> bool:
        """Whether the value can be drawn."""
        low, high = self.ends
        return type(value) is int and value in range(low, high + 1, self.step or 1)


class FloatRange(Drawn):
    """A number: `{float: [1.0e-4, 3.0e-3], log: true}`."""

    bounds: Annotated[tuple[Finite, Finite], AfterValidator(_ordered)] = Field(alias="float")
    """Lowest and highest value."""
    step: Finite | None = Field(default=None, gt=0)
    """Distance between neighbouring values, from the lowest; a range that it does not divide ends below its highest
    value. None = any value."""
    log: bool = False
    """Draw the logarithm evenly; the lowest value must then be above 0, and `step` is not allowed."""

    @model_validator(mode="after")
    def _fits_together(self) -> FloatRange:
        _check_range("float", self.bounds, self.step, self.log)
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value that can be drawn."""
        if self.step is None:
            return self.bounds
        # In decimals, as written: 1.0 is no multiple of 0.1 in binary.
        low, high, step = (Decimal(str(value)) for value in (*self.bounds, self.step))
        return self.bounds[0], float(high - (high - low) % step)

    def distribution(self) -> BaseDistribution:
        """Optuna's form."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(*self.ends, log=self.log, step=self.step)

    def suggest(self, trial: BaseTrial, name: str) -> float:
        """Draw a value for the parameter `name`."""
        return trial.suggest_float(name, *self.ends, step=self.step, log=self.log)

    def tried(self) -> Mapping[Any, tuple[str | int, ...]]:
        """Values that stand for all when these are checked -> where each is written."""
        return {value: ("float", position) for position, value in enumerate(self.ends)}

    def holds(self, value: Any) -> bool:
        """Whether the value can be drawn."""
        low, high = self.ends
        if type(value) not in (int, float) or not low <= value <= high:
            return False
        return self.step is None or (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(self.step)) == 0


def _form(value: Any) -> str | None:
    """Which form a dimension is written in; None if in none or in several."""
    if isinstance(value, Mapping):
        forms = [form for form in ("choice", "int", "float") if form in value]
        return forms[0] if len(forms) == 1 else None
    return {Choice: "choice", IntRange: "int", FloatRange: "float"}.get(type(value))


Dimension = Annotated[
    Annotated[Choice, Tag("choice")] | Annotated[IntRange, Tag("int")] | Annotated[FloatRange, Tag("float")],
    Discriminator(
        _form,
        custom_error_type="form",
        custom_error_message="allowed is one of {choice: [a, b]}, {int: [low, high], step: n} and "
        "{float: [low, high], log: true}",
    ),
]


def _check_range(form: str, bounds: tuple[float, float], step: float | None, log: bool) -> None:
    low, high = bounds
    if log and low <= 0:
        raise MisfitError([Problem((form,), f"with log: true, low must be above 0; got {list(bounds)}")])
    if log and step is not None:
        raise MisfitError([Problem(("step",), f"with log: true, step is not allowed; got {step}")])
    if step is not None and (high - low) / step > MOST_STEPS:
        raise MisfitError([Problem(("step",), f"allowed: up to {MOST_STEPS:,} steps from low to high; got {step}")])
    if step is not None and step > high - low:
        raise MisfitError([Problem(("step",), f"allowed: at most the range from {low} to {high}; got {step}")])
