"""The stages of `cpggan+detector`: one more detector, which no trial trains or is judged by."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import get_args

import pytest

from search_spaces.study import Study, load_study
from sweep.plan import Plan, TrialMaker
from sweep.plan.plan import bytes_of, plan_with
from sweep.plan.trial import FIRST_FEEDBACK_SEED
from sweep.stages import DetectorStage, GANStage, PrepareStage
from sweep.stages.stage import RunKind
from sweep.store import Store
from sweep.store.manifest import key_of
from sweep.tracking.source_content import source_content
from tests.sweep.plans import make_plan
from tests.sweep.small_study import make, small_plan
from tests.trainers.data.phantom import make_cohort
from trainers.data.cohort import open_cohort
from trainers.distributed import WorkerResources

ARMS = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]
BEYOND = [*ARMS, {"variant": "cpggan+detector", "counts": [4000, 8000]}]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("phantoms") / "cohort")


def plan_of(cohort: Path, arms: list[dict], seeds: tuple[int, ...] = (0, 1)) -> Plan:
    study = load_study("quickstart", cohort=str(cohort)).model_dump()
    return make_plan(Study.model_validate(study | {"arms": arms, "seeds": seeds}))


def gan(plan: Plan, variant: str) -> GANStage:
    (found,) = [stage for stage in plan.gans.values() if stage.config.variant == variant]
    return found


def test_its_gan_learns_from_one_detector_of_real_slices_that_no_trial_uses(cohort: Path) -> None:
    plan = plan_of(cohort, BEYOND)
    feedback = gan(plan, "cpggan+detector").detector
    assert isinstance(feedback, DetectorStage)
    assert (feedback.count, feedback.shards) == (0, ())
    assert feedback.config == plan.study.detector.model_copy(update={"seed": FIRST_FEEDBACK_SEED})
    of_trials = {trial.evaluate.detector.key for trial in plan.trials}
    detectors = {key for key, stage in plan.stages.items() if isinstance(stage, DetectorStage)}
    assert detectors - of_trials == {feedback.key}


def test_a_maker_makes_the_same_plan_again(cohort: Path) -> None:
    first = plan_of(cohort, BEYOND)
    maker = TrialMaker(first.study, first.trials[0].evaluate.detector.slices)
    plans = [plan_with(maker, first.study, ()) for _ in range(2)]
    assert any(trial.realism for trial in plans[0].trials)
    assert list(plans[1].stages) == list(plans[0].stages)


def test_it_is_made_before_the_gan(cohort: Path) -> None:
    plan = plan_of(cohort, BEYOND)
    taught = gan(plan, "cpggan+detector")
    assert taught.detector is not None
    for trial in plan.trials:
        order = [stage.key for stage in trial.evaluate.inputs_first()]
        if trial.variant == "cpggan+detector":
            assert order.index(taught.detector.key) < order.index(taught.key)
        else:
            assert taught.detector.key not in order


def test_the_other_variants_do_not_know_of_it(cohort: Path) -> None:
    alone, beyond = plan_of(cohort, ARMS), plan_of(cohort, BEYOND)
    assert alone.stages.keys() < beyond.stages.keys()
    assert gan(beyond, "cpggan").detector is None
    assert gan(beyond, "cpggan").inputs.keys() == {"slices"}


def test_more_seeds_keep_the_gan_unless_one_is_its_detectors(cohort: Path) -> None:
    key = gan(plan_of(cohort, BEYOND), "cpggan+detector").key
    assert gan(plan_of(cohort, BEYOND, seeds=(0, 1, 2, 3)), "cpggan+detector").key == key
    taken = gan(plan_of(cohort, BEYOND, seeds=(0, FIRST_FEEDBACK_SEED)), "cpggan+detector")
    assert isinstance(taken.detector, DetectorStage)
    assert taken.detector.config.seed == FIRST_FEEDBACK_SEED + 1
    assert taken.key != key


def test_its_bytes_are_counted(cohort: Path, tmp_path: Path) -> None:
    alone, beyond = plan_of(cohort, ARMS[:1]), plan_of(cohort, BEYOND)
    taught = gan(beyond, "cpggan+detector")
    assert taught.detector is not None
    store = Store(tmp_path)
    assert taught.detector.key in beyond.missing(store)
    assert bytes_of([taught.detector]) == bytes_of(alone.missing(store).values()) / len(alone.trials)


def test_it_teaches_the_gan_and_is_told_to_mlflow(tmp_path: Path) -> None:
    study, store = small_plan().study, Store(tmp_path)
    prepared = PrepareStage(study.prepare, cohort=Path("discs"), fingerprint="discs")
    feedback = DetectorStage(study.detector, prepared, shards=(), count=0, workers=WorkerResources())
    taught = GANStage(study.gan_for("cpggan+detector"), prepared, WorkerResources(), feedback)
    for stage in taught.inputs_first():
        make(stage, store)
    content = source_content(taught, {}, Plan(study, ()), store)
    assert content is not None
    assert content.tags["metsweep.detector_key"] == feedback.key
    (training,) = content.parts
    assert training.params["detector.steps"] == str(study.detector.steps)
    assert max(point.value for point in training.points if point.name == "gan/detector_loss") > 0


def test_the_stage_that_prepares_finds_the_cohort_as_it_was_planned(cohort: Path) -> None:
    """The cohort does not say who is in which split; the plan must not count its own division as content."""
    (prepared,) = [stage for stage in plan_of(cohort, ARMS).stages.values() if isinstance(stage, PrepareStage)]
    assert prepared.fingerprint == open_cohort(prepared.cohort).fingerprint()


def test_stages_declare_what_planner_and_tracking_ask(cohort: Path) -> None:
    stages = plan_of(cohort, BEYOND).stages.values()
    assert {stage.name for stage in stages} == {"prepare", "gan", "synthesize", "detector", "evaluate", "realism"}
    for stage in stages:
        assert set(stage.sections) <= Study.model_fields.keys()
        assert stage.run_kind in get_args(RunKind)
        assert {stage.network, stage.joins} <= {None, *stage.inputs}
        again = pickle.loads(pickle.dumps(stage))
        assert again.key == stage.key == key_of(stage.identity)
