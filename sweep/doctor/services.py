"""What the settings name: the store, MLflow, Optuna's database and a cohort, as this machine reaches them."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sweep.doctor.finding import LOOK, MISSING, OK, Finding
from sweep.doctor.reach import mlflow_state, optuna_tables, reach
from sweep.redaction import without_secrets
from sweep.settings import unknown_variables
from sweep.store import Store
from trainers.data.cohort import MANIFEST, open_cohort
from trainers.exceptions import CohortError, StoreError, TrackingError

DEMO_DISK = 2e9
OFF_S, REFUSED_S = 5.0, 600.0
"""Difference between two clocks that deserves a look; and beyond which requests may be refused (S3: 15 minutes)."""
SYNCHRONISE = "Synchronise the clocks, e.g. by chrony: S3 refuses requests of clocks that are 15 minutes off."


def variables() -> Iterator[Finding]:
    """Variables that seem to be meant as settings."""
    for complaint in unknown_variables():
        yield Finding("settings", LOOK, complaint, "Rename or unset the variable.")


def open_store(uri: str) -> Store | Finding:
    """The store of the settings, or why its place is none."""
    try:
        return Store(uri)
    except StoreError as error:
        return Finding("store", MISSING, f"{without_secrets(uri)} cannot be used", str(error))


def examine_store(store: Store) -> Iterator[Finding]:
    """Whether everything works that stages do with the store, and whether there is room for local copies."""
    if store.uri.startswith("s3://"):
        yield from _examine_bucket(store)
    else:
        yield _writable(store, f"{store.uri}{'' if store.local.exists() else ', will be made'}")
    # Of a store on S3 this is the disk of its copies on this machine.
    free = shutil.disk_usage(_existing(store.local)).free
    if free < DEMO_DISK:
        variable = "METSWEEP_STORE (--store)" if store.uri == str(store.local) else "METSWEEP_CACHE"
        fix = f"The demo needs about {DEMO_DISK / 1e9:.0f} GB: free some space, or set {variable} to another folder."
        yield Finding("disk of the store", MISSING, f"{free / 1e9:.1f} GB free", fix)
    else:
        yield Finding("disk of the store", OK, f"{free / 1e9:.1f} GB free")


def clock(what: str, ahead_s: float) -> Finding:
    """What the difference between two clocks means.

    Args:
        what: whose clocks.
        ahead_s: how far one is ahead of the other.
    """
    if abs(ahead_s) < OFF_S:
        return Finding(what, OK, f"less than {OFF_S:.0f} s apart")
    found = f"{abs(ahead_s):,.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    return Finding(what, LOOK if abs(ahead_s) < REFUSED_S else MISSING, found, SYNCHRONISE)


def mlflow(uri: str) -> Finding:
    """Whether launches can use MLflow there, with this user's login."""
    fix = "Start it there, correct MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the working directory."
    return _of_mlflow("MLflow", uri, fix, registry=False)


def registry(uri: str) -> Finding:
    """The same of a model registry elsewhere."""
    fix = "Start it there, correct MLFLOW_REGISTRY_URI, or unset it to use that of the tracking server."
    return _of_mlflow("MLflow registry", uri, fix, registry=True)


def _of_mlflow(what: str, uri: str, fix: str, *, registry: bool) -> Finding:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        state = mlflow_state(uri, registry=registry)
    except (OSError, ValueError, ImportError, sqlite3.Error, SQLAlchemyError, TrackingError) as error:
        return Finding(what, MISSING, _trouble(uri, error).removesuffix(fix).strip(), fix)
    return Finding(what, OK, f"{without_secrets(uri)}, {state}")


def optuna(uri: str) -> Finding:
    """Whether Optuna's database answers, and what it holds."""
    from sqlalchemy.exc import SQLAlchemyError

    fix = "Start it there, correct OPTUNA_STORAGE, or unset it to use optuna.db in the working directory."
    try:
        reach(uri)
        held = optuna_tables(uri)
    except (OSError, ValueError, ImportError, sqlite3.Error, SQLAlchemyError, TrackingError) as error:
        return Finding("Optuna", MISSING, _trouble(uri, error), fix)
    return Finding("Optuna", OK, f"{without_secrets(uri)}, {held}")


def cohort_listing(folder: Path) -> str:
    """Digest of a cohort's manifest and of the sizes of its files, which are not read.

    Raises:
        CohortError: the cohort cannot be used.
    """
    digest = hashlib.sha256((folder / MANIFEST).read_bytes())
    for subject in open_cohort(folder).subjects:
        for name in (subject.volume, subject.mask, subject.boxes):
            if name is not None:
                digest.update(f"{name} {(folder / name).stat().st_size}\n".encode())
    return digest.hexdigest()


def examine_cohort(folder: Path, same_as: str | None = None) -> Finding:
    """Whether a cohort can be used here.

    Args:
        folder: of the cohort.
        same_as: `cohort_listing` that it must have; None: any.
    """
    try:
        listing = cohort_listing(folder)
    except (CohortError, OSError) as error:
        fix = "Correct --cohort; on nodes mount or copy the cohort, under the same path on all."
        return Finding("cohort", MISSING, str(error).splitlines()[0], fix)
    if same_as not in (None, listing):
        fix = "Copy or mount the same cohort there: its manifest or the sizes of its files differ."
        return Finding("cohort", MISSING, f"{folder} is another cohort than that of this machine", fix)
    return Finding("cohort", OK, str(folder))


def _examine_bucket(store: Store) -> Iterator[Finding]:
    from sweep.store.s3 import S3Backend
    from sweep.store.s3_trial import PERMISSIONS, try_requests

    assert isinstance(store.backend, S3Backend)
    trial = try_requests(store.backend)
    if trial.refused is None:
        yield _writable(store, f"{store.uri}: {', '.join(trial.done)}")
    else:
        done = f"{', '.join(trial.done)}; " if trial.done else ""
        # Where something works, the login is right.
        permission = f" On AWS that needs {PERMISSIONS[trial.refused]}." if trial.done else ""
        yield Finding("store", MISSING, f"{store.uri}: {done}no {trial.refused}", trial.why + permission)
    if trial.clock_ahead_s is not None:
        yield clock("clock against S3", trial.clock_ahead_s)


def _writable(store: Store, found: str) -> Finding:
    try:
        store.check_writable()
    except StoreError as error:
        return Finding("store", MISSING, f"{store.uri} cannot be used", str(error))
    return Finding("store", OK, found)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _trouble(uri: str, error: Exception) -> str:
    said = without_secrets(error, uri).splitlines() or [type(error).__name__]
    return f"{without_secrets(uri)}: {said[0]}"
