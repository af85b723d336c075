# Quotagate. `make run` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# CI has more cores than a laptop on battery; pytest-xdist takes what there is.
PYTEST_ARGS ?= -n auto

.PHONY: run test soak lint bench bench-ledger install dev lock clean

run: install            ## start everything on this machine: gateway, worker, Redis, ledger, demo backend
	@$(BIN)/quotagate up

install: $(VENV)/.run   ## the environment alone, with .venv/bin/quotagate

dev: $(VENV)/.dev       ## the environment with what tests and linters need

test: dev               ## every test; what needs a service that is missing skips and says why
	$(BIN)/python -m pytest $(PYTEST_ARGS)

soak: dev               ## long fuzzing and soaks, not part of CI
	QUOTAGATE_SOAK=1 $(BIN)/python -m pytest -m soak -n 2 --timeout 3600

lint: dev               ## style, types and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: dev              ## this gateway beside nothing and beside nginx, on this machine
	$(BIN)/python -m tests.bench

bench-ledger: dev       ## the ledger with 10 million calls: what people list, and the drain; 15 GB of disk, an hour
	$(BIN)/python -m tests.bench.ledger

lock: $(VENV)/.dev      ## pin every requirement with hashes, no addresses
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group build --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade -q -o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --extra embedded --extra parquet --extra tracing --group build --group test --group lint --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade -q -o requirements/dev.txt

clean:                  ## everything that was made, the data folder excepted
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Quotagate needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements/run.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
