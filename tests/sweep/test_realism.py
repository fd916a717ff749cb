"""Realism of every GAN, once: in the plan, as a stage, and in the GAN's run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from search_spaces.study import Study, load_study
from sweep.engine.launch import first_of_each_source_first
from sweep.plan import Plan
from sweep.report.gan_table import gan_section
from sweep.report.report import build_report
from sweep.report.results import read_results
from sweep.stages import DetectorStage, RealismStage, SynthesizeStage
from sweep.store import Store
from sweep.tracking.source_content import stages_after_sources
from sweep.tracking.tracker import Tracker
from tests.sweep.mlflow_runs import runs_of
from tests.sweep.plans import make_plan
from tests.sweep.small_study import SHARD, make, small_plan
from tests.trainers.data.phantom import make_cohort
from trainers.evaluation.realism.memorisation import Verdict

REALISM = {
    "slices": 12, "patches": 4, "projections": 8, "pairs": 8, "placements": 3, "permutations": 100, "embedded": 6,
    "iterations": 250, "kid_subsets": 3, "extractors": ["wavelet"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients and a normal subject."""
    return make_cohort(tmp_path_factory.mktemp("phantoms") / "cohort")


def study(cohort: Path, *overrides: str) -> Study:
    return load_study("quickstart", cohort=str(cohort), overrides=overrides)


