# make help lists the verbs. Everything happens in .venv; nothing outside this folder is touched.
PYTHON ?= python3
COHORT ?= simulated
SEEDS ?= 1
PRESET ?= demo
CORE ?=
FULL ?=
export COHORT SEEDS PRESET CORE FULL
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ALL := $(sort $(wildcard notebooks/[0-9]*.ipynb))

.PHONY: help figures test lint lab docs bench clean
.DEFAULT_GOAL := help

help:  ## list these verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lab,dev]"
	touch $@

figures: $(STAMP)  ## train the demo models and draw figures/ (45 minutes on 2 cores; CORE=1: notebooks 01-06, 15 minutes; FULL=1 SEEDS=3: all, into figures/full/; COHORT=cao2021)
	$(BIN)/python -m spikelfp_lab.study --notebooks
	@$(if $(filter simulated-demo-,$(COHORT)-$(PRESET)-$(CORE)$(FULL)), \
		$(BIN)/python docs/executed.py build/notebooks docs/notebooks)

SMOKE := PRESET=smoke COHORT=simulated SEEDS=1 CORE= FULL= OMP_NUM_THREADS=1 \
	SPIKELFP_RUNS=build/smoke/runs FIGURES=build/smoke/figures
NBMAKE := $(BIN)/python -m pytest --nbmake --nbmake-timeout=600 --override-ini addopts=

test: $(STAMP) lint  ## lint, types, unit tests, every notebook in the smoke preset, three of them in a browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --durations 10
	$(SMOKE) $(BIN)/python -m spikelfp_lab.study
	$(SMOKE) LOKY_MAX_CPU_COUNT=1 $(NBMAKE) -n 2 --durations 5 $(shell printf '%s\n' $(filter-out notebooks/11%,$(ALL)) | sort -r)
	$(SMOKE) $(NBMAKE) $(filter notebooks/11%,$(ALL))
	PRESET=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest --override-ini addopts= --durations 5 tests/ui

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/nbstripout --verify $(ALL)

lab: $(STAMP)  ## JupyterLab on notebooks/
	$(BIN)/jupyter lab --notebook-dir=notebooks

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: $(VENV)/.docs  ## the documentation site, in build/docs/index.html (a minute)
	rm -rf build/docs docs/generated
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -q -W --keep-going -n -b html -d build/doctrees \
		-c docs . build/docs

bench: $(STAMP)  ## run all benchmarks; tables and the machine in benchmarks/results/
	$(BIN)/python -m benchmarks

clean:  ## remove what was trained and built (not figures/, not .venv)
	rm -rf build runs docs/generated
