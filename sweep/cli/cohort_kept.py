"""What makes a study's trials, also where its cohort is not: to read results, the store is enough."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.study import Study
from sweep.cli import talk
from sweep.plan.plan import make_trial_maker
from sweep.plan.trial import TrialMaker
from sweep.stages import PrepareStage
from sweep.store import Store
from sweep.studies.records import StudyRecord
from trainers.exceptions import CohortError


def trial_maker(study: Study, store: Store, verify: bool = False) -> TrialMaker:
    """As `make_trial_maker`; of a cohort that is gone since the last launch by what the slice set says of its content.

    What is taken is said on stderr.

    Raises:
        CohortError: as `make_trial_maker`, where the store does not tell what the cohort was.
    """
    try:
        return make_trial_maker(study, verify)
    except CohortError:
        fingerprint = None if Path(study.cohort).exists() else _kept_fingerprint(study, store)
        if fingerprint is None:
            raise
    folder = Path(study.cohort).absolute()
    talk.note(
        f"The cohort folder {folder} is gone, so trials are those of the last launch's cohort. If it has moved: "
        "--cohort PATH.",
        err=True,
    )
    return TrialMaker(study, PrepareStage(study.prepare, cohort=folder, fingerprint=fingerprint))


def _kept_fingerprint(study: Study, store: Store) -> str | None:
    """Of the cohort at the last launch, if that was the folder that the study names now."""
    record = StudyRecord(store, study.name)
    if (record.launched() or {}).get("cohort") != os.path.abspath(study.cohort):
        return None
    found = [store.find("prepare", key) for key in record.needs().get("prepare", set())]
    return next((str(one.manifest.identity["cohort"]) for one in found if one), None)
