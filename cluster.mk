# The same on Kubernetes. Every step may be repeated: what is done is skipped, and what blocks is named.
# A machine that can pull no images names a directory of tools that make them: CLUSTER_TOOLS=DIR (programs up, upstream
# and stack/load in it). An existing cluster needs `make upstream deploy OVERLAY=production REGISTRY=...`, and
# KUBECTL="kubectl --context NAME".
CLUSTER ?= slipway
KIND_CONFIG ?= kind-config.yaml
OVERLAY ?= kind
PROJECT ?= pipelines/housing/project.yaml
IMAGES ?= pipeline serving $(filter-out $(WITHOUT),minio)
BASE ?=
REGISTRY ?= $(shell sed -n 's/^REGISTRY=\([^ ]*\).*/\1/p' manifests/overlays/$(OVERLAY)/values.env)
CLUSTER_TOOLS ?=
KUBECTL ?= kubectl $(if $(filter kind,$(OVERLAY)),--context kind-$(CLUSTER))
DOCKER_BUILD ?= docker build --network host
# Only the classic builder's instructions are used, so a machine without BuildKit's front end builds them too.
export DOCKER_BUILDKIT ?= 0
export PATH := $(if $(CLUSTER_TOOLS),$(HOME)/.cache/slipway-cluster/bin:)$(PATH)
# Digests are those of published images; where images are made on the spot, tags alone name them.
DIGESTS ?= $(if $(CLUSTER_TOOLS),no,yes)
export KUBECTL WITHOUT WAIT VALUES DIGESTS

# Ours, or one of yours over it: IMAGE_pipeline=REF IMAGE_serving=REF.
image = $(or $(IMAGE_$(1)),$(if $(REGISTRY),$(REGISTRY)/)$$($(BIN)/python -m pipelines.deploying.image_tag $(1) $(BASE)))

.PHONY: upstream
upstream: $(READY) ## Bring the pinned release manifests of third parties (UPSTREAM=DIR: from copies; RELEASES=next: newer servers)
	@$(BIN)/python -m pipelines.deploying.upstream $(if $(UPSTREAM),--from $(UPSTREAM)) \
		$(if $(RELEASES),--releases $(RELEASES)) $(if $(ACCEPT),--accept)

.PHONY: kind-up
kind-up: ## Start a kind cluster whose gateway is 127.0.0.1:30080 (KIND_CONFIG=FILE: of another shape)
	@if kind get clusters 2>/dev/null | grep -qx '$(CLUSTER)' && [ -z '$(CLUSTER_TOOLS)' ]; then \
		echo "kind               cluster $(CLUSTER) exists"; \
	elif [ -n '$(CLUSTER_TOOLS)' ]; then \
		'$(CLUSTER_TOOLS)/up' --name '$(CLUSTER)' --config '$(KIND_CONFIG)'; \
	else \
		command -v kind >/dev/null || { echo "make: kind is missing; see kind.sigs.k8s.io, or set CLUSTER_TOOLS" >&2; exit 7; }; \
		kind create cluster --name '$(CLUSTER)' --config '$(KIND_CONFIG)' --wait 180s; \
	fi

.PHONY: images
images: $(READY) ## Build our images and give them to kind, or push them to REGISTRY (IMAGES="pipeline serving minio", WITHOUT=minio)
	@for name in $(IMAGES); do \
		tag=$(if $(REGISTRY),$(REGISTRY)/)$$($(BIN)/python -m pipelines.deploying.image_tag $$name $(BASE)); \
		started=$$(date +%s); \
		docker image inspect "$$tag" >/dev/null 2>&1 || \
			$(BIN)/python -m pipelines.deploying.images $(if $(filter no,$(DIGESTS)),--no-digests) <"images/$$name.Dockerfile" | \
				$(DOCKER_BUILD) -q -t "$$tag" -f - $(if $(BASE),--build-arg BASE=$(BASE)) \
				--build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" . >/dev/null; \
		if [ -n '$(REGISTRY)' ]; then docker push -q "$$tag" >/dev/null; \
		else \
			docker tag "$$tag" "$${tag%%:*}:dev"; \
			docker exec '$(CLUSTER)-control-plane' crictl inspecti "$$tag" >/dev/null 2>&1 || \
				kind load docker-image --name '$(CLUSTER)' "$$tag" "$${tag%%:*}:dev" >/dev/null 2>&1 || \
				{ echo "make: $$tag was built, but there is no kind cluster $(CLUSTER) to give it to; first: make kind-up" >&2; exit 30; }; \
		fi; \
		printf '%-18s %s, %s MB, %s s\n' "$$name" "$$tag" \
			"$$(( $$(docker image inspect -f '{{.Size}}' "$$tag") / 1000000 ))" "$$(( $$(date +%s) - started ))"; \
	done

