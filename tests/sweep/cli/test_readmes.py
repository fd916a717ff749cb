"""Every command that a README shows in a block runs, unless it takes longer than a minute; and every command exists."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer import Context
from typer.main import get_command

from search_spaces.study import load_study
from sweep.cli.app import app
from sweep.store import Store
from sweep.studies.records import LaunchOptions, StudyRecord
from tests.source_files import ROOT
from tests.sweep.cli.conftest import Metsweep
from tests.trainers.evaluation.cases import random_case
from trainers.evaluation.coco import detections_json, truth_json

READMES = sorted(
    path.relative_to(ROOT)
    for room in ("", "sweep", "trainers/*", "search_spaces", "infra", "dashboards", "tests/benchmarks")
    for path in ROOT.glob(f"{room}/*.md".lstrip("/"))
)
LONGER = {
    "make demo": "nine minutes; tests/integration/test_survives.py runs its commands",
    "make test": "all tests",
    "metsweep cohort import": "needs a download; test_walk_through.py runs these commands",
    "metsweep cohort merge brats ixi": "needs these cohorts, likewise",
    "metsweep cohort split both": "needs that cohort, likewise",
    "metsweep launch": "trains GANs and detectors",
    "metsweep cohort demo cohort60": "60 patients",
    "metsweep prepare cohort60": "60 patients",
    "metsweep train": "minutes of training; tests/sweep/cli/test_by_hand.py trains tiny networks",
    "metsweep synthesize gan": "needs that GAN; tests/sweep/cli/test_by_hand.py draws from a tiny one",
    "metsweep synthesize inpainter": "needs that inpainter, likewise",
    "metsweep realism synthetic": "needs those slices; tests/sweep/cli/test_realism.py runs it",
    "metsweep stack": "servers; tests/integration/test_stack.py runs these commands",
    "eval": "reads what `metsweep stack env` prints, as tests/integration/test_stack.py does",
    "pip install": "make installs the same",
    "python3 -m pip install": "needs the wheels",
    "PYTHONPATH=build/gpu-site make": "needs a GPU",
}
"""How a command begins -> why no test runs it as it is written."""


def text(readme: Path) -> str:
    return (ROOT / readme).read_text()


def commands(block: str) -> list[str]:
    """The commands of a block, without comments and settings of the environment."""
    lines = [line.partition("  #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("export ")]


def is_longer(command: str) -> bool:
    return any(command.startswith(start) for start in LONGER)


BLOCKS = {
    f"{readme}-{number}": commands(block)
    for readme in READMES
    for number, block in enumerate(re.findall(r"^```bash\n(.*?)^```$", text(readme), flags=re.MULTILINE | re.DOTALL))
}


def write_boxes() -> None:
    """The truth and detections that a person has."""
    truth, detections = random_case(np.random.default_rng(0))
    Path("truth.json").write_text(json.dumps(truth_json(truth, 256)))
    Path("detections.json").write_text(json.dumps(detections_json(detections)))
    rows = (f"{image['id']},{image['patient_id']}" for image in truth_json(truth, 256)["images"])
    Path("patients.csv").write_text("\n".join(("image,patient_id", *rows)) + "\n")


def record_launch(name: str, cohort: Path) -> None:
    """Leave in the store what other commands need of a launch."""
    study = load_study(name, cohort=str(cohort))
    record = StudyRecord(Store("metsweep-store"), study.name)
    record.keep_study(study)
    record.keep_options(LaunchOptions(cohort=str(cohort)))


@pytest.mark.parametrize("block", [name for name, lines in BLOCKS.items() if not all(map(is_longer, lines))])
def test_the_commands_of_a_block_run(metsweep: Metsweep, cohort: Path, block: str) -> None:
    write_boxes()
    for command in BLOCKS[block]:
        program, *arguments = shlex.split(re.sub(r"\bCOHORT\b|/shared/cohort", str(cohort), command))
        assert program == "metsweep" or is_longer(command), f"who runs {command}?"
        if command.startswith("metsweep launch"):
            record_launch(arguments[1], cohort)
        elif not is_longer(command):
            ended = metsweep(*arguments)
            assert ended.code == 0, f"{command}\n{ended.err}"


def test_commands_that_no_test_runs_are_shown_somewhere() -> None:
    shown = [command for lines in BLOCKS.values() for command in lines]
    assert not [start for start in LONGER if not any(command.startswith(start) for command in shown)]


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_every_command_that_is_named_exists(readme: Path) -> None:
    everything: Any = get_command(app)
    exists = set(everything.list_commands(Context(everything)))
    named = set(re.findall(r"(?:^|[`$] ?|\.venv/bin/)metsweep ([a-z]+(?:-[a-z]+)*)", text(readme), flags=re.MULTILINE))
    assert not named - exists


def test_settings_for_several_workers_are_a_studys(cohort: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text(Path("infra/README.md")), flags=re.MULTILINE | re.DOTALL)
    study = {"name": "mine", "cohort": str(cohort), "fidelity": "laptop", "arms": [{"variant": "none"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study | yaml.safe_load(block)))
    assert load_study(str(tmp_path / "mine.yaml")).resources.gan.min_workers == 1


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_readmes_are_short_and_their_links_lead_somewhere(readme: Path) -> None:
    most = {"README.md": 150, "tests/benchmarks/RESULTS.md": 400}.get(str(readme), 200)
    assert len(text(readme).splitlines()) <= most
    for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text(readme)):
        target = (ROOT / readme).parent / path if path else ROOT / readme
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"{path}#{anchor}"
