"""A service on this machine: a directory, and the supervisor that looks after it."""

import contextlib
from functools import cached_property
from pathlib import Path

from serving.errors import InfrastructureError
from serving.ledger.database import Database
from serving.ledger.values import Slot, SlotName
from serving.local.backend import EnvoyBackend
from serving.local.client import supervisor_alive
from serving.local.paths import service_directory, service_paths
from serving.local.state import read_observed
from serving.rollout.backend import Split
from serving.rollout.controller.tables import open_rollout_file
from serving.service.service import Service
from serving.service.slots import Following, following


class LocalService(Service):
    """The service of *model* below the directory that *serving* names."""

    keeper = "slipway serve"
    follow_s = 60.0
    where_to_look = "slipway serve status"

    def __init__(self, serving: str, model: str) -> None:
        super().__init__(model)
        self.directory = service_directory(serving, model)

    @cached_property
    def database(self) -> Database:
        return open_rollout_file(rollout_file(self.directory), self.model)

    @property
    def written(self) -> bool:
        return rollout_file(self.directory).exists()

    @property
    def page(self) -> Path:
        return self.directory / "rollout.html"

    def serves(self) -> bool:
        return serves(self.directory)

    def following(self, slots: dict[SlotName, Slot], split: Split) -> Following:  # noqa: ARG002 - Envoy itself is asked
        return following(EnvoyBackend(self.directory), split)

    def observed(self) -> Split | None:
        with contextlib.suppress(InfrastructureError):
            return EnvoyBackend(self.directory).observed().split
        return None


def serves(directory: Path) -> bool:
    """Whether a supervisor looks after the service in *directory*."""
    return supervisor_alive(read_observed(service_paths(directory)))


def rollout_file(directory: Path) -> Path:
    return directory / "rollout.db"
