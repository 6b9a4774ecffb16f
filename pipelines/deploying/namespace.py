"""``python -m pipelines.deploying.namespace NAME [RUNTIME=FORMAT...]``: what a namespace needs to serve bundles.

Reads what the models' namespace of an installation has, as ``kubectl get -o json`` says it, and writes what to apply:
the namespace with the label that the Gateway asks for, the runtime with its trusted keys and its object store, and
service accounts by which KServe's storage initializer finds the key of that store. RUNTIME=FORMAT adds the runtime once
more under another name and for another model format, such as ``kserve-sklearnserver=sklearn``: InferenceServices that
were written for KServe's own server then find ours.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from serving.errors import UsageError

Object = dict[str, Any]
RUNTIME = "slipway"
COPIED = "servingruntime/slipway serviceaccount/predictor configmap/slipway-trusted-keys secret/slipway-object-store"


def objects(found: Iterable[Object], name: str, others: Mapping[str, str]) -> Object:
    """The list to apply.

    Args:
        found: of the models' namespace. others: name of a further runtime to its model format; the first
            is chosen where an InferenceService names a format alone.
    """
    copies = [_moved(one, name) for one in found]
    accounts = [{**one, "metadata": {**one["metadata"], "name": "default"}} for one in copies if _is_account(one)]
    for account in accounts:  # pods of an InferenceService that names none have this one, and may want its token
        account.pop("automountServiceAccountToken", None)
    runtimes = [one for one in copies if one["kind"] == "ServingRuntime"]
    last = len(others)  # of two with one format KServe takes that of the higher priority, and refuses equal ones
    ranked = [(other, of, last - place) for place, (other, of) in enumerate(others.items())]
    also = [_called(one, *other) for one in runtimes for other in ranked]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _labels(name)}}
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, *copies, *accounts, *also]}


def _labels(name: str) -> dict[str, str]:
    # The Gateway takes routes from namespaces with this label alone, and the object store calls.
    return {"app.kubernetes.io/part-of": "slipway", "kubernetes.io/metadata.name": name, "slipway.dev/models": "true"}


def _moved(found: Object, namespace: str) -> Object:
    kept = {key: value for key, value in found["metadata"].items() if key in ("name", "labels")}
    told = found["metadata"].get("annotations", {})
    annotations = {key: value for key, value in told.items() if key.startswith("serving.kserve.io/")}
    rest = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    moved = {**rest, "metadata": {**kept, "namespace": namespace, "annotations": annotations}}
    if moved["kind"] == "ServingRuntime":
        moved["spec"] = {**moved["spec"], "containers": [_logging(c, namespace) for c in moved["spec"]["containers"]]}
    return moved


def _logging(container: Object, namespace: str) -> Object:
    """*container* with a log of predictions that is no other namespace's, where a model may have the same name."""
    own = [re.sub(r"(s3://[^/]+)/predictions", rf"\1/{namespace}/predictions", arg) for arg in container["args"]]
    return {**container, "args": own}


def _called(runtime: Object, name: str, model_format: str, priority: int) -> Object:
    formats = [{"name": model_format, "version": "1", "autoSelect": True, "priority": priority}]
    metadata = {**runtime["metadata"], "name": name}
    return {**runtime, "metadata": metadata, "spec": {**runtime["spec"], "supportedModelFormats": formats}}


def _is_account(found: Object) -> bool:
    return bool(found["kind"] == "ServiceAccount")


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        runtime, equals, model_format = word.partition("=")
        if not (runtime and equals and model_format):
            raise UsageError(f"{word!r}: expected RUNTIME=FORMAT, such as kserve-sklearnserver=sklearn")
        yield runtime, model_format


if __name__ == "__main__":
    try:
        json.dump(objects(json.load(sys.stdin)["items"], sys.argv[1], dict(_pairs(sys.argv[2:]))), sys.stdout)
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
