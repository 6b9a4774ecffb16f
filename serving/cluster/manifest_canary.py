"""The two canaries that KServe has itself: ``spec.canary`` in Standard mode, ``canaryTrafficPercent`` in Knative mode.

Each function but the first of a mode gives the body of a JSON merge patch, and none of them has labels or annotations:
KServe copies those to the pods of all revisions, which would start anew. In Standard mode one reconcile first deletes
the Deployments that the specification no longer names and rewrites the routes later, so whatever goes away must be
without weight before: all traffic, then the promotion, then the removal, and between two of them the caller waits until
the gateway has converged and the requests in flight are answered.
"""

from collections.abc import Mapping
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
from serving.errors import BackendRefusal
from serving.rollout.backend import WEIGHT_SUM, Revision

# Of the stable side: none of it may be in a canary, whose replicas are a number.
_SCALING = frozenset(("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"))
PERCENT = 10  # per mille in one percent, the smallest step that KServe knows


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
    made["spec"]["predictor"] = {"minReplicas": replicas, **_side(model, revision, at)}
    return made


def standard_canary(model: str, candidate: Revision, replicas: int, own: int, at: Installation) -> Object:
    """Start *candidate* dark.

    Replicas are said outright: without a number KServe derives it from the percentage, and gives 0 % no pods.

    Args:
        replicas: of its own. own: of the stable side, which keeps them (``beside``).
    """
    entry = _entry({"minReplicas": replicas, **_side(model, candidate, at)}, 0)
    return {"spec": {"predictor": {"minReplicas": beside(own, replicas)}, "canary": [entry]}}


def standard_weight(spec: Object, per_mille: int) -> Object:
    """Give the canary of *spec*, as it is in the cluster, *per_mille* of the traffic; with 0 it runs dark."""
    return {"spec": {"canary": [_entry(spec["canary"][0]["predictor"], per_mille)]}}


def standard_promotion(spec: Object) -> Object:
    """Make the canary of *spec*, which has all traffic, the stable side, and keep the old one without weight.

    Both as they are in the cluster, so that the same pods are taken over, whoever wrote what of them.
    """
    stable, canary = spec["predictor"], spec["canary"][0]["predictor"]
    kept = {"minReplicas": canary["minReplicas"], **_unscaled(stable)}
    return {"spec": {"predictor": _unscaled(canary), "canary": [_entry(kept, 0)]}}


def standard_removal(own: int) -> Object:
    """Let the canary go, which must be without weight, and leave the stable side its *own* replicas.

    An empty list, because a missing key removes nothing.
    """
    return {"spec": {"predictor": {"minReplicas": own}, "canary": []}}


def beside(own: int, replicas: int) -> int:
    """What the stable side has to ask for, so that *own* are left of it beside a canary of *replicas*.

    KServe takes the replicas of a canary that is ready from those of the stable side, of which it leaves one, and
    refuses a canary that has more than the stable side asks for.
    """
    return replicas if own == 1 else own + replicas


def knative_service(model: str, revision: Revision, at: Installation, *, replicas: int = 1) -> Object:
    """The InferenceService of *model* in Knative mode; the first revision takes all traffic whatever is asked."""
    made = inference_service(revision, at, replicas=replicas)
    _public(made, model)
    annotations = made["metadata"]["annotations"]
    del annotations["serving.kserve.io/autoscalerClass"]
    annotations["serving.kserve.io/deploymentMode"] = "Knative"
    # From the first revision on: adding it during a rollout would itself make a revision.
    annotations["serving.kserve.io/enable-tag-routing"] = "true"
    made["spec"]["predictor"] = {"minReplicas": replicas, **_of_one_port(revision, at)}
    return made


def knative_template(revision: Revision, at: Installation) -> Object:
    """Put *revision* into the template, without traffic.

    Also on the way back, when the template is cleaned so that no later edit serves the bad model: without a number the
    newest revision that is ready has everything, and until the clean one is up that is the bad one.
    """
    return {"spec": {"predictor": {**_of_one_port(revision, at), "canaryTrafficPercent": 0}}}


def knative_weight(per_mille: int) -> Object:
    """Change the share alone, which makes no new revision; 1000 promotes, 0 pins the previous revision."""
    return {"spec": {"predictor": {"canaryTrafficPercent": whole_percent(per_mille)}}}


def _of_one_port(revision: Revision, at: Installation) -> dict[str, Any]:
    asked = predictor(revision, at)
    del asked["model"]["ports"]  # Knative refuses a second one
    return asked


def _public(made: Object, name: str) -> None:
    """One object for all revisions: KServe's own host is the way in, and neither label nor annotation is of one."""
    metadata = made["metadata"]
    metadata["name"] = name
    for label in (REVISION_LABEL, VERSION_LABEL, VISIBILITY):
        del metadata["labels"][label]
    for annotation in (DIGEST, FENCE):
        del metadata["annotations"][annotation]


def _entry(side: Mapping[str, Any], per_mille: int) -> dict[str, Any]:
    return {"trafficPercent": whole_percent(per_mille), "predictor": dict(side)}


def _unscaled(side: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in side.items() if name not in _SCALING}


def _side(model: str, revision: Revision, at: Installation) -> dict[str, Any]:
    # The side has a name, its container must not: KServe's webhook refuses one ("not allowed in standard predictor").
    # It is said to be empty, because the type of a canary asks for it.
    name, asked = f"v{revision.version}", predictor(revision, at)
    check_name(f"{model}-{name}", at.namespace)
    asked["model"]["name"] = ""
    return {"name": name, **asked}
