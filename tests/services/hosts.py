"""Hosts made on this machine: each a network, mount, process, IPC and name namespace of its own, joined by a switch.

A host has its own processes, its own `/tmp`, home folder and shared memory, and reads the rest of the disk only; what
hosts are to share is said one by one. All of it ends with the process that made it, even if that is killed: no
namespace has a name, and each link has an end in a namespace. Needs root; the tests say so where it is missing.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
GCS_PORT = 6379
TOKEN = "0123456789abcdef" * 4
"""Of the Ray that spans the hosts: theirs alone, whatever token this user has."""
QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "20000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "10",
}
"""A head with these gives up a silent node after about 40 s. On a machine that is busy with other tests, one that had
just started was given up after 10."""
PORTS = (
    "--metrics-export-port=8081", "--dashboard-agent-grpc-port=8082", "--dashboard-agent-listen-port=8083",
    "--runtime-env-agent-port=8084", "--node-manager-port=8085", "--object-manager-port=8086",
)  # fmt: skip
"""Of Ray's helpers, the same on every host."""
SLOW_TO_START = {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"}

# Runs as the host's first process, which adopts and reaps what others leave behind. /tmp is hidden before what is
# shared below it can be mounted there again.
# Names of hosts are in its own table; a name server that does not answer would hold Ray up for half a minute.
BOOT = """set -e
hostname "$1"; shared=$2
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount --bind "$shared" /mnt
mount -t tmpfs -o size=2g tmpfs /tmp
mkdir -p /tmp/home "$shared"
mount --move /mnt "$shared"
printf '127.0.0.1 localhost\\n%s %s\\n' "$3" "$1" > /tmp/home/hosts
touch /tmp/home/resolv.conf
mount --bind /tmp/home/hosts /etc/hosts
mount --bind /tmp/home/resolv.conf /etc/resolv.conf
mount -o remount,bind,ro /
echo ready
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""


class Host:
    """One host; it may be cut off, killed and started again under the same name and address."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.log = network.logs / f"{name}.txt"
        """What its commands said."""
        self._network = network
        self._link = f"host{address.rpartition('.')[2]}"
        """Its end of the cable at the switch."""
        self._unshare: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Boot, and join the network."""
        self._unshare = _begin(
            "--mount", "--pid", "--ipc", "--uts", "--mount-proc",
            "bash", "-c", BOOT, "boot", self.name, str(self._network.shared), self.address,
        )  # fmt: skip
        self._network.plug_in(self._link, self._first)
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self._network.address),
        ):
            _ip(*command, at=self._first)

    def run(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command of our environment there, in the shared folder; its output goes to the log."""
        enter = ("nsenter", "-t", str(self._first), "--net", "--mount", "--pid", "--ipc", "--uts")
        own = {
            "HOME": "/tmp/home", "TMPDIR": "/tmp", "METSWEEP_CACHE": "/tmp/cache", "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1",
            # The name of a host does not resolve, and gloo would take the loopback address for it.
            "GLOO_SOCKET_IFNAME": "eth0",
        }  # fmt: skip
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*enter, f"--wd={self._network.shared}", "--", *command], stdout=log, stderr=log,
                env=os.environ | own | dict(self._network.environment) | environment, start_new_session=True,
            )  # fmt: skip

    def start_ray(self, head: Host | None = None, *, cpus: int, **environment: str) -> None:
        """Start a node of Ray, the head without a `head`, and wait until it serves."""
        role = ("--head", f"--port={GCS_PORT}", "--include-dashboard=false", "--no-monitor")
        if head is not None:
            role = (f"--address={head.address}:{GCS_PORT}",)
        started = self.output.count("Ray runtime started")
        ray = self.run(
            sys.executable, "-m", "tests.services.patient_ray", "start", *role, f"--node-ip-address={self.address}",
            f"--num-cpus={cpus}", "--object-store-memory=100000000", "--min-worker-port=20000",
            "--max-worker-port=20500", "--disable-usage-stats", "--include-log-monitor=false", "--block", *PORTS,
            **QUICK_TO_NOTICE, **SLOW_TO_START, **environment,
        )  # fmt: skip
        until(lambda: self.output.count("Ray runtime started") > started, ray, self.log)

    def cut_off(self) -> None:
        """Unplug the network; its processes go on."""
        self._network.unplug(self._link)

    def kill(self) -> None:
        """Take the power away."""
        if self._unshare is None:
            return
        family = self.processes()
        _end(self._unshare)
        self._unshare = None
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive, alive
        self._network.remove_cable(self._link)

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Its processes whose command line holds `title`, e.g. `ray::`."""
        if self._unshare is None:
            return []
        namespace = _namespace(self._first)
        return [
            process
            for process in psutil.process_iter()
            if _namespace(process.pid) == namespace and title in title_of(process)
        ]

    @property
    def output(self) -> str:
        """What its commands said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def _first(self) -> int:
        """Number of its first process, as this machine counts."""
        assert self._unshare is not None, f"host {self.name} is down"
        return _first_of(self._unshare)


