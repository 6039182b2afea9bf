# qfkit: `make demo` and `make test` set up all they need in .venv; they need Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench notebooks clean

help: ## Say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/installed ## A streaming paper-trading session in this terminal, about a minute
	@$(BIN)/qfkit demo

test: check ## Everything that CI runs: the checks, then the tests
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(VENV)/tested ## Lint, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/tested ## Repair what the linter can and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/tested ## Run the tutorials' sources and store the notebooks with what came out; needs Chromium
	$(BIN)/python -m tests.notebook_store

bench: $(VENV)/tested ## Speed and memory against peers; needs some minutes and an environment for the peers
	$(BIN)/python -m bench.run

clean: ## Remove the environments and what tools left behind
	rm -rf $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "qfkit needs Python 3.11 or later; name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PIP) install --quiet --upgrade "pip>=25.1"

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV); the first time this takes a minute or two"
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) install --quiet --group test
	@touch $@
