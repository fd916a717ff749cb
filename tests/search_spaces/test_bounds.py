"""What would fill memory or take for ever is refused when a study is read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from search_spaces.study import load_study
from tests.search_spaces.studies import SCHEMA, TEXT, written
from trainers.exceptions import ConfigError


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("arms=[{variant: cpggan, counts: [1000000000000]}]", "arms.0.counts.0: .*less than or equal to 10000000"),
        ("count_scale=1e9", "count_scale: .*less than or equal to 1000"),
        ("synthesis.shard_size=1", "arms.1.counts.0: 200,000 slices are more than 100,000 shards"),
        ("search={method: tpe, trials: 1000000000}", "search.trials: .*less than or equal to 100000; got 1000000000"),
        ("seeds=[1e999]", "seeds.0: "),
        ("seeds=[4294967296]", "seeds.0: .*less than or equal to 4294967295"),
        (f"seeds=[{','.join(map(str, range(10_001)))}]", "seeds: .*at most 10000 items"),
        ("search.trials=100000", "search.trials: .* are .* trials; allowed: up to 100,000"),
        (f"seeds=[{','.join(map(str, range(9_999)))}]", "seeds: .*9,999 seeds are .* trials; allowed: up to 100,000"),
        ("budget.wall_hours=.inf", "budget.wall_hours: Input should be a finite number; got inf"),
        ("gan.learning_rate=.nan", "gan.learning_rate: "),
        ("inpaint.total_kimg=0.0001", r"inpaint.total_kimg: .*greater than or equal to 0\.001; got 0\.0001"),
        ("gan.total_kimg=0.0001", r"gan.total_kimg: .*greater than or equal to 0\.001; got 0\.0001"),
        ("gan.stddev_group=1000000000000", "gan.stddev_group: .*less than or equal to 65536"),
        ("gan.widths=[1000000000000]", "gan.widths.0: .*less than or equal to 8192"),
        ("gan.resolution=1099511627776", "gan.resolution: .*less than or equal to 512"),
        ("evaluation.bootstraps=1000000000", "evaluation.bootstraps: .*less than or equal to 100000"),
        ("resources.detector.workers=1000000000000", "resources.detector.workers: .*less than or equal to 10000"),
        ("space.count={int: [1, 9000000000000000000]}", "space.count.int.1: .*less than or equal to 9007199254740992"),
        ("space.count={int: [1, 100000000]}", "space.count.int.1: allowed: whole numbers above 0, up to 10,000,000"),
        ("space.gan.drift={float: [0, 1], step: 1e-300}", "space.gan.drift.step: allowed: up to 1,000,000,000 steps"),
        ("space.gan.drift={float: [0, 1e300], step: 1}", "space.gan.drift.float.1: "),
        (f"space.gan.seed={{choice: [{','.join(map(str, range(101)))}]}}", "choice: .*at most 100 items"),
        ("name=" + "a" * 101, "name: .*at most 100 characters"),
        ('cohort="a\\nb"', "cohort: holds .* allowed: one line of text"),
    ],
)
def test_bounds(tmp_path: Path, override: str, told: str) -> None:
    text = TEXT.replace("[4000]", "[4000000]") if "shard_size" in override else TEXT
    began = time.process_time()
    with pytest.raises(ConfigError, match=told):
        load_study(written(tmp_path, text), overrides=[override])
    assert time.process_time() - began < 4


def test_many_complaints_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_study(written(tmp_path), overrides=[f"seeds=[{'-1,' * 5000}]"])
    assert len(str(raised.value).splitlines()) == 21
    assert str(raised.value).endswith("And 4980 more.")


def test_the_schema_knows_the_bounds() -> None:
    trials = SCHEMA.schema["$defs"]["SearchConfig"]["properties"]["trials"]  # pyright: ignore[reportIndexIssue]
    assert (trials["minimum"], trials["maximum"]) == (1, 100_000)
    assert "at most 100,000" in trials["description"]
