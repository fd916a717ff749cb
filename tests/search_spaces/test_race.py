"""Races: the seeds that they may take, and what no race can do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.study import Study

ARMS = [{"variant": "none"}, {"variant": "cpggan", "counts": [400]}]


def racing(**changes: Any) -> Study:
    """Two arms, looked at first with three seeds."""
    race = {"method": "race", "gain": 0.1, "most_seeds": 6}
    base = {"name": "race", "cohort": "c", "fidelity": "paper", "arms": ARMS, "seeds": [0, 7, 1], "search": race}
    return Study.model_validate(base | changes)


def test_seeds_of_the_first_look_come_first_then_the_least_others() -> None:
    assert racing().most_seeds == (0, 7, 1, 2, 3, 4)
    assert racing(search={"method": "ablation"}).most_seeds == (0, 7, 1)
    assert not racing().search.draws


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ARMS[1:]}, "a race compares arms with none; needs `- variant: none`"),
        ({"arms": ARMS[:1]}, "and at least one other arm"),
        ({"seeds": [0]}, "first look of a race is at 1 seeds; allowed: at least 2"),
        ({"search": {"method": "race", "most_seeds": 2}}, "at 3 seeds; .* at most search.most_seeds, 2"),
        ({"search": {"method": "race", "most_seeds": 1001}}, "less than or equal to 1000"),
        ({"search": {"method": "race", "gain": 0}}, "greater than 0"),
        ({"search": {"method": "race", "patience": 3}}, "does nothing with search.method 'race', only with 'random'"),
        ({"search": {"method": "race", "trials": 3}}, "does nothing with search.method 'race'"),
        (
            {"search": {"method": "tpe", "most_seeds": 9}, "space": {"gan.learning_rate": {"float": [1e-4, 1e-3]}}},
            "with search.method 'tpe', only with 'race'",
        ),
        ({"space": {"count": {"int": [400, 800]}}}, "a race draws nothing from it"),
        (
            {"arms": [*ARMS, {"variant": "image2image", "counts": [*range(1, 200)]}],
             "search": {"method": "race", "most_seeds": 1000}},
            "201 cells times 1,000 seeds are 201,000 trials; allowed: up to 100,000",
        ),
    ],
)  # fmt: skip
def test_a_race_that_cannot_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        racing(**changes)
