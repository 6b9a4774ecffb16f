"""Traffic on this machine: one model server per revision behind one Envoy.

What is asked for is written into the service's wanted state, for the supervisor to bring about; what is observed is
read from Envoy itself. Both survive the process that asks, so a controller may end between any two calls.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from serving.errors import ConflictError, InfrastructureError
from serving.local.client import supervisor_alive
from serving.local.counting import Tally, read_counts
from serving.local.envoy_admin import Admin
from serving.local.envoy_config import NAME, OWN_HEADERS, TOKEN, InForce
from serving.local.paths import ServicePaths, service_paths
from serving.local.state import (
    ObservedState,
    WantedRevision,
    WantedSplit,
    WantedState,
    read_desired,
    read_observed,
    update_desired,
)
from serving.rollout.backend import (
    HEADER_NAME,
    REFUSED,
    WEIGHT_SUM,
    ArmCounts,
    Capabilities,
    Counters,
    Observed,
    Readiness,
    Revision,
    Split,
)

# What Envoy cannot see, by epoch and revision: bins, labels, invalid answers, mirrored answers that differ.
Extras = Callable[[], Mapping[str, Mapping[str, ArmCounts]]]


@dataclass(frozen=True)
class EnvoyBackend:
    """The ``TrafficBackend`` of a service directory.

    Attributes:
        slow_ms: an answer that took longer counts as slow; None counts none. What is called is asked at each look.
        fence: token of the lease under which this controller acts, 0 for a person at the keyboard.
        extras: reads what only the prediction log and the labels know.
    """

    service_dir: Path
    slow_ms: float | Callable[[], float | None] | None = None
    fence: int = 0
    extras: Extras | None = None

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="envoy",
            resolution=1,
            mirror=True,
            header=True,
            sticky=True,
            per_request_random=True,
            warm_rollback=True,
        )

    def ensure(self, revision: Revision, replicas: int) -> None:
        _require_name(revision.name)

        def change(desired: WantedState) -> WantedState:
            known = desired.revisions.get(revision.name)
            if known is not None and known.digest != revision.digest:
                raise ConflictError(
                    f"{revision.name} already names the bundle {known.digest[:12]}, asked for {revision.digest[:12]}; "
                    "a revision's name is never used for another bundle"
                )
            wanted = WantedRevision(
                name=revision.name,
                model=revision.model,
                version=revision.version,
                bundle_uri=known.bundle_uri if known else revision.bundle_uri,
                digest=revision.digest,
                replicas=replicas,
                asked=known.asked if known else desired.generation + 1,
            )
            return desired.model_copy(update={"revisions": {**desired.revisions, revision.name: wanted}})

        self._update(change)

    def readiness(self, revision: str) -> Readiness:
        if revision not in read_desired(self._where).revisions:
            return Readiness("absent")
        seen = self._seen()
        server = seen.servers.get(revision)
        if server is None:
            return Readiness("starting", "not seen by the supervisor yet")
        if server.state == "stopping":
            return Readiness("starting", "its former process is still ending")
        return Readiness(server.state, server.reason)

    def apply(self, split: Split, epoch: str) -> None:
        wanted = WantedSplit(
            weights=dict(split.weights),
            mirror=split.mirror,
            sticky_header=split.sticky_header,
            header_arms=tuple(sorted(set(split.header_arms))),
        )
        now = read_desired(self._where)
        if (now.split, now.epoch) != (wanted, epoch):  # saying it again is no reason to look at the arms again
            self._check(split, epoch)

        def change(desired: WantedState) -> WantedState:
            unknown = {*wanted.weights, *wanted.header_arms, wanted.mirror} - {None, *desired.revisions}
            if unknown:
                raise ValueError(f"the split names revisions that are not there: {sorted(filter(None, unknown))}")
            return desired.model_copy(update={"split": wanted, "epoch": epoch})

        self._update(change)

    def observed(self) -> Observed:
        seen = self._seen()
        force = self._in_force(seen)
        split = force.split
        return Observed(
            split=None
            if split is None
            else Split(dict(split.weights), split.mirror, split.sticky_header, split.header_arms),
            epoch=force.epoch,
            digest=force.digest,
            rejected=seen.proxy.refusal(read_desired(self._where)),
        )

    def counters(self) -> Counters:
        """Counts of Envoy's access log; ``fresh`` is False while Envoy does not answer."""
        counts = read_counts(self._where).epochs
        epochs = {epoch: {name: self._arm(tally) for name, tally in arms.items()} for epoch, arms in counts.items()}
        if self.extras is not None:
            _add(epochs, self.extras())
        return Counters(epochs=epochs, fresh=self._admin(read_observed(self._where)).live())

    def drained(self, revision: str) -> bool:
        seen = self._seen()
        force = self._in_force(seen)
        if _weight(force.split, revision) > 0 or (force.split is not None and force.split.mirror == revision):
            return False
        return self._admin(seen).in_flight(revision) == 0

    def adopt(self, revision: str) -> None:
        def change(desired: WantedState) -> WantedState:
            if revision not in desired.revisions:
                raise ValueError(f"{revision} is not there and cannot become the stable revision")
            return desired.model_copy(update={"stable": revision})

        self._update(change)

    def remove(self, revision: str) -> None:
        def change(desired: WantedState) -> WantedState:
            if revision not in desired.revisions:
                return desired
            weight = max(_weight(desired.split, revision), _weight(self._split_in_force(), revision))
            if weight > 0:
                raise ValueError(f"{revision} has {weight} per mille of the traffic; move it before removing it")
            others = {name: wanted for name, wanted in desired.revisions.items() if name != revision}
            return desired.model_copy(
                update={
                    "revisions": others,
                    "split": _without(desired.split, revision),
                    "stable": None if desired.stable == revision else desired.stable,
                }
            )

        self._update(change)

    def _check(self, split: Split, epoch: str) -> None:
        if sum(split.weights.values()) != WEIGHT_SUM or min(split.weights.values(), default=0) < 0:
            raise ValueError(f"weights must be per mille and sum to {WEIGHT_SUM}, seen {dict(split.weights)}")
        if not TOKEN.fullmatch(epoch):
            raise ValueError(f"an epoch token is sent as a header: expected letters, digits, ._:@+/=-, seen {epoch!r}")
        header = split.sticky_header
        if header is not None and (not re.fullmatch(HEADER_NAME, header) or header.lower() in OWN_HEADERS):
            raise ValueError(
                f"a sticky header is one of the caller's: expected letters, digits, _ and -, seen {header!r}"
            )
        used = {name for name, weight in split.weights.items() if weight > 0} | {*split.header_arms, split.mirror}
        for name in sorted(filter(None, used)):
            found = self.readiness(name)
            if found.state != "ready":
                raise ValueError(f"{name} is {found.state} and cannot take traffic: {found.reason or 'wait for it'}")

    def _arm(self, tally: Tally) -> ArmCounts:
        limit = self.slow_ms() if callable(self.slow_ms) else self.slow_ms
        slow = 0 if limit is None else tally.slow(limit)
        # Refusals are the caller's fault on both arms alike; an arm that refuses more of them answers differently.
        bins = {REFUSED: tally.refused} if tally.refused else {}
        return ArmCounts(requests=tally.requests, errors=tally.errors, slow=slow, bins=bins, mirrored=tally.mirrored)

    def _update(self, change: Callable[[WantedState], WantedState]) -> None:
        update_desired(self._where, change, fence=self.fence)

    @property
    def _where(self) -> ServicePaths:
        return service_paths(self.service_dir)

    def _seen(self) -> ObservedState:
        """What the supervisor wrote; its answer would be stale while it is not there."""
        seen = read_observed(self._where)
        if not supervisor_alive(seen):
            raise InfrastructureError(f"no supervisor looks after {self.service_dir}; start it with: slipway serve")
        return seen

    def _split_in_force(self) -> WantedSplit | None:
        """The split Envoy follows; None when it does not answer, as the supervisor keeps the order then as well."""
        with contextlib.suppress(InfrastructureError):
            return self._in_force(self._seen()).split
        return None

    def _in_force(self, seen: ObservedState) -> InForce:
        return self._admin(seen).routes()

    def _admin(self, seen: ObservedState) -> Admin:
        return Admin(seen.proxy.admin_port)


