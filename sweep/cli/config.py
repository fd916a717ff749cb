"""`metsweep config`: the settings in effect."""

from __future__ import annotations

import os

from sweep.cli import talk
from sweep.cli.options import AsJson, StoreUri

LOGINS = (
    "RAY_AUTH_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
"""Variables that the libraries read themselves; no setting holds a login."""


def show(store: StoreUri = None, as_json: AsJson = False) -> None:
    """Show every setting and where its value comes from.

    A setting comes, the strongest first, from an option, the environment (METSWEEP_<NAME>, then the library's own
    variable), metsweep.toml of the working directory or the nearest folder above it, metsweep.toml of the user
    (~/.config/metsweep), or the default. Passwords, tokens and paths of webhooks are shown as ***.

    \b
    Example:
      metsweep config show
    """
    from sweep.redaction import shown_setting
    from sweep.settings import settings_and_origins
    from sweep.settings_sources import settings_files

    settings, origins = settings_and_origins(store)
    rows = [
        (name, shown_setting(name, value) if isinstance(value, str) else value, origins.get(name, "default"))
        for name, value in settings.model_dump().items()
    ]
    files = [str(file) for file in settings_files()]
    logins = [name for name in LOGINS if os.environ.get(name)]
    if as_json:
        values = [{"name": name, "value": value, "from": origin} for name, value, origin in rows]
        talk.say_json({"settings": values, "files": files, "logins": logins})
        return
    from sweep.cli.console import output
    from sweep.console import TextTable

    columns = ("setting", "value", "from")
    shown = ((name, _shown(value), origin) for name, value, origin in rows)
    console = output()
    console.print(TextTable.of("Settings", columns, shown, left=columns))
    console.say(f"Files read: {', '.join(files) or 'none'}.")
    console.say(f"Logins in the environment (values not shown): {', '.join(logins) or 'none'}.")


def _shown(value: str | float | bool | None) -> str:
    """As metsweep.toml has it, without quotes; a dash for none."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
