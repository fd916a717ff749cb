"""Content-addressed artifacts, and who may make them."""

from sweep.store.store import MANIFEST, Artifact, Cost, Manifest, Store, StoredFile

__all__ = ["MANIFEST", "Artifact", "Cost", "Manifest", "Store", "StoredFile"]
