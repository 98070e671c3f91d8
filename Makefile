# Every target does its own set-up in $(VENV) and is quick when run again. A second Python gets its own:
# make PYTHON=python3.12 VENV=.venv-3.12 test
FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
PYTHON ?= $(shell for p in python3 python3.13 python3.14 python3.12 python3.11 python; do \
  $$p -c '$(FITS)' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

# Runs of ours tell nobody anything: no telemetry of Prefect's client.
export DO_NOT_TRACK := 1
# What Python compiled is kept, also where the shell says otherwise: else each process compiles all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo unit test stacks cover lint bench soak lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   hashtags to posts with numbers, on the built-in sandbox (no account, no network)"
	@echo "make unit   the quick tests: no server, no network, no Postgres"
	@echo "make test   all that a commit needs, make unit among it: SQLite, a real Postgres, a real Prefect server"
	@echo "make stacks whole commands, servers and stacks, as processes"
	@echo "make cover  make test with the branches that it takes, told per room; fails below its floor"
	@echo "make lint   ruff and mypy"
	@echo "make bench  posts per second, CPU and memory, beside a bare HTTP loop and a plain script"
	@echo "make soak   the long kill and endurance runs"
	@echo "make lock   compile the lock files anew"

$(VENV)/.made:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' \
	  || { echo "Tagtrail needs Python 3.11, 3.12, 3.13 or 3.14; name one: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 2; }
	@echo "making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: requirements.lock pyproject.toml $(VENV)/.made
	@echo "installing the locked packages …"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml $(VENV)/.made
	@echo "installing the locked packages and tools …"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	@$(BIN)/tagtrail demo

# A file runs in one process: what its tests share is made once.
unit: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m unit

# Half of the time tests wait for sockets and servers: three processes keep two cores busy.
TESTS := -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not stack and not soak"
test: $(VENV)/.dev
	@$(BIN)/python $(TESTS)

stacks: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "stack and not soak"

cover: $(VENV)/.dev
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run $(TESTS)
	@$(BIN)/coverage combine --quiet
	@for room in blocks flows deployments; do \
	  echo "$$room: $$($(BIN)/coverage report --include="$$room/*" --fail-under=0 --format=total) % of branches and lines"; done
	@$(BIN)/coverage report

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.dev
	@$(BIN)/python tests/benchmarks/enrich.py --growth

soak: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/soak -p no:cacheprovider
	@$(BIN)/python -m pytest -m soak -p no:cacheprovider
	@$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=search -p no:cacheprovider

lock: $(VENV)/.dev
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate \
	  --custom-compile-command "make lock" pyproject.toml --extra redis --extra parquet --group build -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate \
	  --custom-compile-command "make lock" pyproject.toml --all-extras --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
