# Everything that is done with a checkout of Roadstead. Needs Debian or Ubuntu with Python ≥ 3.11, git and make;
# each target installs what else it needs (see scripts/setup.sh). The checkout's path may not contain a space.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv/bin
CODE := $(wildcard src tests bench)
UV = $$uv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
ARGS ?=
# Each file's tests stay in one process, whose servers and databases they share; ARGS='-n 0' runs all in this one.
PYTEST = $(VENV)/pytest -rs -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## Say what can be made
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Leave a working .venv/bin/roadstead (pinned, hashed requirements)
	@scripts/setup.sh runtime

.PHONY: serve
serve: setup ## Start the registry on http://127.0.0.1:5000 (ARGS='--data DIR --listen HOST:PORT')
	@exec $(VENV)/roadstead serve $(ARGS)

.PHONY: dev
dev: ## Leave a .venv with the tools for tests and checks
	@scripts/setup.sh dev

.PHONY: ldap
ldap: setup ## Add what login sources of kind LDAP need: a library that is built here, from pinned, hashed source
	@scripts/setup.sh ldap

# What is missing here is told by the tests that are skipped for it, by name, at the end of the run.
.PHONY: test-packages
test-packages:
	@scripts/setup.sh packages postgresql strace squashfs-tools squashfuse squashfs-tools-ng slapd ldap-utils wget curl chromium systemd nginx-light sqlite3 openssl zsh fish || [ $$? = 3 ]
	@command -v npm >/dev/null || scripts/setup.sh packages nodejs npm || [ $$? = 3 ]
	@scripts/setup.sh ldap || [ $$? = 3 ]

.PHONY: test
test: dev test-packages ## Run the tests (not real clients and the official suite: make clients, make conformance)
	@$(PYTEST) -m 'not clients and not conformance' $(ARGS)
	@echo "Left out here: make conformance (needs Go or PyPI), make clients (needs root)."

.PHONY: conformance
conformance: dev ## Run the official OCI distribution conformance suite against a server started for it
	@$(VENV)/pytest -rs -m conformance tests/protocols $(ARGS)

.PHONY: clients
clients: dev ## Install real container clients (as root) and run the tests that drive them
	@if [ "$$(id -u)" = 0 ]; then bash tests/support/clients/install-clients.sh; \
	else echo "make clients: installing the clients needs root; tests of those that are missing are skipped by name" >&2; fi
	@$(PYTEST) -m clients $(ARGS)

.PHONY: docs
docs: ## Build the documentation as pages in dist/docs; a link that leads nowhere fails
	@scripts/setup.sh docs
	@.venv-docs/bin/zensical build --strict

# The requirements are those of `make setup`: with them, what is installed elsewhere is byte for byte what runs and is tested here.
.PHONY: wheel
wheel: setup ## Leave dist/roadstead-*.whl and its hashed requirements, to install the program elsewhere by pip
	@mkdir -p dist; rm -f dist/roadstead-*
	@$(VENV)/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@cp requirements/runtime.txt dist/roadstead-requirements.txt
	@ls dist/roadstead-*

.PHONY: reference
reference: dev ## Write commands and settings as the program declares them into their pages of docs/reference
	@$(VENV)/python -m roadstead.cli.reference docs/reference

.PHONY: lint
lint: dev ## Check style, types and the import contract
	@$(VENV)/ruff check $(CODE)
	@$(VENV)/ruff format --check $(CODE)
	@$(VENV)/mypy $(CODE)
	@$(VENV)/lint-imports

.PHONY: format
format: dev ## Format the code and mend what can be mended by itself
	@$(VENV)/ruff format $(CODE)
	@$(VENV)/ruff check --fix $(CODE)

.PHONY: bench
bench: dev ## Measure Roadstead beside Debian's docker-registry and nginx
	@$(VENV)/python -m bench $(ARGS)

# uv comes from a throw-away environment, so that it is no dependency of anything. ARGS=--upgrade takes newer versions.
.PHONY: lock
lock: ## Compile requirements/*.txt from pyproject.toml
	@uv=$$(mktemp -d); trap 'rm -rf "$$uv"' EXIT; python3 -m venv "$$uv"; "$$uv/bin/pip" install -q --disable-pip-version-check uv; \
	$(UV) $(ARGS) -o requirements/runtime.txt --group build pyproject.toml >/dev/null; \
	$(UV) $(ARGS) -o requirements/dev.txt --group build --group dev pyproject.toml >/dev/null; \
	$(UV) $(ARGS) -o requirements/docs.txt --group docs >/dev/null; \
	$(UV) $(ARGS) -o requirements/ldap.txt --group ldap >/dev/null; \
	$(UV) $(ARGS) -o requirements/ldap-build.txt --group ldap-build >/dev/null; \
	$(UV) $(ARGS) -o requirements/harbor-cli.txt requirements/harbor-cli.in >/dev/null

.PHONY: clean
clean: ## Remove everything that was made here, but never data
	@rm -rf .venv .venv-docs .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
