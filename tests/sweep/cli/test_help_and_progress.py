"""Help that appears at once and whose examples are true; progress on terminals and elsewhere."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import typer

from sweep.cli.app import app
from sweep.cli.commands import PANELS
from sweep.cli.console import progress
from sweep.console import TextConsole
from sweep.studies.progress import StageProgress, clock
from tests.sweep.cli.conftest import Metsweep
from trainers.detector.history import FPS, KEPT, SENSITIVITY

HEAVY = ("torch", "ray", "mlflow", "pandas", "rich")
COMMAND = Path(sys.executable).with_name("metsweep")


def leaves(command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, subcommand in subcommands.items():
        yield from leaves(subcommand, (*path, name))


LEAVES = dict(leaves(typer.main.get_command(app)))


def test_every_command_of_the_design_is_there() -> None:
    assert {" ".join(path) for path in LEAVES} == {
        "cohort demo", "cohort check", "cohort report", "cohort import", "cohort merge", "cohort split", "prepare",
        "slices export", "slices import", "train gan", "train inpainter", "train detector", "synthesize", "evaluate",
        "realism", "score", "detect", "study new", "study list", "study show", "study schema", "plan", "launch",
        "status", "watch", "logs", "run-job", "stop", "retry", "extend", "track", "report", "promote",
        "registry", "rollback", "compare", "store ls", "store du", "store verify", "store gc", "config show",
        "ui", "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_example_of_the_help_is_accepted(path: tuple[str, ...]) -> None:
    command: typer.main.TyperCommand = LEAVES[path]  # type: ignore[assignment]
    assert command.help is not None
    assert "Example:\n" in command.help
    example = shlex.split(command.help.split("Example:\n")[1].splitlines()[0])
    assert tuple(example[: len(path) + 1]) == ("metsweep", *path)
    command.make_context(path[-1], example[len(path) + 1 :]).close()


def test_help_appears_without_heavy_imports() -> None:
    check = f"""
import sys
from sweep.cli import main
assert main(["--help"]) == 0
assert main(["launch", "--help"]) == main(["--version"]) == 0
print("heavy:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert "launch" in done.stdout
    assert done.stdout.endswith("heavy: []\n")


def test_commands_of_other_rooms_join_through_entry_points(
    metsweep: Metsweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "room"))
    dist_info = tmp_path / "room" / "fake_room-1.0.dist-info"
    dist_info.mkdir(parents=True)
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-room\nVersion: 1.0\n")
    entries = ("greet = fake_room:greet", "shelf = fake_room:shelf", "plan = fake_room:greet", "gone = fake_room:gone")
    (dist_info / "entry_points.txt").write_text("\n".join(("[metsweep.commands]", *entries)))
    (tmp_path / "room" / "fake_room.py").write_text(
        "import typer\n"
        "shelf = typer.Typer(help='Keep things on a shelf.')\n"
        "@shelf.command()\n"
        "def put(thing: str) -> None:\n    typer.echo(f'put {thing}')\n"
        "@shelf.command()\n"
        "def take() -> None: ...\n"
        "def greet(name: str, loud: bool = False) -> None:\n"
        "    'Greet a person.'\n"
        "    typer.echo(name.upper() if loud else name)\n"
    )
    listed = metsweep("--help")
    others = listed.out.split("\nCommands of other packages:\n")[1].split()
    assert " ".join(others).startswith("greet Greet a person. shelf Keep things on a shelf.")
    assert [line.partition(" (")[0] for line in listed.err.splitlines()] == ["Command plan", "Command gone"]
    assert "left out: AttributeError: " in listed.err
    assert "Update or uninstall fake-room." in listed.err
    assert metsweep("greet", "ada", "--loud").out == "ADA\n"
    assert metsweep("shelf", "put", "a book").out == "put a book\n"
    assert "Greet" not in metsweep("plan", "--help").out
    assert metsweep("doctor", "--help").err == "", "own commands load no other room"


