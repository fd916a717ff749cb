"""What sharing GANs saves of `table1` (ten arms, three seeds), beside every trial training its own GAN.

The stages take fixed times, in the proportion that `metsweep plan` estimates where there is no history (operations
counted). At the paper's proportions the study is launched, and what its stages occupied is summed over the manifests:
once each, and once for every trial that needs it. A worker stands for a GPU; stages are plain Ray tasks.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_sharing --seconds 60
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from search_spaces.study import Study, load_study
from search_spaces.values import Resources
from sweep.console import TextConsole
from sweep.engine.launch import launch
from sweep.plan import Plan, TrialMaker
from sweep.plan.estimate import Estimator
from sweep.plan.plan import plan_with
from sweep.report.report import write_report
from sweep.stages import PrepareStage
from sweep.store import Store
from tests.benchmarks.machine import machine
from tests.sweep.task_stages import kind, make_task_maker, set_seconds, settings_in

TARGET = 0.35
COUNTED = ("gan", "synthesize", "detector", "evaluate")


def estimated(fidelity: str) -> tuple[Plan, dict[str, float]]:
    """The plan of `table1`, and the seconds of each kind of stage on what the study asks for."""
    study = load_study("table1", cohort="nowhere", fidelity=fidelity)
    maker = TrialMaker(study, PrepareStage(study.prepare, cohort=Path("nowhere"), fingerprint="none"))
    plan = plan_with(maker, study, ())
    with tempfile.TemporaryDirectory() as folder:
        estimator = Estimator(plan, Store(folder))
        of_kind = {kind(stage): stage for stage in plan.stages.values() if stage.name in COUNTED}
        return plan, {name: one.seconds for name, stage in of_kind.items() if (one := estimator.of(stage))}


def launched(study: Study, pace: Mapping[str, float], folder: Path) -> tuple[Plan, dict[str, float]]:
    """Stage key -> what it occupied, of a study launched at a pace."""
    set_seconds(pace)
    settings = settings_in(folder)
    narrow = study.detector.model_copy(update={"width": 0.1})  # a launch wants room on the disk for what is to come
    study = study.model_copy(update={"cohort": str(folder), "resources": Resources(), "detector": narrow})
    with (folder / "output.txt").open("w") as output:
        ended = launch(study, settings, TextConsole(file=output), write_report, maker=make_task_maker)
    assert not ended.failed, ended
    plan, store = plan_with(make_task_maker(study), study, ()), Store(settings.store)
    found = {key: store.find(stage.name, key) for key, stage in plan.stages.items()}
    return plan, {
        key: one.manifest.cost.seconds * plan.stages[key].resources.workers for key, one in found.items() if one
    }


def occupied(plan: Plan, seconds: Mapping[str, float], names: tuple[str, ...]) -> tuple[float, float]:
    """Over the stages of these names: each once, and once for every trial that needs it."""
    once = sum(seconds[key] for key, stage in plan.stages.items() if stage.name in names)
    stages = (pair for trial in plan.trials for pair in trial.stages.items())
    return once, sum(seconds[key] for key, stage in stages if stage.name in names)


def show(title: str, plan: Plan, seconds: Mapping[str, float]) -> None:
    """One row: what the GANs and a detector take, and the two shares."""
    gans = [f"{stage.config.variant} {seconds[key]:,.4g}" for key, stage in plan.gans.items()]
    detector = seconds[plan.trials[0].evaluate.detector.key]
    (own, every), (own_gans, every_gans) = (occupied(plan, seconds, names) for names in (COUNTED, ("gan",)))
    print(
        f"| {title} | {', '.join(gans)}, a detector {detector:,.4g} | {own:,.0f} | {every:,.0f} | "
        f"{own / every:.2f} | {own_gans / every_gans:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of all stages together, where it is launched")
    asked = parser.parse_args()
    print("| table1 | seconds of each stage | shared | each trial its own | share | share of the GANs alone |")
    print("|---|---|---|---|---|---|")
    for fidelity in ("paper", "gpu", "laptop"):
        plan, of_kind = estimated(fidelity)
        seconds = {key: of_kind.get(kind(stage), 0.0) for key, stage in plan.stages.items()}
        show(f"{fidelity}, estimated", plan, seconds)
        if fidelity == "paper":
            pace = {name: one * asked.seconds / sum(seconds.values()) for name, one in of_kind.items()}
            with tempfile.TemporaryDirectory() as folder:
                show("paper, launched at this pace", *launched(plan.study, pace, Path(folder)))
    print(f"\nThe target is a share of at most {TARGET}. {machine()}.")


if __name__ == "__main__":
    main()
