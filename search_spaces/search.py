"""How a search draws or races, what it optimises, and what it may cost."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from search_spaces.problems import MisfitError, Problem
from search_spaces.space import Scalar
from trainers.config import Config, Seed, Text
from trainers.evaluation.measures import TABLE1

Metric = Literal[
    "sensitivity",
    "fps_per_slice",
    "sensitivity_at_1_fps",
    "sensitivity_at_2_fps",
    "sensitivity_at_4_fps",
    "sensitivity_at_8_fps",
    "sliced_wasserstein",
    "box_fidelity",
]
AT_FPS = {f"sensitivity_at_{fps}_fps": fps for fps in (1, 2, 4, 8)}
"""Metrics that are read from the FROC curve -> false positives per slice at which."""
OF_SLICES = ("sliced_wasserstein", "box_fidelity")
"""Metrics of synthetic slices, which the stage `realism` measures. Kernel and Frechet distances are none of them: their
features are scaled by those of held-out slices, so they depend on test patients."""
SHARES = ("sensitivity", *AT_FPS, "box_fidelity")
"""Metrics that are shares of boxes, 0 to 1."""
WITHOUT_IOU = ("sliced_wasserstein",)
"""Metrics that count no boxes."""
LOWER = (*(measure.name for measure in TABLE1 if measure.better == "lower"), "sliced_wasserstein")
"""Metrics of which less is better."""

MOST_RACED = 1000
"""Seeds of an arm."""
MOST_TRIALS = 100_000
"""A plan holds a trial in 10 kB of memory, and this many are planned in seconds."""


class FirstFrom(Config):
    """Cells of another study that a search begins with."""

    study: Text
    """A study that draws, in the same Optuna database."""
    cells: int = Field(default=5, ge=1, le=MOST_TRIALS)
    """Its best so many, by its first objective and within its constraints."""


class SearchConfig(Config):
    """Who draws the cells that `arms` does not enumerate, or adds seeds to those that it does.

    A drawn cell is trained with every seed of the study, and what the search learns from it is the mean over them.
    """

    method: Literal["ablation", "race", "random", "tpe"] = "ablation"
    """`ablation` draws nothing: only `arms` are run. `race` draws nothing either, and adds seeds to those arms whose
    gain over `none` is not decided. `random` draws evenly; `tpe` is Optuna's tree-structured Parzen estimator (Bergstra
    et al., NIPS 2011), for one objective or several."""
    gain: float = Field(default=0.05, gt=0, lt=1, exclude_if=lambda gain: gain == 0.05)
    """Of a race: a difference in test sensitivity, at the first of `evaluation.ious`, that matters. An arm also ends
    once its gain is known to be smaller, in either direction."""
    most_seeds: int = Field(default=20, ge=2, le=MOST_RACED, exclude_if=lambda seeds: seeds == 20)
    """Of a race: seeds of an arm at most. The study's `seeds` are those of the first look; the next whole numbers
    follow, one for every look."""
    trials: int = Field(default=40, ge=1, le=MOST_TRIALS)
    """Cells to draw; at most 100,000, as many as the trials of a plan."""
    pruning: Literal["none", "asha", "median"] = "none"
    """Which drawn cells end early: none; by asynchronous successive halving (ASHA, Li et al., MLSys 2020); or those
    below the median of the others. Cells are compared by what their detectors validate to during training, so the
    objective must be `sensitivity` or `fps_per_slice` at `detector.selection_iou`. With several objectives only none,
    as Optuna cannot prune then."""
    startup_trials: int = Field(default=10, ge=0, le=MOST_TRIALS)
    """Cells that `tpe` draws at random before it learns, and that the median is taken over at least."""
    grace: float = Field(default=0.3, gt=0, le=1)
    """Share of a detector's steps before it may be ended."""
    reduction: int = Field(default=3, ge=2, le=1000)
    """ASHA continues one in so many cells at every rung."""
    seed: Seed = 0
    """Decides what is drawn, together with the order in which cells finish."""
    first: tuple[dict[str, Scalar], ...] = Field(default=(), max_length=MOST_TRIALS, exclude_if=lambda cells: not cells)
    """Cells known to be good, which count among `trials` and are drawn before all others: each a mapping of keys of
    `space` to values within their ranges. Keys that a cell leaves out are drawn; one that leaves out none is listed
    once."""
    first_from: FirstFrom | None = Field(default=None, exclude_if=lambda other: other is None)
    """Another study whose best cells are drawn after `first`, where they lie in this space. They are trained here,
    unless the store holds them: figures of another cohort cannot be compared."""
    patience: int | None = Field(default=None, ge=1, le=MOST_TRIALS, exclude_if=lambda cells: cells is None)
    """Draw no more once so many cells in a row have ended without a new best: without a better value of the objective,
    or of one of several, within the constraints. Failed cells do not count. `tpe` can learn nothing if this ends it
    within its `startup_trials`. None = `trials` alone decides."""

    @property
    def draws(self) -> bool:
        """Whether anything is drawn."""
        return self.method in ("random", "tpe")

    @property
    def races(self) -> bool:
        """Whether seeds are added to the arms that are not decided."""
        return self.method == "race"

    def left_to_draw(self, drawn: int) -> int:
        """Cells that are yet to be drawn after so many."""
        return max(0, self.trials - drawn) if self.draws else 0


