# Every target does the set-up that it needs; what is up to date is not done again.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_VERSION := 26.3
PYTEST_ARGS ?=
BENCH_ARGS ?=
QUALITY_ARGS ?=
LIGHTHOUSE_ARGS ?=
FUZZ_SECONDS ?= 600
BIN := .venv/bin
MANAGE := $(BIN)/python manage.py

# The engine knows no database, and the whole stack starts on a SQLite of its own.
DATABASE_TESTS := tests --ignore tests/inference/engine --ignore tests/inference/benchmark --ignore tests/e2e --ignore tests/browser
# What `make test` leaves to `make test-postgres`: calls that are refused before the database is asked, and
# pages, each of which tests/architecture/test_matrix.py opens on PostgreSQL as every role anyway.
ONE_DATABASE := --ignore-glob '*refusals*' --ignore-glob '*bad_input*' --ignore-glob '*/views/*' --ignore-glob '*/admin/*'
POSTGRES_ARGS ?= -n 2

# A stamp carries the hash of what it was made from: a changed pin makes a new stamp necessary.
hash = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
RUNTIME := .venv/.runtime-$(call hash,requirements.txt constraints.txt Makefile)
DEV := .venv/.dev-$(call hash,requirements.txt requirements-dev.txt requirements-tracing.txt requirements-uvicorn.txt constraints.txt Makefile)
LIGHTHOUSE_FOLDER := tests/browser/lighthouse
LIGHTHOUSE := $(LIGHTHOUSE_FOLDER)/node_modules/.made-$(call hash,$(LIGHTHOUSE_FOLDER)/package-lock.json)
ASSETS := static/vendor/.made-$(call hash,package-lock.json scripts/copy_vendor_assets.mjs)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1
# Of pip's many lines show the downloads that take a while, and everything when it fails.
pip_install = $(BIN)/python -m pip install --progress-bar off $(1) 2>.venv/pip.log \
  | sed -unE 's/^ *(Downloading|Using cached) ([^ ]+) \(([0-9]{2,}\.[0-9] MB)\).*/  \2  \3/p' \
  || { cat .venv/pip.log >&2; exit 1; }
PRODUCTION := LLAMA_PUBLIC_URL=https://llm.example.org LLAMA_TRUSTED_PROXY=true

.PHONY: help setup serve test test-postgres test-browser screenshots lighthouse messages check contracts lint format typecheck fuzz quality clean bench-gpu

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(RUNTIME) $(ASSETS) ## virtual environment, packages, front-end files, default model, database
	@$(MANAGE) pull --if-needed
	@$(MANAGE) migrate --no-input --verbosity 0

serve: $(RUNTIME) $(ASSETS) ## start everything, until Ctrl-C
	@exec $(MANAGE) serve

bench: setup ## speed and memory, beside other engines: make bench BENCH_ARGS="--engines ours"
	@exec $(MANAGE) bench $(BENCH_ARGS)

test: setup $(DEV) ## all checks and all tests, on two cores
	@$(MAKE) -j 2 -O check
	$(BIN)/python -m pytest -n 2 -m database $(PYTEST_ARGS) $(DATABASE_TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not database and not browser" $(PYTEST_ARGS)
	@$(MAKE) -j 2 -O test-browser test-postgres POSTGRES_ARGS="$(ONE_DATABASE)"

test-postgres: setup $(DEV) ## what touches the database, on a real PostgreSQL server of its own
	$(BIN)/python -m tests.postgres pytest -m database $(PYTEST_ARGS) $(DATABASE_TESTS) $(POSTGRES_ARGS)

test-browser: setup $(DEV) ## every page as every role, in Chromium, which is installed where it is missing
	$(BIN)/python -m pytest -m browser $(PYTEST_ARGS) tests/browser

screenshots: setup $(DEV) ## docs/screenshots/, each page in both themes
	$(BIN)/python -m tests.browser.screenshots

lighthouse: setup $(DEV) $(LIGHTHOUSE) ## the overview in Lighthouse: make lighthouse LIGHTHOUSE_ARGS="--json"
	@$(BIN)/python -m tests.browser.lighthouse $(LIGHTHOUSE_ARGS)

messages: $(DEV) ## compile locale/, the words of other languages
	$(BIN)/python scripts/compile_messages.py

check: lint typecheck contracts ## every check that is not a test

contracts: setup $(DEV)
	$(BIN)/lint-imports
	$(MANAGE) check
	$(PRODUCTION) $(MANAGE) check --deploy --fail-level WARNING
	$(MANAGE) makemigrations --check --dry-run
	$(MANAGE) spectacular --validate --fail-on-warn --file /dev/null

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(DEV) ## ruff: mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: $(DEV) ## mypy
	$(BIN)/mypy

fuzz: setup $(DEV) ## random calls from the API's description, for FUZZ_SECONDS
	$(BIN)/python -m tests.contract.fuzz $(FUZZ_SECONDS)

quality: setup ## how close the optimized default model stays to float32 (QUALITY_ARGS="--level 0 1")
	@$(MANAGE) quality $(QUALITY_ARGS)

bench-gpu: $(RUNTIME) ## a GPU against float32 and its bandwidth: make bench-gpu BENCH_ARGS="--shape 8b"
	@$(BIN)/python -m inference.benchmark.gpu $(BENCH_ARGS)

clean: ## remove what make made; var/, with its data, stays
	rm -rf .venv node_modules $(LIGHTHOUSE_FOLDER)/node_modules static/vendor .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# ------------------------------------------------------------------ stamps
$(BIN)/python:
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo 'Python 3.11 is needed: install it (Debian, Ubuntu: apt install python3.11 python3.11-venv) or name one: make PYTHON=/path/to/python3.11'; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || \
	  { echo 'This Python has no venv module: apt install python3.11-venv'; exit 1; }
	@command -v g++ >/dev/null || \
	  { echo 'A C++ compiler is needed: apt install g++'; exit 1; }
	@echo 'Making the virtual environment .venv'
	@"$(PYTHON)" -m venv .venv

$(RUNTIME): | $(BIN)/python
	@echo 'Installing the Python packages (the first time a few minutes)'
	@$(call pip_install,'pip==$(PIP_VERSION)')
	@$(call pip_install,-r requirements.txt)
	@rm -f .venv/.runtime-*; touch $@

$(DEV): $(RUNTIME)
	@echo 'Installing the packages for the checks and tests'
	@$(call pip_install,-r requirements-dev.txt)
	@rm -f .venv/.dev-*; touch $@

$(ASSETS):
	@command -v node >/dev/null && command -v npm >/dev/null || \
	  { echo 'Node.js 18 or newer with npm is needed for the front-end files: apt install nodejs npm'; exit 1; }
	@echo 'Installing the front-end files'
	@npm ci --include=dev --ignore-scripts --loglevel error >/dev/null
	@npm run --silent vendor
	@touch $@

$(LIGHTHOUSE): | $(ASSETS)
	@echo 'Installing Lighthouse (190 MB)'
	@npm ci --prefix $(LIGHTHOUSE_FOLDER) --include=dev --ignore-scripts --loglevel error >/dev/null
	@touch $@
