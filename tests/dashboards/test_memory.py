"""The server's memory stays flat, whatever is asked of it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import psutil
import pytest
import requests

from sweep.store import Store

pytestmark = pytest.mark.slow

WARM, MOST, SECONDS = 200, 800, 15.0
"""Answers until everything that is kept is kept; then at most so many, in about that time."""
MOST_BYTES = 10e6
"""That memory may grow meanwhile."""
ANSWERS = (200, 400, 404)
ARMS = ("none", "cpggan 4", "cpggan 8", "image2image 4", "nothing")
PARTS = ("figures", "evidence", "pareto", "response", "froc", "histories", "trials", "runs", "volumes")
TABLES = ("search", "cost", "gans", "gains", "detection", "nothing")


@pytest.fixture
def server(launched_store: Store) -> Iterator[tuple[psutil.Process, str]]:
    """The command in a process of its own, and the address of the study's page."""
    command = [sys.executable, "-m", "sweep.cli", "dashboard", "small", "--store", launched_store.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield psutil.Process(process.pid), process.stdout.readline().partition("?")[0].strip()
        finally:
            process.kill()


def address(draw: random.Random) -> str:
    """Any page, part or picture of the study, with values of any kind."""
    asked = {
        "iou": draw.choice(("0.5", "0.25", "0.3", "x")), "base": draw.choice((*ARMS, str(draw.random()))),
        "arm": draw.choice((*ARMS, str(draw.random()))), "seed": draw.choice("0129"), "confidence": str(draw.random()),
    }  # fmt: skip
    patient = f"volumes/patient-{draw.choice(('validation', 'test', 'train', str(draw.random())))}"
    place = draw.choice(
        (*PARTS, "", *(f"table/{name}" for name in TABLES), patient, f"{patient}/0/slices/{draw.randrange(6)}.png")
    )
    return f"/{place}?{urlencode(asked)}".replace("/?", "?")


def test_memory_is_flat_under_random_use(server: tuple[psutil.Process, str]) -> None:
    process, page = server
    draw, deadline = random.Random(0), time.monotonic() + SECONDS
    with requests.Session() as session:
        for _ in range(WARM):
            assert session.get(page + address(draw)).status_code in ANSWERS
        before, answers = process.memory_info().rss, 0
        while answers < MOST and (answers < WARM or time.monotonic() < deadline):
            assert session.get(page + address(draw)).status_code in ANSWERS
            answers += 1
        grown = process.memory_info().rss - before
    assert grown < MOST_BYTES, f"{grown / 1e6:.1f} MB more after {answers} answers"
