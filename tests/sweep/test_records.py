"""Documents of a study that several commands and pages change at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.store import Store
from sweep.studies.outcome import Outcome
from sweep.studies.records import StudyRecord
from trainers.exceptions import ConfigError

TRIALS = [f"none seed {seed}" for seed in range(40)]


def test_outcomes_that_are_kept_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def stop(trial: str) -> None:
        StudyRecord(Store(str(tmp_path)), "small").keep_outcomes({trial: Outcome(state="failed", error="stopped")})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(stop, TRIALS))
    assert sorted(StudyRecord(Store(str(tmp_path)), "small").outcomes()) == sorted(TRIALS)


def test_an_extension_that_another_command_has_overtaken_is_refused(tmp_path: Path) -> None:
    record = StudyRecord(Store(str(tmp_path)), "small")
    record.keep_extension({"seeds": [0, 1]}, {})
    with pytest.raises(ConfigError, match="extended the study at the same time"):
        record.keep_extension({"trials": 9}, {})
    assert record.extension() == {"seeds": [0, 1]}
    record.keep_extension({"seeds": [0, 1, 2]}, record.extension())
    assert record.extension() == {"seeds": [0, 1, 2]}