def with_realism(plan: Plan, **changes: Any) -> Plan:
    """The plan with the realism of its first GAN, as `make_plan` adds it."""
    changed = small_plan(realism={**REALISM, **changes}).study
    trial = plan.trials[1]
    assert trial.gan is not None
    shards = tuple(SynthesizeStage(changed.synthesis, trial.gan, shard) for shard in range(12 // SHARD))
    stage = RealismStage(changed.realism, changed.evaluation, shards, plan.trials[0].evaluate.detector)
    return Plan(changed, (plan.trials[0], replace(trial, realism=stage)))


def test_first_trial_of_each_gan_has_its_realism(cohort: Path) -> None:
    plan = make_plan(study(cohort, "seeds=[3, 1]"))
    has = [trial.name for trial in plan.trials if trial.realism]
    assert has == ["cpggan 200 seed 3", "image2image 200 seed 3"]
    assert [trial.name for trial in first_of_each_source_first(plan.trials)][:2] == has
    real_only = plan.trials[0].evaluate.detector
    assert (real_only.count, real_only.config.seed) == (0, 3)
    for trial in plan.trials:
        if trial.realism:
            assert trial.realism.detector.key == real_only.key
            assert trial.realism.source is trial.gan
            assert trial.realism.key in plan.stages
            assert list(trial.stages)[-1] == trial.realism.key


def test_only_as_many_shards_as_are_needed(cohort: Path) -> None:
    plan = make_plan(study(cohort, "synthesis.shard_size=60"))
    counts = [len(trial.realism.shards) for trial in plan.trials if trial.realism]
    assert counts == [4, 4]  # 200 slices


def test_realism_changes_no_other_key_and_its_settings_change_its_own(cohort: Path) -> None:
    def keys(*overrides: str) -> tuple[set[str], set[str]]:
        stages = make_plan(study(cohort, *overrides)).stages
        realism = {key for key, stage in stages.items() if stage.name == "realism"}
        return realism, set(stages) - realism

    before, others = keys()
    for changed in ("realism.kid_subset=77", "realism.seed=1"):
        after, same = keys(changed)
        assert same == others
        assert not after & before
    # Box fidelity counts at the evaluation's thresholds.
    after, _ = keys("evaluation.confidence=0.3")
    assert not after & before


def test_study_without_real_only_arm_gets_one_more_detector(cohort: Path) -> None:
    plan = make_plan(study(cohort, 'arms=[{"variant": "cpggan", "counts": [4000]}]', "seeds=[5]"))
    detectors = [stage for stage in plan.stages.values() if isinstance(stage, DetectorStage)]
    assert sorted((one.count, one.config.seed) for one in detectors) == [(0, 5), (200, 5)]


@pytest.fixture(scope="module")
def realistic(plan: Plan, full_store: Store) -> Plan:
    """A plan of one GAN with realism, made."""
    found = with_realism(plan)
    for stage in found.missing(full_store).values():
        make(stage, full_store)
    return found


def test_figures_pictures_and_verdict_are_in_the_gans_run(
    realistic: Plan, full_store: Store, tracking_uri: str
) -> None:
    _record(realistic, full_store, tracking_uri)
    run = runs_of(tracking_uri)["gan cpggan"]
    metrics = run.data.metrics
    wanted = {
        "realism/wavelet/kid/mean", "realism/held_out/wavelet/kid/mean",
        "realism/sliced_wasserstein", "realism/ms_ssim/mean", "realism/box_fidelity/iou50/conditioned/recall",
        "realism/box_fidelity/iou50/random/recall", "realism/memorisation/p",
    }  # fmt: skip
    assert wanted <= set(metrics)
    assert len(run.data.params) + len(metrics) <= 40
    client = MlflowClient(tracking_uri)
    every = json.loads(Path(client.download_artifacts(run.info.run_id, "figures.json")).read_text())
    assert every["real"], "the figures that are no metrics"
    assert "Do these slices give away patients" in run.data.tags["mlflow.note.content"]
    stage = realistic.trials[1].realism
    assert stage is not None
    folder = f"figures/realism-{stage.key[:8]}"
    pictures = {Path(one.path).name for one in MlflowClient(tracking_uri).list_artifacts(run.info.run_id, folder)}
    assert pictures == {"tsne.png", "nearest.png", "distances.png", "box_fidelity.png"}


def test_run_waits_for_realism_and_takes_other_settings_in(
    plan: Plan, realistic: Plan, full_store: Store, tracking_uri: str
) -> None:
    changed = with_realism(plan, kid_subset=3)
    before, after = (one.trials[1].realism for one in (realistic, changed))
    assert before is not None
    assert after is not None
    assert before.source.key == after.source.key

    _record(realistic, full_store, tracking_uri)
    assert runs_of(tracking_uri)["gan cpggan"].info.status == "FINISHED"
    first = runs_of(tracking_uri)["gan cpggan"].data.metrics["realism/wavelet/kid/mean"]

    _record(changed, full_store, tracking_uri)  # not made yet: nothing to add
    assert runs_of(tracking_uri)["gan cpggan"].data.metrics["realism/wavelet/kid/mean"] == first
    make(after, full_store)
    _record(changed, full_store, tracking_uri)
    run = runs_of(tracking_uri)["gan cpggan"]
    assert run.data.metrics["realism/wavelet/kid/mean"] != first
    assert run.info.status == "FINISHED"
    written = set(run.data.tags["metsweep.written"].split(","))
    planned = (stages_after_sources(realistic)[before.source.key], stages_after_sources(changed)[after.source.key])
    assert written == {"gan", *planned[0], *planned[1]}


def test_the_parent_shows_the_trial_with_the_best_slices(realistic: Plan, full_store: Store, tmp_path: Path) -> None:
    wanted = {"objectives": [{"metric": "sliced_wasserstein", "direction": "minimize"}]}
    study = realistic.study.model_validate(realistic.study.model_dump() | wanted)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    _record(replace(realistic, study=study), full_store, uri)
    runs = runs_of(uri)
    parent = runs["small"].data
    assert parent.tags["metsweep.best_trial"] == "cpggan 4 seed 0", "none has no slices"
    distance = runs["gan cpggan"].data.metrics["realism/sliced_wasserstein"]
    assert parent.metrics["realism/sliced_wasserstein"] == distance


def test_the_report_tells_of_every_gan_that_was_looked_at(plan: Plan, realistic: Plan, full_store: Store) -> None:
    assert gan_section(read_results(plan, full_store)) is None
    section = build_report(realistic, full_store).sections[-1]
    stage = realistic.trials[1].realism
    artifact = full_store.find("realism", stage.key) if stage else None
    assert artifact is not None
    report = json.loads((artifact.path / "realism.json").read_text())
    told = report["synthetic"]["cpggan"]
    real, cpggan = section.rows
    assert [real[0], cpggan[0]] == ["real held-out slices", "cpggan"]
    found = told["box_fidelity"]["iou50"]
    assert real[1].startswith(f"{found['real']['recall']:.3f} [")
    assert cpggan[1].startswith(f"{found['conditioned']['recall']:.3f} [")
    assert cpggan[2].startswith(f"{found['random']['recall']:.3f} [")
    assert cpggan[-2] == f"{told['sliced_wasserstein']:.1f}"
    assert f"Patient leakage: cpggan, {Verdict(told['memorisation']['verdict']).sentence}." in section.note


def _record(plan: Plan, store: Store, uri: str) -> None:
    tracker = Tracker(uri, plan, store)
    tracker.open()
    tracker.record()
    tracker.close()
