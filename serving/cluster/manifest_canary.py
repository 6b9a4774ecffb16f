"""The two canaries that KServe has itself: ``spec.canary`` in Standard mode, ``canaryTrafficPercent`` in Knative mode.

Each function gives the body of a JSON merge patch. In Standard mode one reconcile first deletes the Deployments that
the specification no longer names and rewrites the routes later, so whatever goes away must be without weight before: a
promotion and a way back are each two patches, and the caller waits between them until the gateway has converged and
the requests in flight are answered.
"""

from dataclasses import dataclass
from typing import Any

from serving.cluster.manifest import (
    DIGEST,
    FENCE,
    REVISION_LABEL,
    VERSION_LABEL,
    VISIBILITY,
    Installation,
    Object,
    check_name,
    inference_service,
    predictor,
)
from serving.errors import BackendRefusal, ConfigError
from serving.rollout.backend import WEIGHT_SUM, Revision

PERCENT = 10  # per mille in one percent, the smallest step that KServe knows


@dataclass(frozen=True)
class Canary:
    """A stable and a canary revision of one InferenceService, with the copies that each has of its own.

    Attributes:
        stable_replicas, replicas: always said outright: without a number KServe derives it from the percentage, and
            gives a canary of 0 % no pods.
    """

    stable: Revision
    candidate: Revision
    stable_replicas: int = 1
    replicas: int = 1

    def __post_init__(self) -> None:
        if self.replicas > self.stable_replicas:
            raise ConfigError(
                f"KServe refuses a canary with more replicas than its stable side: {self.replicas} over "
                f"{self.stable_replicas}; raise the stable side first"
            )


def whole_percent(per_mille: int) -> int:
    """*per_mille* as percent.

    Raises:
        BackendRefusal: it is out of range or no whole percent: KServe would round it without a word.
    """
    if not 0 <= per_mille <= WEIGHT_SUM or per_mille % PERCENT:
        raise BackendRefusal(f"KServe takes whole percents, asked for {per_mille} per mille; choose steps of 1 %")
    return per_mille // PERCENT


def standard_service(model: str, revision: Revision, at: Installation, *, replicas: int = 1) -> Object:
    """The InferenceService of *model* that canaries are added to; its first revision has a name already, because only
    a named side can be kept when another is promoted."""
    made = inference_service(revision, at, replicas=replicas)
    _public(made, check_name(model, at.namespace))
    made["spec"]["predictor"] = _side(revision, at, replicas)
    return made


def standard_weight(canary: Canary, per_mille: int, at: Installation, *, fence: int = 0) -> Object:
    """Give the candidate *per_mille* of the traffic; with 0 it runs dark."""
    entry = {
        "trafficPercent": whole_percent(per_mille),
        "predictor": _side(canary.candidate, at, canary.replicas),
    }
    return _fenced({"spec": {"canary": [entry]}}, fence)


def standard_promotion(canary: Canary, at: Installation, *, fence: int = 0) -> tuple[Object, Object, Object]:
    """All traffic to the candidate; make it the stable side and keep the old one without weight; let the old one go."""
    adopt = {
        "metadata": {"annotations": {DIGEST: canary.candidate.digest}},
        "spec": {
            # The same pods, if this equals what the canary was: they are taken over, not started anew.
            "predictor": _side(canary.candidate, at, canary.replicas),
            "canary": [{"trafficPercent": 0, "predictor": _side(canary.stable, at, 1)}],
        },
    }
    return (
        standard_weight(canary, WEIGHT_SUM, at, fence=fence),
        _fenced(adopt, fence),
        standard_removal(fence=fence),
    )


def standard_removal(*, fence: int = 0) -> Object:
    """Let the canary go; it must be without weight. An empty list, because a missing key removes nothing."""
    return _fenced({"spec": {"canary": []}}, fence)


def knative_service(model: str, revision: Revision, at: Installation, *, replicas: int = 1) -> Object:
    """The InferenceService of *model* in Knative mode; the first revision takes all traffic whatever is asked."""
    made = inference_service(revision, at, replicas=replicas)
    _public(made, model)
    annotations = made["metadata"]["annotations"]
    del annotations["serving.kserve.io/autoscalerClass"]
    annotations["serving.kserve.io/deploymentMode"] = "Knative"
    # From the first revision on: adding it during a rollout would itself make a revision.
    annotations["serving.kserve.io/enable-tag-routing"] = "true"
    made["spec"]["predictor"] = {"minReplicas": replicas, **predictor(revision, at)}
    return made


def knative_start(candidate: Revision, per_mille: int, at: Installation, *, fence: int = 0) -> Object:
    """Put *candidate* into the template with *per_mille* of the traffic."""
    spec = {**predictor(candidate, at), "canaryTrafficPercent": whole_percent(per_mille)}
    return _fenced({"spec": {"predictor": spec}}, fence)


def knative_weight(per_mille: int, *, fence: int = 0) -> Object:
    """Change the share alone, which makes no new revision; 1000 promotes, 0 pins the previous revision."""
    return _fenced({"spec": {"predictor": {"canaryTrafficPercent": whole_percent(per_mille)}}}, fence)


def knative_return(stable: Revision, at: Installation, *, fence: int = 0) -> tuple[Object, Object]:
    """Traffic back to the previous revision; then the template cleaned, or a later edit would serve the bad model.

    The clean one starts at 0 %: without a number the newest revision that is ready has everything, and until the clean
    one is up that is the bad one.
    """
    clean = {**predictor(stable, at), "canaryTrafficPercent": 0}
    return knative_weight(0, fence=fence), _fenced({"spec": {"predictor": clean}}, fence)


def _public(made: Object, name: str) -> None:
    """One object for all revisions: KServe's own host is the way in, and no label is of one revision."""
    made["metadata"]["name"] = name
    for label in (REVISION_LABEL, VERSION_LABEL, VISIBILITY):
        del made["metadata"]["labels"][label]


def _side(revision: Revision, at: Installation, replicas: int) -> dict[str, Any]:
    # No maxReplicas: KServe's webhook refuses it in a canary, and both sides must look alike to be taken over. The name
    # of the container is what it would be anyway, but the type of a canary asks for it.
    asked = predictor(revision, at)
    asked["model"]["name"] = "kserve-container"
    return {"name": f"v{revision.version}", "minReplicas": replicas, **asked}


def _fenced(patch: Object, fence: int) -> Object:
    metadata = patch.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), FENCE: str(fence)}
    return {**patch, "metadata": {**metadata, "annotations": annotations}}
