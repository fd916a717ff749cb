"""One driver of a study without Ray: hands its trials out, and ends them as Tune would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher

from search_spaces.study import Study
from sweep.engine.board import BoardHandle
from sweep.engine.search import StudySearch
from sweep.plan import Trial, TrialMaker
from sweep.plan.plan import plan_with
from sweep.store import Store
from sweep.studies.continuing import take_up_choices
from sweep.studies.optuna_study import Drawn, drawn_cells, find_optuna_study, open_storage, read_drawn
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.records import StudyRecord
from tests.sweep.fixed_time import make_timed_maker, quality, timed_study, wasserstein
from tests.sweep.publishing import publishing
from tests.sweep.summaries import realism_report, summary

SEARCH = {
    "arms": [{"variant": "none"}],
    "space": {
        "variant": {"choice": ["cpggan", "image2image"]},
        "count": {"int": [4000, 12000], "step": 4000},
        "detector.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
    "search": {"method": "tpe", "trials": 4, "startup_trials": 2},
    "count_scale": 0.1,
    "detector": {"final_learning_rate": 1e-5},
}


class Board(BoardHandle):
    """Notes what the search reports to the board."""

    def __init__(self) -> None:
        self.handed_out: list[str] = []
        self.stopped: list[tuple[str, StopReason]] = []

    def hand_out(self, trial: Trial) -> None:
        self.handed_out.append(trial.name)

    def stop(self, name: str, reason: StopReason) -> None:
        self.stopped.append((name, reason))


class Asking:
    """Asks a search for trials as Tune does."""

    search: StudySearch
    _asked = 0

    def next(self) -> tuple[str, Trial] | None:
        """Tune's id and the trial that is handed out, or None when there is no more."""
        self._asked += 1
        suggested = self.search.suggest(f"id{self._asked}")
        if not isinstance(suggested, Mapping):
            assert suggested == Searcher.FINISHED
            return None
        return f"id{self._asked}", next(one for one in self.search.running if one.name == suggested["trial"])


class Sweep(Asking):
    """One driver of a study: everything but Ray."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.study: Study = timed_study(folder, **{**SEARCH, **changes})
        self.store = Store(folder / "store")
        self.board = Board()
        self.outcomes: dict[str, Outcome] = {}
        maker: TrialMaker = make_timed_maker(self.study)
        take_up_choices(self.study, f"sqlite:///{folder / 'optuna.db'}")
        storage = open_storage(f"sqlite:///{folder / 'optuna.db'}")
        drawn = drawn_cells(find_optuna_study(self.study, storage), self.study)
        plan = plan_with(maker, self.study, [(one.number, one.cell) for one in drawn])
        self.held = True
        self.record = StudyRecord(self.store, self.study.name)
        self.search = StudySearch(
            plan, maker, storage, self.store, self.board, self._tell, self.record.keep_needs, lambda: self.held
        )
        open_cells = {one.number for one in drawn if one.state == "RUNNING"}
        self.search.take_up([trial for trial in plan.trials if trial.number in open_cells])
        self.search.wait_for([trial for trial in plan.unfinished(self.store) if trial.number is None])

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.name] = outcome

    def finish(self, name: str, trial: Trial, **changes: float) -> None:
        """The trial is evaluated, its slices are judged where they count, and Tune says so."""
        figures = summary(**{"sensitivity": quality(trial.evaluate.detector), **changes})
        with publishing(self.store, trial.evaluate) as folder:
            text = json.dumps({"validation": {"iou50": figures, "iou25": figures}})
            (folder / "metrics.json").write_text(text)
        if trial.realism and self.store.find("realism", trial.realism.key) is None:
            report = realism_report(trial.variant, wasserstein(trial.realism))
            with publishing(self.store, trial.realism) as folder:
                (folder / "realism.json").write_text(json.dumps(report))
        self.search.on_trial_complete(name, {"state": "done"})

    def run(self) -> list[str]:
        """Everything, one after the other; the names as they were handed out."""
        while (given := self.next()) is not None:
            self.finish(*given)
        return self.board.handed_out

    @property
    def drawn(self) -> list[Drawn]:
        """The cells drawn so far, as any command reads them."""
        return read_drawn(self.study, f"sqlite:///{self.store.local.parent / 'optuna.db'}")

    @property
    def told(self) -> list[optuna.trial.FrozenTrial]:
        """Optuna's trials as its database holds them."""
        uri = f"sqlite:///{self.store.local.parent / 'optuna.db'}"
        return optuna.load_study(study_name="timed", storage=uri).trials
