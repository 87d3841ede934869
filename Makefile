# ModelGrid. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME_STAMP := $(VENV)/.installed-runtime
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
TEST_JOBS ?= 5
CONSOLE_STAMP := src/modelgrid/console/.made-from
CONSOLE_SOURCES := $(shell find ts_web -type f -not -path '*/node_modules/*' -not -path '*/.out/*' -not -name '*.test.ts' -not -name '*.md' 2>/dev/null)
NODE := $(BIN)/python -c 'import sys; sys.path.insert(0, "ts_web"); import build_console; build_console.node()' 2>/dev/null
COMPILED := $(BIN)/python -m modelgrid.gateway.compiled
COMPILE := $(COMPILED) --possible && { $(BIN)/python -c 'import mypyc, setuptools' 2>/dev/null || \
	$(PIP) -r requirements/compile.lock; } && $(COMPILED)

.DEFAULT_GOAL := help
.PHONY: help sim bench-scale bench-heartbeats bench-placement browser install setup setup-dev compiled compiled-or-not wheel up demo test suite checked check test-engines test-nightly fuzz soak bench bench-console bench-api console console-tools console-check console-test console-types screenshots docs lock clean

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

install: $(RUNTIME_STAMP) $(CONSOLE_STAMP)

setup: install ## Install ModelGrid into .venv, build its console, compile its gateway where that can be done
	@$(COMPILE) || true

# Node comes from the PATH, or from PyPI. The daemon runs without a console, too: then it says so, and so does its page.
$(CONSOLE_STAMP): $(CONSOLE_SOURCES) | $(RUNTIME_STAMP)
	@$(MAKE) --no-print-directory console || { \
	  echo "The daemon runs without the console; \`make console\` tries again." >&2; test -z "$$MODELGRID_CI"; }

# The daemon runs without it, too, and says so in its log and in `modelgrid doctor`.
compiled: $(RUNTIME_STAMP) ## Compile what each request goes through in the gateway (needs a C compiler and python3-dev)
	@$(COMPILE)

compiled-or-not: $(RUNTIME_STAMP)
	@$(COMPILE) || true

wheel: setup ## Build dist/modelgrid-*.whl, with the console, and with the compiled gateway where that can be done
	@rm -f dist/modelgrid-*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

console: $(RUNTIME_STAMP) ## Build the browser console into the package
	@$(NODE) || { echo "Fetching Node …"; $(PIP) -r requirements/node.lock; }
	@echo "Building the console …"
	@$(BIN)/python ts_web/build_console.py && touch $(CONSOLE_STAMP)

console-tools: setup-dev
	@$(NODE) || $(PIP) -r requirements/node.lock
	@$(BIN)/python ts_web/build_console.py install

console-check: console-tools ## Check the types of the console
	@$(BIN)/python ts_web/build_console.py run typescript/bin/tsc --noEmit

console-test: console-check browser ## Test the parts of the console in Chromium
	@command -v chromium >/dev/null || { test -z "$$MODELGRID_CI"; exit; }; $(BIN)/python ts_web/build_console.py run vitest/vitest.mjs run

console-types: console-tools ## Write the console's types of the API anew
	@$(BIN)/python ts_web/make_types.py

setup-dev: $(DEV_STAMP) ## Install what developing needs, too

# A first look, or a daemon of changed sources, does not wait for the compiler.
up: install ## Run the daemon in the foreground (Ctrl-C ends it); ARGS="--state-dir …"
	@exec $(BIN)/modelgrid up $(ARGS)

demo: install ## A three-node fleet with simulated GPUs, engines and traffic (Ctrl-C removes it); ARGS="--flap"
	@exec $(BIN)/modelgrid demo $(ARGS)

# The browser tests need Debian's Chromium; without it they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  { echo "Installing Chromium …"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; } || \
	  { echo "The browser tests will be skipped: they need Chromium (apt-get install chromium)." >&2; test -z "$$MODELGRID_CI"; }

