"""The two canaries that KServe has itself: ``spec.canary`` in Standard mode, ``canaryTrafficPercent`` in Knative mode.

Each function but the first of a mode gives the body of a JSON merge patch. In Standard mode one reconcile first deletes
the Deployments that the specification no longer names and rewrites the routes later, so whatever goes away must be
without weight before: all traffic, then the promotion, then the removal, and between two of them the caller waits until
the gateway has converged and the requests in flight are answered.
"""

from typing import Any

from serving.cluster.manifest import (
    DIGEST,
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
    made["spec"]["predictor"] = _side(revision, at, replicas)
    return made


def standard_weight(candidate: Revision, replicas: int, per_mille: int, at: Installation) -> Object:
    """Give *candidate* *per_mille* of the traffic; with 0 it runs dark.

    Args:
        replicas: of its own, and no more than the stable side has, or KServe refuses it.
    """
    entry = {"trafficPercent": whole_percent(per_mille), "predictor": _side(candidate, at, replicas)}
    return {"spec": {"canary": [entry]}}


def standard_promotion(stable: Revision, candidate: Revision, replicas: int, at: Installation) -> Object:
    """Make *candidate*, which has all traffic, the stable side, and keep the old one without weight."""
    return {
        "metadata": {"annotations": {DIGEST: candidate.digest}},
        "spec": {
            # The same pods, if this equals what the canary was: they are taken over, not started anew.
            "predictor": _side(candidate, at, replicas),
            "canary": [{"trafficPercent": 0, "predictor": _side(stable, at, 1)}],
        },
    }


def standard_removal() -> Object:
    """Let the canary go; it must be without weight. An empty list, because a missing key removes nothing."""
    return {"spec": {"canary": []}}


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
    """One object for all revisions: KServe's own host is the way in, and no label is of one revision."""
    made["metadata"]["name"] = name
    for label in (REVISION_LABEL, VERSION_LABEL, VISIBILITY):
        del made["metadata"]["labels"][label]


def _side(revision: Revision, at: Installation, replicas: int) -> dict[str, Any]:
    # Replicas are said outright: without a number KServe derives it from the percentage, and gives a canary of 0 % no
    # pods. No maxReplicas: KServe's webhook refuses it in a canary, and both sides must look alike to be taken over.
    # The name of the container is what it would be anyway, but the type of a canary asks for it.
    asked = predictor(revision, at)
    asked["model"]["name"] = "kserve-container"
    return {"name": f"v{revision.version}", "minReplicas": replicas, **asked}