.PHONY: images-table
images-table: $(READY) ## The images of an installation, as docs/images.md shows them
	@$(BIN)/python -m tests.images.table

.PHONY: images-upstream
images-upstream: upstream ## Give third parties' images to kind where none can be pulled (needs CLUSTER_TOOLS)
	@test -n '$(CLUSTER_TOOLS)' || { echo "make: only where images cannot be pulled; set CLUSTER_TOOLS=DIR" >&2; exit 2; }
	@mkdir -p build && for piece in overlays/$(OVERLAY)/gateway overlays/$(OVERLAY) \
			controllers/pipelines controllers/kserve controllers/minio controllers/mlflow controllers/prometheus; do \
		kubectl kustomize manifests/$$piece; echo ---; \
	done >build/images.yaml
	@'$(CLUSTER_TOOLS)/stack/load' --name '$(CLUSTER)' build/images.yaml

.PHONY: deploy
deploy: $(READY) ## Apply controllers, base and overlay in order, and wait for each (OVERLAY=kind|production, IMAGE_serving=REF: yours)
	@PYTHON=$(CURDIR)/$(BIN)/python manifests/deploy.sh '$(OVERLAY)' "$(call image,pipeline)" "$(call image,serving)" "$(call image,minio)"

.PHONY: dist
dist: $(READY) ## Write dist/*.yaml: ours for kubectl alone (ARGS="--values FILE": for another site)
	@$(BIN)/python -m pipelines.deploying.dist $(ARGS)

site = $(or $(VALUES),manifests/overlays/$(OVERLAY)/values.env)
# What the file of a site, or else of the overlay, says of one thing.
of_site = $$($(BIN)/python -m pipelines.deploying.site --say $(1) '$(site)')

.PHONY: backup
backup: $(READY) ## Save the ledger, the bucket and the secrets of an installation (DIR=DIRECTORY, new; VALUES=FILE: of a team)
	@test -n '$(DIR)' || { echo "make: where to? say DIR=DIRECTORY" >&2; exit 2; }
	@$(BIN)/python -m pipelines.deploying.backup save '$(DIR)' '$(site)'

.PHONY: restore
restore: $(READY) ## Bring it back where nothing is: secrets, make deploy, ledger and bucket (DIR=DIRECTORY; VALUES=FILE)
	@test -d '$(DIR)' || { echo "make: where from? say DIR=DIRECTORY, of make backup" >&2; exit 2; }
	@$(BIN)/python -m pipelines.deploying.backup secrets '$(DIR)' '$(site)'
	@$(MAKE) --no-print-directory deploy
	@$(BIN)/python -m pipelines.deploying.backup data '$(DIR)' '$(site)'

# AS is also a name of make's own, the assembler's, which nobody said.
.PHONY: namespace
namespace: $(READY) ## Let a namespace serve bundles (NAMESPACE=NAME, VALUES=FILE: of a team, AS="kserve-sklearnserver=sklearn": also under such names)
	@test -n '$(NAMESPACE)' || { echo "make: which one? say NAMESPACE=NAME" >&2; exit 2; }
	@$(KUBECTL) -n $(call of_site,models_namespace) get $$($(BIN)/python -c 'from pipelines.deploying.namespace import COPIED; print(COPIED)') -o json \
		| $(BIN)/python -m pipelines.deploying.namespace '$(NAMESPACE)' $(if $(filter default,$(origin AS)),,$(AS)) | $(KUBECTL) apply --server-side --force-conflicts -f -

