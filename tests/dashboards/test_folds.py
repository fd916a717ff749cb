"""Pages and readers' studies show one slice set: studies with folds are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.slices.sets import Sets
from dashboards.sources import evaluation_of, open_source
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.small_study import small_plan
from trainers.exceptions import ConfigError


def test_what_shows_one_slice_set_refuses_folds(tmp_path: Path) -> None:
    plan, store = small_plan(folds=3), Store(tmp_path)
    with pytest.raises(ConfigError, match="Study small has 3 folds, each with a slice set of its own"):
        Sets().real(store, plan)
    StudyRecord(store, "small").keep_study(plan.study)
    for open_ in (open_source, evaluation_of):
        with pytest.raises(ConfigError, match="Study small has 3 folds, each with slices and detectors of its own"):
            open_("small/none", str(tmp_path))
