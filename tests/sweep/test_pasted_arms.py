"""Arms without a GAN: pasted lesions, a placebo, and real slices with classical augmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.plan import Plan
from sweep.report.gan_table import gan_section
from sweep.report.results import read_results
from sweep.stages import LesionsStage, PasteStage
from sweep.store import Store
from sweep.studies.continuing import common_config
from sweep.tracking.run_content import trial_content
from sweep.tracking.source_content import source_content, stages_after_sources
from tests.sweep.publishing import publishing
from tests.sweep.small_study import SHARD, make, plan_of, small_plan, small_study, without_realism
from trainers.data.slice_set import open_slice_set
from trainers.exceptions import ConfigError

ARMS = [
    {"variant": "none"},
    {"variant": "classic"},
    {"variant": "copy_paste", "counts": [SHARD, 2 * SHARD]},
    {"variant": "noise_to_box", "counts": [SHARD]},
]


def study_of(**changes: Any) -> Study:
    return small_study(arms=ARMS, **changes)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(study_of(seeds=(0, 1)))


def test_a_count_is_a_prefix_and_all_trials_of_a_variant_share_their_lesions(plan: Plan) -> None:
    assert [*plan.cells] == ["none", "classic", "copy_paste 4", "copy_paste 8", "noise_to_box 4"]
    few, more, placebo = (plan.cells[name][1].evaluate.detector for name in list(plan.cells)[2:])
    assert [shard.key for shard in few.shards] == [shard.key for shard in more.shards[:1]]
    assert {shard.source.label for shard in more.shards} == {"lesions copy_paste"}
    assert [shard.source.label for shard in placebo.shards] == ["lesions noise_to_box"]
    assert [stage.name for stage in plan.stages.values()].count("lesions") == 2
    assert few.label == "detector copy_paste 4 seed 1"
    for trial in plan.trials:
        assert trial.gan is None, "nothing to promote as a generator"
        assert (trial.realism is not None) == (trial.name in ("copy_paste 4 seed 0", "noise_to_box 4 seed 0"))


def test_classic_changes_the_augmentation_alone(plan: Plan) -> None:
    real, classic = (plan.cells[name][0].evaluate.detector for name in ("none", "classic"))
    assert classic.label == "detector classic seed 0"
    assert classic.shards == ()
    differing = {name for name, value in classic.config if value != getattr(real.config, name)}
    assert {"mosaic", "copy_paste", "degrees"} <= differing
    assert not differing & {"steps", "batch", "learning_rate", "seed"}
    assert real.key == small_plan().trials[0].evaluate.detector.key


def test_settings_of_one_variant_change_its_arms_alone(plan: Plan) -> None:
    changed = plan_of(study_of(seeds=(0, 1), variants={"classic": {"mosaic": 0.1}, "copy_paste": {"most_lesions": 1}}))
    keys = [{name: trials[0].evaluate.key for name, trials in one.cells.items()} for one in (plan, changed)]
    assert [name for name in keys[0] if keys[0][name] == keys[1][name]] == ["none", "noise_to_box 4"]
    classic = changed.cells["classic"][0].evaluate.detector.config
    assert (classic.mosaic, classic.copy_paste) == (0.1, 0.5)
    with pytest.raises(ValueError, match="most_lesion"):
        study_of(variants={"copy_paste": {"most_lesion": 1}})
    with pytest.raises(ValueError, match="none"):
        study_of(variants={"none": {"mosaic": 1}})
    with pytest.raises(ValueError, match="must be that of all arms; allowed for classic: augmentation"):
        study_of(variants={"classic": {"steps": 900}})


def test_drawn_settings_win_over_those_of_a_variant() -> None:
    space = {
        "variant": {"choice": ["classic", "copy_paste", "cpggan"]},
        "count": {"int": [4, 8]},
        "gan.drift": {"float": [0.1, 0.2]},
        "paste.most_lesions": {"int": [1, 5]},
        "detector.mosaic": {"float": [0, 1]},
    }
    study = study_of(space=space, search={"method": "random", "trials": 2}, variants={"copy_paste": {"max_zoom": 0.1}})
    assert "paste" not in common_config(study, "key"), "a section of defaults is left out, so that old searches go on"
    drawn = {name: set(study.dimensions(name)) for name in study.variants_to_draw()}
    assert drawn == {
        "classic": {"detector.mosaic"},
        "copy_paste": {"count", "paste.most_lesions", "detector.mosaic"},
        "cpggan": {"count", "gan.drift", "detector.mosaic"},
    }
    cells = [
        Cell("copy_paste", 4, (("detector.mosaic", 0.2), ("paste.most_lesions", 5))),
        Cell("classic", 0, (("detector.mosaic", 0.3),)),
    ]
    pasted, classic = (plan.evaluate.detector for plan in plan_of(study, list(enumerate(cells))).trials[-2:])
    source = pasted.shards[0].source
    assert isinstance(source, LesionsStage)
    assert (source.config.most_lesions, source.config.max_zoom, source.config.variant) == (5, 0.1, "copy_paste")
    assert pasted.config.mosaic == 0.2
    assert (classic.config.mosaic, classic.config.degrees) == (0.3, 15.0)
    with pytest.raises(ConfigError, match="drawn"):
        study.with_params(Cell("copy_paste", 4, (("paste.most_lesions", 0),)))


def test_the_report_says_that_pasted_slices_are_training_slices(plan: Plan, tmp_path: Path) -> None:
    realism = json.loads((Path(__file__).parent / "made_before" / "realism.json").read_text())
    realism["synthetic"] = {"copy_paste": realism["synthetic"]["image2image"]}
    store, trial = Store(tmp_path), plan.cells["copy_paste 4"][0]
    assert trial.realism is not None
    with publishing(store, trial.realism) as folder:
        (folder / "realism.json").write_text(json.dumps(realism))
    section = gan_section(read_results(plan, store))
    assert section is not None
    assert [line.cells[0] for line in section.lines] == ["real held-out slices", "copy_paste"]
    assert "By construction, slices of copy_paste are training slices" in section.note


@pytest.mark.slow
def test_an_arm_of_pasted_lesions_from_slices_to_its_run(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), without_realism(plan_of(study_of()))
    trial = plan.cells["copy_paste 4"][0]
    for stage in trial.stages.values():
        make(stage, store)
    assert trial.source is not None
    content = source_content(trial.source, stages_after_sources(plan)[trial.source.key], plan, store)
    assert content is not None
    assert (content.name, content.tags["metsweep.kind"], content.complete) == ("lesions copy_paste", "lesions", False)
    points = {point.name: point.value for part in content.parts for point in part.points}
    assert points["lesions/cut"] + points["lesions/left_out"] == 12
    assert {"lesions/box_contrast", "lesions/discard_rate"} <= points.keys()
    assert [part.name for part in content.parts] == ["lesions", "paste-0"]
    run = trial_content(trial, plan, store)
    assert run is not None
    assert run.tags["metsweep.collapsed"], "six steps of training"
    assert [(slices.name, slices.count) for slices in run.parts[0].slices][1] == ("synthetic copy_paste 4", SHARD)
    (shard,) = (stage for stage in trial.stages.values() if isinstance(stage, PasteStage))
    assert open_slice_set(store.local / "paste" / shard.key).is_synthetic