class SearchedFigure(Config):
    """A figure that a search optimises or bounds.

    None depends on the content of test slices; only on their number, which bounds how many slices `sliced_wasserstein`
    compares, and, for `box_fidelity`, on whether the detector that judges finds any of their lesions.
    """

    metric: Metric = "sensitivity"
    """On the validation split `sensitivity`, `fps_per_slice` (false positives), or sensitivity at 1, 2, 4 or 8 false
    positives per slice. Of synthetic slices `sliced_wasserstein`, their distance from training slices, or
    `box_fidelity`, the share of their boxes that a detector of real slices finds."""
    iou: float = Field(default=0.5, gt=0, le=1)
    """IoU threshold; one of `evaluation.ious`. `sliced_wasserstein` has none."""

    @property
    def of_slices(self) -> bool:
        """Whether it is about synthetic slices, so that arms without any lack it."""
        return self.metric in OF_SLICES

    @property
    def has_iou(self) -> bool:
        """Whether it is measured at an IoU threshold."""
        return self.metric not in WITHOUT_IOU

    @property
    def label(self) -> str:
        """E.g. `sensitivity at IoU 0.5`, or `sliced_wasserstein`."""
        return f"{self.metric}{self._at}"

    @property
    def place(self) -> str:
        """What follows a value, e.g. ` at IoU 0.5 on validation`; nothing for `sliced_wasserstein`."""
        return self._at if self.of_slices else f"{self._at} on validation"

    @property
    def column(self) -> str:
        """Heading of its column, e.g. `validation sensitivity`, or `box_fidelity`."""
        return self.metric if self.of_slices else f"validation {self.metric}"

    @property
    def _at(self) -> str:
        return f" at IoU {self.iou:g}" if self.has_iou else ""

    @model_validator(mode="after")
    def _iou_says_something(self) -> Self:
        default = type(self).model_fields["iou"].default
        if not self.has_iou and self.iou != default:
            message = f"{self.metric} has no IoU threshold; leave it out; got {self.iou:g}"
            raise MisfitError([Problem(("iou",), message)])
        return self


class Objective(SearchedFigure):
    """A figure that a search optimises."""

    direction: Literal["maximize", "minimize"] = "maximize"
    """`minimize` for false positives and `sliced_wasserstein`, `maximize` for all others."""

    @model_validator(mode="after")
    def _towards_the_better(self) -> Objective:
        better = "minimize" if self.metric in LOWER else "maximize"
        if self.direction != better:
            message = f"allowed for {self.metric} is {better}; got {self.direction!r}"
            raise MisfitError([Problem(("direction",), message)])
        return self


class Constraint(SearchedFigure):
    """A bound on a figure: a drawn cell beyond it does not count as the best."""

    metric: Metric = "fps_per_slice"
    """As in `objectives`."""
    at_most: float | None = Field(default=None, ge=0)
    """Largest value allowed."""
    at_least: float | None = Field(default=None, ge=0)
    """Smallest value allowed."""

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            got = "neither" if self.at_most is None else "both"
            raise ValueError(f"needs one of at_most and at_least, e.g. at_most: 12; got {got}")
        return self

    @model_validator(mode="after")
    def _share_within_one(self) -> Constraint:
        key, bound = ("at_least", self.at_least) if self.at_most is None else ("at_most", self.at_most)
        if self.metric in SHARES and bound is not None and bound > 1:
            message = f"{self.metric} is a share; allowed: 0 to 1, e.g. 0.5; got {bound:g}"
            raise MisfitError([Problem((key,), message)])
        return self

    @property
    def bound(self) -> str:
        """E.g. `at most 12`."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    def violation(self, value: float) -> float:
        """How far a value lies beyond the bound; 0 or less within the bound, as Optuna's samplers expect."""
        return value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value


class Budget(Config):
    """What a launch may use; beyond this, nothing more is started."""

    gpu_hours: float | None = Field(default=None, gt=0)
    """GPUs held times hours, over all stages; none = unlimited."""
    wall_hours: float | None = Field(default=None, gt=0)
    """Hours by the clock; none = unlimited."""


class Prices(Config):
    """What the machines cost, for the estimates of `metsweep plan`."""

    gpu_hour: float | None = Field(default=None, ge=0)
    """Price of one GPU for an hour; none = unknown."""
    cpu_hour: float | None = Field(default=None, ge=0)
    """Price of one CPU core for an hour; none = unknown."""
    currency: Text = Field(default="USD", min_length=1)
    """Currency of both."""

    def cost(self, gpu_seconds: float, cpu_seconds: float) -> float | None:
        """What so much time costs, in `currency`; None if no price is set."""
        if self.gpu_hour is None and self.cpu_hour is None:
            return None
        return (gpu_seconds * (self.gpu_hour or 0.0) + cpu_seconds * (self.cpu_hour or 0.0)) / 3600
