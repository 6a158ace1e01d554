# recoverd: what people run. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock bench clean
PY := .venv/bin/python
# Tests mostly wait for servers, so that three at a time fit on two cores. Each worker has labs of its own. The order is that
# of the files, for the long ones (tests/lab) come first: many short ones at the end leave no worker idle.
WORKERS ?= 3

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install system packages and .venv; every target below does it by itself
	@scripts/setup

demo: setup ## a real PostgreSQL cluster, a real alert, a real failover, in under two minutes
	@$(PY) -m lab.demo $(ARGS)

test: setup ## the whole suite on real services
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## lint, format, types, import contract, shell scripts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check --quiet . || { echo "HINT: make format"; exit 1; }
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@for script in scripts/setup tasks/scripts/*.sh; do sh -n $$script 2>/dev/null || bash -n $$script || exit 1; done

format: setup ## lay the code out
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format --quiet .

lock: setup ## make requirements.lock anew from requirements.in
	@.venv/bin/python -m pip install --quiet uv
	@.venv/bin/uv pip compile requirements.in --universal --python-version 3.10 --generate-hashes \
		--no-emit-index-url --no-header --quiet -o requirements.lock

bench: setup ## measure; see benchmarks/README.md
	@$(PY) -m benchmarks $(ARGS)

clean: ## remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info
