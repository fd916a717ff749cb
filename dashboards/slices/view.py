"""What a person looks at in the slice browser, as the address keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from dashboards.web.pages import whole_number
from search_spaces.study import Study
from trainers.exceptions import ConfigError

MOST_ARMS = 4
REAL = ("test", "validation", "train")
"""Sources of real slices: the splits."""
SHOWN: Mapping[str, str] = {
    "all": "all slices",
    "lesions": "slices with a lesion",
    "missed": "a lesion is missed",
    "found": "a lesion is found",
    "gained": "missed by the first arm, found by another",
    "lost": "found by the first arm, missed by another",
    "fp": "false positives",
}
"""Value of `show` in the address -> its meaning; from the third on an arm is needed."""
OF_ARMS = [*SHOWN][2:]


@dataclass(frozen=True)
class View:
    """Which slices are listed, under which arms, and which one is open."""

    source: str = "test"
    """One of REAL, or the name of synthetic slices."""
    show: str = "lesions"
    arm: tuple[str, ...] = ()
    """Names of cells; empty for those that the page begins with."""
    seed: int | None = None
    iou: float | None = None
    confidence: float | None = None
    """Least confidence of detections; None for the study's."""
    least: float | None = None
    """Size of lesions."""
    most: float | None = None
    scanner: str = ""
    patient: str = ""
    begin: int = 0
    """Number of the list's first slice on the page."""
    slice: int | None = None
    """The open slice: its row in the slice set, or its number among synthetic ones."""

    @staticmethod
    def of(query: QueryParams, study: Study) -> View:
        """The view of an address.

        Raises:
            ConfigError: a value is not allowed.
        """
        texts = {name: query.get(name, "").strip() for name in query}
        view = View(
            source=texts.get("source") or "test",
            show=texts.get("show") or "lesions",
            arm=tuple(dict.fromkeys(arm for arm in query.getlist("arm") if arm)),
            scanner=texts.get("scanner", ""),
            patient=texts.get("patient", ""),
            seed=_whole("seed", texts),
            begin=_whole("begin", texts) or 0,
            slice=_whole("slice", texts),
            **{name: _number(name, texts) for name in ("iou", "confidence", "least", "most")},
        )
        _check("show", view.show, [*SHOWN])
        least = study.evaluation.confidence
        if view.confidence is not None and not least <= view.confidence <= 1:
            raise ConfigError(
                f"confidence is {texts['confidence']!r}; allowed: a number from {least:g}, the study's own, to 1. "
                "The pages of volumes show detections below it."
            )
        _check("seed", view.seed, [None, *study.seeds])
        _check("iou", view.iou, [None, *study.evaluation.ious])
        if len(view.arm) > MOST_ARMS:
            raise ConfigError(f"{len(view.arm)} arms are asked for; allowed: at most {MOST_ARMS}.")
        return view

    def query(self, **changes: Any) -> str:
        """The address of this view with some changes, without what is as it would be anyway."""
        changed, plain = replace(self, **changes), View()
        values = [(field.name, getattr(changed, field.name)) for field in fields(View)]
        return urlencode(
            [
                (name, f"{each:g}" if isinstance(each, float) else each)
                for name, value in values
                if value != getattr(plain, name)
                for each in (value if isinstance(value, tuple) else (value,))
            ]
        )


def _whole(name: str, texts: Mapping[str, str]) -> int | None:
    text = texts.get(name, "")
    number = whole_number(text)
    if text and number is None:
        raise ConfigError(f"{name} is {text!r}; allowed: a whole number from 0.")
    return number


def _number(name: str, texts: Mapping[str, str]) -> float | None:
    text = texts.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(f"{name} is {text!r}; allowed: a number from 0.")
    return number


def _check(name: str, value: object, allowed: list[Any]) -> None:
    if value not in allowed:
        listed = ", ".join(str(one) for one in allowed if one is not None)
        raise ConfigError(f"{name} is {str(value)!r}; allowed: {listed}.")
