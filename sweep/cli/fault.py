"""What becomes of an unexpected exception: one line for the person, the traceback in a file of its own."""

from __future__ import annotations

import os
import platform
import re
import time
import traceback
from collections.abc import Sequence

from sweep.redaction import MASK, SHORTEST_SECRET, without_secrets, without_webhook
from sweep.settings import Settings, cache_folder, variables_of
from trainers.exceptions import ConfigError

NOTIFY = ("METSWEEP_NOTIFY_COMMAND", "METSWEEP_NOTIFY_WEBHOOK")
_SECRET_VARIABLE = re.compile("SECRET|PASSWORD|TOKEN|ACCESS_KEY", re.IGNORECASE)


def describe(error: Exception) -> str:
    """One line: what happened."""
    first = str(error).strip().partition("\n")[0]
    return _masked(f"unexpected {type(error).__name__}{': ' if first else ''}{first}").rstrip(".")


def traceback_of(error: Exception) -> str:
    """The traceback without secrets."""
    return _masked("".join(traceback.format_exception(error)))


def keep_traceback(error: Exception, arguments: Sequence[str]) -> str:
    """Write the traceback to a file under METSWEEP_CACHE that only its owner reads; one sentence on where it is."""
    text = "\n".join(
        [
            f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} on {platform.platform()}, Python {platform.python_version()}",
            f"metsweep {' '.join(arguments)}",
            traceback_of(error),
        ]
    )
    try:
        folder = cache_folder() / "faults"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns()}.log"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", errors="backslashreplace") as file:
            file.write(_masked(text))
    except (OSError, ConfigError) as refused:  # ConfigError: METSWEEP_CACHE names no folder
        why = str(refused).rstrip(".")
        return f"The traceback could not be written: {why}. Set METSWEEP_CACHE to a folder that can be written."
    return f"The traceback is in {path}; please send it with a report of this bug in metsweep."


def _masked(text: str) -> str:
    variables = (name for key in Settings.model_fields for name in variables_of(key))
    shown = without_secrets(text, *(os.environ[name] for name in variables if name in os.environ))
    shown = without_webhook(shown, *(os.environ.get(name) for name in NOTIFY))
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET:
            shown = shown.replace(value, MASK)
    return shown
