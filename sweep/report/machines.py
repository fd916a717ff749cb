"""The kinds of machine that a study's figures come from: the same stage gives other digits on another kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweep.plan import Trial
from sweep.store import Artifact, Machine

UNKNOWN = "an unrecorded machine (older version)"
Made = tuple[str, Machine | None]
"""A stage's name and the machine that ran it, None if unrecorded."""


def machines_of(arms: Mapping[str, Sequence[Trial]], artifacts: Mapping[str, Artifact]) -> dict[str, set[Made]]:
    """Arm -> the stages that the figures of its trials rest on, and the machines that ran them.

    Stages of the sweep's own run are left out: all arms share them.

    Args:
        artifacts: by stage key.
    """
    needed = {
        arm: {stage.key: stage for trial in trials for stage in trial.evaluate.inputs_first()}
        for arm, trials in arms.items()
    }
    own = {key: stage for stages in needed.values() for key, stage in stages.items() if stage.run_kind != "sweep"}
    made = {key: (stage.name, artifacts[key].manifest.machine) for key, stage in own.items() if key in artifacts}
    return {arm: {made[key] for key in stages if key in made} for arm, stages in needed.items()}


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
