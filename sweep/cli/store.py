"""`metsweep store`: what the store holds, whether it is whole, and what may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StoreUri
from sweep.text import bytes_text

if TYPE_CHECKING:
    from sweep.store import Artifact, Manifest

PATIENCE_S = 10.0
"""A person waits for the answer."""


def ls(
    stage: Annotated[
        str | None, typer.Option(help="Only this stage, e.g. gan or detector.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    store: StoreUri = None,
) -> None:
    """List the artifacts, oldest first.

    \b
    Example:
      metsweep store ls --stage gan
    """
    import time
    from dataclasses import asdict

    from sweep.cli.console import output
    from sweep.console import TextTable
    from sweep.redaction import without_secrets
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.store.survey import survey

    opened = Store(Settings.from_environment(store).store, PATIENCE_S)
    opened.check_there()
    seen = survey(opened)
    made = [one for one in seen.artifacts.values() if stage in (None, one.manifest.stage)]
    made.sort(key=lambda one: one.manifest.cost.finished)
    if as_json:
        listed = [_as_dict(one.manifest) | {"made_by": seen.made_by(one)} for one in made]
        damaged = [asdict(one) for one in seen.damaged]
        talk.say_json({"store": without_secrets(opened.uri), "artifacts": listed, "damaged": damaged})
        return
    table = TextTable("stage", "key", "size", "age", "made by", box=None, pad_edge=False)
    for artifact in made:
        manifest = artifact.manifest
        age = _age(time.time() - manifest.cost.finished)
        table.add_row(manifest.stage, manifest.key[:12], bytes_text(manifest.size), age, seen.made_by(artifact))
    console = output()
    if made:
        console.print(table)
    size = bytes_text(sum(one.manifest.size for one in made))
    console.say(f"{len(made)} artifacts, {size}, in {without_secrets(opened.uri)}")
    for damage in seen.damaged:
        talk.say(f"damaged: {damage.reason}", err=True)


def du(as_json: AsJson = False, store: StoreUri = None) -> None:
    """Show how many bytes each stage holds, and what else is there.

    \b
    Example:
      metsweep store du
    """
    from sweep.cli.console import output
    from sweep.console import TextTable
    from sweep.redaction import without_secrets
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.store.survey import usage

    opened = Store(Settings.from_environment(store).store, PATIENCE_S)
    opened.check_there()
    used = usage(opened)
    if as_json:
        talk.say_json({"store": without_secrets(opened.uri), "bytes": used, "bytes_in_all": sum(used.values())})
        return
    table = TextTable("what", "size", box=None, pad_edge=False)
    for name, size in sorted(used.items(), key=lambda item: -item[1]):
        table.add_row(name, bytes_text(size))
    table.add_row("in all", bytes_text(sum(used.values())))
    output().print(table)


def verify(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="First digits of keys; all artifacts without.", show_default=False),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged artifacts aside: the next launch makes them again.")
    ] = False,
    as_json: AsJson = False,
    store: StoreUri = None,
) -> None:
    """Check every artifact: its manifest against its checksum and its key, its files against size and SHA-256.

    Exit code 1 if anything is damaged, repaired or not.

    \b
    Example:
      metsweep store verify --repair
    """
    from dataclasses import asdict

    from sweep.redaction import without_secrets
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.store.survey import Damage
    from sweep.store.survey import verify as verified

    opened = Store(Settings.from_environment(store).store, PATIENCE_S)
    opened.check_there()
    whole: list[Artifact] = []
    damaged: list[Damage] = []
    for one in verified(opened, keys or []):
        if not isinstance(one, Damage):
            whole.append(one)
            continue
        damaged.append(one)
        if repair:
            opened.set_aside_key(one.stage, one.key, one.reason)
        if not as_json:
            talk.say(f"damaged: {one.reason}")
        if repair and not as_json:
            talk.say(f"set aside: {one.stage} {one.key[:12]}; the next launch makes it again.")
    unsealed = sum(not one.manifest.checksum for one in whole)
    files, size = sum(len(one.manifest.files) for one in whole), sum(one.manifest.size for one in whole)
    if as_json:
        broken = [asdict(one) | {"set_aside": repair} for one in damaged]
        talk.say_json(
            {
                "store": without_secrets(opened.uri),
                "whole": len(whole),
                "files": files,
                "bytes": size,
                "without_checksum": unsealed,
                "damaged": broken,
            }
        )
    else:
        talk.say(f"{len(whole)} artifacts are whole ({files} files, {bytes_text(size)}), {len(damaged)} damaged.")
        if unsealed:
            talk.say(
                f"{unsealed} manifests were made before manifests had checksums: their identity and files were "
                "checked, their costs could not be."
            )
    if damaged:
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go and why; remove nothing.")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Keep artifacts younger than this: 7d, 12h, 30m or 45s.")
    ] = "7d",
    ignore_registry: Annotated[
        bool, typer.Option("--ignore-registry", help="Do not ask MLflow which models are registered.")
    ] = False,
    as_json: AsJson = False,
    store: StoreUri = None,
) -> None:
    """Remove what nobody needs.

    Goes: half-written files that are a day old, artifacts that were set aside, checkpoints of complete artifacts, and
    artifacts that no study, no running stage and no registered model needs, themselves or through what was made of
    them. MLflow (MLFLOW_TRACKING_URI) is asked for the registered models.

    \b
    Example:
      metsweep store gc --dry-run
    """
    from sweep.redaction import without_secrets
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.store.collect import find_garbage, parse_age

    settings = Settings.from_environment(store)
    opened = Store(settings.store, PATIENCE_S)
    opened.check_there()
    age = parse_age(older_than)
    registered = set() if ignore_registry else _registered_keys(settings.tracking_uri)
    size = 0
    garbage = find_garbage(opened, registered, age)
    for one in garbage:
        if not dry_run:
            opened.patiently(f"remove {one.what}", one.remove)
        size += one.size
        if not as_json:
            talk.say(f"{'would remove' if dry_run else 'removed'} {one.what} ({bytes_text(one.size)}): {one.why}")
    if as_json:
        removals = [{"what": one.what, "why": one.why, "bytes": one.size} for one in garbage]
        talk.say_json(
            {"store": without_secrets(opened.uri), "removed": not dry_run, "removals": removals, "bytes": size}
        )
        return
    talk.say(f"{len(garbage)} removals, {bytes_text(size)}{', nothing was removed' if dry_run else ''}.")


def _registered_keys(tracking_uri: str) -> set[str]:
    """Stage keys of every registered model version.

    Raises:
        TrackingError: MLflow cannot be asked.
    """
    from sweep.databases import will_be_made
    from sweep.redaction import without_secrets
    from sweep.tracking.mlflow_client import connect, explained
    from sweep.tracking.tags import STAGE_KEY
    from trainers.exceptions import TrackingError

    otherwise = "Set MLFLOW_TRACKING_URI, or give --ignore-registry if no registered model needs this store."
    # `connect` would make an empty database, and its empty registry would let every champion go.
    if will_be_made(tracking_uri):
        raise TrackingError(f"There is no MLflow database at {without_secrets(tracking_uri)}. {otherwise}")
    try:
        client = connect(tracking_uri)
        with explained(tracking_uri):
            found, token = set[str](), None
            while True:
                page = client.search_model_versions(max_results=1000, page_token=token)
                found |= {version.tags[STAGE_KEY] for version in page if STAGE_KEY in version.tags}
                token = page.token
                if not token:
                    return found
    except TrackingError as error:
        raise TrackingError(f"{error} Registered models would not be known. {otherwise}") from None


def _as_dict(manifest: Manifest) -> dict[str, Any]:
    cost = manifest.cost
    return {
        "stage": manifest.stage,
        "key": manifest.key,
        "inputs": sorted(manifest.inputs),
        "bytes": manifest.size,
        "finished": cost.finished,
        "seconds": cost.seconds,
        "host": cost.host,
    }


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
