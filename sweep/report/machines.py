"""Which kinds of machine the figures of a study's arms come from: the same stage key makes other digits on another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweep.plan import Plan, Trial
from sweep.store import Machine, Store

UNKNOWN = "a machine that an older version did not note"
Made = tuple[str, Machine | None]
"""Stage and what made an artifact of it."""


def read_machines(plan: Plan, store: Store) -> dict[str, Made]:
    """Stage key -> stage and machine, of the artifacts that figures rest on and that are there."""
    found: dict[str, Made] = {}
    for key, stage in plan.stages.items():
        # All arms share one slice set, and realism is no part of their figures.
        artifact = None if stage.name in ("prepare", "realism") else store.find(stage.name, key)
        if artifact is not None:
            found[key] = stage.name, artifact.manifest.machine
    return found


def machines_of(trial: Trial, made: Mapping[str, Made]) -> set[Made]:
    """What made the artifacts of a trial."""
    return {made[stage.key] for stage in trial.evaluate.inputs_first() if stage.key in made}


def machines_told(arms: Mapping[str, set[Made]]) -> Iterator[str]:
    """A sentence where arms come from different kinds of machine: comparing them then compares machines, too.

    Args:
        arms: name -> what made its artifacts.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for arm, made in arms.items():
        for stage, machine in sorted(made, key=str):
            kinds.setdefault(stage, {}).setdefault(_named(machine), []).append(arm)
    # A GAN on a GPU and an evaluation on the CPU beside it are one kind.
    beside = {_named(machine and machine.without_gpu) for made in arms.values() for _, machine in made}
    if len(beside) < 2 and all(len(machines) < 2 for machines in kinds.values()):
        return
    told = (
        f"{stage} on " + " / ".join(f"{machine} ({', '.join(of)})" for machine, of in machines.items())
        for stage, machines in kinds.items()
    )
    yield (
        "These figures come from different kinds of machine, which round differently: the same stage keys give other "
        f"figures on each, so a part of a difference between arms may be theirs. {'; '.join(told)}."
    )


def _named(machine: Machine | None) -> str:
    return UNKNOWN if machine is None else str(machine)
