"""`metsweep dashboard`: the pages of studies."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated

import typer

from dashboards.web.options import LOOPBACK, Host, Port, PublicUrl
from sweep.cli import talk
from sweep.cli.options import StoreUri


def dashboard(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Open this study's page; default: the list.", show_default=False),
    ] = None,
    host: Host = LOOPBACK,
    port: Port = 0,
    public_url: PublicUrl = None,
    store: StoreUri = None,
) -> None:
    """Serve pages of the studies in a store: verdict, arms, trials and curves, also while they run.

    Prints the link to open; Ctrl-C stops the pages and nothing else. Whoever opens the whole link may also stop, retry
    and extend from the page, as the commands do.

    \b
    Example:
      metsweep dashboard quickstart --port 8700
    """
    from dashboards.study.app import study_app
    from dashboards.study.studies import Studies
    from dashboards.web.pages import study_path
    from dashboards.web.serving import new_access, serve
    from sweep.settings import Settings
    from sweep.studies.opened import open_study
    from sweep.studies.records import LaunchOptions
    from trainers.exceptions import MetsweepError

    settings = Settings.from_environment(store)
    studies, path = Studies(settings), ""
    if study is not None:
        name = open_study(study, LaunchOptions(), settings, partial(talk.note, err=True)).study.name
        path = study_path(name)
        with suppress(MetsweepError):  # the page says what is wrong
            studies.read(name)
    access = new_access(host, public_url)
    serve(study_app(studies, access), access, port, path, talk.say)
