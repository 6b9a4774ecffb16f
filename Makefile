# Everything a person types. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
# The first Python of the tested range that this machine has; override with PYTHON=/path/to/python3.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
# Two cores: one thread for each numerical library, so that processes do not fight over them.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: help
help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 found; install one, or say make PYTHON=/path/to/python3" >&2; exit 7; }
	@started=$$(date +%s); \
	$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 7; }; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock; \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .; \
	touch $(READY); \
	printf 'environment        %s packages from requirements.lock %24s s\n' "$$(grep -c '==' requirements.lock)" "$$(( $$(date +%s) - started ))"

.PHONY: setup
setup: $(READY) ## Create the virtual environment from the lock

.PHONY: run
run: $(READY) ## The main job: rows to live traffic, market turn, retraining, canary (KEEP=1 leaves it running)
	@$(BIN)/slipway tour $(if $(KEEP),--keep) $(if $(AGAIN),--again)

.PHONY: test
test: $(READY) ## The test suite
	@$(BIN)/pytest -n 2 -m "not slow and not cluster" $(ARGS)

.PHONY: test-slow
test-slow: $(READY) ## Full-size simulations, load, soak and fuzz runs
	@EXPLORE=1 $(BIN)/pytest -m slow --timeout 3600 $(ARGS)

.PHONY: test-readme
test-readme: $(READY) ## The main job, and then every other command of README and docs
	@$(MAKE) --no-print-directory run KEEP=1
	@bash tests/readme.sh

.PHONY: check
check: $(READY) ## Lint, format, types, import arrows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

.PHONY: check-workflows
check-workflows: ## Lint .github/workflows (needs Go)
	@go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7 -color

.PHONY: compile
compile: $(READY) ## Compile the pipelines to the committed IR beside them
	@$(BIN)/slipway compile

.PHONY: keys
keys: $(READY) ## Write docs/project.md, the keys of a project file
	@$(BIN)/slipway help project --page > docs/project.md.new && mv docs/project.md.new docs/project.md

.PHONY: lock
lock: $(READY) ## Resolve requirements.lock again from pyproject.toml
	@$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.lock
	@$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	@$(BIN)/python images/subset.py

.PHONY: clean
clean: ## Remove the virtual environment and caches; .slipway (your models and data) stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

include bench.mk rollout.mk cluster.mk
