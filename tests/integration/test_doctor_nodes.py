"""The doctor on a cluster of two nodes, the second of which sees other disks and has other code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.survival import NO_TOKEN, RayHead
from tests.source_files import ROOT
from tests.trainers.data.phantom import make_cohort

pytestmark = pytest.mark.slow
SECOND = "second"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort and room for a store, which the first node and the driver share."""
    folder = tmp_path_factory.mktemp("shared")
    make_cohort(folder / "cohort")
    return folder


@pytest.fixture(scope="module")
def head(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """The cluster: in place of `shared` the second node has a folder of its own, with another cohort."""
    other = tmp_path_factory.mktemp("other")
    make_cohort(other / "cohort")
    with (other / "cohort" / "cohort.json").open("a") as manifest:
        manifest.write(" ")
    code = tmp_path_factory.mktemp("code")
    for room in ("search_spaces", "sweep", "trainers"):
        shutil.copytree(ROOT / room, code / room)
    (code / "sweep" / "text.py").open("a").write("# changed\n")
    head = RayHead(1)
    head.start()
    start = (
        f"{Path(sys.executable).with_name('ray')} start --address={head.address} --block --disable-usage-stats "
        f"--node-name={SECOND} --num-cpus=1 --num-gpus=1 --object-store-memory=100000000"
    )
    node = subprocess.Popen(
        # Ray gives up a node that does not start within 30 s; a crowded machine needs longer.
        ["unshare", "--mount", "sh", "-c", f"mount --bind {other} {shared} && until {start}; do :; done"],
        env=os.environ | NO_TOKEN | {"PYTHONPATH": str(code)}, start_new_session=True,
    )  # fmt: skip
    yield head
    os.killpg(node.pid, signal.SIGTERM)
    node.wait()
    head.close()


def doctor(head: RayHead, shared: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The command's exit code, and what it finds on the nodes."""
    environment = os.environ | NO_TOKEN | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": head.address}
    command = (sys.executable, "-m", "sweep.cli", "doctor", "--json", "--store", str(shared / "store"), *arguments)
    ended = subprocess.run(command, cwd=shared, env=environment, capture_output=True, text=True, timeout=200)
    if "Failed to register worker" in ended.stderr:  # how Ray ends a driver that came before the second node was ready
        return doctor(head, shared, *arguments)
    assert ended.returncode in (0, 1), ended.stderr
    assert ended.stdout.startswith("["), ended
    return ended.returncode, [finding for finding in json.loads(ended.stdout) if finding["where"]]


def test_each_node_is_examined_and_what_differs_is_named(head: RayHead, shared: Path) -> None:
    deadline = time.monotonic() + 120
    code, found = doctor(head, shared, "--cohort", "cohort")
    while SECOND not in json.dumps(found):  # has not joined yet
        assert (code, time.monotonic() < deadline) == (0, True), found
        code, found = doctor(head, shared, "--cohort", "cohort")
    assert code == 1
    of_second = {finding["what"]: finding for finding in found if finding["where"] == SECOND}
    assert of_second["version of metsweep"]["state"] == "missing"
    assert "is another cohort than that of this machine" in of_second["cohort"]["found"]
    assert "is another folder than on this machine" in of_second["same store"]["found"]
    assert of_second["GPU"]["found"] == "none, though Ray offers 1"
    assert all(finding["fix"] for finding in of_second.values() if finding["state"] == "missing")
    of_both = {finding["what"]: finding["state"] for finding in found if finding["where"] == "all 2 nodes"}
    assert of_both["clock"] == "ok"
    of_first = {finding["what"]: finding["state"] for finding in found if SECOND not in finding["where"]} | of_both
    assert {of_first[what] for what in ("versions", "cohort", "same store", "store", "GPU")} == {"ok"}
    assert sorted(path.name for path in shared.iterdir()) == ["cohort"]
