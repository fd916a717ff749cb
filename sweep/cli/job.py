"""`metsweep launch --cluster`: submits a study as a Ray job, and what that job runs."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from search_spaces.layers import Layer
from search_spaces.study import is_study_file, resolve_study, study_name
from sweep.cli import talk
from sweep.cli.console import output
from sweep.cli.exit_codes import STOPPED
from sweep.cli.launching import say_end
from sweep.cli.options import StudyFileOptions
from sweep.databases import sqlite_file
from sweep.engine import launch as launching
from sweep.engine.jobs import StudyJobs, Submission, jobs_of
from sweep.redaction import shown_setting
from sweep.report.report import write_report
from sweep.settings import Settings, settings_and_origins, variables_of
from sweep.store import Store
from sweep.studies.launch_options import remember
from sweep.studies.opened import OpenedStudy
from sweep.studies.records import relaunchable
from sweep.versions import differences, versions
from trainers.documents import MIB, read_text, why
from trainers.exceptions import ClusterError, ConfigError

DATABASES = {"tracking_uri": "MLFLOW_TRACKING_URI", "optuna_storage": "OPTUNA_STORAGE"}
"""Setting -> variable; the default is a file in the working directory, which a job loses with its cluster."""
PASSED = (
    *DATABASES, "mlflow_insecure_tls", "postgresql_sslmode", "s3_endpoint", "s3_region", "s3_encryption", "s3_kms_key",
    "s3_insecure_tls", "metrics_address", "notify_command", "notify_webhook", "notify_stall_minutes",
)  # fmt: skip
"""Settings of a launch that mean the same on a cluster; others are of a machine, in the study, or given otherwise."""


def submit(opened: OpenedStudy, address: str, *, fail_fast: bool) -> None:
    """Submit a study; returns once the cluster has accepted the study.

    Raises:
        ClusterError: the cluster cannot be reached, runs the study already, or refuses the study.
    """
    study, store = opened.study, opened.store
    mark = f"studies/{study.name}/submissions/{uuid.uuid4().hex}"
    submission = Submission(
        study=relaunchable(study),
        store=opened.settings.store,
        mark=mark,
        settings=_passed(opened.settings),
        versions=versions(),
        fail_fast=fail_fast,
    )
    with jobs_of(address) as jobs:
        store.write_text(mark, f"{platform.node()} {time.time()}")
        try:
            job = jobs.submit(submission)
            talk.note(f"Job {job} begins on {jobs.address}.")
            try:
                _wait_until_accepted(jobs, job, study.name)
            except KeyboardInterrupt:
                jobs.stop(job)
                raise
        finally:
            store.remove(mark)
    remember(opened.given, opened.options, opened.resolved, store, optuna="")
    talk.say(f"Study {study.name} runs as job {job}. This machine may be switched off.")
    talk.note(f"Next: metsweep watch {opened.given}")
    talk.note(f"Its output: metsweep logs {opened.given} --follow --cluster {jobs.address}")
    talk.note(f"To end it, as Ctrl-C would: metsweep stop {opened.given} --cluster {jobs.address}")


def _wait_until_accepted(jobs: StudyJobs, job: str, study: str) -> None:
    errors: list[str] = []
    for line in jobs.lines(job):
        talk.note(line)
        if line.startswith(launching.beginning_of_headline(study)):
            return
        errors += [line.removeprefix("error: ")] if line.startswith("error: ") else []
        if "No module named" in line:
            errors.append(
                "the `python` of its head has no metsweep. Install metsweep there, and start Ray with that environment."
            )
    raise ClusterError(f"The cluster {jobs.address} refuses the study: {errors[-1] if errors else f'see job {job}.'}")


def _passed(settings: Settings) -> dict[str, str | float | bool]:
    """What the cluster may use where it sets nothing itself; no file of this machine, nothing with a secret."""
    passed, secret = {}, []
    for key, value in settings.model_dump(include={*PASSED}, exclude_defaults=True).items():
        if key in DATABASES and sqlite_file(value) is not None:
            continue
        if shown_setting(key, value) != str(value):
            secret.append(key)
        else:
            passed[key] = value
    if secret:
        names = ", ".join(variables_of(key)[0] for key in secret)
        talk.note(
            f"Not passed to the cluster, where others can read a job: {', '.join(secret)}. If its head does not set "
            f"them, set {names} there, before `ray start`.",
            err=True,
        )
    return passed


def run_job(file: Path) -> None:
    """Launch the study of a Ray job; `launch --cluster` makes the file."""
    submission = _read_submission(file)
    name = str(submission.study.get("name"))
    settings = _settings_of_job(submission)
    store = Store(settings.store)
    if store.read_text(submission.mark) is None:
        raise ConfigError(
            f"The store {store.uri}, as node {platform.node()} of the cluster sees it, is not the store of the machine "
            "that submits. Set METSWEEP_STORE (--store) to s3://bucket/prefix, or to a folder that both reach under "
            "the same path."
        )
    study = resolve_study(Layer(f"{name} as submitted", submission.study)).study
    if not Path(study.cohort).is_dir():
        raise ConfigError(
            f"The cohort {study.cohort} does not exist on node {platform.node()} of the cluster. Copy the cohort to a "
            "path that every node reaches, and give --cohort with that path."
        )
    console = output(quiet=True)
    say_end(launching.launch(study, settings, console, write_report, fail_fast=submission.fail_fast), name)


def _read_submission(file: Path) -> Submission:
    """What `launch --cluster` wrote.

    Raises:
        ConfigError: the file is another.
        ClusterError: it was written by other versions, whose files may have another form.
    """
    remedy = "Only `metsweep launch STUDY --cluster ADDRESS` makes such files, and the cluster runs them."
    try:
        values: Any = json.loads(read_text(file, ConfigError, 16 * MIB))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no job of metsweep: not valid JSON ({why(error)}). {remedy}") from None
    theirs = values.get("versions") if isinstance(values, dict) else None
    if not isinstance(theirs, dict):
        raise ConfigError(f"{file} is no job of metsweep: it names no versions. {remedy}")
    if different := differences(theirs, versions()):
        raise ClusterError(
            f"The cluster's head {platform.node()} has other versions: {'; '.join(different)}. Install the same on "
            "both."
        )
    try:
        return Submission.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{file} is no job of metsweep: {why(error)}. {remedy}") from None


def _settings_of_job(submission: Submission) -> Settings:
    """The cluster's own settings first, then those of the submission.

    Raises:
        ConfigError: a database would be a file of the job's working directory.
    """
    own, origins = settings_and_origins(submission.store)
    given = origins.keys() - _lost_with_job(own)
    os.environ |= {variables_of(key)[0]: str(value) for key, value in submission.settings.items() if key not in given}
    settings = Settings.from_environment(submission.store)
    for key in _lost_with_job(settings):
        raise ConfigError(
            f"{DATABASES[key]} is not set on the cluster. Set it where Ray's head runs, before `ray start`. A value of "
            "the machine that submits is used only if it names a server and holds no password: jobs are not secret."
        )
    return settings


def _lost_with_job(settings: Settings) -> list[str]:
    """The databases that are files in the working directory."""
    files = {key: sqlite_file(getattr(settings, key)) for key in DATABASES}
    return [key for key, file in files.items() if file is not None and file.parent == Path.cwd()]


def watch_job(chosen: StudyFileOptions, address: str) -> None:
    """Follow what the newest job of a study prints; ends with the job."""
    with jobs_of(address) as jobs:
        job = jobs.newest(_name_of(chosen))
        talk.note(f"Job {job}:")
        _say(jobs.lines(job))
        stopped, code = jobs.ended(job)
        if code:
            raise typer.Exit(STOPPED if stopped else code)


def show_output(chosen: StudyFileOptions, address: str, *, follow: bool) -> None:
    """Show what the newest job of a study has printed."""
    with jobs_of(address) as jobs:
        _say(jobs.lines(jobs.newest(_name_of(chosen)), follow))


def stop_job(chosen: StudyFileOptions, address: str) -> None:
    """Ask the newest job of a study to end, as Ctrl-C would end a launch."""
    with jobs_of(address) as jobs:
        job = jobs.newest(_name_of(chosen))
        if not jobs.stop(job):
            raise ClusterError(f"Job {job} of study {_name_of(chosen)} has ended already, so nothing can be stopped.")
        talk.say(f"Asked job {job} to end: training writes a checkpoint. No trial counts as stopped.")
        talk.note(f"To resume: metsweep launch {chosen.study} --cluster {jobs.address}")


def _name_of(chosen: StudyFileOptions) -> str:
    """The study's own name; the store is not asked."""
    if not is_study_file(chosen.study):
        return chosen.study
    return study_name(chosen.study, chosen.given.overrides) or chosen.study


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        talk.say(line)
