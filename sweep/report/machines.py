"""The kinds of machine that a study's figures come from: the same stage gives other digits on another kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweep.plan import Plan, Trial
from sweep.store import Machine, Store

UNKNOWN = "an unrecorded machine (older version)"
Made = tuple[str, Machine | None]
"""A stage's name and the machine that ran it, None if unrecorded."""


def read_machines(plan: Plan, store: Store) -> dict[str, Made]:
    """Stage key -> stage and machine, of the artifacts in the store that figures rest on."""
    made: dict[str, Made] = {}
    for key, stage in plan.stages.items():
        # All arms share one slice set, and realism is no part of their figures.
        artifact = None if stage.name in ("prepare", "realism") else store.find(stage.name, key)
        if artifact is not None:
            made[key] = stage.name, artifact.manifest.machine
    return made


def machines_of(trial: Trial, made: Mapping[str, Made]) -> set[Made]:
    """The stages of a trial and the machines that ran them."""
    return {made[stage.key] for stage in trial.evaluate.inputs_first() if stage.key in made}


def machines_differ(arms: Mapping[str, set[Made]]) -> Iterator[str]:
    """A sentence where arms come from different kinds of machine: comparing them then compares machines, too.

    Args:
        arms: name -> its stages and the machines that ran them.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for arm, made in arms.items():
        for stage, machine in sorted(made, key=str):
            kinds.setdefault(stage, {}).setdefault(_named(machine), []).append(arm)
    # A GAN on a GPU and an evaluation on the CPU beside it are one kind.
    beside = {_named(machine and machine.without_gpu) for made in arms.values() for _, machine in made}
    if len(beside) < 2 and all(len(machines) < 2 for machines in kinds.values()):
        return
    by_stage = (
        f"{stage} on " + " / ".join(f"{machine} ({', '.join(of)})" for machine, of in machines.items())
        for stage, machines in kinds.items()
    )
    yield (
        "The arms ran on different kinds of machine, which round differently: part of a difference between arms may "
        f"come from the machines. {'; '.join(by_stage)}."
    )


def _named(machine: Machine | None) -> str:
    return UNKNOWN if machine is None else str(machine)
