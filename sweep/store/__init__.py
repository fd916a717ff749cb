"""Keeps what stages make: content-addressed artifacts, their leases and checkpoints, and small documents of studies.

`Store` is the way in, for a folder or S3; processes on many machines may use one place at once.
"""

from sweep.store.artifact import Artifact, DamagedArtifact
from sweep.store.lease import Fence, Lease, OnWait
from sweep.store.machine import Machine
from sweep.store.manifest import MANIFEST, Cost, Manifest
from sweep.store.store import Store

__all__ = [
    "MANIFEST",
    "Artifact",
    "Cost",
    "DamagedArtifact",
    "Fence",
    "Lease",
    "Machine",
    "Manifest",
    "OnWait",
    "Store",
]
