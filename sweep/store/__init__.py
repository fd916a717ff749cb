"""Content-addressed artifacts, and who may make them."""

from sweep.store.artifact import Artifact, DamagedArtifact
from sweep.store.lease import Fence, Lease, OnWait
from sweep.store.machine import Machine
from sweep.store.manifest import MANIFEST, Cost, Manifest, StoredFile
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
    "StoredFile",
]
