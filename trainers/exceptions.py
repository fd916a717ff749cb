"""Errors meant for the person who reads them.

Every message says what is wrong, where, what was got, what is allowed and what to do next. The command line prints
the message alone and exits with the error's code; anything that is not a `MetsweepError` is a bug and keeps its
traceback.
"""

from typing import ClassVar


class MetsweepError(Exception):
    """Base of every error that a user can fix."""

    exit_code: ClassVar[int] = 2
    """Of the command that it ends: 2 = it was refused, 1 = it began and could not be done."""


class ConfigError(MetsweepError):
    """A study, a fidelity or a setting has an unknown key or a value that is not allowed."""


class CohortError(MetsweepError):
    """A cohort's manifest or one of its volumes cannot be used."""


class NoLesionError(CohortError):
    """A mask or boxes file shows no lesion."""


class SliceSetError(MetsweepError):
    """A slice set is missing, incomplete or of the wrong form."""


class TrainingError(MetsweepError):
    """A training run cannot start or continue: bad input, foreign checkpoint, non-finite losses, too little memory."""


class StopRequestedError(MetsweepError):
    """A run was asked to end and did, at a checkpoint that it will continue from."""


class NodeTakenAwayError(StopRequestedError):
    """A run ended at a checkpoint because one of its nodes will be taken away; the run continues on other nodes."""


class ScoringError(MetsweepError):
    """Truth or detections given to be scored, or the figures of an evaluation, are not of the form that they need."""


class StoreError(MetsweepError):
    """The artifact store cannot be read or written."""


class LostLeaseError(StoreError):
    """Another process has taken over a lease whose holder was suspended, or away from the store, for too long."""

    exit_code = 1


class ClusterError(MetsweepError):
    """Ray cannot be reached or cannot place what a study asks for, or machines differ in what they have installed."""


class TrackingError(MetsweepError):
    """MLflow cannot be reached or does not hold what was asked for."""