def test_version_help_and_groups_of_commands(metsweep: Metsweep) -> None:
    assert metsweep("--version").out == f"metsweep {importlib.metadata.version('metsweep')}\n"
    told = metsweep("-h").out
    places = [told.index(f"\n{title}:") for title in PANELS]
    assert places == sorted(places)
    assert "--install-completion" in told
    assert "run-job" not in told
    assert "\nCommands:" not in told
    assert metsweep("store", "ls", "-h").out == metsweep("store", "ls", "--help").out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("status qui", ["quickstart"]), ("report mi", ["mine"]), ("launch quickstart --fidelity la", ["laptop"])],
)
def test_names_of_studies_and_fidelities_are_completed(tmp_path: Path, typed: str, completed: list[str]) -> None:
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    words = f"metsweep {typed}".split()
    shell = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_METSWEEP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from sweep.cli import main; sys.argv = ['metsweep']; sys.exit(main())"],
        env=os.environ | shell | {"METSWEEP_STORE": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == completed, done.stderr


@pytest.mark.parametrize("before", [True, False])
def test_quiet_leaves_out_what_is_no_result(metsweep: Metsweep, before: bool) -> None:
    command = ("study", "new", "mine")
    ended = metsweep("--quiet", *command) if before else metsweep(*command, "-q")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert "Written" in metsweep("study", "new", "other").out, "no command before it is remembered"


def test_verbose_tells_what_is_logged(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def logging_show(*_: object) -> str:
        logging.getLogger("sweep.somewhere").info("read [/b] \x1b[2J")
        return "shown\n"

    monkeypatch.setattr("search_spaces.text.show_study", logging_show)
    loud = metsweep("-v", "study", "show", "quickstart")
    assert loud.out == "shown\n"
    assert loud.err.endswith("INFO sweep.somewhere: read [/b] \\x1b[2J\n")
    assert metsweep("study", "show", "quickstart").err == ""


def test_installed_command_refuses_without_traceback(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "cohort", "check", "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no cohort folder nowhere.")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ui_serves_mlflow(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([COMMAND, "ui", "--port", str(port)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert f"http://127.0.0.1:{port}" in server.stdout.readline()
    deadline = time.time() + 120
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                assert server.poll() is None
                assert time.time() < deadline
                time.sleep(0.3)
    finally:
        family = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        server.wait(timeout=30)
        psutil.wait_procs(family, timeout=30)
        server.stdout.close()


def test_ui_names_the_server_that_has_the_runs(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://reader:secret@mlflow.example:5000")
    ended = metsweep("ui")
    assert ended.code == 0
    assert "http://reader:***@mlflow.example:5000" in ended.out


def test_progress_elsewhere_than_on_a_terminal_is_lines() -> None:
    text = io.StringIO()
    with progress("gan cpggan", TextConsole(file=text, width=80)) as on_progress:
        on_progress(10, 1200, {"gan/d_loss": 1.25})
        on_progress(20, 1200, {"gan/d_loss": 1.125})
        on_progress(1200, 1200, {"gan/d_loss": 1.0})
    lines = text.getvalue().splitlines()
    assert len(lines) == 2, lines
    assert "gan cpggan: 10 of 1,200" in lines[0]
    assert "d_loss=1.25" in lines[0]
    assert "gan cpggan: 1,200 of 1,200" in lines[1]


def test_progress_on_a_terminal_is_a_bar_with_time_left() -> None:
    text = io.StringIO()
    with progress("detector", TextConsole(file=text, width=110, force_terminal=True)) as on_progress:
        on_progress(0, 100, {})
        time.sleep(0.2)
        on_progress(1, 100, {"validation/sensitivity_iou50": 0.5})
        time.sleep(0.3)
    shown = text.getvalue()
    assert "1 of 100" in shown
    assert "left" in shown
    assert "sensitivity_iou50=0.5" in shown


def test_progress_of_a_detector_shows_the_weights_that_are_kept() -> None:
    """0.226 was best, 0.161 came last: what is kept is the detector."""
    last = {SENSITIVITY: 0.161, FPS: 2.5, KEPT + SENSITIVITY: 0.226, KEPT + FPS: 2.25}
    shown = StageProgress("detector", "running", 5, 10, last).newest_figures()
    assert shown == "kept weights: sensitivity=0.226, fps_per_slice=2.25"
    loss = {"detector/loss": 3.5, "detector/box_loss": 1.5, **{k: v for k, v in last.items() if k.startswith(KEPT)}}
    told = StageProgress("detector", "running", 6, 10, loss).newest_figures()
    assert told == "loss=3.5  kept weights: sensitivity=0.226, fps_per_slice=2.25"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
