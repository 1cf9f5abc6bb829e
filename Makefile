# Each target does its own set-up: python3 (3.11 or newer), git and make are enough.
# Another Python gets an environment of its own beside the first: make PYTHON=python3.13 test
PYTHON ?= python3
VENV := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
# What taskq is measured beside is in an environment of its own: nothing else needs it.
BENCH := $(if $(filter python3,$(PYTHON)),.venv-bench,$(VENV)-bench)
RUN := $(VENV)/bin/python -m
# One worker per core that we may use, at most eight; who has nothing left takes from the others.
PYTEST := $(RUN) pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal
# More for pytest, for example: make test ARGS="-k journal -x"
ARGS ?=
BENCHMARKS := $(filter-out benchmarks.harness benchmarks.bare_%,$(patsubst benchmarks/%.py,benchmarks.%,$(wildcard benchmarks/*.py)))
# Tests and benchmarks start hundreds of interpreters: without byte code each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full soak check lint format bench build clean

help: ## say what there is to type
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

setup: ## make the virtual environment as locked; nothing when it is there
	@$(PYTHON) tools/bootstrap.py --environment $(VENV)

demo: setup ## three tasks on a small repository, from the queue to a landed commit
	$(VENV)/bin/taskq demo $(ARGS)

test: setup ## the quick tests, under three minutes on two cores
	$(PYTEST) -m "not full and not soak" --session-timeout=600 $(ARGS)

test-full: setup ## the tests that need more time or more of the machine
	$(PYTEST) -m "full and not soak" --session-timeout=1800 $(ARGS)

soak: setup ## long random runs
	$(PYTEST) -m soak --timeout=3600 $(ARGS) || { code=$$?; test $$code = 5 && echo "no test is marked soak"; }

check: lint test ## format, lint, types, import contracts and the quick tests

lint: setup ## format, lint, types and import contracts, changing nothing
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) mypy --explicit-package-bases tools benchmarks
	$(VENV)/bin/lint-imports --no-cache

format: setup ## put the code into its one format and mend what the linter can
	$(RUN) ruff format
	$(RUN) ruff check --fix

bench: ## the figures, as ratios within one run; fails on a missed target
	@$(PYTHON) tools/bootstrap.py --environment $(BENCH) --group bench
	@failed=0; for each in $(BENCHMARKS); do $(BENCH)/bin/python -m $$each $(ARGS) || failed=1; done; exit $$failed

build: setup ## sdist and wheel into dist/
	@uv=$$($(PYTHON) tools/bootstrap.py --print-uv) && "$$uv" build --python $(VENV)/bin/python $(ARGS)

clean: ## remove what these targets made in the checkout
	rm -rf .venv .venv-* .tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find orchestration tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
