"""Arms of inpainted slices, from the study to their run in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.plan import Plan
from sweep.stages import InpainterStage, InpaintStage
from sweep.stages.work import SliceCounts
from sweep.store import Store
from sweep.studies.continuing import common_config
from sweep.tracking.run_content import trial_content
from sweep.tracking.source_content import source_content, stages_after_sources
from tests.sweep.small_study import SHARD, make, plan_of, small_study, without_realism
from trainers.data.slice_set import open_slice_set

INPAINT = {
    "window": 24, "rim": 1, "widths": [8, 8], "blocks": 1, "batch_size": 4, "total_kimg": 0.02, "sampling_steps": 2,
}  # fmt: skip


def study_of(**changes: Any) -> Study:
    arms = [{"variant": "none"}, {"variant": "inpaint", "counts": [SHARD, 2 * SHARD]}]
    return small_study(**{"arms": arms, "inpaint": INPAINT, **changes})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(study_of(seeds=(0, 1)))


def test_a_count_is_a_prefix_and_all_trials_share_their_inpainter(plan: Plan) -> None:
    few, more = (plan.cells[f"inpaint {count}"][1].evaluate.detector for count in (SHARD, 2 * SHARD))
    assert [shard.key for shard in few.shards] == [shard.key for shard in more.shards[:1]]
    assert [shard.label for shard in more.shards] == ["inpaint inpaint shard 0", "inpaint inpaint shard 1"]
    assert [source.label for source in plan.sources.values()] == ["inpainter inpaint"]
    for trial in plan.trials:
        assert trial.gan is None, "nothing to promote as a generator"
        assert (trial.realism is not None) == (trial.name == f"inpaint {SHARD} seed 0")
    (source,) = plan.sources.values()
    assert source.resources == plan.study.resources.gan


def test_its_time_is_that_of_its_network(plan: Plan) -> None:
    longer = plan_of(study_of(inpaint={**INPAINT, "total_kimg": 0.04, "sampling_steps": 4}))
    shards = [one.cells[f"inpaint {SHARD}"][0].evaluate.detector.shards[0] for one in (plan, longer)]
    counts = SliceCounts(100)
    trained = [stage.source.flops(stage.source.work, counts) for stage in shards]
    drawn = [stage.flops(stage.work, counts) for stage in shards]
    assert trained == [trained[0], 2 * (trained[0] or 0)]
    assert drawn == [drawn[0], 2 * (drawn[0] or 0)]
    assert "FLOPs at 34 GFLOP/s per core" in shards[0].source.assumed(counts, trained[0]).source


def test_the_window_must_fit_into_the_slices() -> None:
    with pytest.raises(ValueError, match="but slices are 32 pixels wide"):
        study_of(inpaint={**INPAINT, "window": 64})
    small_study(inpaint={**INPAINT, "window": 64})  # no arm of it
    with pytest.raises(ValueError, match="windo"):
        study_of(variants={"inpaint": {"windo": 16}})
    with pytest.raises(ValueError, match="multiples of 2"):
        study_of(variants={"inpaint": {"window": 25}})


def test_a_search_draws_its_settings() -> None:
    space = {
        "variant": {"choice": ["copy_paste", "inpaint"]},
        "count": {"int": [4, 8]},
        "inpaint.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "inpaint.sampling_steps": {"choice": [1, 2]},
    }
    study = study_of(space=space, search={"method": "random", "trials": 2}, variants={"inpaint": {"rim": 3}})
    drawn = {name: set(study.dimensions(name)) for name in study.variants_to_draw()}
    assert drawn["copy_paste"] == {"count"}
    assert drawn["inpaint"] == set(space) - {"variant"}
    cell = Cell("inpaint", 4, (("inpaint.learning_rate", 0.005), ("inpaint.sampling_steps", 1)))
    source = plan_of(study, [(0, cell)]).trials[-1].source
    assert isinstance(source, InpainterStage)
    assert (source.config.sampling_steps, source.config.rim, source.config.window) == (1, 3, 24)
    assert source.config.learning_rate == 0.005
    assert "inpaint" in common_config(study, "key")
    others = {"variant": {"choice": ["copy_paste"]}, "count": space["count"]}
    study = study_of(space=others, search={"method": "random", "trials": 2})
    assert "inpaint" not in common_config(study, "key"), "searches from before there was such a section go on"


@pytest.mark.slow
def test_an_arm_from_slices_to_its_run(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), without_realism(plan_of(study_of()))
    trial = plan.cells[f"inpaint {SHARD}"][0]
    for stage in trial.stages.values():
        make(stage, store)
    assert trial.source is not None
    content = source_content(trial.source, stages_after_sources(plan)[trial.source.key], plan, store)
    assert content is not None
    assert (content.name, content.tags["metsweep.kind"]) == ("inpainter inpaint", "inpainter")
    points = {point.name: point.value for part in content.parts for point in part.points}
    assert points["lesions/cut"] + points["lesions/left_out"] == 12
    assert {"inpainter/loss", "inpainter/box_contrast", "inpainter/discard_rate"} <= points.keys()
    own = content.parts[0]
    assert own.params["inpaint.total_kimg"] == "0.02"
    assert {"config/inpaint.yaml", "history/inpainter.jsonl"} <= own.texts.keys()
    assert [part.name for part in content.parts] == ["inpainter", "inpaint-0"]
    run = trial_content(trial, plan, store)
    assert run is not None
    assert [(slices.name, slices.count) for slices in run.parts[0].slices][1] == (f"synthetic inpaint {SHARD}", SHARD)
    (shard,) = (stage for stage in trial.stages.values() if isinstance(stage, InpaintStage))
    assert open_slice_set(store.local / "inpaint" / shard.key).is_synthetic
