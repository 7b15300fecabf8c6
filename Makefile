# `make help` lists the commands. Codes that the scripts end with are kept in their messages; make itself ends with 2.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

STACK ?= cluster
# Values reach the commands through the environment, never as text of the recipe.
export STACK NODE SPEC ENGINE DRILL WORKLOAD REPORT DATA ARGS

ENV := source ./env.sh
SETUP := bash toolchain/setup.sh
# Tests of examples whose packages cannot be had are reported as not run.
EXAMPLES := for step in node api; do bash toolchain/steps/$$step.sh || echo "$$step      the tests that need it are not run"; done

.PHONY: help setup images plan up down status drift cli drill drill-controls matrix verify test test-full bench lint

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Stacks: standalone, replication, sentinel, cluster (the default), and every own configs/STACK.yaml"

setup: ## Install what is missing: packages, Python, Docker engine, images, Pulumi
	@$(SETUP)

images: ## Build node images: ENGINE=redis-8.0, valkey-9.1, ... or all (default)
	@bash toolchain/steps/images.sh $(if $(REBUILD),--rebuild) $${ENGINE:-all}

plan: ## What a spec would create, without touching Docker: SPEC=configs/x.yaml or STACK=
	@bash toolchain/steps/python.sh >&2; $(ENV); python scripts/plan.py "$${SPEC:-configs/$$STACK.yaml}" $$ARGS

up: ## Set up, then pulumi up: STACK=
	@$(SETUP) none; $(ENV); python scripts/up.py --stack "$$STACK" $$ARGS

down: ## pulumi destroy; data volumes are kept unless DATA=delete: STACK=
	@bash toolchain/steps/engine.sh; $(ENV); python scripts/down.py --stack "$$STACK" --data "$${DATA:-keep}" $$ARGS

status: ## Roles, lag, memory, health of every node: STACK=
	@$(ENV); python scripts/status.py --stack "$$STACK" $$ARGS

drift: ## What of the live servers and containers is not as declared: STACK=
	@$(ENV); python scripts/drift.py --stack "$$STACK" $$ARGS

cli: ## The engine's own client with the right credentials: STACK= [NODE=]
	@$(ENV); python scripts/cli.py --stack "$$STACK" $${NODE:+--node "$$NODE"} $$ARGS

drill: ## Break the running stack and see what holds: DRILL= STACK= [WORKLOAD=] [REPORT=]
	@$(SETUP) client; $(ENV); python scripts/drill.py run "$${DRILL:?name a drill: make drill DRILL=... STACK=...}" \
		--stack "$$STACK" $${WORKLOAD:+--workload "$$WORKLOAD"} --report "$${REPORT:-reports/$$STACK-$$DRILL}" $$ARGS

drill-controls: ## Break throw-away stacks on purpose: does each drill catch its fault?
	@$(SETUP) redis-8.0 client; $(ENV); python scripts/controls.py $$ARGS

matrix: ## Which topology and policy carries which use of Redis: measured, then written to docs/guide/choosing.md
	@$(SETUP) redis-8.0 client; $(ENV); python scripts/matrix.py $$ARGS

verify: ## Check the running stack against what is declared: STACK=
	@$(ENV); python scripts/verify.py --stack "$$STACK" $$ARGS

test: ## Every tier once on the default engine
	@$(SETUP) redis-8.0 client; $(EXAMPLES); $(ENV); python scripts/test.py $$ARGS

test-full: ## All engines, repetitions, kill-at-random, soak
	@$(SETUP) all; $(EXAMPLES); $(ENV); python scripts/test.py --full $$ARGS

bench: ## Times side by side with plain docker and redis-cli
	@$(SETUP) redis-8.0 client; $(ENV); python bench/run.py $$ARGS

lint: ## Style, types, import directions
	@bash toolchain/steps/python.sh >&2; $(ENV); failed=0; \
		for check in "ruff check ." "ruff format --check ." "mypy" "lint-imports"; do $$check || failed=10; done; exit $$failed
