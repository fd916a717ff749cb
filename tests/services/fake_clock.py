"""A wall clock that can be set back for some processes, by libfaketime (`apt-get install faketime gcc`)."""

from __future__ import annotations

import subprocess
from pathlib import Path

# libfaketime 0.9.10 shifts what Python's time.sleep asks for even where it leaves the monotonic clock alone.
SLEEP = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, wanted, left) ? errno : 0;
}
"""


class FakeClock:
    """The clock of all processes that are started with `environment`; their monotonic clock is the machine's."""

    def __init__(self, folder: Path) -> None:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        assert library is not None, "apt-get install faketime"
        sleep = folder / "sleep.so"
        compile_it = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(sleep), "-"]
        subprocess.run(compile_it, input=SLEEP, text=True, check=True)
        self._offset = folder / "offset"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": f"{sleep}:{library}",
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So much after the machine's clock, from the next second on."""
        self._offset.write_text(f"{seconds:+d}\n")
