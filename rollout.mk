# What rollouts promise, measured again.

.PHONY: simulate
simulate: $(READY) ## False rollbacks and false promotions, beside thresholds and a peeking z-test (RUNS=2000)
	@$(BIN)/slipway rollout simulate --runs $(or $(RUNS),2000)

.PHONY: bench-rollout
bench-rollout: $(READY) ## Realized split, weight changes, lost requests and total failures on real Envoy
	@$(BIN)/python -m tests.bench.rollout $(ARGS)
