"""Files that evaluations and comparisons wrote: read back, or refused with file and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.summaries import summary
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import rate, read_metrics
from trainers.evaluation.realism.report import FILE, read_realism
from trainers.exceptions import MetsweepError, ScoringError, SliceSetError
from trainers.gan.shard import read_shard


def metrics(**changes: Any) -> str:
    return json.dumps({"validation": {"iou50": summary(**{"sensitivity": 0.5, **changes})}})


def test_metrics_hold_figures_that_table_1_gains_later() -> None:
    intervals = {"level": 0.95, "f1": [0.2, 0.4], **{measure.name: [0.0, 1.0] for measure in TABLE1}}
    figures = read_metrics(metrics(f1=0.3, intervals=intervals), "metrics.json")["validation"]["iou50"]
    assert (rate(figures, "f1"), figures["intervals"]["f1"]) == (0.3, [0.2, 0.4])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "Invalid JSON"),
        ("[]", ".*should be an object"),
        (metrics(sensitivity="high"), "'validation.iou50.sensitivity': "),
        (metrics(chance={"sensitivity": 0.1}), "'validation.iou50.chance.interval': "),
        (json.dumps({"all": {}}), "'all.*': "),
    ],
)
def test_damaged_metrics_name_file_and_key(text: str, key: str) -> None:
    with pytest.raises(ScoringError, match=rf"^a/metrics\.json is damaged: {key}.*Evaluate the detector again\.$"):
        read_metrics(text, "a/metrics.json")


@pytest.mark.parametrize(
    ("name", "read", "error"), [(FILE, read_realism, ScoringError), ("meta.json", read_shard, SliceSetError)]
)
def test_other_damaged_files(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[MetsweepError]
) -> None:
    for content, key in (("{", "Invalid JSON"), ("{}", "'[a-z_]+': Field required")):
        (tmp_path / name).write_text(content)
        with pytest.raises(error, match=rf"{name} is damaged: {key}.* again\.$") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)
