"""What makes a study's trials, even where its cohort no longer exists: to read results, the store is enough."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from search_spaces.study import Study
from sweep.plan import TrialMaker
from sweep.plan.plan import make_trial_maker
from sweep.stages import PrepareStage
from sweep.store import Store
from sweep.studies.records import StudyRecord
from trainers.exceptions import CohortError


def trial_maker(study: Study, store: Store, note: Callable[[str], None], verify: bool = False) -> TrialMaker:
    """As `make_trial_maker`; for a cohort that is gone since the last launch, by the fingerprint in its slice set.

    Args:
        note: receives a line where the cohort is gone.

    Raises:
        CohortError: as `make_trial_maker`, where the store has no fingerprint of the cohort.
    """
    try:
        return make_trial_maker(study, verify)
    except CohortError:
        fingerprint = None if Path(study.cohort).exists() else _kept_fingerprint(study, store)
        if fingerprint is None:
            raise
    folder = Path(study.cohort).absolute()
    note(
        f"The cohort folder {folder} is gone, so trials are those of the last launch's cohort. If the folder has "
        "moved: --cohort PATH."
    )
    return TrialMaker(study, PrepareStage(study.prepare, cohort=folder, fingerprint=fingerprint))


def _kept_fingerprint(study: Study, store: Store) -> str | None:
    """Of the cohort at the last launch, if that was the folder that the study names now."""
    record = StudyRecord(store, study.name)
    if (record.launched() or {}).get("cohort") != os.path.abspath(study.cohort):
        return None
    artifacts = [store.find("prepare", key) for key in record.needs().get("prepare", set())]
    return next((str(artifact.manifest.identity["cohort"]) for artifact in artifacts if artifact), None)