.PHONY: submit
submit: $(READY) ## Run the training pipeline on the cluster and follow it (PROJECT=FILE, ARGS="--as-of 2026-01-31")
	@$(BIN)/slipway submit --project '$(PROJECT)' $(if $(filter kind,$(OVERLAY)),--context kind-$(CLUSTER)) --namespace $(call of_site,runs_namespace) $(ARGS)

.PHONY: status
status: $(READY) ## What runs on the cluster, what does not, and what it asks for (VALUES=FILE: of a team)
	@SYSTEM=$(call of_site,system_namespace) MODELS=$(call of_site,models_namespace) RUNS=$(call of_site,runs_namespace) manifests/status.sh

.PHONY: test-cluster
test-cluster: $(READY) ## The tests that need the cluster
	@mkdir -p build/cluster && $(BIN)/pytest -m cluster --timeout 1800 --junitxml build/cluster/$$(date +%Y%m%dT%H%M%S).xml $(ARGS)

.PHONY: cluster-table
cluster-table: $(READY) ## Runs of the cluster suite by pair of versions, and what differs between pairs (RECORDS="FILE...")
	@$(BIN)/python -m tests.cluster.table $(or $(RECORDS),build/cluster/*.xml)

.PHONY: ways
ways: $(READY) ## By each way one rollout promoted and one sent home, under load through the gateway (ARGS="standard")
	@$(BIN)/python -m tests.cluster.ways $(ARGS)

# Where no image can be pulled, the one that events are sent to has a stand-in.
.PHONY: test-kserve
test-kserve: $(READY) ## KServe's own tests of its scikit-learn server against ours (KSERVE=DIR: a copy of its repository)
	@test -d '$(KSERVE)/test/e2e' || { echo "make: say KSERVE=DIR, a copy of KServe at the version of the cluster" >&2; exit 2; }
	@$(MAKE) --no-print-directory namespace NAMESPACE=kserve-ci-e2e-test \
		AS="$$($(BIN)/python -c 'from tests.cluster.kserve.run import RUNTIMES; print(RUNTIMES)')" >&2
	@$(BIN)/python -m tests.cluster.kserve.models >&2
	@$(if $(CLUSTER_TOOLS),$(DOCKER_BUILD) -q -t event-display:1 -f tests/cluster/kserve/event_display.Dockerfile \
		tests/cluster/kserve >/dev/null && kind load docker-image --name '$(CLUSTER)' event-display:1 >&2)
	@$(if $(CLUSTER_TOOLS),EVENT_DISPLAY=event-display:1) $(BIN)/python -m tests.cluster.kserve.run '$(KSERVE)'

.PHONY: test-internet
test-internet: $(READY) ## The first lines of a reader with a stand-in for the internet (COPIES=DIR: git copies, NODE=IMAGE of kind's nodes)
	@test -d '$(COPIES)' || { echo "make: say COPIES=DIR with OWNER+NAME/repo, and NODE=IMAGE" >&2; exit 2; }
	@$(BIN)/python -m tests.cluster.internet.run '$(COPIES)' '$(NODE)' $(RELEASES)

.PHONY: clients
clients: $(READY) ## What foreign clients get of `slipway serve` and of the cluster's route (ARGS="--model NAME --triton PYTHON")
	@$(BIN)/python -m tests.clients.run $(ARGS)

.PHONY: kind-down
kind-down: ## Remove the kind cluster with everything in it
	@if [ -n '$(CLUSTER_TOOLS)' ]; then '$(CLUSTER_TOOLS)/down' --name '$(CLUSTER)'; else kind delete cluster --name '$(CLUSTER)'; fi