# Files in their order, unit tests last: sorted by their number of tests, as xdist would, the longest files came last.
# More processes than cores, since tests of whole daemons wait half of their time. What pytest makes of the tests'
# source is kept for the next run, whatever the environment says: making it is most of each process's start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
test: install console-tools browser ## Check and run the whole suite (no container engine, no vLLM needed)
	@$(MAKE) --no-print-directory --jobs 2 suite checked

suite: compiled-or-not
	@$(PYTEST) -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder --ignore tests/engines -m "not engines" $(ARGS)

# Beside the suite, in time that the tests leave while they wait. What they say is said in one piece, when they end.
checked:
	@said="$$(nice -n 5 $(MAKE) --no-print-directory check console-test 2>&1)"; code=$$?; echo; echo "$$said"; exit $$code

check: setup-dev console-check ## Format, lint, types and the floor plan
	@$(BIN)/ruff format --check --quiet src tests docs benchmarks ts_web hatch_build.py
	@$(BIN)/ruff check --quiet src tests docs benchmarks ts_web hatch_build.py
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 2

test-engines: setup-dev ## Test with a real Docker Engine and a real vLLM on the CPU (installs them; root)
	@$(PYTEST) -m engines $(or $(ARGS),tests)

test-nightly: setup-dev ## The suite with long fault runs and 10,000 examples per property
	@MODELGRID_NIGHTLY=1 $(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder -m "not engines" --timeout 3600 $(ARGS)

bench-console: console-check browser ## Measure the console against its budgets, 15 minutes; ARGS="log", ARGS="fleet --soak 120"
	@$(BIN)/python -m benchmarks.bench_console $(ARGS)

bench-heartbeats: setup-dev ## Measure what heartbeats of 10 to 1,000 nodes cost their control plane; ARGS="--nodes 1000"
	@$(BIN)/python -m benchmarks.bench_heartbeats $(ARGS)

bench-placement: setup-dev ## Measure how soon a node of twenty hears that it is to start an engine
	@$(BIN)/python -m benchmarks.bench_placement $(ARGS)

bench-scale: setup-dev ## Measure what deciding costs with 10 to 1,000 nodes; ARGS="--nodes 10,100"
	@$(BIN)/python -m benchmarks.bench_scale $(ARGS)

sim: setup-dev ## Ten minutes of a failing cluster under virtual time, for 1,000 seeds; ARGS="--seed 17 --trace"
	@$(BIN)/python tests/simulation/run.py $(ARGS)

bench-api: setup-dev ## Measure the console's API with 20 nodes and 200 deployments; ARGS="--parts overview,streams --soak 3600"
	@$(BIN)/python -m benchmarks.console_api $(ARGS)

bench: setup setup-dev ## Measure the API, the gateway beside its peers, and large clusters; ARGS="--quick", "--part gateway --profile"
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: console-check browser ## Write docs/images of every view of the console, ten minutes; ARGS="overview-stats"
	@$(BIN)/python docs/images/console.py $(ARGS)

fuzz: setup-dev ## Fuzz the gateway's reader and scans with atheris; FUZZ_SECONDS=600 each (Linux on x86-64)
	@for target in reader scan; do $(BIN)/python tests/fuzz/run.py --target=$$target tests/fuzz/corpus/$$target \
		-max_total_time=$(or $(FUZZ_SECONDS),600) -max_len=1500 || exit 1; done

soak: setup-dev ## Half an hour of mixed load with kills on one gateway; SOAK_SECONDS=1800
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),1800) $(BIN)/python -m pytest -q -s --timeout 7200 tests/faults/test_gateway_soak.py

docs: $(RUNTIME_STAMP) $(CONSOLE_STAMP) ## Write docs/reference and the calls of the Python client anew from the code
	@$(BIN)/python docs/generate.py

lock: ## Renew the pinned versions (needs uv)
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header requirements/build.in -o requirements/build.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header requirements/node.in -o requirements/node.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml --extra postgresql -o requirements/runtime.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml --extra postgresql --group dev -o requirements/dev.lock
	@uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-header --constraint requirements/dev.lock requirements/compile.in -o requirements/compile.lock

clean: ## Remove the environment and what tools left behind
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist ts_web/node_modules ts_web/.out src/modelgrid/console src/modelgrid/compiled
