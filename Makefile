# Everything is reached from here. `make` alone lists the targets. No other command is needed after a clone.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

FLOW ?= orders
ORDERS ?=
SEED ?= 7
KEEP ?=
QUICK ?=
SEEDS ?= 2000
PROFILE ?=
ARGS ?=
MINUTES ?=
SCALE ?= 1

.PHONY: help setup up down demo test chaos simulate check bench bench-waiting bench-scale schemas handlers

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with exactly the locked dependencies (done once per lock file)

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON); install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V), but 3.11 or newer is needed; say make PYTHON=..."; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment; install its venv module."; exit 1; }
	@echo "installing the locked dependencies into $(VENV) (once per lock file)"
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: setup ## start the stack (SERVICES="inventory shipping" leaves others out); addresses in .local/endpoints.json
	@$(PY) -m deploy.local up $(if $(filter undefined,$(origin SERVICES)),,--services "$(SERVICES)")

down: setup ## stop the stack, and a demo's that was kept
	@$(PY) -m deploy.local down; main=$$?; $(PY) -m deploy.local down --data .local/demo && exit $$main

demo: setup ## a business flow with everything that goes wrong, reconciled (FLOW=orders|...|all ORDERS=1000 SEED=7 KEEP=1)
	@$(PY) -m deploy.demo --flow $(FLOW) $(if $(ORDERS),--count $(ORDERS)) --seed $(SEED) $(if $(KEEP),--keep) $(ARGS)

test: setup ## all tests, with a real Kafka and Redis (ARGS="tests/unit -k name")
	$(PY) -m pytest $(ARGS)

chaos: setup ## every fault under load on the real stack, reconciled (SEED=7 MINUTES=30 SCALE=0.2 ARGS="--fault kill-engine")
	@$(PY) -m deploy.chaos --seed $(SEED) --scale $(SCALE) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

simulate: setup ## the whole system in a faulty world in virtual time (SEEDS=2000; replay one: ARGS="--seed 42 --verbose")
	@$(PY) -m tests.simulation $(if $(ARGS),$(ARGS),--seeds $(SEEDS))

check: setup ## the gates that need nothing running
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m contracts.schemas --check
	$(PY) -m services --check-handlers
	$(PY) -m orchestrator.cli verify

bench: setup ## speed of the order flow beside the raw figure and two peers (ORDERS=50000 QUICK=1 PROFILE=1)
	@$(PY) -m benchmarks.bench --orders $(or $(ORDERS),50000) $(if $(QUICK),--quick) $(if $(PROFILE),--profile)

bench-waiting: setup ## what a waiting process costs: bytes of Redis, idle processor time (ARGS="--processes 20000")
	@$(PY) -m benchmarks.waiting $(ARGS)

bench-scale: setup ## engines, waiting processes, timers, recovery, backlog, the audit's share (python -m benchmarks.NAME --help)
	@set -e; for part in engines waiting_scale timers_due recovery backlog audit_share; do $(PY) -m benchmarks.$$part $(ARGS); done

schemas: setup ## write contracts/schemas
	$(PY) -m contracts.schemas --write

handlers: setup ## write contracts/handlers.json
	$(PY) -m services --write-handlers
