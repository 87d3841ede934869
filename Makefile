# ModelGrid. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME_STAMP := $(VENV)/.installed-runtime
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
TEST_JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up test check test-engines test-nightly bench docs lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME_STAMP): requirements/runtime.lock requirements/build.lock pyproject.toml | $(BIN)/python
	@echo "Installing ModelGrid into $(VENV) …"
	@$(PIP) -r requirements/build.lock -r requirements/runtime.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src/modelgrid
	@touch $@

$(DEV_STAMP): $(RUNTIME_STAMP) requirements/dev.lock
	@echo "Installing what the tests need …"
	@$(PIP) -r requirements/dev.lock
	@touch $@

setup: $(RUNTIME_STAMP) ## Install ModelGrid into .venv

setup-dev: $(DEV_STAMP) ## Install what developing needs, too

up: setup ## Run the daemon in the foreground (Ctrl-C ends it); ARGS="--state-dir …"
	@exec $(BIN)/modelgrid up $(ARGS)

test: setup-dev check ## Check and run the whole suite (no container engine, no vLLM needed)
	@$(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile -m "not engines" $(ARGS)

check: setup-dev ## Format, lint, types and the floor plan
	@$(BIN)/ruff format --check --quiet src tests docs benchmarks
	@$(BIN)/ruff check --quiet src tests docs benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 2

test-engines: setup-dev ## Test with a real Docker Engine and a real vLLM on the CPU (installs them; root)
	@$(BIN)/python -m pytest -q -m engines $(or $(ARGS),tests)

test-nightly: setup-dev ## The suite with long fault runs and 10,000 examples per property
	@MODELGRID_NIGHTLY=1 $(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile -m "not engines" --timeout 3600 $(ARGS)

bench: setup-dev ## Measure the gateway beside its peers; ARGS="--quick", "--peers nginx,envoy --seconds 5", "--profile"
	@$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## Write docs/reference anew from the code
	@$(BIN)/python docs/generate.py

lock: ## Renew the pinned versions (needs uv)
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header requirements/build.in -o requirements/build.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml --extra postgresql -o requirements/runtime.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml --extra postgresql --group dev -o requirements/dev.lock

clean: ## Remove the environment and what tools left behind
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