def _weight(split: WantedSplit | None, revision: str) -> int:
    return 0 if split is None else split.weights.get(revision, 0)


def _without(split: WantedSplit | None, revision: str) -> WantedSplit | None:
    if split is None:
        return None
    return WantedSplit(
        weights={name: weight for name, weight in split.weights.items() if name != revision},
        mirror=None if split.mirror == revision else split.mirror,
        sticky_header=split.sticky_header,
        header_arms=tuple(name for name in split.header_arms if name != revision),
    )


def _add(epochs: dict[str, dict[str, ArmCounts]], extras: Mapping[str, Mapping[str, ArmCounts]]) -> None:
    """Fill in the fields that only *extras* has; its errors are answers with status 200 that are no predictions.

    An arm that only gets copies has no counts but theirs.
    """
    for epoch, arms in extras.items():
        for name, extra in arms.items():
            own = epochs.setdefault(epoch, {}).get(name, ArmCounts())
            if own.mirrored and not own.requests:
                extra = ArmCounts(mirrored_differences=extra.mirrored_differences)
            epochs[epoch][name] = replace(
                own,
                errors=own.errors + extra.errors,
                bins={**own.bins, **extra.bins},
                labelled=extra.labelled,
                mistakes=extra.mistakes,
                # A copy that differs was answered, whether or not its line in the access log is written yet.
                mirrored=max(own.mirrored, extra.mirrored_differences),
                mirrored_differences=extra.mirrored_differences,
            )


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(f"a revision's name is letters, digits and ._- up to 128, seen {name!r}")
