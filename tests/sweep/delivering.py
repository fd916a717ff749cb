"""Holds a study and delivers it to MLflow, as a launch does beside its trials, until it is told that all is done.

    python -m tests.sweep.delivering FOLDER

The folder holds the store and MLflow's database; its file `done` is what ends it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sweep.engine.study_lease import only_process
from sweep.store import Store
from sweep.tracking.delivery import Delivery
from sweep.tracking.tracker import Tracker
from tests.sweep.timed_store import timed_plan
from trainers.exceptions import MetsweepError


def say(line: str) -> None:
    print(line, flush=True)


def main(folder: Path) -> int:
    """The exit status is that of a command."""
    plan, store = timed_plan(folder), Store(folder / "store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    try:
        with (
            only_process("timed", store, say) as lease,
            Delivery(Tracker(uri, plan, store, lease=lease), say, every_seconds=0.2) as delivery,
        ):
            say("delivering")
            while not (folder / "done").exists():
                lease.refuse_if_lost()
                time.sleep(0.05)
            return 0 if delivery.finish("FINISHED") else 1
    except MetsweepError as error:
        say(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
