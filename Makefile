# The only set-up a newcomer needs: `make study`, `make test`. Both are idempotent and fast the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: study smoke test test-all check clean help

study: $(VENV)/.installed  ## install what is needed, then run the full study on real digits
	$(BIN)/synthc run specs/full_study.yaml
	@echo 'call it as $(BIN)/synthc, or as synthc after: . $(BIN)/activate'

test: $(VENV)/.installed-test  ## the test suite: Python packages only, a few minutes
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

test-all: $(VENV)/.installed-test  ## also what takes long, or needs Debian's chromium and dataset-fashion-mnist; lists what it skipped
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs

check: $(VENV)/.installed-test  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

smoke: $(VENV)/.installed  ## a tiny study end to end, in a temporary folder
	folder=$$(mktemp -d) && $(BIN)/synthc run specs/smoke.yaml --db $$folder/results.duckdb && \
	$(BIN)/synthc sql "SELECT arm, test_accuracy, leakage FROM comparison" --db $$folder/results.duckdb && \
	$(BIN)/synthc chart tradeoff --db $$folder/results.duckdb -o $$folder/tradeoff.svg && rm -r $$folder

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "synthc needs Python 3.11 or newer; name one with make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

# torch first: its pin takes a CPU build where one is at hand, and keeps other packages from asking for another.
$(VENV)/.installed: constraints.txt pyproject.toml | $(VENV)/bin/python
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: constraints.txt pyproject.toml | $(VENV)/bin/python
	$(INSTALL) torch
	$(INSTALL) --editable ".[test,pretrained]"
	touch $(VENV)/.installed $@

clean:  ## remove the environment (never results)
	rm -rf $(VENV)

help:  ## this text
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12
