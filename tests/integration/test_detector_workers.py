"""The detector on a real Ray: two workers of which one is killed, and where they connect to, by strace."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed

from sweep.engine.cluster import LOCAL_ENVIRONMENT, RAY_ENVIRONMENT
from tests.trainers.disc_slices import make_slice_set, tiny_config
from tests.trainers.ranks import RANKS, join_group, run_ranks
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, Placement, WorkerResources, train_on_ray

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CTRL_C = signal.getsignal(signal.SIGINT)
RESUME_TOLERANCE = 1e-6
KILLED_AT = 6
"""Mid-epoch: checkpoints are written after steps 4, 8 and 12."""
CONFIG = tiny_config(steps=12, evaluate_every=4)
STRACE = [
    "strace",
    "-ff",
    "--seccomp-bpf",
    "-qq",
    "-xx",
    "-s",
    "300",
    "-e",
    "trace=connect,close,sendto,sendmsg,sendmmsg",
    "-o",
]


class Watched(Context):
    """Writes down what each rank reports; on rank 0 it may kill rank 1 once."""

    def __init__(self, placement: Placement, folder: Path, kills: bool) -> None:
        super().__init__(placement, FolderCheckpoints(folder / "checkpoints"), lambda *_: None)
        self._folder, self._kills = folder, kills
        (folder / f"pid-{self.rank}").write_text(str(os.getpid()))

    def progress(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        with (self._folder / f"reports-{self.rank}.jsonl").open("a") as file:
            file.write(json.dumps([done, metrics.get("detector/loss")]) + "\n")
        marker = self._folder / "killed"
        if self._kills and self.rank == 0 and done == KILLED_AT and not marker.exists():
            marker.touch()
            os.kill(int((self._folder / "pid-1").read_text()), signal.SIGKILL)


def train(slices: Path, folder: Path, kills: bool, placement: Placement) -> None:
    from trainers.detector.training import train_detector

    context = Watched(placement, folder, kills)
    train_detector(CONFIG, open_slice_set(slices), [], 0, folder / f"out-{placement.rank}", context)


def train_undisturbed(rank: int, slices: Path, folder: Path) -> None:
    join_group(rank, folder / "group")
    train(slices, folder, False, Placement(rank, RANKS, torch.device("cpu")))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Folders of a run without Ray, of one on Ray in which a worker is killed, and of the traces of Ray's workers."""
    import ray

    from tests.services.patient_ray import be_patient

    assert shutil.which("strace"), "apt-get install strace"
    folders = {name: tmp_path_factory.mktemp(name) for name in ("straight", "killed", "traces")}
    slices = make_slice_set(tmp_path_factory.mktemp("discs"), {"train": 24, "validation": 8, "test": 8})
    run_ranks(train_undisturbed, slices.path, folders["straight"])
    before = dict(os.environ)
    os.environ |= RAY_ENVIRONMENT | LOCAL_ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    traced = shlex.join([*STRACE, str(folders["traces"] / "trace"), sys.executable])
    be_patient()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"py_executable": traced})
    try:
        loop = partial(train, slices.path, folders["killed"], True)
        train_on_ray(loop, name="killed", storage=str(folders["killed"] / "ray"), resources=WorkerResources(workers=2))
        yield folders
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)


def reports(folder: Path, rank: int) -> list[tuple[int, float | None]]:
    return [(done, loss) for done, loss in map(json.loads, (folder / f"reports-{rank}.jsonl").read_text().splitlines())]


def test_both_ranks_report_the_same_losses(runs: dict[str, Path]) -> None:
    for name, begins in (("straight", 1), ("killed", 5)):
        first, second = ([one for one in reports(runs[name], rank) if one[1]][begins - 13 :] for rank in range(RANKS))
        assert [done for done, _ in first] == list(range(begins, 13))
        assert first == second
        assert min(loss for _, loss in first if loss) > 0
        assert (runs[name] / "out-0" / "model.pt").is_file()
        assert not (runs[name] / "out-1").exists()


