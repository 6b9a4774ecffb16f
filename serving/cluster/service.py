"""A service on a cluster: its rows in the ledger's database, and the rollout controller that looks after it.

Nothing here asks the cluster: whoever releases or follows needs the database alone. What traffic does, the controller
writes there.
"""

import re
import time
from dataclasses import dataclass, fields
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

from serving.errors import ConfigError
from serving.ledger.database import Database
from serving.ledger.values import Slot, SlotName
from serving.rollout.backend import Split
from serving.rollout.controller.desk import Memory
from serving.rollout.controller.tables import open_rollouts
from serving.service.service import Service
from serving.service.slots import Following, wanted_epoch

HEARTBEAT = "heartbeat"  # names in the controller's and the services' memory
FOLLOWED = "followed"
OBSERVED = "observed"
HEARTBEAT_S = 15.0  # a controller that has not been seen for longer is not there


@dataclass(frozen=True)
class ClusterAddress:
    """What ``kserve://NAMESPACE?domain=DOMAIN&gateway=NAMESPACE/NAME&way=WAY&priority=CLASS`` says.

    Attributes:
        domain: of the public hosts; empty for the installation's own. gateway: the Gateway of routes, likewise.
        way: ``route``, ``standard`` or ``knative``; empty for what the installation can do.
        priority: PriorityClass of models' pods; empty for the cluster's usual one.
    """

    namespace: str
    domain: str = ""
    gateway: str = ""
    way: str = ""
    priority: str = ""


def cluster_address(serving: str) -> ClusterAddress:
    """The place that *serving* names.

    Raises:
        ConfigError: it is no ``kserve://`` URI, or says something unknown.
    """
    parts = urlsplit(serving)
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - {field.name for field in fields(ClusterAddress)} - {"namespace"})
    whole = re.fullmatch(r"[^/]+/[^/]+", options.get("gateway", "a/b"))
    if parts.scheme != "kserve" or not parts.netloc or parts.path.strip("/") or unknown or not whole:
        form = "kserve://NAMESPACE, with ?domain=, &gateway=NAMESPACE/NAME, &way= and &priority= if wanted"
        raise ConfigError(f"serving: expected {form}, got {serving!r}")
    return ClusterAddress(parts.netloc, **options)


def controller_scope(namespace: str) -> str:
    """Under which the controller of *namespace* keeps what belongs to no single service."""
    return f"kserve://{namespace}"


class ClusterService(Service):
    """The service of *model* in the namespace that *serving* names."""

    keeper = "the rollout controller"
    where_to_look = "the rollout controller's log"
    follow_s = 300.0  # a first version's pod has to be scheduled, and its bundle fetched
    grace_s = 30.0
    poll_s = 0.5

    def __init__(self, serving: str, model: str, ledger_url: str) -> None:
        super().__init__(model)
        self.clock = time.time
        self.place = cluster_address(serving)
        self._ledger_url = ledger_url

    @cached_property
    def database(self) -> Database:
        return open_rollouts(self._ledger_url)

    def serves(self) -> bool:
        """Whether a controller holds the service's lease, or was seen in its namespace lately."""
        now, lease = self.clock(), self.desk().current()
        if lease is not None and lease.expires > now:
            return True
        beat = Memory(self.database, controller_scope(self.place.namespace)).get(HEARTBEAT)
        return beat is not None and now - float(beat["at"]) < HEARTBEAT_S

    def following(self, slots: dict[SlotName, Slot], split: Split) -> Following:  # noqa: ARG002 - the controller knows it
        """What the controller said of these very slots; nothing else counts, as an older word is of an older split."""
        said = self._memory.get(FOLLOWED)
        if said is None or said["epoch"] != wanted_epoch(slots):
            return Following(False, reason="the rollout controller has not seen the change yet")
        return Following(said["followed"], reason=said["reason"], failed=said["failed"])

    def observed(self) -> Split | None:
        said = self._memory.get(OBSERVED)
        return Split(said["weights"]) if said and said["weights"] else None
