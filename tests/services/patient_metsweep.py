"""The command `metsweep` for a machine that is busy with other tests: a Ray that it starts may take minutes."""

from __future__ import annotations

import sys

from sweep.cli import main
from tests.services.patient_ray import be_patient

if __name__ == "__main__":
    be_patient()
    sys.exit(main())
