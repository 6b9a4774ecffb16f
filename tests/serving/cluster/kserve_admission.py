"""What KServe refuses of an InferenceService, in the words of its webhook.

Learnt from ``pkg/apis/serving/v1beta1/inference_service_validation.go`` of KServe at aaac4e294dae (2026-08), and tried
by server-side dry runs. Only what can be true of what is written here is in it.
"""

import json
import re
from typing import Any

from serving.cluster.client import Object
from serving.cluster.refusals import refusal
from serving.http_client import Reply

WEBHOOK = "inferenceservice.kserve-webhook-server.validator"
STANDARD = "Standard"
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MODE = "serving.kserve.io/deploymentMode"
_AUTOSCALER = "serving.kserve.io/autoscalerClass"


def admit(before: Object | None, new: Object) -> None:
    """
    Raises:
        ApiRefusal: as the API server's, where the webhook denies *new*, or the type of the object has no room for it.
    """
    name = new["metadata"]["name"]
    if why := _invalid(new):
        raise _no(name, 422, f'InferenceService "{name}" is invalid: {why}')
    if why := (_changed(before, new) if before is not None else "") or _denied(new):
        raise _no(name, 403, f'admission webhook "{WEBHOOK}" denied the request: {why}')


def _no(name: str, status: int, message: str) -> Exception:
    said = json.dumps({"kind": "Status", "message": message}).encode()
    return refusal("PATCH", f"inferenceservices/{name}", Reply(status, said))


def _invalid(new: Object) -> str:
    for side in (new["spec"]["predictor"], *(entry.get("predictor", {}) for entry in _canaries(new))):
        if "name" in side and not _NAME.fullmatch(side["name"]):
            return f"name in body should match {_NAME.pattern!r}"
    for number, entry in enumerate(_canaries(new)):
        if not {"predictor", "trafficPercent"} <= entry.keys():
            return f"spec.canary[{number}]: Required value"
        if not {"modelFormat", "name"} <= entry["predictor"].get("model", {}).keys():
            return f"spec.canary[{number}].predictor.model: Required value"
        if not 0 <= entry["trafficPercent"] <= 100:
            return f"spec.canary[{number}].trafficPercent should be from 0 to 100"
    return ""


def _changed(before: Object, new: Object) -> str:
    modes = [found["metadata"]["annotations"].get(_MODE) for found in (before, new)]
    if modes[0] != modes[1]:
        return f"update rejected: deploymentMode cannot be changed from '{modes[0]}' to '{modes[1]}'"
    old, now = before["spec"]["predictor"], new["spec"]["predictor"]
    if old.get("name") != now.get("name") and old["model"]["storageUri"] == now["model"]["storageUri"]:
        return "predictor.name change requires a model change (e.g. storageUri)"
    return ""


def _denied(new: Object) -> str:
    if not _NAME.fullmatch(new["metadata"]["name"]):
        return f"the InferenceService {new['metadata']['name']!r} is invalid: a name must match {_NAME.pattern}"
    if new["metadata"]["annotations"].get(_AUTOSCALER, "none") not in ("hpa", "keda", "external", "none"):
        return "not a supported autoscaler class type"
    if new["spec"]["predictor"].get("model", {}).get("name"):
        return "the 'name' field is not allowed in standard predictor"
    return _canary_denied(new) if _canaries(new) else ""


def _canary_denied(new: Object) -> str:
    if new["metadata"]["annotations"].get(_MODE) != STANDARD:
        return "canary is only supported in Standard deployment mode"
    stable, names = new["spec"]["predictor"], list[Any]()
    for number, entry in enumerate(_canaries(new)):
        side = entry["predictor"]
        name = side.get("name")
        if not name:
            return f"canary[{number}] predictor.name is required"
        if name in names:
            return f'canary predictor.name "{name}" is duplicated'
        if name == stable.get("name"):
            return f'canary predictor.name "{name}" conflicts with stable predictor name'
        for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
            if side.get(field):
                return f'canary "{name}" must not set {field} (canary uses fixed replicas)'
        if side.get("minReplicas", 0) > stable.get("minReplicas", 1):
            return f'canary "{name}" minReplicas must not exceed stable predictor minReplicas'
        names.append(name)
    total = sum(entry["trafficPercent"] for entry in _canaries(new))
    return f"sum of canary trafficPercent values ({total}) must be <= 100" if total > 100 else ""


def _canaries(new: Object) -> list[Any]:
    return list(new["spec"].get("canary") or ())
