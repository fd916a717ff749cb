"""Runs beside Ray on a spot instance: when AWS says that it takes the instance away, Ray drains the node.

    python infra/aws/spot_notice.py

metsweep's workers then write a checkpoint, and continue on other nodes. AWS gives two minutes. Asks the instance's
metadata (IMDSv2; in a container with a network of its own the hop limit must be 2), needs no credentials, and ends
once the node drains.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

logger = logging.getLogger("spot_notice")

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
POLL_S, ANSWER_S = 5.0, 2.0
TOKEN_S, DRAIN_S = 60, 60.0


def seconds_left() -> float | None:
    """Until the instance is taken away; None while AWS has not said so.

    Raises:
        OSError: the metadata service does not answer.
    """
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
    token = _answer(Request(f"{METADATA}/latest/api/token", method="PUT", headers=lifetime))
    path = f"{METADATA}/latest/meta-data/spot/instance-action"
    try:
        notice = json.loads(_answer(Request(path, headers={"X-aws-ec2-metadata-token": token})))
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
    return max(0.0, (datetime.fromisoformat(notice["time"]) - datetime.now(UTC)).total_seconds())


def drain(seconds: float) -> None:
    """Let Ray place nothing more on this node, and warn the workers on it."""
    ray = Path(sys.executable).with_name("ray")
    subprocess.run(
        [ray, "drain-node", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=AWS takes the instance away",
         f"--deadline-remaining-seconds={seconds:.0f}"],
        check=True, timeout=DRAIN_S,
    )  # fmt: skip


def main() -> None:
    """Ask until AWS gives notice, then drain."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    said = ""
    while True:
        try:
            if (seconds := seconds_left()) is not None:
                logger.info("AWS takes this instance away in %.0f s: Ray drains the node", seconds)
                return drain(seconds)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            if str(error) != said:
                logger.warning("trying again every %.0f s: %s", POLL_S, error)
                said = str(error)
        time.sleep(POLL_S)


def _answer(request: Request) -> str:
    with urlopen(request, timeout=ANSWER_S) as answer:
        return answer.read(10_000).decode()


if __name__ == "__main__":
    main()
