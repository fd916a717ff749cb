from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sweep.cli import main
from tests.trainers.data.phantom import make_cohort
from tests.trainers.disc_slices import tiny_config

SIZE = 32
STUDY = "study.yaml"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Metsweep = Callable[..., Ended]


def row(text: str, first: str) -> list[str]:
    """The cells of the first table row that begins with `first`."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        if cells[0] == first:
            return cells
    raise AssertionError(f"no row {first!r} in:\n{text}")


@pytest.fixture
def metsweep(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Metsweep:
    """Runs a command in this process, in a working directory of the test's own and with nothing set up."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ended(code, str(said.out), str(said.err))

    return run


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients and a normal subject, stripped phantoms."""
    return make_cohort(tmp_path_factory.mktemp("phantoms") / "cohort")


@pytest.fixture(scope="session")
def fidelity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fidelity at which every stage takes a second or two."""
    path = tmp_path_factory.mktemp("fidelity") / "tiny.yaml"
    gan = {
        "resolution": SIZE, "initial_resolution": 16, "width": 0.02, "latent_size": 8, "total_kimg": 0.03,
        "fade_kimg": 0.01, "stable_kimg": 0.01, "checkpoint_kimg": 0.006, "batch_size": 2,
    }  # fmt: skip
    settings = {"prepare": {"size": SIZE}, "gan": gan, "detector": tiny_config().model_dump(mode="json")}
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def slices(cohort: Path, fidelity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice set of `cohort`, by the command."""
    out = tmp_path_factory.mktemp("prepared") / "slices"
    assert main(["prepare", str(cohort), "--out", str(out), "--fidelity", str(fidelity), "--workers", "1"]) == 0
    return out


@pytest.fixture(scope="session")
def gan(slices: Path, fidelity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN trained on `slices`, by the command."""
    out = tmp_path_factory.mktemp("trained") / "gan"
    assert main(["train", "gan", str(slices), "--out", str(out), "--fidelity", str(fidelity)]) == 0
    return out


@pytest.fixture
def study_file(request: pytest.FixtureRequest, cohort: Path, fidelity: Path) -> Path:
    """A study file of two cells and two seeds in the working directory of `metsweep`, not launched yet."""
    request.getfixturevalue("metsweep")
    values = {
        "name": "small",
        "cohort": str(cohort),
        "fidelity": str(fidelity),
        "arms": [{"variant": "none"}, {"variant": "cpggan", "counts": [4]}],
        "seeds": [0, 1],
    }
    path = Path.cwd() / STUDY
    path.write_text(yaml.safe_dump(values))
    return path
