#!/usr/bin/env bash
# What runs, what does not and why, and what it asks for. Called by `make status`.
set -euo pipefail
: "${KUBECTL:=kubectl}"
read -ra KUBE <<<"$KUBECTL"
"${KUBE[@]}" version >/dev/null 2>&1 || { echo "status: no cluster answers '$KUBECTL'; first: make kind-up" >&2; exit 30; }
: "${SYSTEM:=slipway-system}" "${MODELS:=models}" "${RUNS:=kubeflow}"  # another team's: make status VALUES=FILE
for namespace in envoy-gateway-system kserve "$RUNS" "$SYSTEM" "$MODELS"; do
	printf '\n%s\n' "$namespace"
	"${KUBE[@]}" -n "$namespace" get pods -l '!workflows.argoproj.io/workflow' --no-headers -o custom-columns=NAME:.metadata.name,PHASE:.status.phase,READY:.status.containerStatuses[*].ready,RESTARTS:.status.containerStatuses[*].restartCount,WAITING:.status.containerStatuses[*].state.waiting.reason 2>/dev/null |
		sed 's/^/  /' || true
done
printf '\nmodels and their traffic\n'
"${KUBE[@]}" -n "$MODELS" get inferenceservices,httproutes 2>/dev/null | sed 's/^/  /' || true
printf '\nruns\n'
"${KUBE[@]}" -n "$RUNS" get workflows --no-headers -o custom-columns=NAME:.metadata.name,PHASE:.status.phase,STARTED:.status.startedAt 2>/dev/null | sed 's/^/  /' || true
printf '\nrequests of the nodes\n'
"${KUBE[@]}" describe nodes | sed -n '/Allocated resources/,/Events/p' | sed -n '4,6p'
