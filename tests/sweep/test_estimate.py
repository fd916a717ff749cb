"""What a plan will take: by history where there is some, else by FLOPs; and how jobs fit on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.study import load_study
from sweep.plan import Plan
from sweep.plan.estimate import Estimator
from sweep.plan.kept_flops import KeptFlops
from sweep.plan.plan import plan_with
from sweep.plan.schedule import START_UP_S, Job, Jobs, schedule
from sweep.plan.trial import TrialMaker
from sweep.stages import GANStage, PrepareStage, Stage
from sweep.stages.prepare import SECONDS_PER_VOLUME
from sweep.stages.work import SliceCounts
from sweep.store import Store
from tests.sweep.publishing import cost_of, publishing
from tests.sweep.small_study import small_plan
from trainers.detector import flops
from trainers.detector.config import DetectorConfig
from trainers.distributed import WorkerResources
from trainers.gan.config import GANConfig
from trainers.gan.flops import training_flops as gan_flops

CORE = WorkerResources()


def detector_flops(config: DetectorConfig, slices: SliceCounts, synthetic: int) -> float:
    return flops.training_flops(config, slices.train, slices.validation, synthetic)


def publish(store: Store, stage: Stage, seconds: float, **on: float) -> None:
    """An artifact that took so long to make."""
    with publishing(store, stage, cost_of(seconds, **on)) as folder:
        (folder / "made").write_text(stage.name)


def named(plan: Plan, name: str) -> list[Stage]:
    return [stage for stage in plan.stages.values() if stage.name == name]


def test_what_is_like_a_done_stage_takes_the_median_of_those(tmp_path: Path) -> None:
    plan, store = small_plan(seeds=(0, 1, 2, 3)), Store(tmp_path)
    first, second, third, *rest = named(plan, "detector")
    for stage, seconds in ((first, 10), (second, 30), (third, 90)):
        publish(store, stage, seconds)
    estimate = Estimator(plan, store).of(rest[0])
    assert estimate is not None
    assert (estimate.seconds, estimate.source, estimate.measured) == (30, "history of 3", True)


def test_history_of_another_study_counts_scaled_by_the_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    steps = small_plan().study.detector.steps
    before = small_plan()
    publish(store, named(before, "detector")[0], 10)
    longer = before.study.detector.model_copy(update={"steps": 3 * steps, "select_from": 1.0}).model_dump()
    plan = small_plan(detector=longer)
    shorter = before.study.detector
    estimate = Estimator(plan, store).of(named(plan, "detector")[0])
    slices = Estimator(plan, store)._slices
    factor = detector_flops(plan.study.detector, slices, 0) / detector_flops(shorter, slices, 0)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(5 + 5 * factor), "half is taken as what does not grow with the network"
    assert 1 < factor <= 3
    assert estimate.source == f"history of 1 other, x {factor:.3g} by FLOPs"


def test_small_stages_are_not_free(tmp_path: Path) -> None:
    """A shard of one slice still loads the generator."""
    store = Store(tmp_path)
    publish(store, named(small_plan(), "synthesize")[0], 2.5)
    plan = small_plan(synthesis={"shard_size": 1})
    estimate = Estimator(plan, store).of(named(plan, "synthesize")[0])
    assert estimate is not None
    assert 1.25 < estimate.seconds < 2.5


def test_the_demo_is_estimated_as_it_was_measured(tmp_path: Path) -> None:
    """What it took on two idle cores: all stages of a kind within a quarter, the launch within a fifth."""
    study = load_study("quickstart")
    prepared = PrepareStage(study.prepare, cohort=tmp_path, fingerprint="demo")
    plan = plan_with(TrialMaker(study, prepared), study, ())
    estimator = Estimator(plan, Store(tmp_path))
    measured = {"gan": 465.0, "synthesize": 5.0, "detector": 359.0, "evaluate": 25.0, "realism": 32.0}
    for name, seconds in measured.items():
        estimates = [estimator.of(stage) for stage in named(plan, name)]
        assert sum(estimate.seconds for estimate in estimates if estimate) == pytest.approx(seconds, rel=0.25), name
    prepare = 22 * SECONDS_PER_VOLUME / 2
    rest = {key: stage for key, stage in plan.stages.items() if stage.name != "prepare"}
    assert prepare + schedule(Jobs(rest, estimator).all, cpus=2, gpus=0).seconds == pytest.approx(585, rel=0.2)


def test_history_counts_by_the_devices_that_it_had(tmp_path: Path) -> None:
    plan, store = small_plan(seeds=(0, 1, 2)), Store(tmp_path)
    first, second, third, *_ = named(plan, "detector")
    publish(store, first, 10, cpus=4)
    publish(store, second, 1, cpus=1, gpus=1)
    estimate = Estimator(plan, store).of(third)
    assert estimate is not None
    assert (estimate.seconds, estimate.source) == (40, "history of 1")


def test_without_history_flops_and_what_is_assumed_are_told(tmp_path: Path) -> None:
    plan = small_plan()
    (gan, *_) = named(plan, "gan")
    estimate = Estimator(plan, Store(tmp_path)).of(gan)
    assert estimate is not None
    assert not estimate.measured
    assert estimate.source.endswith("FLOPs at 34 GFLOP/s per core, and 6 s for the rest, assumed")
    assert estimate.seconds == pytest.approx(gan_flops(plan.gans[gan.key].config) / 34e9 + 6)


def test_without_history_and_without_counting_nothing_is_told(tmp_path: Path) -> None:
    plan = small_plan()
    estimator = Estimator(plan, Store(tmp_path), count_flops=False)
    assert estimator.of(named(plan, "gan")[0]) is None
    assert Jobs(plan.stages, estimator).unknown == set(plan.wanted)


def test_flops_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store, kept = small_plan(), Store(tmp_path / "store"), KeptFlops(tmp_path / "flops")
    (gan, *_), (shard, *_) = named(plan, "gan"), named(plan, "synthesize")
    before = Estimator(plan, store).of(gan)
    assert Estimator(plan, store, kept_flops=kept).of(gan) == before

    def fail(*_: object) -> float:
        raise AssertionError("counted again")

    monkeypatch.setattr(GANStage, "flops", fail)
    assert Estimator(plan, store, kept_flops=KeptFlops(tmp_path / "flops")).of(gan) == before
    assert Estimator(plan, store, kept_flops=kept).of(shard) == Estimator(plan, store).of(shard), "another stage's own"
    wider = small_plan(gan=plan.gans[gan.key].config.model_dump() | {"latent_size": 16})
    with pytest.raises(AssertionError, match="counted again"):
        Estimator(wider, store, kept_flops=kept).of(named(wider, "gan")[0])
    for file in (tmp_path / "flops").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    monkeypatch.undo()
    assert Estimator(plan, store, kept_flops=kept).of(gan) == before, "damaged files are not used"


def test_a_gan_computes_by_images_and_by_resolution() -> None:
    config = GANConfig(resolution=32, initial_resolution=16, width=0.05, total_kimg=1, fade_kimg=0.2, stable_kimg=0.2)
    longer = config.model_copy(update={"total_kimg": 2.0})
    larger = config.model_copy(update={"initial_resolution": 32})
    # What a longer run adds is shown at the last resolution, where a run that begins there shows everything.
    assert gan_flops(longer) - gan_flops(config) == pytest.approx(gan_flops(larger))
    lazy = larger.model_copy(update={"penalty_interval": 4})
    assert gan_flops(lazy) < gan_flops(larger)


def test_a_detector_computes_by_steps_area_and_validations() -> None:
    config = DetectorConfig(width=0.125, depth=0.125, steps=100, batch=8, select_from=1.0, train_size=64)
    slices = SliceCounts(100)
    training = detector_flops(config, slices, 0)
    assert detector_flops(config.model_copy(update={"steps": 200}), slices, 0) == pytest.approx(2 * training)
    assert detector_flops(config.model_copy(update={"train_size": 128}), slices, 0) == pytest.approx(4 * training)
    validated = config.model_copy(update={"select_from": 0.5, "evaluate_every": 10, "validation_size": 64})
    # 5 validations of 10 slices, forward only, beside 800 slices forward and backward.
    assert detector_flops(validated, slices, 0) == pytest.approx(training * (1 + 50 / 3 / 800))
    by_passes = config.model_copy(update={"epochs": 1.0})
    assert detector_flops(by_passes, slices, 730) == pytest.approx(training)


def test_usage_counts_workers_and_devices(tmp_path: Path) -> None:
    on = {"detector": {"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1}}
    plan = small_plan(resources=on)
    detector = next(trial.evaluate.detector for trial in plan.trials)
    held = type(detector)(detector.config, detector.slices, (), 0, plan.study.resources.detector)
    estimator = Estimator(plan, Store(tmp_path))
    estimate, usage = estimator.of(held), estimator.usage(held)
    assert estimate is not None
    assert "FLOPs at up to 107 TFLOP/s in tf32 per H200" in estimate.source
    assert usage.gpu_seconds == pytest.approx(2 * estimate.seconds)
    assert usage.cpu_seconds == pytest.approx(6 * estimate.seconds)


def test_sharing_saves_what_trials_would_make_again(tmp_path: Path) -> None:
    plan, store = small_plan(seeds=(0, 1)), Store(tmp_path)
    for stage in plan.stages.values():
        publish(
            store, stage, {"gan": 100, "prepare": 7, "synthesize": 3, "detector": 20, "evaluate": 1}[stage.name], cpus=1
        )
    estimator = Estimator(plan, store)
    # 8 trials, each with its own slices (2 cores are asked for, so 7 s on one count as 3.5 s on two); 6 with a GAN;
    # 2 x (1 + 2 + 1) shards.
    everyone = estimator.without_sharing(plan).cpu_seconds
    assert everyone == pytest.approx(8 * (7 + 20 + 1) + 6 * 100 + 8 * 3)
    assert estimator.total(plan.stages.values()).cpu_seconds == pytest.approx(7 + 8 * 21 + 2 * 100 + 3 * 3)


@pytest.mark.parametrize(("workers", "start_up"), [(1, 0.0), (2, START_UP_S)])
def test_jobs_wait_for_what_they_read(tmp_path: Path, workers: int, start_up: float) -> None:
    plan, store = small_plan(resources={"gan": {"workers": workers}, "detector": {"workers": workers}}), Store(tmp_path)
    took = {"gan": 100.0, "prepare": 8.0, "synthesize": 3.0, "detector": 20.0, "evaluate": 1.0}
    for stage in plan.stages.values():
        publish(store, stage, took[stage.name], cpus=stage.resources.workers * stage.resources.cpus_per_worker)
    estimator = Estimator(plan, store)
    many = schedule(Jobs(plan.stages, estimator).all, cpus=100, gpus=0)
    # Slices, then a GAN with its two shards, then a detector and its evaluation.
    chain = 8 + (start_up + 100 + 2 * 3) + (start_up + 20 + 1)
    assert many.seconds == many.longest_chain == pytest.approx(chain)
    assert many.peak == 3  # two GANs and the real-only detector
    done = {key: 0.5 for key, stage in plan.stages.items() if stage.name == "gan"}
    half = schedule(Jobs(plan.stages, estimator, done).all, cpus=100, gpus=0)
    assert half.seconds == pytest.approx(chain - start_up - 50), "a job that trains has started"


def test_the_longest_chain_starts_first() -> None:
    short = [Job(10, CORE) for _ in range(3)]
    long = [Job(10, CORE), Job(30, CORE, [3])]
    found = schedule([*short, *long], cpus=2, gpus=0)
    # Begun last, the chain would end at 60.
    assert (found.seconds, found.longest_chain, found.peak) == (40, 40, 2)


def test_a_job_takes_its_cpus_and_gpus() -> None:
    large = WorkerResources(workers=2, cpus_per_worker=2, gpus_per_worker=1)
    found = schedule([Job(10, large), Job(10, large), Job(10, CORE)], cpus=5, gpus=2)
    assert (found.seconds, found.peak, found.peak_cpus, found.peak_gpus) == (20, 2, 5, 2)
    elastic = schedule([Job(10, WorkerResources(workers=9, min_workers=1))], cpus=4, gpus=0)
    assert (elastic.seconds, elastic.peak_cpus) == (10, 4)


def test_nothing_to_do_takes_no_time() -> None:
    assert schedule([], cpus=2, gpus=0).seconds == 0
