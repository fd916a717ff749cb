"""The command `metsweep` for a machine that is busy with other tests: a Ray that it starts may take minutes."""

from __future__ import annotations

import sys

from infra.stack import ray_head
from sweep.cli import main
from tests.services.patient_ray import be_patient

if __name__ == "__main__":
    be_patient()
    ray_head.RAY = (sys.executable, "-m", "tests.services.patient_ray")
    sys.exit(main())
