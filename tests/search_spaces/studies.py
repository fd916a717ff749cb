"""Study files that tests write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema

from search_spaces.json_schema import study_schema
from search_spaces.study import Study

SCHEMA = jsonschema.Draft202012Validator(study_schema())

SPACE: dict[str, Any] = {
    "variant": {"choice": ["none", "cpggan", "image2image"]},
    "count": {"int": [400, 12000], "step": 400},
    "gan.learning_rate": {"float": [1e-4, 3e-3], "log": True},
    "gan.width": {"choice": [0.25, 0.5], "when": {"variant": ["image2image"]}},
    "detector.box_gain": {"float": [2.5, 10], "step": 2.5},
}

TEXT = """\
name: mine
cohort: c
fidelity: laptop
arms:
  - variant: none
  - variant: cpggan
    counts: [4000]
space:
  variant: {choice: [cpggan, image2image]}
  count:
    int: [400, 12000]
    step: 400
  gan.learning_rate: {float: [1e-4, 3e-3], log: true}
search:
  method: tpe
"""


def written(folder: Path, text: str = TEXT) -> str:
    """A study file that holds `text`."""
    path = folder / "study.yaml"
    path.write_text(text)
    return str(path)


def searching(**changes: Any) -> Study:
    """A study that draws from SPACE."""
    base = {"name": "mine", "cohort": "c", "fidelity": "paper", "space": SPACE, "search": {"method": "tpe"}}
    return Study.model_validate(base | changes)
