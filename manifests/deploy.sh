#!/usr/bin/env bash
# Apply everything in order and wait for it; what is there already is left as it is. Called by `make deploy`.
# Usage: deploy.sh OVERLAY IMAGE...    (those that were built; from the environment: KUBECTL, PYTHON, WITH, WITHOUT, WAIT, DIGESTS, VALUES)
# WITHOUT names pieces to leave out, e.g. WITHOUT="grafana minio"; a piece that others bring is left out so, and with
# WITHOUT="upstream ..." all that third parties publish: for a team beside another. WITH=ui adds
# the UI of Kubeflow Pipelines. VALUES is the site's file.
set -euo pipefail
cd "$(dirname "$0")"
OVERLAY=$1 BUILT=("${@:2}")
: "${KUBECTL:=kubectl}" "${PYTHON:=python}" "${WITH:=}" "${WITHOUT:=}" "${WAIT:=300}" "${DIGESTS:=yes}" "${VALUES:=}"
read -ra KUBE <<<"$KUBECTL"
[[ $DIGESTS != no ]] || BUILT+=(--no-digests)
STARTED=$SECONDS

say() { printf '%-18s %s\n' "$1" "$2"; }
die() { printf 'deploy: %s\n' "$*" >&2; exit 30; }
with() { [[ " $WITHOUT " != *" $1 "* ]]; }
asked() { [[ " $WITH " == *" $1 "* ]]; }

[[ -n $VALUES ]] || VALUES=manifests/overlays/$OVERLAY/values.env
ours() { (cd .. && "$PYTHON" -m "pipelines.deploying.$1" "${@:2}"); }

render() { # DIRECTORY; manifests are of the usual site, and name images by tags and those that are built by stand-ins
	"${KUBE[@]}" kustomize --load-restrictor LoadRestrictionsNone "$1" | ours site "$VALUES" | ours images "${BUILT[@]}"
}

# Types and objects of these types come in the same manifests: the second attempt finds what the first one brought. The
# webhooks of a manager that is still starting refuse for some seconds as well.
apply() { # NAME DIRECTORY
	local attempt log
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		log=$(render "$2" | "${KUBE[@]}" apply --server-side --force-conflicts -f - 2>&1) && { say "$1" "applied, $((SECONDS - STARTED)) s"; return; }
		grep -qE 'no matches for kind|failed calling webhook|ensure CRDs are installed first|not found' <<<"$log" || break
		sleep 3
	done
	grep -vE 'serverside-applied$' <<<"$log" | tail -5 >&2
	die "$1 was refused (attempt $attempt); above is what the API server says"
}

# Say which piece blocks, and what it says itself, instead of a bare timeout.
ready() { # NAME NAMESPACE KIND/NAME...
	local one
	for one in "${@:3}"; do
		"${KUBE[@]}" -n "$2" rollout status "$one" --timeout="${WAIT}s" >/dev/null 2>&1 && continue
		"${KUBE[@]}" -n "$2" get pods -o wide >&2 || true
		"${KUBE[@]}" -n "$2" get events --field-selector type=Warning --sort-by=.lastTimestamp 2>/dev/null | tail -5 >&2 || true
		die "$1: $one in $2 is not ready after $WAIT s; the warnings above are the newest, next: kubectl -n $2 describe $one"
	done
	say "$1" "ready, $((SECONDS - STARTED)) s"
}

for piece in gateway-api envoy-gateway kserve pipelines/crds pipelines; do
	with upstream || break
	[[ -s controllers/$piece/upstream.yaml ]] || die "controllers/$piece/upstream.yaml is missing; first: make upstream"
done
"${KUBE[@]}" version >/dev/null 2>&1 || die "no cluster answers '$KUBECTL'; first: make kind-up, or set KUBECTL='kubectl --context NAME'"

SYSTEM=$(ours site "$VALUES" --say system_namespace) GATEWAY=$(ours site "$VALUES" --say gateway)

# Types first, then namespaces and secrets, then what uses them.
with upstream && apply gateway-api controllers/gateway-api
with upstream && apply pipelines-crds controllers/pipelines/crds
"${KUBE[@]}" wait --for=condition=Established crd --all --timeout=60s >/dev/null
ours dist --namespaces "$VALUES" | "${KUBE[@]}" apply --server-side --force-conflicts -f - >/dev/null
existing=$("${KUBE[@]}" -n "$SYSTEM" get secrets -o json)
ours secrets "$VALUES" <<<"$existing" | "${KUBE[@]}" apply --server-side --force-conflicts -f - >/dev/null
say secrets "made or kept, $((SECONDS - STARTED)) s"

upstream() { # what all teams of a cluster share
	local job=webhook-certificate-$(date +%s)
	apply envoy-gateway "overlays/$OVERLAY/gateway"
	apply pipelines controllers/pipelines
	apply kserve controllers/kserve
	"${KUBE[@]}" -n kserve create job --from=cronjob/webhook-certificate "$job" >/dev/null
	"${KUBE[@]}" -n kserve wait --for=condition=Complete "job/$job" --timeout="${WAIT}s" >/dev/null ||
		die "no certificate for KServe's webhooks; next: kubectl -n kserve logs job/$job"
	ready envoy-gateway envoy-gateway-system deployment/envoy-gateway
	ready kserve kserve deployment/kserve-controller-manager
}

with minio && apply minio controllers/minio
with upstream && upstream
with minio && ready minio "$SYSTEM" statefulset/minio
apply slipway "overlays/$OVERLAY"
[[ $OVERLAY != kind ]] || ready ledger "$SYSTEM" statefulset/ledger
for piece in mlflow prometheus grafana; do
	with "$piece" && apply "$piece" "controllers/$piece"
done
asked ui && apply pipelines-ui components/pipelines-ui
with upstream && ready pipelines kubeflow deployment/{mysql,metadata-grpc-deployment,ml-pipeline,ml-pipeline-persistenceagent,ml-pipeline-scheduledworkflow,workflow-controller}
asked ui && ready pipelines-ui kubeflow deployment/{metadata-envoy-deployment,ml-pipeline-ui}
with mlflow && ready mlflow "$SYSTEM" statefulset/mlflow
for piece in prometheus grafana; do
	with "$piece" && ready "$piece" "$SYSTEM" "deployment/$piece"
done
# Runs are about the code in the image, not about the checkout that submits them.
"${KUBE[@]}" -n "$SYSTEM" annotate --overwrite deployment/rollout-controller $(cd .. && "$PYTHON" -m components.steps.code_digest) >/dev/null
ready controller "$SYSTEM" deployment/rollout-controller
"${KUBE[@]}" -n "${GATEWAY%/*}" wait --for=condition=Programmed "gateway/${GATEWAY#*/}" --timeout="${WAIT}s" >/dev/null ||
	die "the Gateway has no proxy; next: kubectl -n ${GATEWAY%/*} describe gateway ${GATEWAY#*/}"
say deployed "in $((SECONDS - STARTED)) s; next: make status, slipway doctor, make submit"
