# Two commands matter: make demo and make test. Both install what they miss.
.DEFAULT_GOAL := help
.PHONY: help setup demo test serve screenshots bench lint style types layers migrations shell lock clean
SHELL := /bin/bash
PORT ?= 8000
PYTHON := .venv/bin/python

help:
	@echo "make demo [DEMO_EXIT=1]  publish, import, rebuild and judge the reference releases, then serve"
	@echo "make test [PYTEST=...]   the whole suite, or what the arguments of pytest choose"
	@echo "make setup               only what both need: packages and .venv"
	@echo "make serve [PORT=8000]   serve the data that is there"
	@echo "make screenshots         take every page's picture into docs/screenshots/, and judge the pages meanwhile"
	@echo "make bench [PART=...]    measure (rebuilds, attestations, rebuilders, pages, api or all), and write docs/benchmarks.md"
	@echo "make lint                style, types, layers, migrations, shell scripts"
	@echo "make lock [UPGRADE=1]    resolve the dependencies in pyproject.toml into requirements.lock"
	@echo "make clean               stop what killed runs left, remove var/ and .venv"

setup:
	@scripts/setup test

demo:
	@scripts/setup runtime
	@scripts/with-services --redis --docker -- $(PYTHON) manage.py demo --port $(PORT) $(if $(DEMO_EXIT),--exit)

test:
	@scripts/setup test
	@scripts/with-services --redis --docker --postgres -- scripts/suite $(PYTEST)

serve:
	@scripts/setup runtime
	@scripts/with-services --redis --docker -- scripts/serve $(PORT)

screenshots:
	@scripts/setup test
	@scripts/with-services --redis --docker -- scripts/suite -q tests/end_to_end/test_every_page.py --pictures docs/screenshots

bench:
	@scripts/setup test
	@scripts/with-services --redis --docker --postgres -- $(PYTHON) manage.py bench $(if $(PART),--part $(PART))

lint: style types layers migrations shell

style:
	@scripts/setup test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types:
	@scripts/setup test
	.venv/bin/mypy

layers:
	@scripts/setup test
	.venv/bin/lint-imports

migrations:
	@scripts/setup test
	$(PYTHON) manage.py makemigrations --check --dry-run

shell:
	@scripts/setup test
	shellcheck --external-sources scripts/{setup,lock,serve,suite,with-services,environment.sh} .ci/run \
		examples/reference-enclave/tee/scripts/*.sh

lock:
	@scripts/lock $(if $(UPGRADE),--upgrade)
	@scripts/setup test

# Refuses while a run of this clone goes on: its engine keeps its data there.
clean:
	@scripts/with-services --stop
	rm -rf var .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .grimp_cache .import_linter_cache staticfiles
