# Everything a developer runs. `make` alone lists it. Needs python3 (3.11 or newer), git and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
WORKERS ?= 2
SEEDS ?= 200
SERVICES ?= marketdata signal risk execution monitor tools
TAG ?= dev
REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# What refuses and halts is covered branch by branch.
LIMITS_COVERED := $(foreach module,limits standing verdict sizing kernel modes hedges limitfile commands,--cov=services.risk.$(module)) --cov-branch --cov-fail-under=100 \
  --cov-report=term-missing:skip-covered

.PHONY: help setup demo test scenarios test-all check format prove bench soak images lock docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

setup: $(VENV)/.dev  ## Make the environment for development in .venv
	@echo "ready: $(BIN)/tidegate --help"

demo: $(VENV)/.demo  ## Trade a synthetic market with five services, halt, resume, end flat, replay (ARGS="--seed 3")
	@$(BIN)/tidegate demo $(ARGS)

test: $(VENV)/.dev  ## Run the tests that take minutes at most (ARGS="-k name")
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ARGS)

scenarios: $(VENV)/.dev  ## Play the incident scenarios under many seeds (SEEDS=200)
	SEEDS=$(SEEDS) $(BIN)/python -m pytest -n $(WORKERS) tests/scenarios $(ARGS)

test-all: $(VENV)/.dev  ## Run every test, the slow ones too
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(VENV)/.dev  ## Lint, types, import contracts, tidiness, every branch of the limits
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_tidy.py
	$(BIN)/python -m pytest -q -p no:cacheprovider -m "not slow" tests/unit/risk tests/model $(LIMITS_COVERED)

format: $(VENV)/.dev  ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure speed and print it beside the limit of the machine
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev  ## A hundred thousand intents with faults and crashes; prints the table (ARGS="--intents 5000")
	@$(BIN)/python -m tests.soak $(ARGS)

images:  ## Build the six container images (TAG=dev, SERVICES="risk tools")
	@for service in $(SERVICES); do \
	  echo "tidegate/$$service:$(TAG)"; \
	  docker build --quiet --build-arg SERVICE=$$service --build-arg REVISION=$(REVISION) --tag tidegate/$$service:$(TAG) . ; \
	done

docs: $(VENV)/.dev  ## Write the generated pages of docs/ again
	$(BIN)/python -m cli.docs

lock:  ## Resolve requirements/*.txt again (ARGS=--upgrade moves the pins)
	scripts/lock $(ARGS)

prove: $(VENV)/.prove  ## Prove T1 to T8: search, Z3, CrossHair, TLC, mutants; writes docs/assurance.md (ARGS=--full)
	$(BIN)/python -m tests.model $(ARGS)

clean:  ## Remove caches and the environment; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

# A machine whose python3 lacks venv's pip (Debian without python3-venv) is told so in one line.
$(VENV)/.base:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "expected python3 3.11 or newer, was $$($(PYTHON) --version 2>&1); name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
	  || { echo "expected python3 -m venv to work; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.demo: requirements/demo.txt scripts/link.py | $(VENV)/.base
	@echo "installing what the demo needs into $(VENV) (hash-checked, about a minute)"
	@$(PIP) install --require-hashes --no-deps --requirement requirements/demo.txt
	@$(BIN)/python scripts/link.py
	@touch $@

$(VENV)/.dev: requirements/dev.txt scripts/link.py | $(VENV)/.base
	@echo "installing the development environment into $(VENV) (hash-checked, about a minute)"
	@$(PIP) install --require-hashes --no-deps --requirement requirements/dev.txt
	@$(BIN)/python scripts/link.py
	@touch $@ $(VENV)/.demo

$(VENV)/.prove: requirements/prove.txt scripts/link.py | $(VENV)/.base
	@echo "installing what the proofs need into $(VENV) (hash-checked, about a minute)"
	@$(PIP) install --require-hashes --no-deps --requirement requirements/prove.txt
	@$(BIN)/python scripts/link.py
	@touch $@ $(VENV)/.dev $(VENV)/.demo
