# Everything one does here. Each target sets up .venv by itself; scripts/ holds what they run.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full lint format bench docs lock clean

VENV ?= .venv
export VENV

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv from the lock files (again only when they change)
	@scripts/install

demo: setup ## turn the shipped clip into a comic, in out/
	@$(VENV)/bin/sakuga demo -o out

test: setup ## the tests: no GPU, no network, a few minutes
	@scripts/test

test-full: setup ## the slow tests too, and those for a GPU where there is one
	@scripts/test --full

lint: setup ## formatting, lint and types
	@scripts/check

format: setup ## bring the code into shape
	@scripts/lint

bench: setup ## the benchmarks, one after the other
	@for file in benchmarks/*.py; do echo "== $$file"; $(VENV)/bin/python "$$file" || exit 1; done

docs: setup ## write docs/help.md again from the program's own help
	@$(VENV)/bin/python scripts/docs

lock: ## resolve the requirements anew and write the lock files
	@scripts/lock

clean: ## take away .venv, results and caches
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
