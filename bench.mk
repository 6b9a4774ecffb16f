# Measurements on this machine; each prints a Markdown table. The load average of a busy machine is printed with it.
# Other servers join from environments of their own: make bench PEERS="mlserver=/path/to/python bentoml=/path/to/python"
PEERS ?= mlflow=$(BIN)/python

.PHONY: bench
bench: $(READY) ## The model server beside stock KServe and other servers (ARGS="--rounds 5 --json FILE")
	@$(BIN)/python -m tests.bench.serve $(if $(PEERS),--peers $(PEERS)) $(ARGS)

.PHONY: bench-features
bench-features: $(READY) ## The model server with ten derived columns beside without (ARGS="--rounds 3")
	@$(BIN)/python -m tests.bench.derived $(ARGS)

.PHONY: bench-batch
bench-batch: $(READY) ## Ten million rows scored file to file (ARGS="--rows 1000000")
	@$(BIN)/python -m tests.bench.batch $(ARGS)

.PHONY: bench-data
bench-data: $(READY) ## Ten million rows ingested, validated and split (ARGS="--rows 50000000 --folder DIR")
	@$(BIN)/python -m tests.bench.data $(ARGS)

.PHONY: bench-supervisor
bench-supervisor: $(READY) ## CPU of supervisor and controller beside that of model servers (ARGS="--rate 40 --seconds 60")
	@$(BIN)/python -m tests.bench.supervisor $(ARGS)

.PHONY: bench-clean
bench-clean: $(READY) ## What `slipway clean` takes of a home with 50 runs and 20 rollouts (ARGS="--runs 10 --rollouts 4")
	@$(BIN)/python -m tests.bench.clean $(ARGS)

.PHONY: bench-gates
bench-gates: $(READY) ## Planted bad models and 200 healthy ones at the gates (ARGS="--healthy 40 --runs 100")
	@$(BIN)/python -m tests.bench.gates $(ARGS)

.PHONY: bench-intervals
bench-intervals: $(READY) ## How many truths intervals cover on six made tables (ARGS="--rows 6000 --seeds 3")
	@$(BIN)/python -m tests.bench.intervals $(ARGS)

.PHONY: troubles
troubles: $(READY) ## What `slipway init` and `data check` say of ninety troubles planted into ten tables
	@$(BIN)/python -m tests.tables.report

.PHONY: tables
tables: $(READY) ## Ten tables from their files to served models beside ten lines of scikit-learn (ARGS="rentals homes")
	@$(BIN)/python -m tests.tables.served $(ARGS)

.PHONY: bench-trees
bench-trees: $(READY) ## Trees scored here and by other libraries (TREES=PYTHON of an environment that has these)
	@$(BIN)/python -m tests.bench.trees $(if $(TREES),--peers $(TREES)) $(ARGS)

.PHONY: bench-automl
bench-automl: $(READY) ## The search over families beside AutoGluon and FLAML (AUTOML="autogluon=PYTHON flaml=PYTHON")
	@$(BIN)/python -m tests.bench.automl $(if $(AUTOML),--peers $(AUTOML)) $(ARGS)

.PHONY: bench-auto
bench-auto: $(READY) ## The search over families beside ten lines of scikit-learn on made tables (ARGS="--seconds 60 homes")
	@$(BIN)/python -m tests.bench.auto $(ARGS)

.PHONY: figures
figures: $(READY) ## Measure every figure of README and docs again and write it there (FIGURES="story batch")
	@$(BIN)/python -m tests.figures $(FIGURES)
