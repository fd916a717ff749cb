"""Studies that run on a cluster as Ray jobs: whoever submits one may then leave."""

from __future__ import annotations

import functools
import logging
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sweep.engine.ray_token import admitted, ray_environment
from sweep.redaction import without_secrets
from trainers.config import Config
from trainers.exceptions import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

FILE = "job.json"
ENTRYPOINT = f"exec python -P -m sweep.cli run-job {FILE}"
STUDY, STORE = "metsweep.study", "metsweep.store"
"""Names in a job's metadata."""
BEGINS = "Running entrypoint for job"
"""What Ray writes into a job's output before the job's own first line."""
NOISY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
"""Loggers that say what they upload."""
NOT_READY = "No available agent to submit job"
"""Ray's words while a head that has just started cannot begin jobs."""
SECONDS_TO_BE_READY = 120.0
SECONDS_TO_ANSWER = 10.0
LOOK_EVERY_SECONDS = 1.0
SECONDS_TO_STOP = 120
"""From the request to stop until Ray kills a launch: training writes a checkpoint, MLflow gets what it lacks."""


class Submission(Config):
    """What a job needs to launch a study. Whoever reaches the dashboard can read it: no secret is in it."""

    study: dict[str, Any]
    """All values of the resolved study."""
    store: str
    """As Settings."""
    mark: str
    """Document that the submitting machine wrote into the store: the job must find it there."""
    settings: dict[str, str | float | bool]
    """For what the cluster does not set itself."""
    versions: dict[str, str]
    """Of the submitting machine."""
    fail_fast: bool


class StudyJobs:
    """The studies' jobs of one cluster; made by `jobs_of`."""

    def __init__(self, client: JobSubmissionClient, address: str) -> None:
        self._client = client
        self.address = address
        """As shown to people."""

    def submit(self, submission: Submission) -> str:
        """Begin a job that launches the study; returns its id.

        Raises:
            ClusterError: a job of the cluster runs this study with this store.
        """
        name = submission.study["name"]
        metadata = {STUDY: name, STORE: without_secrets(submission.store)}
        for job in self._jobs(name):
            if not job.status.is_terminal() and job.metadata == metadata:
                raise ClusterError(
                    f"Job {job.submission_id} runs study {name} on {self.address} already. Follow it: metsweep watch "
                    f"{name} --cluster {self.address}. End it: metsweep stop {name} --cluster {self.address}."
                )
        with tempfile.TemporaryDirectory(prefix="metsweep-job-") as folder, self._explained():
            Path(folder, FILE).write_text(submission.model_dump_json())
            return self._submitted(
                entrypoint=ENTRYPOINT,
                submission_id=f"metsweep-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}",
                runtime_env={"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)}},
                metadata=metadata,
            )

    def _submitted(self, **job: Any) -> str:
        """As Ray's client, which gives up on a head that has just started."""
        deadline = time.monotonic() + SECONDS_TO_BE_READY
        while True:
            try:
                return self._client.submit_job(**job)
            except RuntimeError as error:
                if NOT_READY not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_EVERY_SECONDS)

    def newest(self, study: str) -> str:
        """The newest job of a study.

        Raises:
            ClusterError: the study has none.
        """
        jobs = self._jobs(study)
        if not jobs:
            raise ClusterError(
                f"No job of study {study} is known to the cluster {self.address}. To submit one: metsweep launch "
                f"{study} --cluster {self.address}"
            )
        return jobs[-1].submission_id

    def lines(self, job: str, follow: bool = True) -> Iterator[str]:
        """What a job prints; with `follow` as it comes, until the job has ended."""
        said = 0
        while True:
            with self._explained():
                status = self._client.get_job_status(job)
                text = "" if status == "PENDING" else self._client.get_job_logs(job)
            ended = status.is_terminal()
            own = text.partition(BEGINS)[2].splitlines(keepends=True)[1:]
            for line in own[said:]:
                if line.endswith("\n") or ended:
                    said += 1
                    yield line.rstrip("\n")
            if ended or not follow:
                return
            time.sleep(LOOK_EVERY_SECONDS)

    def ended(self, job: str) -> tuple[bool, int]:
        """Of a job that has ended: whether by a request to stop, and the exit code; 1 if Ray could not begin it."""
        with self._explained():
            info = self._client.get_job_info(job)
        return info.status == "STOPPED", 0 if info.status == "SUCCEEDED" else info.driver_exit_code or 1

    def stop(self, job: str) -> bool:
        """Ask a job to end, as Ctrl-C would; False if it has ended already."""
        with self._explained():
            return not self._client.get_job_status(job).is_terminal() and self._client.stop_job(job)

    def _jobs(self, study: str) -> list[Any]:
        """Oldest first."""
        with self._explained():
            jobs = [job for job in self._client.list_jobs() if (job.metadata or {}).get(STUDY) == study]
        return sorted(jobs, key=lambda job: job.start_time or 0)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from requests import RequestException

        try:
            yield
        except (RequestException, RuntimeError) as error:
            line = without_secrets(error).strip().partition("\n")[0]
            raise ClusterError(
                f"The dashboard of Ray at {self.address} does not do what it was asked: {line}"
            ) from None


@contextmanager
def jobs_of(address: str) -> Iterator[StudyJobs]:
    """The jobs of the cluster whose dashboard has this address.

    Args:
        address: `http://head:8265`, or without `http://`.

    Raises:
        ClusterError: no dashboard of Ray answers there, or it refuses this user.
    """
    from ray.job_submission import JobSubmissionClient

    url = (address if "://" in address else f"http://{address}").rstrip("/")
    shown = without_secrets(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClusterError(f"--cluster {shown}: allowed: the address of Ray's dashboard, e.g. http://head:8265.")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Ray's client would take RAY_ADDRESS instead of the address that it is given.
    with (
        admitted(shown, functools.partial(_admits, url, shown)),
        ray_environment({"RAY_API_SERVER_ADDRESS": url}),
    ):
        yield StudyJobs(JobSubmissionClient(url), shown)


def _admits(url: str, shown: str) -> bool:
    import requests
    from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled

    try:
        answer = requests.get(
            f"{url}/api/version", headers=get_auth_headers_if_auth_enabled({}), timeout=SECONDS_TO_ANSWER
        )
        if answer.status_code in (401, 403):
            return False
        answer.json()["ray_version"]
    except (requests.RequestException, KeyError, TypeError) as error:
        why = "no server answers" if isinstance(error, requests.ConnectionError) else "another server answers"
        raise ClusterError(
            f"Cannot reach Ray's dashboard at {shown}: {why}. Needed is the address that `ray start --head` prints "
            "(port 8265 by default), or that of a tunnel: ssh -L 8265:localhost:8265 HEAD."
        ) from None
    return True
