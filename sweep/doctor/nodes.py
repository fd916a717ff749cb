"""The nodes of a Ray cluster, each examined by an actor that runs on it."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweep.doctor.finding import LOOK, MISSING, OK, Finding
from sweep.doctor.on_node import NodeTask, place_mark
from sweep.doctor.services import clock, cohort_listing
from sweep.redaction import without_secrets
from sweep.settings import Settings
from sweep.store import Store
from sweep.tracking.mlflow_client import place_of
from trainers.exceptions import CohortError, TrackingError

ANSWER_S = 60.0
"""How long all nodes together may take to start their actors, and again to examine themselves."""
SAME = {"metsweep": MISSING, "Python": MISSING, "Ray": MISSING, "torch": LOOK}
"""What must be equal on all nodes -> the state of a node where it differs."""


def examine_nodes(settings: Settings, store: Store | None, cohort: Path | None) -> list[Finding]:
    """Examine every node of the cluster that this process is connected to.

    Args:
        settings: which services nodes may have to reach.
        store: as this machine opened it; None if that failed.
        cohort: its folder; None: nodes look for none.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    kind = _agent()
    here = kind().versions()
    agent: Any = ray.remote(num_cpus=0, max_restarts=0)(kind)
    nodes = _named(node for node in ray.nodes() if node["Alive"])
    agents = {
        name: agent.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for name, node in nodes.items()
    }
    try:
        found: dict[str, list[Finding]] = {}
        for name, versions in _answers({name: agent.versions.remote() for name, agent in agents.items()}).items():
            found[name] = [versions] if isinstance(versions, Finding) else list(_compared(versions, here))
            if isinstance(versions, Finding):
                del agents[name]
        for name, agent in agents.items():
            found[name] += _clock(agent)
        with place_mark(store) as mark:
            task = NodeTask(store=store, mark=mark, places=tuple(_places(settings)), **_cohort(cohort))
            asked = {
                name: agent.examine.remote(replace(task, gpus=nodes[name]["Resources"].get("GPU", 0.0)))
                for name, agent in agents.items()
            }
            for name, findings in _answers(asked).items():
                found[name] += [findings] if isinstance(findings, Finding) else findings
        return _together(found)
    finally:
        for agent in agents.values():
            ray.kill(agent)


def _agent() -> type:
    """The class of the actor; as a local class Ray sends its code, so that it runs where metsweep is not installed."""

    class Agent:
        def versions(self) -> dict[str, str]:
            import hashlib
            import platform
            from importlib import metadata, util
            from pathlib import Path

            def version(package: str) -> str:
                try:
                    return metadata.version(package)
                except metadata.PackageNotFoundError:
                    return "not installed"

            digest = hashlib.sha256()
            for room in ("search_spaces", "sweep", "trainers"):
                spec = util.find_spec(room)
                folders = spec.submodule_search_locations if spec else None
                for folder in folders or ():
                    for file in sorted(Path(folder).rglob("*.py")):
                        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
            return {
                "metsweep": f"{version('metsweep')} (code {digest.hexdigest()[:8]})",
                "Python": platform.python_version(),
                "Ray": version("ray"),
                "torch": version("torch"),
            }

        def now(self) -> float:
            import time

            return time.time()

        def examine(self, task: Any) -> list[Any]:
            from sweep.doctor.on_node import examine_node

            return examine_node(task)

    return Agent


def _named(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Nodes by `ray start --node-name`, else by address; with the begin of the id where two are equal."""
    nodes = list(nodes)
    names = [node.get("NodeName") or node["NodeManagerAddress"] for node in nodes]
    return {
        name if names.count(name) == 1 else f"{name} {node['NodeID'][:6]}": node
        for name, node in zip(names, nodes, strict=True)
    }


def _answers(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What each actor answers, or a finding on why it does not."""
    import ray

    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S) if asked else ([], [])
    answers: dict[str, Any] = {}
    for name, reference in asked.items():
        if reference not in ready:
            fix = "Look at the node: `ray status` on the head; free its memory, or stop it."
            answers[name] = Finding("node", MISSING, f"does not answer within {ANSWER_S:.0f} s", fix)
            continue
        try:
            answers[name] = ray.get(reference)
        except Exception as error:  # whatever the node's own Python raises
            last = without_secrets(error).strip().splitlines()[-1]
            fix = "Install the same metsweep there as here: pip install -c constraints.txt ."
            answers[name] = Finding("node", MISSING, f"cannot examine itself: {last}", fix)
    return answers


def _compared(versions: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Finding]:
    other = {what: version for what, version in versions.items() if version != here[what]}
    for what, version in other.items():
        fix = "Install the same version everywhere: pip install -c constraints.txt ."
        yield Finding(f"version of {what}", SAME[what], f"{version}; here {here[what]}", fix)
    if not other:
        yield Finding("versions", OK, ", ".join(f"{what} {version}" for what, version in versions.items()))


def _clock(agent: Any) -> Iterator[Finding]:
    """The node's clock against this one, between the moments of asking and of hearing; the median of three."""
    import ray

    ahead = []
    for _ in range(3):
        asked = time.time()
        try:
            there: Any = ray.get(agent.now.remote(), timeout=ANSWER_S / 12)
        except Exception:  # `_answers` reports a node that is gone
            return
        ahead.append(there - (asked + time.time()) / 2)
    yield clock("clock", statistics.median(ahead))


def _places(settings: Settings) -> Iterator[tuple[str, str, int]]:
    for name, uri in (("MLflow", settings.tracking_uri), ("Optuna", settings.optuna_storage)):
        try:
            host, port = place_of(uri)
        except TrackingError:
            continue  # found on this machine already
        if host and port:
            yield name, host, port


def _cohort(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {"cohort": None, "listing": None}
    try:
        return {"cohort": folder.absolute(), "listing": cohort_listing(folder)}
    except (CohortError, OSError):
        return {"cohort": folder.absolute(), "listing": None}


def _together(found: Mapping[str, list[Finding]]) -> list[Finding]:
    """The findings of all nodes, equal ones once."""
    nodes: dict[Finding, list[str]] = defaultdict(list)
    for name, findings in found.items():
        for finding in findings:
            nodes[finding].append(name)
    return [
        replace(finding, where=f"all {len(names)} nodes" if len(names) == len(found) > 1 else ", ".join(names))
        for finding, names in nodes.items()
    ]
