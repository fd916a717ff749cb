"""Studies before anything has run; `tests/integration` launches them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import optuna

from search_spaces.study import load_study, resolve_study
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.cli.conftest import Metsweep, row


def test_plan_shows_arms_stages_and_sharing(metsweep: Metsweep, cohort: Path) -> None:
    ended = metsweep("plan", "quickstart", "--cohort", cohort, "--set", "synthesis.shard_size=100")
    assert ended.code == 0, ended.err
    assert "5 trials" in ended.out
    assert row(ended.out, "cpggan") == ["cpggan", "4,000", "200", "1", "0"]
    # Five trials want five `prepare`, four GANs, and 2 + 4 shards of each of the two GANs.
    assert row(ended.out, "prepare")[1:5] == ["5", "1", "0", "1"]
    assert row(ended.out, "gan")[1:5] == ["4", "2", "0", "2"]
    assert row(ended.out, "synthesize")[1:5] == ["12", "8", "0", "8"]
    # One a trial; realism of either GAN reads that of the real-only arm.
    assert row(ended.out, "detector")[1:5] == ["7", "5", "0", "5"]
    assert row(ended.out, "realism")[1:5] == ["2", "2", "0", "2"]
    assert "Sharing saves 12 stages" in ended.out
    assert "no history" in ended.out
    assert 'Times marked "assumed" may be off' in ended.out
    assert not list(Path.cwd().iterdir())


def test_plan_shows_the_detector_that_a_gan_learns_from(metsweep: Metsweep, cohort: Path) -> None:
    ended = metsweep("plan", "beyond", "--fidelity", "laptop", "--cohort", cohort)
    assert ended.code == 0, ended.err
    assert row(ended.out, "cpggan+detector") == ["cpggan+detector", "4,000", "200", "3", "0"]
    # One a trial, and the same for all nine of `cpggan+detector`.
    assert row(ended.out, "detector")[2:5] == ["40", "0", "40"]
    assert (
        "The generator of gan cpggan+detector learns from one more detector: detector none seed 1000000." in ended.out
    )


def launched(name: str, cohort: Path) -> None:
    """As far as the store in the working directory knows."""
    StudyRecord(Store("metsweep-store"), name).keep_study(load_study(name, cohort=str(cohort)))


def test_report_of_a_study_that_has_not_run(metsweep: Metsweep, cohort: Path) -> None:
    launched("quickstart", cohort)
    ended = metsweep("report", "quickstart", "--cohort", cohort, "--out", "report")
    assert ended.code == 0, ended.err
    assert "No trial is complete yet." in ended.out
    assert "# Study quickstart" in Path("report/report.md").read_text()
    assert len(list(csv.DictReader(Path("report/table1.csv").read_text().splitlines()))) == 5


def test_a_report_for_programs(metsweep: Metsweep, cohort: Path) -> None:
    launched("quickstart", cohort)
    ended = metsweep("report", "quickstart", "--cohort", cohort, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["study"] == "quickstart"
    assert told["verdict"] == "No verdict yet: no arm is complete."
    assert [row["variant"] for row in told["tables"]["table1"]["rows"]][:2] == ["none", "cpggan"]


def test_study_that_has_not_run_is_not_promoted(metsweep: Metsweep, cohort: Path) -> None:
    launched("quickstart", cohort)
    ended = metsweep("promote", "quickstart", "--cohort", cohort)
    assert ended.code == 2
    assert "lacks 5 of 5 trials (first: " in ended.err
    assert [path.name for path in Path.cwd().iterdir()] == ["metsweep-store"]


def test_promotion_does_not_wait_for_cells_that_were_pruned(metsweep: Metsweep, cohort: Path) -> None:
    study = resolve_study("gan_hyperparameters").study
    search = optuna.create_study(storage="sqlite:///optuna.db", study_name=study.name, direction="maximize")
    pruned, running = search.ask(), search.ask()
    for one in (pruned, running):
        study.draw(one)
    search.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    launched("gan_hyperparameters", cohort)
    ended = metsweep("promote", "gan_hyperparameters", "--fidelity", "laptop", "--cohort", cohort)
    assert ended.code == 2
    assert "lacks 3 of 4 trials (first: " in ended.err
    assert "Run `metsweep launch gan_hyperparameters` first" in ended.err


def test_cohort_check_counts_by_split(metsweep: Metsweep, cohort: Path) -> None:
    ended = metsweep("cohort", "check", cohort)
    assert ended.code == 0, ended.err
    assert row(ended.out, "train") == ["train", "1", "1", "2", "1"]
    assert row(ended.out, "validation") == ["validation", "1", "0", "1", "1"]
    assert row(ended.out, "test") == ["test", "1", "0", "1", "1"]
