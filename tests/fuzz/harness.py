"""Runs one function over many damaged inputs and counts what comes of them.

Every input is decided by a seed and its number alone, so a fault is found again from the line that reports it:
`damaged(content, damages, seed, number)` makes the input. Inputs are run in a forked child, whose limits are real: an
input that takes more than `CPU_S` seconds, `MEMORY` bytes or the child's life is a fault, and the others still run.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from random import Random
from typing import Any, Literal

from trainers.exceptions import MetsweepError

Damage = Callable[[bytes, Random], bytes]
Outcome = Literal["refused", "same", "other", "fault"]

CPU_S = 5
"""Seconds of CPU time that one input may take, so that a busy machine fails no test."""
CLOCK_S = 60
"""Seconds by the clock, for what waits without computing, or computes where Python handles no signal."""
MEMORY = 2**30
"""Bytes of address space that one input may ask for."""
FORK = multiprocessing.get_context("fork")


class _TooSlowError(BaseException):
    """Past the seconds of one input; not an Exception, lest what is tested catches it."""


@dataclass(frozen=True)
class Tally:
    """What came of the inputs."""

    counts: Mapping[Outcome, int]
    """`refused` with a MetsweepError, `same` result as the undamaged input, `other` where the damage may be a change
    that is allowed, or `fault`."""
    faults: tuple[str, ...]
    """Of each fault: seed, number, damage and what happened."""

    def __str__(self) -> str:
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        return "\n".join([told, *self.faults])


def damaged(content: bytes, damages: Mapping[str, Damage], seed: int, number: int) -> tuple[str, bytes]:
    """The damage of input `number` by name, and the input; damages take turns."""
    name = list(damages)[number % len(damages)]
    return name, damages[name](content, Random(f"{seed} {number}"))


def fuzz(
    run: Callable[[bytes], Any],
    content: bytes,
    damages: Mapping[str, Damage],
    *,
    count: int,
    seed: int = 0,
    illegal: Collection[str] = (),
) -> Tally:
    """Run a function over damaged inputs.

    Args:
        run: takes an input; its result must be comparable by ==, and it must take the undamaged `content`.
        content: the undamaged input.
        damages: name -> what makes a damaged input of `content`.
        count: inputs.
        seed: of all of them.
        illegal: damages that make no other legal input: after these, another result is silently wrong, a fault.
    """
    expected = run(content)
    counts: Counter[Outcome] = Counter()
    faults: list[str] = []
    done = 0
    while done < count:
        receiver, sender = FORK.Pipe(duplex=False)
        child = FORK.Process(
            target=_work, args=(sender, run, content, expected, damages, range(done, count), seed, illegal), daemon=True
        )
        child.start()
        sender.close()
        for outcome, what in _told(receiver, child, count - done):
            counts[outcome] += 1
            if outcome == "fault":
                name, made = damaged(content, damages, seed, done)
                faults.append(f"seed {seed}, number {done} ({name}): {what}; {len(made)} bytes: {made[:200]!r}")
            done += 1
        child.kill()
        child.join()
    return Tally(dict(counts), tuple(faults))


def _told(receiver: Connection, child: ForkProcess, most: int) -> Iterator[tuple[Outcome, str]]:
    """What the child tells of up to `most` inputs, the one that it ends at or hangs with included."""
    for _ in range(most):
        if not receiver.poll(CLOCK_S):
            yield "fault", f"no answer in {CLOCK_S} s"
            return
        try:
            yield receiver.recv()
        except EOFError:
            child.join()
            yield "fault", f"the process died (exit code {child.exitcode})"
            return


def _work(
    sender: Connection,
    run: Callable[[bytes], Any],
    content: bytes,
    expected: Any,
    damages: Mapping[str, Damage],
    numbers: range,
    seed: int,
    illegal: Collection[str],
) -> None:
    def too_slow(*_: object) -> None:
        raise _TooSlowError

    signal.signal(signal.SIGPROF, too_slow)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        name, made = damaged(content, damages, seed, number)
        sender.send(("same", "") if made == content else _outcome(run, made, expected, name in illegal))


def _outcome(run: Callable[[bytes], Any], made: bytes, expected: Any, illegal: bool) -> tuple[Outcome, str]:
    begun = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        result = run(made)
    except MetsweepError:
        return "refused", ""
    except _TooSlowError:
        return "fault", f"not done after {time.process_time() - begun:.1f} s of CPU time"
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return "fault", f"{type(error).__name__}: {str(error)[:200]} ({at.filename}:{at.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if result == expected:
        return "same", ""
    return ("fault", f"silently another result: {str(result)[:500]}") if illegal else ("other", "")
