"""`metsweep store`: list, verify and clean up artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson, StoreUri
from sweep.redaction import without_secrets
from sweep.settings import Settings
from sweep.text import bytes_text, count_text
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from sweep.store import Artifact, Manifest, Store

PATIENCE_S = 10.0
"""A person waits for the answer."""


def ls(
    stage: Annotated[str | None, typer.Option(help="Only this stage, e.g. gan or detector.")] = None,
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
    from sweep.store.survey import survey

    opened = _open(store)
    seen = survey(opened)
    made = [artifact for artifact in seen.artifacts.values() if stage in (None, artifact.manifest.stage)]
    made.sort(key=lambda artifact: artifact.manifest.cost.finished)
    if as_json:
        listed = [_as_dict(artifact.manifest) | {"made_by": seen.made_by(artifact)} for artifact in made]
        damaged = [asdict(damage) for damage in seen.damaged]
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
    size = bytes_text(sum(artifact.manifest.size for artifact in made))
    console.say(f"{count_text(len(made), 'artifact')}, {size}, in {without_secrets(opened.uri)}")
    for damage in seen.damaged:
        talk.say(f"damaged: {damage.reason}", err=True)


def du(as_json: AsJson = False, store: StoreUri = None) -> None:
    """Show disk usage by stage.

    \b
    Example:
      metsweep store du
    """
    from sweep.cli.console import output
    from sweep.console import TextTable
    from sweep.store.survey import usage

    opened = _open(store)
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
        list[str] | None, typer.Argument(metavar="[KEY]...", help="First digits of keys; default: all artifacts.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Quarantine damaged artifacts; the next launch makes them again.")
    ] = False,
    as_json: AsJson = False,
    store: StoreUri = None,
) -> None:
    """Verify manifests (checksum, key) and files (size, SHA-256).

    Exit code 1 if an artifact is damaged, repaired or not.

    \b
    Example:
      metsweep store verify --repair
    """
    from dataclasses import asdict

    from sweep.store.survey import Damage
    from sweep.store.survey import verify as verified

    opened = _open(store)
    whole: list[Artifact] = []
    damaged: list[Damage] = []
    for checked in verified(opened, keys or []):
        if not isinstance(checked, Damage):
            whole.append(checked)
            continue
        damaged.append(checked)
        if repair:
            opened.set_aside_key(checked.stage, checked.key, checked.reason)
        if not as_json:
            talk.say(f"damaged: {checked.reason}")
        if repair and not as_json:
            talk.say(f"quarantined: {checked.stage} {checked.key[:12]}; the next launch makes it again.")
    manifests = [artifact.manifest for artifact in whole]
    unsealed = sum(not manifest.checksum for manifest in manifests)
    files, size = sum(len(manifest.files) for manifest in manifests), sum(manifest.size for manifest in manifests)
    if as_json:
        broken = [asdict(damage) | {"set_aside": repair} for damage in damaged]
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
        talk.say(
            f"{count_text(len(whole), 'artifact')} intact ({count_text(files, 'file')}, {bytes_text(size)}), "
            f"{len(damaged)} damaged."
        )
        if unsealed:
            talk.say(
                f"{count_text(unsealed, 'manifest')} from before manifests had checksums: identity and files were "
                "checked, costs could not be."
            )
    if damaged:
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed and why; remove nothing.")
    ] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Keep artifacts younger than this: 7d, 12h, 30m or 45s.")
    ] = "7d",
    ignore_registry: Annotated[
        bool, typer.Option("--ignore-registry", help="Also remove artifacts that only registered models need.")
    ] = False,
    as_json: AsJson = False,
    store: StoreUri = None,
) -> None:
    """Remove artifacts and files that nothing needs.

    Removes half-written files that are a day old, quarantined artifacts, checkpoints of complete artifacts, and
    artifacts that no study, running stage or registered model needs, directly or through artifacts made from them.
    MLflow (MLFLOW_TRACKING_URI) lists the registered models.

    \b
    Example:
      metsweep store gc --dry-run
    """
    from sweep.store.collect import find_garbage, parse_age

    opened = _open(store)
    age = parse_age(older_than)
    registered = set() if ignore_registry else _registered_keys(Settings.from_environment(store).tracking_uri)
    size = 0
    garbage = find_garbage(opened, registered, age)
    for item in garbage:
        if not dry_run:
            opened.patiently(f"remove {item.what}", item.remove)
        size += item.size
        if not as_json:
            talk.say(f"{'would remove' if dry_run else 'removed'} {item.what} ({bytes_text(item.size)}): {item.why}")
    if as_json:
        removals = [{"what": item.what, "why": item.why, "bytes": item.size} for item in garbage]
        talk.say_json(
            {"store": without_secrets(opened.uri), "removed": not dry_run, "removals": removals, "bytes": size}
        )
        return
    talk.say(f"{count_text(len(garbage), 'removal')}, {bytes_text(size)}{', nothing was removed' if dry_run else ''}.")


def _open(store: str | None) -> Store:
    """The store of `--store`.

    Raises:
        StoreError: it does not exist, or does not answer.
    """
    from sweep.store import Store

    opened = Store(Settings.from_environment(store).store, PATIENCE_S)
    opened.check_there()
    return opened


def _registered_keys(tracking_uri: str) -> set[str]:
    """Stage keys of every registered model version.

    Raises:
        TrackingError: MLflow does not answer.
    """
    from sweep.databases import will_be_made
    from sweep.tracking.mlflow_client import connect, every_page, explained
    from sweep.tracking.tags import STAGE_KEY

    otherwise = "Set MLFLOW_TRACKING_URI, or give --ignore-registry if no registered model needs this store."
    # `connect` would make an empty database, and its empty registry would let every champion go.
    if will_be_made(tracking_uri):
        raise TrackingError(f"The MLflow database {without_secrets(tracking_uri)} does not exist. {otherwise}")
    try:
        client = connect(tracking_uri)
        with explained(tracking_uri):
            versions = every_page(lambda token: client.search_model_versions(max_results=1000, page_token=token))
            return {version.tags[STAGE_KEY] for version in versions if STAGE_KEY in version.tags}
    except TrackingError as error:
        raise TrackingError(f"{error} Without MLflow the registered models are unknown. {otherwise}") from None


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