class Network:
    """A switch with a cable to this machine, and the hosts on it; leaves nothing behind when it closes.

    Args:
        shared: a folder that every host sees under its path, for what a test writes down.
        logs: folder of the hosts' output.
    """

    def __init__(self, shared: Path, logs: Path) -> None:
        self.shared, self.logs = shared, logs
        self.environment: Mapping[str, str] = {}
        """Of every command on the hosts."""
        self._hosts: list[Host] = []
        self._numbers = itertools.count(10)
        self._unshare = _begin(
            "sh", "-c", "ip link add switch type bridge && ip link set switch up && echo ready && exec sleep infinity"
        )
        self._switch = _first_of(self._unshare)
        number = self._plug_this_machine_in()
        self.address = f"10.77.{number}.1"
        """This machine's."""
        _ip("addr", "add", f"{self.address}/24", "dev", self.link)
        _ip("link", "set", self.link, "up")

    def host(self, name: str) -> Host:
        """A new host, started."""
        host = Host(self, name, f"{self.address.rpartition('.')[0]}.{next(self._numbers)}")
        self._hosts.append(host)
        host.start()
        return host

    def plug_in(self, link: str, process: int) -> None:
        """Lay a cable from `link` at the switch to `eth0` of a process's network."""
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(process), at=self._switch)
        _ip("link", "set", link, "master", "switch", "up", at=self._switch)

    def unplug(self, link: str) -> None:
        """Let nothing through a cable any more."""
        _ip("link", "set", link, "down", at=self._switch)

    def remove_cable(self, link: str) -> None:
        """Nothing if the kernel has, which takes up to a minute after the end of a host."""
        subprocess.run(["nsenter", "-t", str(self._switch), "--net", "ip", "link", "del", link], capture_output=True)

    def close(self) -> None:
        """Kill all hosts, remove the network, and see that nothing is left."""
        try:
            for host in self._hosts:
                host.kill()
        finally:
            _ip("link", "del", self.link)
            _end(self._unshare)
        assert not (left := left_of(self.shared)), left

    def _plug_this_machine_in(self) -> int:
        """Lay a cable to this machine; returns the number of the network, which no other has that is open now."""
        for number in range(1, 255):
            self.link = f"metsweep{number}"
            laid = subprocess.run(
                ["ip", "link", "add", self.link, "type", "veth", "peer", "name", "machine", "netns",
                 str(self._switch)], capture_output=True, text=True,
            )  # fmt: skip
            if laid.returncode == 0:
                _ip("link", "set", "machine", "master", "switch", "up", at=self._switch)
                return number
            assert "exists" in laid.stderr, laid.stderr
        raise AssertionError("254 networks of hosts are open")


def left_of(shared: Path) -> list[str]:
    """Processes and mounts of hosts with that shared folder which are still there."""
    own = _namespace(os.getpid())
    processes = [
        f"process {process.pid}: {title}"
        for process in psutil.process_iter()
        if str(shared) in (title := title_of(process)) and _namespace(process.pid) not in ("", own)
    ]
    return processes + [line for line in Path("/proc/mounts").read_text().splitlines() if str(shared) in line]


def missing() -> str:
    """What this machine lacks to make hosts; empty if nothing."""
    if os.geteuid() != 0:
        return "hosts can only be made by root"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "ip", "link"],
        capture_output=True, text=True,
    )  # fmt: skip
    return f"hosts cannot be made here: {tried.stderr.strip()}" if tried.returncode else ""


def until(moment: Callable[[], object], process: subprocess.Popen[bytes], log: Path, patience_s: float = 300) -> None:
    """Wait for a moment; it must come, and before the process ends."""
    deadline = time.monotonic() + patience_s
    while not moment():
        assert time.monotonic() < deadline, f"waited in vain\n{log.read_text(errors='replace')[-5000:]}"
        assert process.poll() is None, f"ended before\n{log.read_text(errors='replace')[-5000:]}"
        time.sleep(0.1)


def title_of(process: psutil.Process) -> str:
    """Command line, or what the process calls itself; empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _begin(*arguments: str) -> subprocess.Popen[bytes]:
    """Begin what says "ready", in a network and what else `unshare` is told of its own; it ends with this process."""
    unshare = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--fork", "--kill-child", *arguments],
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert unshare.stdout is not None
    assert unshare.stdout.readline() == b"ready\n", f"{arguments} did not begin"
    unshare.stdout.close()
    return unshare


def _end(unshare: subprocess.Popen[bytes]) -> None:
    """Kill what `_begin` began."""
    unshare.kill()
    unshare.wait()


def _first_of(unshare: subprocess.Popen[bytes]) -> int:
    """Number of the process that `_begin` began, as this machine counts."""
    return psutil.Process(unshare.pid).children()[0].pid


def _ip(*arguments: str, at: int | None = None) -> None:
    """Change the network of a process; None = of this machine."""
    enter = () if at is None else ("nsenter", "-t", str(at), "--net")
    subprocess.run([*enter, "ip", *arguments], check=True)
