"""The JSON schema of a study file, for editors and other programs."""

from __future__ import annotations

from typing import Any

from search_spaces.layers import OWN
from search_spaces.schema import Study
from search_spaces.space_checks import drawable
from trainers.variants import INPAINTED, PASTED, REAL, REAL_ONLY

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def study_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of study files; descriptions are the sentences under the fields.

    The schema states the form of every value; `load_study` checks what values may stand together.
    """
    schema = Study.model_json_schema()
    properties, definitions = schema["properties"], schema["$defs"]
    space = properties["space"]
    dimension = space.pop("additionalProperties")
    described = {
        "variant": f"Which variant to draw; `{REAL_ONLY}` is the real-only arm.",
        "count": "How many synthetic slices, in the paper's scale.",
        **drawable(),
    }
    definitions["Dimension"] = dimension
    space["properties"] = {
        key: {"$ref": "#/$defs/Dimension", "description": description} for key, description in described.items()
    }
    space["additionalProperties"] = False
    schema["patternProperties"] = {f"^{OWN}": {"description": "Ignored: a place for anchors."}}
    sections = {
        **dict.fromkeys(PASTED, "PasteConfig"),
        **dict.fromkeys(INPAINTED, "InpaintConfig"),
        **dict.fromkeys(REAL, "DetectorConfig"),
    }
    properties["variants"]["properties"] = {
        variant: {"$ref": f"#/$defs/{section}"} for variant, section in sections.items() if variant != REAL_ONLY
    }
    properties["variants"]["additionalProperties"] = {"$ref": "#/$defs/GANConfig"}
    return {"$schema": DIALECT, **schema, "title": "metsweep study"}
