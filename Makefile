# Kilter: `make` alone lists the targets.
PYTHON ?= python3
# Where pip looks for PyTorch besides its usual index, for a CPU or a CUDA build: https://pytorch.org/get-started
TORCH_INDEX_URL ?=
BIN := .venv/bin
MODELS ?= models
ifdef FUZZ
SEED ?= $(shell $(PYTHON) -c 'import secrets; print(secrets.randbelow(2**32))')
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test e2e engines lint serve bench soak clean

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: .venv/.ready ## make .venv with everything needed to develop

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) --editable ".[dev]"
	@touch $@

demo: setup ## train, serve and score on a real data set, in under three minutes; on pictures with IMAGES=1
	@$(BIN)/python -m deploy.demo.$(if $(IMAGES),pictures,tables)

test: setup ## run the tests, but for the slow end-to-end ones; FUZZ=1 draws new examples by a SEED, which it prints
	$(BIN)/pytest -m "not e2e" -n 2 --dist loadfile $(if $(FUZZ),--hypothesis-profile=fuzz --hypothesis-seed=$(SEED))

e2e: setup build/kserve/.ready build/grafana/.ready ## run the slow end-to-end tests with real components
	$(BIN)/pytest -m e2e

engines: build/engines/.ready ## run the examples of docs/cluster.md in Spark and Ray, which it installs; needs Java 17
	build/engines/bin/python -m tests.support.engines

# Both bring a gigabyte of packages, and want some of theirs in other versions than ours.
build/engines/.ready: pyproject.toml
	$(PYTHON) -m venv build/engines
	build/engines/bin/pip install --quiet --editable . "pyspark>=4,<5" "ray[data]>=2.40,<3" "pandas>=2.2,<4" "pyarrow>=17"
	@touch $@

# A client for the tests, in an environment of its own: it brings half a gigabyte of packages.
build/kserve/.ready:
	$(PYTHON) -m venv build/kserve
	build/kserve/bin/pip install --quiet "kserve>=0.15,<1"
	@touch $@

# Grafana's types and a compiler that checks the dashboard by them, as pinned in the lock file: 25 MB.
build/grafana/.ready: tests/support/grafana/package.json tests/support/grafana/package-lock.json
	mkdir -p build/grafana
	cp $^ build/grafana
	cd build/grafana && npm ci --silent --no-audit --no-fund
	@touch $@

lint: setup ## check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

serve: setup ## serve the models in $(MODELS)
	$(BIN)/kilter serve --models $(MODELS)

bench: setup ## measure what benchmarks/RESULTS.md claims (minutes to hours; DATA=folder of ADBench sets)
	$(BIN)/python -m benchmarks.detection --data $(DATA)

soak: setup ## load the service for half an hour with requests of every kind; needs wrk
	$(BIN)/python -m benchmarks.serving --soak 30

clean: ## delete what the other targets made, but not the models
	rm -rf .venv build dist demo .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find service training tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
