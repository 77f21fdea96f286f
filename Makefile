# Everything a developer types. `make` alone lists the targets.

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --durations=10 --durations-min=1
# Test files run side by side; each one stays with one worker, which shares its expensive surroundings.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist loadfile
SCRIPTS := scripts/setup-venv scripts/install-test-packages scripts/install-azure-clients scripts/install-inspecting-proxy scripts/build-packages scripts/compare-builds scripts/build-extensions scripts/make-bare-system .ci/run \
	$(wildcard packaging/*.sh)
LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-integration test-net test-packages azure-clients inspecting-proxy check fmt references scenario-results bench packages extensions lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make the virtual environment with all that development needs
	@VENV=$(VENV) scripts/setup-venv dev

demo: ## Set up, run a whole system on this machine and send real requests through it
	@VENV=$(VENV) scripts/setup-venv server
	@$(BIN)/arcgate sandbox --once
	@printf '\n%s\n%s\n' 'Before that, in this folder:' '  . $(BIN)/activate'

test: setup test-packages azure-clients inspecting-proxy check test-unit test-integration test-net ## Run everything that continuous integration runs
	@echo 'make test: all passed'

test-unit: setup ## Run the unit tests
	$(PYTEST) $(PARALLEL) tests/unit

test-integration: setup test-packages azure-clients extensions ## Run the tests with sockets and databases on loopback
	$(PYTEST) $(PARALLEL) tests/integration

test-net: setup test-packages azure-clients inspecting-proxy extensions ## Run the tests in networks of namespaces (as root)
	@scripts/make-bare-system >/dev/null
	$(PYTEST) tests/net

test-packages:
	@scripts/install-test-packages

inspecting-proxy: setup
	@VENV=$(VENV) scripts/install-inspecting-proxy

azure-clients: setup
	@VENV=$(VENV) scripts/install-azure-clients

check: setup test-packages ## Check lint, format, types, layers, dependencies and scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" lint-imports
	$(BIN)/deptry src
	shellcheck $(SCRIPTS)

fmt: setup ## Format the code and repair what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

references: setup ## Write the pages of docs/reference that are made from the code
	$(BIN)/arcgate references docs/reference

scenario-results: setup test-packages azure-clients ## Run the scenarios' tests and write down what they have shown (as root)
	ARCGATE_RECORD_SCENARIOS=1 $(PYTEST) -m scenario tests
	$(MAKE) references

packages: setup ## Make the agent's packages in dist/: .deb, .rpm and an archive that need no Python
	@VENV=$(VENV) scripts/build-packages

extensions: setup ## Make the signed packages of the extensions CustomScript and Monitor in build/extensions
	@VENV=$(VENV) scripts/build-extensions

bench: setup bench/load ## Measure, side by side with the alternatives (QUICK=1: one short round)
	@test -x .venv-bench/bin/python || $(BIN)/python -m venv .venv-bench
	@.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/bench.txt
	$(BIN)/python bench/run.py

bench/load: bench/load.c
	gcc -O2 -Wall -Wextra -pthread -o $@ $<

soak: setup test-packages ## Carry 20,000 tunnels directly and through Squid, and compare every byte (SOAK_TUNNELS)
	SOAK_TUNNELS=$${SOAK_TUNNELS:-20000} $(PYTEST) -n 0 tests/integration/net/test_soak.py

profile: setup bench/load ## Write flame graphs of both hops while tunnels are set up (needs py-spy)
	$(BIN)/python bench/profile_hops.py

lock: ## Resolve the requirements anew (needs uv)
	$(LOCK) --extra server --extra postgres --extra pac --extra uvloop pyproject.toml requirements/build.in --output-file requirements/server.txt
	$(LOCK) --extra server --extra postgres --extra pac --extra uvloop --extra test pyproject.toml requirements/build.in --output-file requirements/dev.txt
	$(LOCK) --extra pac --extra uvloop pyproject.toml requirements/packages.in --output-file requirements/packages.txt
	$(LOCK) requirements/azure.in --output-file requirements/azure.txt
	$(LOCK) requirements/inspection.in --output-file requirements/inspection.txt
	$(subst --python-version 3.11,--python-version 3.10,$(LOCK)) requirements/monitor.in --output-file requirements/monitor.txt
	$(LOCK) requirements/bench.in --output-file requirements/bench.txt

clean: ## Remove the virtual environment and everything that can be made again
	rm -rf $(VENV) .venv-azure .venv-inspection .venv-bench .venv-packages bench/load build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
