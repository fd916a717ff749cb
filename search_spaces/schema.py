"""The study: complete and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from search_spaces import checks
from search_spaces.cell import Cell
from search_spaces.problems import MisfitError, explain
from search_spaces.space_checks import space
from search_spaces.values import StudyValues
from trainers.exceptions import ConfigError
from trainers.variants import REAL, Variant

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


CHECKS = (
    checks.sizes, checks.feedback, checks.rows, checks.variant_overrides, checks.figures, checks.without_effect,
    checks.search, checks.idle, checks.race, checks.folds, space,
)  # fmt: skip


class Study(StudyValues):
    """A resolved study: every config complete, every value checked."""

    @model_validator(mode="after")
    def _fits_together(self) -> Study:
        for check in CHECKS:
            if problems := list(check(self)):
                raise MisfitError(problems)
        return self

    def draw(self, trial: BaseTrial) -> Cell:
        """Let an Optuna trial draw a cell: the variant first, then only what applies to that variant.

        Its parameters are named by the keys of `space`. The cell is to be trained with every seed of the study; the
        trial's result is the mean over them.
        """
        drawn: dict[str, Any] = {}
        if "variant" in self.space:
            drawn["variant"] = self.space["variant"].suggest(trial, "variant")
        for key, dimension in self.dimensions(drawn.get("variant", self.variants_to_draw()[0])).items():
            drawn[key] = dimension.suggest(trial, key)
        return self.cell_of(drawn)

    def cell_of(self, params: Mapping[str, Any]) -> Cell:
        """The cell that an Optuna trial drew, from its `params`."""
        variant = params["variant"] if "variant" in params else self.variants_to_draw()[0]
        count = 0 if variant in REAL else params["count"] if "count" in params else self._only_count(variant)
        rest = {key: value for key, value in params.items() if key not in ("variant", "count")}
        return Cell(variant, count, tuple(sorted(rest.items())))

    def can_draw(self, params: Mapping[str, Any]) -> bool:
        """Whether the search could draw these `params`, e.g. those of another study."""
        variants = self.variants_to_draw()
        variant = params.get("variant", None if "variant" in self.space else variants[0])
        if variant not in variants:
            return False
        drawn = self.dimensions(variant)
        rest = {key: value for key, value in params.items() if key != "variant"}
        return rest.keys() == drawn.keys() and all(drawn[key].holds(value) for key, value in rest.items())

    def with_params(self, cell: Cell) -> Study:
        """The study with a cell's dotted values set; ConfigError for values that are not allowed, or not together."""
        if not cell.params:
            return self
        where = f"study {self.name}, drawn {dict(cell.params)}"
        try:
            study = self.applied(cell)
        except ValidationError as error:
            raise ConfigError(explain(where, error)) from None
        if problems := list(checks.sizes(study)):
            raise ConfigError(f"{where}: {MisfitError(problems)}.")
        return study

    def _only_count(self, variant: Variant) -> int:
        """The count of a variant that `space` does not draw."""
        return next(count for arm in self.arms if arm.variant == variant for count in arm.counts)
