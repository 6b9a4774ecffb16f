"""The family of errors, one branch per exit code.

    SlipwayError
      UsageError            2   the command was called wrongly
      ConfigError           3   project.yaml, settings or a plan say something impossible
      DataError             4   the table, a file or a row is not what the contract promises
      GateRefusal           5   a model or bundle may not go on: a gate, a signature, an approval
      ConflictError         6   somebody else was first; the message names them
      PlaceError            7   this machine or place cannot do it: port taken, disk full, tool missing
      RolledBack           10   a rollout ended with the old version serving
      Inconclusive         20   a rollout is paused or without a verdict
      InfrastructureError  30   a service that we depend on does not answer
      BackendRefusal       30   what moves the traffic does not do this now: an arm is not ready, a revision has weight

A message names the thing, what was expected, what was seen, and the next move. A candidate that loses is a decision,
not an exception; ``GateRefusal`` exists for the command line and for files that must not be loaded.
"""

from typing import ClassVar


class SlipwayError(Exception):
    """Base of everything Slipway raises on purpose; its text is one sentence for a person."""

    exit_code: ClassVar[int] = 1


class UsageError(SlipwayError):
    exit_code = 2


class ConfigError(SlipwayError):
    exit_code = 3


class DataError(SlipwayError):
    exit_code = 4


class GateRefusal(SlipwayError):
    exit_code = 5


class ConflictError(SlipwayError):
    exit_code = 6


class PlaceError(SlipwayError):
    exit_code = 7


class RolledBack(SlipwayError):
    exit_code = 10


class Inconclusive(SlipwayError):
    exit_code = 20


class InfrastructureError(SlipwayError):
    exit_code = 30


class BackendRefusal(SlipwayError):
    exit_code = 30
