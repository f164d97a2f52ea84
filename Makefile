# Two commands matter: make demo and make test. Both install what they miss.
.DEFAULT_GOAL := help
.PHONY: help setup demo test serve bench lint lock clean
SHELL := /bin/bash
PORT ?= 8000
PYTHON := .venv/bin/python

help:
	@echo "make demo [DEMO_EXIT=1]  publish, import, rebuild and judge the reference releases, then serve"
	@echo "make test                the whole suite"
	@echo "make setup               only what both need: packages and .venv"
	@echo "make serve [PORT=8000]   serve the data that is there"
	@echo "make bench               measure, and write docs/benchmarks.md"
	@echo "make lint                style, types, layers, migrations"
	@echo "make lock                resolve requirements.in into requirements.lock"
	@echo "make clean               remove var/ and .venv"

setup:
	@scripts/setup test

demo:
	@scripts/setup runtime
	@scripts/with-services --redis --docker -- $(PYTHON) manage.py demo --port $(PORT) $(if $(DEMO_EXIT),--exit)

test:
	@scripts/setup test
	@scripts/with-services --redis --docker --postgres -- $(PYTHON) -m pytest $(PYTEST)

serve:
	@scripts/setup runtime
	@$(PYTHON) manage.py migrate --verbosity 0
	@exec .venv/bin/gunicorn tee_portal.wsgi --bind 127.0.0.1:$(PORT) --threads 4

bench:
	@scripts/setup runtime
	@scripts/with-services --redis --docker -- $(PYTHON) scripts/bench.py

lint:
	@scripts/setup test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) manage.py makemigrations --check --dry-run
	shellcheck scripts/setup scripts/with-services .ci/run examples/reference-enclave/tee/scripts/*.sh

lock:
	@scripts/setup runtime
	@uv=$$(command -v uv || echo var/tools/bin/uv); \
	$$uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python $(PYTHON) requirements.in --output-file requirements.lock

clean:
	rm -rf var .venv
