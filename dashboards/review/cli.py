"""`metsweep review`: keep or discard synthetic slices by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashboards.web.options import LOOPBACK, Host, Port, PublicUrl, people
from sweep.cli import talk
from sweep.cli.options import StoreUri


def review(
    gan: Annotated[str, typer.Argument(metavar="GAN", help="STUDY/CELL, or a folder of `metsweep synthesize`.")],
    out: Annotated[Path, typer.Option(metavar="CSV", help="Keep/discard list; continued if it exists.")] = Path(
        "review.csv"
    ),
    reviewer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Reviewer; may be repeated; default: the user.")
    ] = None,
    host: Host = LOOPBACK,
    port: Port = 0,
    public_url: PublicUrl = None,
    store: StoreUri = None,
) -> None:
    """Keep or discard a GAN's synthetic slices by hand, as the paper did.

    Shows the slices in a grid, those whose tumours stand out least first. Every decision is in the list before the page
    shows it; most reviewers decide, and where they are evenly divided the automatic score does. Prints a link for each
    reviewer; Ctrl-C stops the pages. Synthesis honours the list: a discarded slice is drawn anew, to be reviewed next.

    \b
    Example:
      metsweep review quickstart/cpggan --out review.csv --reviewer Ann --reviewer Ben
      metsweep launch quickstart --set synthesis.review=review.csv
    """
    import getpass
    import secrets

    from filelock import FileLock, Timeout

    from dashboards.review.app import review_app
    from dashboards.review.decisions import Decisions
    from dashboards.sources import open_source
    from dashboards.web.access import Access
    from dashboards.web.serving import serve
    from trainers.exceptions import ConfigError

    names = people(reviewer or [getpass.getuser()], "--reviewer")
    source = open_source(gan, store)
    reviewed = source.sets[0].meta.get("source")
    if not source.is_synthetic or not isinstance(reviewed, str):
        raise ConfigError(f"{gan} holds no slices of a GAN; allowed: STUDY/CELL, or a folder of `metsweep synthesize`.")
    reviewers = {secrets.token_urlsafe(18): name for name in names}
    decisions = Decisions(out, reviewed)
    try:
        lock = FileLock(decisions.file.with_name(f".{decisions.file.name}.lock")).acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"--out {out} is being reviewed by another process; stop that one first.") from None

    def ready(link: str) -> None:
        for token, name in reviewers.items():
            talk.say(f"{name}: {link}{token}")
        talk.note(f"Next: metsweep synthesize GAN SLICES --review {out}, or launch with --set synthesis.review={out}")

    with lock:
        access = Access(host, None, public_url)
        serve(review_app(source, decisions, reviewers, access), access, port, "review/", ready)
