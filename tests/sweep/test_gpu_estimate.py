"""Estimates for GPUs, beside what one H200 took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import load_study
from sweep.plan.estimate import SLICES_A_VOLUME, Estimator
from sweep.plan.plan import plan_with
from sweep.plan.trial import TrialMaker
from sweep.stages import PrepareStage
from sweep.stages.cards import CARDS, MEASURED, OTHER, Card, card_named
from sweep.stages.gan import GANStage
from sweep.stages.work import SliceCounts
from sweep.store import Store
from tests.sweep.small_study import small_plan
from trainers.distributed import WorkerResources
from trainers.gan.config import GANConfig

RECORDED = {"precision": "bf16", "cuda_graph": True}
ON_GPU = WorkerResources(gpus_per_worker=1)
FULL: dict[str, Any] = {"initial_resolution": 256, "total_kimg": 100, "stable_kimg": 0, "fade_kimg": 0}


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    """The measured one, whatever this machine has."""
    for module in ("network_stage", "cards"):
        monkeypatch.setattr(f"sweep.stages.{module}.card_here", lambda: MEASURED)
    return MEASURED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sec_per_kimg"),
    [
        ({"batch_size": 4, "precision": "fp32"}, 54.2),
        ({"batch_size": 16, "precision": "fp32"}, 26.2),
        ({"batch_size": 4, "precision": "bf16"}, 22.3),
        ({"batch_size": 16, "precision": "bf16"}, 6.15),
        ({"batch_size": 64, "precision": "bf16"}, 2.42),
        ({"batch_size": 16, "precision": "tf32"}, 5.04),
        ({"batch_size": 32, "precision": "bf16", "resolution": 128, "initial_resolution": 128, "width": 0.25}, 2.6),
        # Recorded updates are not measured: these are the targets.
        ({"batch_size": 4, **RECORDED}, 6.0),
        ({"batch_size": 16, **RECORDED}, 3.0),
        ({"batch_size": 64, **RECORDED}, 1.9),
        ({"batch_size": 32, **RECORDED, "resolution": 128, "initial_resolution": 128, "width": 0.25}, 0.4),
    ],
    ids=str,
)
def test_gans_are_estimated_within_a_factor_of_two_of_what_was_measured(
    changes: dict[str, Any], sec_per_kimg: float
) -> None:
    (gan, *_) = (stage for stage in small_plan().stages.values() if stage.name == "gan")
    assert isinstance(gan, GANStage)
    stage = GANStage(GANConfig.model_validate(FULL | changes), gan.slices, ON_GPU)
    estimated = (stage.assumed(SliceCounts(0), stage.flops(stage.work, SliceCounts(0))).seconds - stage.other_s) / 100
    assert 0.5 < estimated / sec_per_kimg < 2


@pytest.mark.slow
def test_detectors_train_as_fast_as_was_measured(tmp_path: Path) -> None:
    study = load_study("table1", fidelity="gpu")
    plan = plan_with(TrialMaker(study, PrepareStage(study.prepare, cohort=tmp_path, fingerprint="x")), study, ())
    detector = plan.trials[0].evaluate.detector
    shown = detector.config.steps * detector.config.batch
    flops = detector.flops(detector.work, SliceCounts(0))
    assert shown / (detector.assumed(SliceCounts(0), flops).seconds - detector.other_s) == pytest.approx(601, rel=0.1)


@pytest.mark.slow
def test_table_1_at_gpu_fidelity_takes_an_evening(tmp_path: Path) -> None:
    """Three GANs and thirty detectors on the slices of 180 patients, by the rates of an H200."""
    study = load_study("table1", fidelity="gpu")
    plan = plan_with(TrialMaker(study, PrepareStage(study.prepare, cohort=tmp_path, fingerprint="x")), study, ())
    estimator = Estimator(plan, Store(tmp_path / "store"))
    estimator._slices = SliceCounts(180 * SLICES_A_VOLUME)
    stages = [stage for stage in plan.stages.values() if stage.name != "prepare"]
    assert sum(stage.name == "detector" for stage in stages) == 30
    hours = estimator.total(stages).gpu_seconds / 3600
    assert 6 < hours < 12


def test_cards_are_known_by_their_names() -> None:
    assert card_named("NVIDIA H100 80GB HBM3") is MEASURED
    assert card_named("NVIDIA A100-SXM4-80GB").matrix == pytest.approx(312 / 989, abs=0.01)
    assert card_named("NVIDIA L40S") is not card_named("NVIDIA L4")
    assert card_named("Tesla T4") is OTHER
    assert all(card.share("bf16") == card.matrix and card.share("fp32") == card.plain for card in CARDS)


def test_slower_cards_take_longer_but_no_update_is_shorter_than_its_launch() -> None:
    (gan, *_) = (stage for stage in small_plan().stages.values() if stage.name == "gan")
    assert isinstance(gan, GANStage)
    config = GANConfig.model_validate(FULL | {"batch_size": 64, "precision": "bf16"})
    work = GANStage(config, gan.slices, ON_GPU).work
    seconds = [GANStage.gpu_seconds(work, SliceCounts(0), rate, 1) for rate in (273e12, 2730e12, 27e15)]
    assert seconds[0] > 1.9 * seconds[1]
    assert seconds[1] == seconds[2] == pytest.approx(100_000 / 64 * 28 * 0.0028)


def test_recording_helps_one_worker_alone() -> None:
    (gan, *_) = (stage for stage in small_plan().stages.values() if stage.name == "gan")
    assert isinstance(gan, GANStage)
    work = GANStage(GANConfig.model_validate(FULL | RECORDED), gan.slices, ON_GPU).work
    alone, two = (GANStage.gpu_seconds(work, SliceCounts(0), 27e15, workers) for workers in (1, 2))
    assert two > 5 * alone