def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint_alone(runs: dict[str, Path]) -> None:
    assert (runs["killed"] / "killed").exists()
    steps = [done for done, loss in reports(runs["killed"], 0) if loss]
    assert steps == [*range(1, KILLED_AT + 1), *range(5, 13)]
    straight, resumed = (
        torch.load(runs[name] / "checkpoints" / "latest" / "detector.pt", weights_only=True)
        for name in ("straight", "killed")
    )
    for part in ("model", "ema"):
        for name, value in straight[part].items():
            torch.testing.assert_close(resumed[part][name], value, rtol=0, atol=RESUME_TOLERANCE)


def test_ctrl_c_does_afterwards_what_it_did_before(runs: dict[str, Path]) -> None:
    assert runs
    assert signal.getsignal(signal.SIGINT) is CTRL_C


def addresses(traced: str) -> set[str]:
    """Internet addresses in the traced calls."""
    found = re.findall(r'inet_addr\("([^"]+)"\)|AF_INET6, "([^"]+)"', traced)
    return {_text(four or six).removeprefix("::ffff:") for four, six in found}


def lookups(traced: str) -> Iterator[str]:
    """Names that one thread asked of a name server, in its notation without dots."""
    for opened in re.finditer(r"connect\((\d+), .*htons\(53\), .*inet_addr\(\"([^\"]+)\"\)", traced):
        socket, server = opened.groups()
        # The number serves another file once it is closed.
        meanwhile = re.split(rf"^close\({socket}\)", traced[opened.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        asked = re.findall(rf'^send\w+\({socket}, .*?"((?:\\x..)+)"', meanwhile, flags=re.MULTILINE)
        assert asked, f"a name server, {_text(server)}, was asked in a way that this test does not know"
        yield from (re.sub(r"[^\w-]+", ".", _text(packet)) for packet in asked)


def _text(hexadecimal: str) -> str:
    return bytes.fromhex(hexadecimal.replace("\\x", "")).decode("latin1") if "\\x" in hexadecimal else hexadecimal


def test_a_socket_number_used_again_is_not_a_lookup() -> None:
    asked = """connect(9, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.1")}, 16) = 0
sendto(9, "\\x66\\x6f\\x6f", 3, MSG_NOSIGNAL, NULL, 0) = 3
close(9) = 0
sendto(9, "\\x62\\x61\\x72", 3, MSG_NOSIGNAL, NULL, 0) = 3
"""
    assert list(lookups(asked)) == ["foo"]


def test_the_workers_connect_to_this_machine_alone(runs: dict[str, Path]) -> None:
    import ray

    node = ray.nodes()[0]["NodeManagerAddress"]
    own_name = ".".join(reversed(node.split("."))) + ".in-addr.arpa"
    threads = [file.read_text(errors="replace") for file in runs["traces"].glob("trace*")]
    servers = set()
    for thread in threads:
        asked = list(lookups(thread))
        # torch's rendezvous asks for the name of the node's own address where /etc/hosts lacks it.
        assert all(own_name in name for name in asked), asked
        servers |= addresses("".join(line for line in thread.splitlines(True) if asked and "htons(53)" in line))
    reached = addresses("".join(threads))
    assert {node, "127.0.0.1"} & reached, "nothing was traced"
    assert reached - servers <= {node, "127.0.0.1", "::1"}


ALONE = """
import sys
from pathlib import Path
from tests.trainers.disc_slices import FolderContext, tiny_config
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set
from trainers.detector.training import train_detector
out = Path(sys.argv[2])
train_detector(tiny_config(steps=2), open_slice_set(Path(sys.argv[1])), [], 0, out, FolderContext(out / "checkpoint"))
"""


def test_a_run_in_process_connects_to_nothing(tmp_path: Path) -> None:
    make_slice_set(tmp_path / "discs", {"train": 24, "validation": 8, "test": 8})
    subprocess.run(
        [*STRACE, tmp_path / "trace", sys.executable, "-c", ALONE, tmp_path / "discs", tmp_path / "out"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert json.loads((tmp_path / "out" / "selection.json").read_text())["step"] == 2, "it was validated"
    traced = "".join(file.read_text(errors="replace") for file in tmp_path.glob("trace*"))
    assert not re.findall(r".*AF_INET.*", traced)
