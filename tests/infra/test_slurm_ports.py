"""The ports that the batch script of Slurm starts Ray on: the script's own piece, with a stand-in for Ray."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.source_files import ROOT

STAND_INS = {
    "srun": 'while [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
    "scontrol": "echo node1\n",
    "hostname": "echo 127.0.0.1\n",
    "python": f'[[ $1 == - ]] || exec {sys.executable} "$@"\n',  # `-`: waits until Ray's nodes have joined
    "ray": 'echo "$@"\nexec sleep 600\n',
    "metsweep": 'echo "$RAY_ADDRESS $*"\n',
}
PIECE = re.compile(r"^start_ray='(.*?)^'$", re.DOTALL | re.MULTILINE)
Start = Callable[..., list[int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Ray for another job of this node, which then lives on; returns its ports."""
    (tmp_path / "ray").write_text('#!/bin/sh\necho "$@"\nexec cat\n')
    (tmp_path / "ray").chmod(0o755)
    piece = PIECE.findall((ROOT / "infra/slurm/metsweep.sbatch").read_text())[0]
    jobs: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> list[int]:
        file = tmp_path / f"port-{len(jobs)}"
        job = subprocess.Popen(
            [sys.executable, "-c", piece, file, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )  # fmt: skip
        jobs.append(job)
        assert job.stdout
        said = job.stdout.readline()
        assert set(options) < set(said.split())
        ports = [int(port) for port in re.findall(r"port=(\d+)", said)]
        assert len(set(ports)) == len(ports)
        assert min(ports) - int(file.read_text()) == (0 if "--head" in options else 1)
        return ports

    yield begin
    for job in jobs:
        job.communicate()


def slurm_job(folder: Path, **stand_ins: str) -> subprocess.CompletedProcess[str]:
    """Run the whole script as a job of one node."""
    (folder / "bin").mkdir()
    for name, content in (STAND_INS | stand_ins).items():
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{content}")
        (folder / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "HOME": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1",
    }  # fmt: skip
    script = ["bash", ROOT / "infra/slurm/metsweep.sbatch", "table1"]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)


def test_the_launch_connects_to_the_port_that_ray_was_started_on(tmp_path: Path) -> None:
    ended = slurm_job(tmp_path)
    assert ended.returncode == 0, ended.stderr
    port = re.findall(r" --port=(\d+)", ended.stdout)[0]
    assert f"127.0.0.1:{port} launch table1\n" in ended.stdout
    assert not list((tmp_path / ".cache/metsweep").iterdir())


def test_a_job_whose_ray_does_not_start_ends(tmp_path: Path) -> None:
    ended = slurm_job(tmp_path, python='[[ $1 == - ]] && exec sleep 600\necho "no ports" >&2\nexit 1\n')
    assert ended.returncode == 1
    assert "no ports\nRay has ended on node1; its reason is above." in ended.stderr
    assert "launch table1" not in ended.stdout


def test_jobs_of_one_node_never_share_a_port(start: Start) -> None:
    jobs = [start("--head", "--block"), start("--head", "--block"), start("--address=10.0.0.1:20000", "--block")]
    assert [len(ports) for ports in jobs] == [8, 8, 6]
    assert len({port for ports in jobs for port in ports}) == 22


def test_a_port_that_another_program_has_is_left_out(start: Start) -> None:
    (first, *_), taken = sorted(start("--head")), socket.socket()
    with taken:
        for port in range(first + 10, 32000, 10):  # of the block that would come next
            try:
                taken.bind(("127.0.0.1", port + 5))
                break
            except OSError:
                continue
        taken.listen()
        assert not [port for port in start("--head") if port // 10 == taken.getsockname()[1] // 10]


def test_a_job_keeps_its_block_while_its_ray_runs(start: Start) -> None:
    first = min(start("--head"))
    name = f"\0metsweep-ports-{first}"
    with socket.socket(socket.AF_UNIX) as another, pytest.raises(OSError, match="in use"):
        another.bind(name)
