"""Whether the files, folders, addresses and commands can be used that settings name."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sweep.doctor.finding import LOOK, MISSING, OK, Finding
from sweep.doctor.reach import SECONDS_TO_ANSWER
from sweep.redaction import shown_setting
from sweep.setting_values import host_and_port
from sweep.settings import SYSTEM, Settings, variables_of

CA_FILES = ("mlflow_ca_file", "postgresql_ca_file", "s3_ca_file")


def examine_named(settings: Settings) -> Iterator[Finding]:
    """What settings name on this machine; nothing of a setting that is not set."""
    yield _cache(settings.cache)
    for key in CA_FILES:
        if (file := getattr(settings, key)) not in (None, SYSTEM):
            yield _certificates(key, Path(file))
    if settings.ray_token_file is not None:
        yield _token(Path(settings.ray_token_file))
    if settings.metrics_address is not None:
        yield _metrics(settings.metrics_address)
    if settings.notify_command is not None:
        yield _command(settings.notify_command)


def examine_webhook(url: str) -> Finding:
    """Whether the server of a webhook answers; posts nothing."""
    shown, parts = shown_setting("notify_webhook", url), urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        return Finding("notify_webhook", LOOK, f"{shown}: {error.strerror or error}", _fix("notify_webhook"))
    return Finding("notify_webhook", OK, shown)


def _cache(folder: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=next(path for path in (Path(folder), *Path(folder).parents) if path.exists())):
            pass
    except OSError as error:
        return Finding("cache", MISSING, f"{folder} cannot be written: {error.strerror or error}", _fix("cache"))
    return Finding("cache", OK, folder)


def _certificates(key: str, file: Path) -> Finding:
    try:
        ssl.create_default_context(cafile=None if file.is_dir() else file, capath=file if file.is_dir() else None)
    except OSError as error:  # also ssl.SSLError
        return Finding(key, MISSING, f"{file} cannot be used: {error.strerror or error}", _fix(key))
    return Finding(key, OK, str(file))


def _token(file: Path) -> Finding:
    what = "ray_token_file"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding(what, LOOK, f"{file} is not read: RAY_AUTH_TOKEN goes before it", "Unset one of the two.")
    try:
        held = bool(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text"
        return Finding(what, MISSING, f"{file} cannot be read: {why}", _fix(what))
    return Finding(what, OK, str(file)) if held else Finding(what, MISSING, f"{file} is empty", _fix(what))


def _metrics(address: str) -> Finding:
    what, (host, port) = "metrics_address", host_and_port(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server((place[0], port), family=family).close()
    except OSError as error:
        used = error.errno == errno.EADDRINUSE
        fix = "Name a free port, unless a launch that runs now serves there." if used else _fix(what)
        return Finding(what, LOOK if used else MISSING, f"{address}: {error.strerror or error}", fix)
    return Finding(what, OK, address)


def _command(line: str) -> Finding:
    program = shlex.split(line)[0]
    if shutil.which(program) is None:
        return Finding("notify_command", LOOK, f"{program} is no program of this machine", _fix("notify_command"))
    return Finding("notify_command", OK, program)


def _fix(key: str) -> str:
    return f"Correct or unset {' or '.join(variables_of(key))}, or {key} in metsweep.toml."
